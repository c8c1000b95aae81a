//! Everything that tables map, found by going through the tables rather than through addresses.
//!
//! The work is that of the tables that are there. A table is entered once for each level at which it is used: when it
//! is met again, at the same addresses (the kernel's half of another vCPU) there is nothing new in it, and at other
//! addresses (a table that several entries share, or that leads back to itself) it is entered for as many of them as
//! [`Limits`] say and reported as [`Shared`] for the others. What is held is a key for each such table; how many pieces of tables are read
//! is bounded by [`Limits`], whatever the guest has written there.

use core::ops::{ControlFlow, Range};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use super::form::{Entry, Form, Radix, Rights, Root};
use super::mappings::{Bound, Excess, Limits, Mapping, Merging, Shared, Swapping, Visitor};
use super::walk::{PIECE, WalkError, alone, geometry};
use super::{Paging, Swap};
use crate::abi::Endian;
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::memory::{PhysMemory, Presence};

/// A table as it is used: what decides what is in it, apart from the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    table: PhysAddr,
    /// What tells it apart from the same table elsewhere, if that matters.
    apart: u64,
    first: u32,
    last: u32,
    scheme: u32,
    shift: u8,
    level: u8,
}

/// What decides how entries are read, apart from the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Scheme {
    name: &'static str,
    endian: Endian,
    address_mask: u64,
    features: u32,
    swap: Option<Swap>,
}

/// Goes through the tables of one address space after the other, and remembers where it was.
#[derive(Debug)]
pub struct Survey {
    limits: Limits,
    /// The first address of each table, and for how many it was entered; the others have keys of their own.
    entered: HashMap<Key, (VirtAddr, u32)>,
    schemes: HashMap<Scheme, u32>,
    /// What is swapped in the space that is gone through.
    swap: Option<Swap>,
    buffers: Vec<Vec<u8>>,
    pieces: u32,
    entries_read: u64,
}

/// A table on the way down.
#[derive(Debug, Clone, Copy)]
struct Place {
    table: PhysAddr,
    depth: usize,
    shift: u8,
    /// What entry 0 translates, or would.
    base: u64,
    /// First and last of the entries that count.
    first: u32,
    last: u32,
    rights: Rights,
}

/// What stays the same on the way.
struct Scene<'a> {
    form: &'a Form,
    scheme: u32,
    memory: &'a dyn PhysMemory,
    /// The addresses of the root.
    virt: VirtRange,
}

/// Bytes that are looked at together for whether they are all zero.
const LINE: usize = 64;

/// Entries of a table that lie next to each other.
struct Piece {
    at: PhysAddr,
    indexes: Range<u64>,
}

impl Survey {
    /// A survey that was nowhere yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let (entered, schemes, buffers) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { limits, entered, schemes, swap: None, buffers, pieces: 0, entries_read: 0 }
    }

    /// Entries read so far.
    #[must_use]
    pub const fn entries_read(&self) -> u64 {
        self.entries_read
    }

    /// Pieces of tables read so far.
    #[must_use]
    pub const fn pieces_read(&self) -> u32 {
        self.pieces
    }

    /// Tables that are remembered.
    #[must_use]
    pub fn tables_held(&self) -> usize {
        self.entered.len()
    }

    /// Tells `visitor` what an address space maps, by ascending virtual address of each root, but for what was told
    /// before. A space without translation maps nothing here: whoever asks knows.
    ///
    /// # Errors
    /// [`Bound`] if a limit of this survey is hit, or the visitor has no room.
    pub fn visit(&mut self, paging: &Paging, memory: &dyn PhysMemory, visitor: &mut dyn Visitor) -> Result<(), Bound> {
        match paging {
            Paging::Off => Ok(()),
            Paging::Swapped(inner, swap) => {
                let before = self.swap.replace(*swap);
                let done = self.visit(inner, memory, &mut Swapping { visitor, swap: *swap });
                self.swap = before;
                done
            }
            Paging::Custom(spans) => spans.visit(self, memory, visitor),
            Paging::Radix(radix) => self.visit_radix(radix, memory, visitor),
        }
    }

    /// For [`Spans::visit`](super::Spans::visit): a piece of a table, of so many entries, is about to be read. The address
    /// and the table are where the message says that it ended.
    ///
    /// # Errors
    /// [`Bound`] if these were one too many.
    pub fn count(&mut self, entries: u64, virt: VirtAddr, level: &'static str, table: PhysAddr) -> Result<(), Bound> {
        let limit = self.limits.pieces;
        if self.pieces >= limit {
            return Err(Bound { excess: Excess::Pieces(limit), virt, level, table });
        }
        self.pieces = self.pieces.saturating_add(1);
        self.entries_read = self.entries_read.wrapping_add(entries);
        Ok(())
    }

    /// For [`Spans::visit`](super::Spans::visit): whether a part of a table, told apart by two numbers, is new.
    pub fn is_first(&mut self, table: PhysAddr, [apart, more]: [u64; 2]) -> bool {
        let [first, last] = [more >> 32, more & 0xffff_ffff].map(|half| u32::try_from(half).unwrap_or(0));
        // No radix form has this number.
        let key = Key { table, apart, first, last, scheme: u32::MAX, shift: 0, level: 0 };
        self.entered.insert(key, (VirtAddr(apart), 1)).is_none()
    }

    fn visit_radix(&mut self, radix: &Radix, memory: &dyn PhysMemory, visitor: &mut dyn Visitor) -> Result<(), Bound> {
        let form = &radix.form;
        let scheme = self.scheme(form);
        let mut visitor = Merging::new(visitor);
        for root in &radix.roots {
            let scene = Scene { form, scheme, memory, virt: root.virt };
            let Some(place) = at_root(form, root) else { continue };
            let done = self.enter(&scene, place, &mut visitor);
            if done.is_err_and(|bound| bound.excess == Excess::Mappings) {
                return done;
            }
            if let ControlFlow::Break(refused) = visitor.flush() {
                return Err(scene.bound(Excess::Mappings, refused, &place));
            }
            done?;
        }
        Ok(())
    }

    fn scheme(&mut self, form: &Form) -> u32 {
        let Form { name, endian, address_mask, features, .. } = *form;
        let scheme = Scheme { name, endian, address_mask, features, swap: self.swap };
        let next = u32::try_from(self.schemes.len()).unwrap_or(u32::MAX);
        *self.schemes.entry(scheme).or_insert(next)
    }

    /// Whether a table has not been entered before, and may be now.
    fn is_new(&mut self, scene: &Scene<'_>, place: &Place, visitor: &mut Merging<'_>) -> bool {
        let Place { table, first, last, shift, base, .. } = *place;
        let (level, scheme) = (number(place.depth), scene.scheme);
        let key = Key { table, apart: 0, first, last, scheme, shift, level };
        let (like, entered) = match self.entered.entry(key) {
            Slot::Vacant(slot) => {
                slot.insert((VirtAddr(base), 1));
                return true;
            }
            Slot::Occupied(slot) => *slot.get(),
        };
        // What tells the other addresses apart is never 0: no table starts to translate at the last address.
        let again = Key { apart: !base, ..key };
        if like.0 == base || self.entered.contains_key(&again) {
            return false;
        }
        if entered < self.limits.addresses {
            self.entered.insert(key, (like, entered.saturating_add(1)));
            self.entered.insert(again, (VirtAddr(base), 1));
            return true;
        }
        let virt = place.virt(scene);
        let like = VirtAddr(like.0.wrapping_add(virt.first().0.wrapping_sub(base)));
        visitor.visitor.shared(Shared { virt, like, table, level });
        false
    }

    fn enter(&mut self, scene: &Scene<'_>, place: Place, visitor: &mut Merging<'_>) -> Result<(), Bound> {
        if !self.is_new(scene, &place, visitor) {
            return Ok(());
        }
        let mut buffer = self.buffers.pop().unwrap_or_default();
        let done = self.table(scene, &place, &mut buffer, visitor);
        self.buffers.push(buffer);
        done
    }

    /// Goes through a table, piece by piece: each ends where a page of memory does. What is not in RAM is passed in one step.
    fn table(
        &mut self,
        scene: &Scene<'_>,
        place: &Place,
        buffer: &mut Vec<u8>,
        visitor: &mut Merging<'_>,
    ) -> Result<(), Bound> {
        let size = u64::from(scene.form.entry_bytes);
        let end = u64::from(place.last).saturating_add(1);
        let mut index = u64::from(place.first);
        while index < end {
            let at = PhysAddr(place.table.0.wrapping_add(index.wrapping_mul(size)));
            let here = (PIECE as u64 - at.0 % PIECE as u64).div_ceil(size);
            let next = index.saturating_add(here).min(end);
            self.count(0, place.at(index), scene.name_of(place), place.table)?;
            let whole = self.piece(scene, place, &Piece { at, indexes: index..next }, buffer, visitor)?;
            let missing = if whole { 0 } else { absent(scene.memory, at, (end - index).saturating_mul(size)) / size };
            if missing > 0 {
                let behind = index.saturating_add(missing).min(end);
                let virt = place.part(scene, index, behind.saturating_sub(1));
                visitor.visitor.absent(virt, place.table, number(place.depth));
                index = behind;
                continue;
            }
            if !whole {
                self.torn_piece(scene, place, index..next, visitor)?;
            }
            index = next;
        }
        Ok(())
    }

    /// Goes through a piece, if all of it is RAM that can be read.
    fn piece(
        &mut self,
        scene: &Scene<'_>,
        place: &Place,
        piece: &Piece,
        buffer: &mut Vec<u8>,
        visitor: &mut Merging<'_>,
    ) -> Result<bool, Bound> {
        let size = usize::from(scene.form.entry_bytes);
        let count = piece.indexes.end.saturating_sub(piece.indexes.start);
        buffer.resize(usize::try_from(count).unwrap_or(0).saturating_mul(size), 0);
        if !matches!(scene.memory.read(piece.at, buffer), Ok(true)) {
            return Ok(false);
        }
        self.entries_read = self.entries_read.wrapping_add(count);
        // Most entries are zero, which says the same wherever it stands in a table.
        let zero = (scene.form.decode)(scene.form, place.depth, place.shift, 0);
        let skip_zero = matches!(zero, Entry::NotPresent | Entry::Invalid);
        let lines = buffer.chunks(LINE).zip(piece.indexes.clone().step_by(LINE / size));
        for (line, first) in lines.filter(|(line, _)| !skip_zero || line.iter().fold(0, |all, byte| all | byte) != 0) {
            for (entry, index) in line.chunks_exact(size).zip(first..) {
                let raw = scene.form.endian.get(entry);
                if raw != 0 || !skip_zero {
                    self.entry(scene, place, index, raw, visitor)?;
                }
            }
        }
        Ok(true)
    }

    /// A piece that is not all RAM, or not all readable: entry by entry.
    fn torn_piece(
        &mut self,
        scene: &Scene<'_>,
        place: &Place,
        indexes: Range<u64>,
        visitor: &mut Merging<'_>,
    ) -> Result<(), Bound> {
        let (size, level) = (u64::from(scene.form.entry_bytes), number(place.depth));
        for index in indexes {
            let at = PhysAddr(place.table.0.wrapping_add(index.wrapping_mul(size)));
            self.entries_read = self.entries_read.wrapping_add(1);
            match alone(scene.memory, scene.form, at) {
                Ok(Some(raw)) => self.entry(scene, place, index, raw, visitor)?,
                Ok(None) => visitor.visitor.absent(place.part(scene, index, index), place.table, level),
                Err(source) => {
                    let (form, level) = (scene.form.name, scene.name_of(place));
                    let number = u32::try_from(index).unwrap_or(u32::MAX);
                    let error = WalkError::Entry { form, level, table: place.table, index: number, source };
                    visitor.visitor.unreadable(place.part(scene, index, index), &error);
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        scene: &Scene<'_>,
        place: &Place,
        index: u64,
        raw: u64,
        visitor: &mut Merging<'_>,
    ) -> Result<(), Bound> {
        let form = scene.form;
        match (form.decode)(form, place.depth, place.shift, raw) {
            Entry::NotPresent | Entry::Invalid => Ok(()),
            Entry::Leaf { at, shift } => {
                let rights = place.rights.and((form.rights)(form, place.depth, place.shift, raw));
                let virt = place.part(scene, index, index);
                // A leaf may cover more than this entry (contiguous pages): the rest of it is found at its own entry.
                let below = below(shift);
                let phys = PhysAddr((at.0 & !below) | (virt.first().0 & below));
                match visitor.push(Mapping { virt, phys, rights }) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(refused) => Err(scene.bound(Excess::Mappings, refused, place)),
                }
            }
            Entry::Table { at, entries, bits } => {
                let rights = place.rights.and((form.rights)(form, place.depth, place.shift, raw));
                let Some((shift, bits)) = geometry(form, place.depth, place.shift, bits) else { return Ok(()) };
                let Some((first, last)) = existing(bits, entries.as_ref()) else { return Ok(()) };
                let (depth, base) = (place.depth.saturating_add(1), place.at(index).0);
                let next = Place { table: at, depth, shift, base, first, last, rights };
                next.within(scene.virt).map_or(Ok(()), |next| self.enter(scene, next, visitor))
            }
        }
    }
}

/// How many bytes from `at` on, of `len_bytes`, are certainly no RAM.
fn absent(memory: &dyn PhysMemory, at: PhysAddr, len_bytes: u64) -> u64 {
    let extent = memory.extent(at, len_bytes);
    if extent.presence == Presence::Absent { extent.len_bytes.min(len_bytes) } else { 0 }
}

fn number(depth: usize) -> u8 {
    u8::try_from(depth).unwrap_or(u8::MAX)
}

/// The lowest `shift` bits.
fn below(shift: u8) -> u64 {
    1_u64.checked_shl(u32::from(shift)).map_or(u64::MAX, |size| size - 1)
}

/// First and last of the entries that a table of `bits` index bits has.
fn existing(bits: u8, entries: Option<&Range<u32>>) -> Option<(u32, u32)> {
    let last = u32::try_from(below(bits)).unwrap_or(u32::MAX);
    let Some(entries) = entries else { return Some((0, last)) };
    let last = last.min(entries.end.checked_sub(1)?);
    (entries.start <= last).then_some((entries.start, last))
}

/// The root's table: entries that translate addresses of the root.
fn at_root(form: &Form, root: &Root) -> Option<Place> {
    let level = form.levels.get(root.level)?;
    let (first, last) = existing(level.bits, root.entries.as_ref())?;
    let (shift, rights) = (level.shift, Rights::ALL);
    let base = root.virt.first().0 & !below(shift.saturating_add(level.bits));
    Place { table: root.table, depth: root.level, shift, base, first, last, rights }.within(root.virt)
}

impl Place {
    /// The first address that entry `index` translates.
    fn at(&self, index: u64) -> VirtAddr {
        VirtAddr(self.base.wrapping_add(index.checked_shl(u32::from(self.shift)).unwrap_or(0)))
    }

    /// The last one.
    fn end(&self, index: u64) -> VirtAddr {
        VirtAddr(self.at(index).0 | below(self.shift))
    }

    /// The addresses that entries `first` to `last` translate, if they are the root's.
    fn part(&self, scene: &Scene<'_>, first: u64, last: u64) -> VirtRange {
        let whole = VirtRange::new(self.at(first), self.end(last));
        whole.and_then(|whole| whole.intersect(scene.virt)).unwrap_or(scene.virt)
    }

    fn virt(&self, scene: &Scene<'_>) -> VirtRange {
        self.part(scene, u64::from(self.first), u64::from(self.last))
    }

    /// The same with no more than the entries that translate addresses of `virt`.
    fn within(self, virt: VirtRange) -> Option<Self> {
        let index = |addr: VirtAddr| {
            let index = addr.0.wrapping_sub(self.base).checked_shr(u32::from(self.shift)).unwrap_or(0);
            u32::try_from(index).unwrap_or(u32::MAX)
        };
        let (start, end) = (VirtAddr(self.base), self.end(u64::from(self.last)));
        if virt.last() < start || virt.first() > end {
            return None;
        }
        let first = if virt.first() > start { self.first.max(index(virt.first())) } else { self.first };
        let last = if virt.last() < end { self.last.min(index(virt.last())) } else { self.last };
        (first <= last).then_some(Self { first, last, ..self })
    }
}

impl Scene<'_> {
    fn name_of(&self, place: &Place) -> &'static str {
        self.form.levels.get(place.depth).map_or("", |level| level.name)
    }

    fn bound(&self, excess: Excess, virt: VirtAddr, place: &Place) -> Bound {
        Bound { excess, virt, level: self.name_of(place), table: place.table }
    }
}

#[cfg(test)]
mod tests;
