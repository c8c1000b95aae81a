//! The only walker of radix page tables in the project.
//!
//! One step is "read an entry, let the form decode it"; one call walks from a root to the span that holds an address.
//! Each level keeps the piece of table that it read last, so that enumeration reads every table once.

use thiserror::Error;

use super::form::{Entry, Form, Level, Radix, Root};
use super::{Hole, Paging, Span, Target};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::memory::{MemoryError, PhysMemory};

/// A table entry that cannot be read.
#[derive(Debug, Error)]
pub enum WalkError {
    /// The memory that holds it is unreadable.
    #[error("{form}: {level} at {table}, entry {index}: {source}")]
    Entry {
        /// Name of the form.
        form: &'static str,
        /// Name of the level.
        level: &'static str,
        /// Where the table is.
        table: PhysAddr,
        /// Index of the entry.
        index: u32,
        /// Why.
        source: MemoryError,
    },
}

/// Bytes of a table that are read at once.
const PIECE: usize = 4096;

#[derive(Debug)]
struct Piece {
    at: PhysAddr,
    present: bool,
    bytes: Box<[u8; PIECE]>,
}

/// Walks the tables of one [`Paging`].
#[derive(Debug)]
pub struct Walker<'a> {
    paging: &'a Paging,
    memory: &'a dyn PhysMemory,
    pieces: Vec<Option<Piece>>,
    entries_read: u64,
}

/// A table on the way down.
#[derive(Clone)]
struct Table {
    at: PhysAddr,
    entries: Option<core::ops::Range<u32>>,
    shift: u8,
    bits: u8,
}

/// The `1 << shift` addresses around `virt`.
fn around(virt: VirtAddr, shift: u8) -> VirtRange {
    let below = 1_u64.checked_shl(u32::from(shift)).map_or(u64::MAX, |size| size - 1);
    let first = VirtAddr(virt.0 & !below);
    VirtRange::new(first, VirtAddr(virt.0 | below)).unwrap_or(EVERYTHING)
}

const EVERYTHING: VirtRange = match VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX)) {
    Some(range) => range,
    None => unreachable!(),
};

impl<'a> Walker<'a> {
    /// A walker of `paging` that reads tables from `memory`.
    #[must_use]
    pub const fn new(paging: &'a Paging, memory: &'a dyn PhysMemory) -> Self {
        Self { paging, memory, pieces: Vec::new(), entries_read: 0 }
    }

    /// Entries read so far: the work done.
    #[must_use]
    pub const fn entries_read(&self) -> u64 {
        self.entries_read
    }

    /// The span that holds `virt`.
    ///
    /// # Errors
    /// [`WalkError`] if a table cannot be read. A table outside of RAM is no error but a hole.
    pub fn span_at(&mut self, virt: VirtAddr) -> Result<Span, WalkError> {
        self.span_of(self.paging, virt)
    }

    fn span_of(&mut self, paging: &'a Paging, virt: VirtAddr) -> Result<Span, WalkError> {
        match paging {
            Paging::Swapped(paging, swap) => Ok(swap.apply(self.span_of(paging, virt)?, virt)),
            Paging::Off => Ok(Span { virt: EVERYTHING, target: Target::Phys(PhysAddr(0)) }),
            Paging::Custom(spans) => spans.span_at(self.memory, virt),
            Paging::Radix(radix) => match radix.roots.iter().find(|root| root.virt.contains(virt)) {
                Some(root) => self.descend(radix, root, virt),
                None => Ok(Span { virt: gap(radix, virt), target: Target::Hole(Hole::NoRoot) }),
            },
        }
    }

    /// Where `virt` maps to, if anywhere.
    ///
    /// # Errors
    /// As [`Walker::span_at`].
    pub fn translate(&mut self, virt: VirtAddr) -> Result<Option<PhysAddr>, WalkError> {
        Ok(self.span_at(virt)?.phys(virt))
    }

    fn descend(&mut self, radix: &Radix, root: &Root, virt: VirtAddr) -> Result<Span, WalkError> {
        let whole = Span { virt: root.virt, target: Target::Hole(Hole::NoRoot) };
        let Some(first) = radix.form.levels.get(root.level) else { return Ok(whole) };
        let mut table = Table { at: root.table, entries: root.entries.clone(), shift: first.shift, bits: first.bits };
        let levels = radix.form.levels.iter().enumerate().skip(root.level);
        for (depth, level) in levels {
            let (target, shift) = match self.step(radix, depth, level, &table, virt)? {
                Step::Down(next) => {
                    table = next;
                    continue;
                }
                Step::End(target, shift) => (target, shift),
            };
            return Ok(clip(around(virt, shift), target, root.virt));
        }
        Ok(whole)
    }

    fn step(
        &mut self,
        radix: &Radix,
        depth: usize,
        level: &'static Level,
        table: &Table,
        virt: VirtAddr,
    ) -> Result<Step, WalkError> {
        let form = &radix.form;
        let index_mask = 1_u64.checked_shl(u32::from(table.bits)).map_or(u64::MAX, |count| count - 1);
        let wide = (virt.0 >> table.shift.min(63)) & index_mask;
        let number = u8::try_from(depth).unwrap_or(u8::MAX);
        let Ok(index) = u32::try_from(wide) else {
            return Ok(Step::End(Target::Hole(Hole::OutOfTable { level: number, index: u32::MAX }), table.shift));
        };
        if table.entries.as_ref().is_some_and(|entries| !entries.contains(&index)) {
            return Ok(Step::End(Target::Hole(Hole::OutOfTable { level: number, index }), table.shift));
        }
        let Some(raw) = self.entry(radix, depth, level, table.at, index)? else {
            let hole = Hole::TableAbsent { level: number, table: table.at };
            return Ok(Step::End(Target::Hole(hole), table.shift));
        };
        let hole = |hole| Ok(Step::End(Target::Hole(hole), table.shift));
        match (form.decode)(form, depth, table.shift, raw) {
            Entry::NotPresent => hole(Hole::NotPresent { level: number, index, raw }),
            Entry::Invalid => hole(Hole::Invalid { level: number, index, raw }),
            Entry::Leaf { at, shift } => {
                let below = 1_u64.checked_shl(u32::from(shift)).map_or(u64::MAX, |size| size - 1);
                // A leaf may cover more than this entry (contiguous pages): the rest of it is found at its own entry.
                let shown = shift.min(table.shift);
                let inside = around(virt, shown).first().0 & below;
                Ok(Step::End(Target::Phys(PhysAddr((at.0 & !below) | inside)), shown))
            }
            Entry::Table { at, entries, bits } => {
                let Some(next) = form.levels.get(depth.saturating_add(1)) else {
                    return hole(Hole::Invalid { level: number, index, raw });
                };
                let (shift, bits) = match bits {
                    None => (next.shift, next.bits),
                    Some(bits) if bits > 0 && bits < table.shift => (table.shift - bits, bits),
                    Some(_) => return hole(Hole::Invalid { level: number, index, raw }),
                };
                Ok(Step::Down(Table { at, entries, shift, bits }))
            }
        }
    }

    /// Reads an entry, or `None` if there is no RAM.
    fn entry(
        &mut self,
        radix: &Radix,
        depth: usize,
        level: &'static Level,
        table: PhysAddr,
        index: u32,
    ) -> Result<Option<u64>, WalkError> {
        let form = &radix.form;
        self.entries_read = self.entries_read.wrapping_add(1);
        let size = u64::from(form.entry_bytes);
        let Some(at) = table.checked_add(u64::from(index).wrapping_mul(size)) else { return Ok(None) };
        let piece_at = PhysAddr(at.0 & !(PIECE as u64 - 1));
        if self.pieces.len() <= depth {
            self.pieces.resize_with(depth.saturating_add(1), || None);
        }
        let Some(slot) = self.pieces.get_mut(depth) else { return Ok(None) };
        let name = |source| WalkError::Entry { form: form.name, level: level.name, table, index, source };
        if slot.as_ref().is_none_or(|piece| piece.at != piece_at) {
            let mut bytes = slot.take().map_or_else(|| Box::new([0; PIECE]), |piece| piece.bytes);
            let read = self.memory.read(piece_at, &mut bytes[..]);
            *slot = Some(Piece { at: piece_at, present: read.map_err(name)?, bytes });
        }
        let start = usize::try_from(at.0 - piece_at.0).unwrap_or(PIECE);
        let Some(piece) = slot.as_ref().filter(|piece| piece.present) else {
            return alone(self.memory, form, at).map_err(name);
        };
        let bytes = piece.bytes.get(start..start.saturating_add(usize::from(form.entry_bytes)));
        Ok(bytes.map(|bytes| form.endian.get(bytes)))
    }
}

/// Reads one entry where the piece around it is not all RAM: a block, and a filtered dump, may end inside of a table.
fn alone(memory: &dyn PhysMemory, form: &Form, at: PhysAddr) -> Result<Option<u64>, MemoryError> {
    let mut bytes = [0; 8];
    let Some(bytes) = bytes.get_mut(..usize::from(form.entry_bytes)) else { return Ok(None) };
    Ok(memory.read(at, bytes)?.then(|| form.endian.get(bytes)))
}

enum Step {
    Down(Table),
    /// What the `1 << shift` addresses around the wanted one map to.
    End(Target, u8),
}

/// The part of a span that its root translates.
fn clip(span: VirtRange, target: Target, root: VirtRange) -> Span {
    let virt = span.intersect(root).unwrap_or(span);
    let skipped = virt.first().0.wrapping_sub(span.first().0);
    let target = match target {
        Target::Phys(at) => Target::Phys(PhysAddr(at.0.wrapping_add(skipped))),
        Target::Hole(hole) => Target::Hole(hole),
    };
    Span { virt, target }
}

/// The addresses around `virt` that no root translates.
fn gap(radix: &Radix, virt: VirtAddr) -> VirtRange {
    let below = radix.roots.iter().map(|root| root.virt.last()).filter(|last| *last < virt).max();
    let above = radix.roots.iter().map(|root| root.virt.first()).filter(|first| *first > virt).min();
    let first = below.map_or(0, |last| last.0.wrapping_add(1));
    let last = above.map_or(u64::MAX, |first| first.0.wrapping_sub(1));
    VirtRange::new(VirtAddr(first), VirtAddr(last)).unwrap_or(EVERYTHING)
}
