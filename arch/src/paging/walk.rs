//! The only walker of radix page tables in the project.
//!
//! One step is "read an entry, let the form decode it"; one call walks from a root to the span that holds an address.
//! Each level keeps the piece of table that it read last, so that enumeration reads every table once.

use thiserror::Error;

use super::form::{Entry, Form, Level, Radix, Rights, Root};
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
pub(super) const PIECE: usize = 4096;

/// One entry on the way to an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Name of the level.
    pub name: &'static str,
    /// Number of the level, 0 at the root.
    pub level: u8,
    /// Where the table's entry 0 is, or would be.
    pub table: PhysAddr,
    /// Index of the entry.
    pub index: u32,
    /// The entry; `None` where the table has none there, or lies outside of RAM.
    pub raw: Option<u64>,
    /// What it says.
    pub says: String,
    /// Its fields, from high to low.
    pub fields: Vec<(&'static str, u64)>,
    /// What it allows.
    pub rights: Rights,
}

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
    trace: Option<Vec<Step>>,
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
        Self { paging, memory, pieces: Vec::new(), entries_read: 0, trace: None }
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
            Paging::Radix(radix) => match radix.roots.iter().find_map(|root| Some((root, root.untagged(virt)?))) {
                Some((root, plain)) => Ok(tagged(self.descend(radix, root, plain)?, virt.0 & root.ignored, root)),
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

    /// How `virt` is looked up: every entry on the way.
    ///
    /// # Errors
    /// As [`Walker::span_at`].
    pub fn steps(&mut self, virt: VirtAddr) -> Result<(Vec<Step>, Span), WalkError> {
        if let Some(custom) = self.paging.custom() {
            return Ok((custom.steps(self.memory, virt)?, self.span_at(virt)?));
        }
        self.trace = Some(Vec::new());
        let span = self.span_at(virt);
        let steps = self.trace.take().unwrap_or_default();
        Ok((steps, span?))
    }

    fn descend(&mut self, radix: &Radix, root: &Root, virt: VirtAddr) -> Result<Span, WalkError> {
        let whole = Span { virt: root.virt, target: Target::Hole(Hole::NoRoot) };
        let Some(first) = radix.form.levels.get(root.level) else { return Ok(whole) };
        let mut table = Table { at: root.table, entries: root.entries.clone(), shift: first.shift, bits: first.bits };
        let levels = radix.form.levels.iter().enumerate().skip(root.level);
        for (depth, level) in levels {
            let (target, shift) = match self.step(radix, depth, level, &table, virt)? {
                Next::Down(next) => {
                    table = next;
                    continue;
                }
                Next::End(target, shift) => (target, shift),
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
    ) -> Result<Next, WalkError> {
        let form = &radix.form;
        let index_mask = 1_u64.checked_shl(u32::from(table.bits)).map_or(u64::MAX, |count| count - 1);
        let wide = (virt.0 >> table.shift.min(63)) & index_mask;
        let number = u8::try_from(depth).unwrap_or(u8::MAX);
        let Ok(index) = u32::try_from(wide) else {
            return Ok(Next::End(Target::Hole(Hole::OutOfTable { level: number, index: u32::MAX }), table.shift));
        };
        let mut seen = Step {
            name: level.name,
            level: number,
            table: table.at,
            index,
            raw: None,
            says: String::new(),
            fields: Vec::new(),
            rights: Rights::NONE,
        };
        if table.entries.as_ref().is_some_and(|entries| !entries.contains(&index)) {
            self.saw(seen, "outside of the table");
            return Ok(Next::End(Target::Hole(Hole::OutOfTable { level: number, index }), table.shift));
        }
        let Some(raw) = self.entry(radix, depth, level, table.at, index)? else {
            let hole = Hole::TableAbsent { level: number, table: table.at };
            self.saw(seen, "the table is not in RAM");
            return Ok(Next::End(Target::Hole(hole), table.shift));
        };
        let hole = |hole| Ok(Next::End(Target::Hole(hole), table.shift));
        let entry = (form.decode)(form, depth, table.shift, raw);
        if self.trace.is_some() {
            seen.raw = Some(raw);
            seen.rights = (form.rights)(form, depth, table.shift, raw);
            let fields = (form.fields)(form, depth, table.shift, raw);
            seen.fields = fields.iter().map(|field| (field.name, field.of(raw))).collect();
            self.saw(seen, &entry.to_string());
        }
        match entry {
            Entry::NotPresent => hole(Hole::NotPresent { level: number, index, raw }),
            Entry::Invalid => hole(Hole::Invalid { level: number, index, raw }),
            Entry::Leaf { at, shift } => {
                let below = 1_u64.checked_shl(u32::from(shift)).map_or(u64::MAX, |size| size - 1);
                // A leaf may cover more than this entry (contiguous pages): the rest of it is found at its own entry.
                let shown = shift.min(table.shift);
                let inside = around(virt, shown).first().0 & below;
                Ok(Next::End(Target::Phys(PhysAddr((at.0 & !below) | inside)), shown))
            }
            Entry::Table { at, entries, bits } => match geometry(form, depth, table.shift, bits) {
                Some((shift, bits)) => Ok(Next::Down(Table { at, entries, shift, bits })),
                None => hole(Hole::Invalid { level: number, index, raw }),
            },
        }
    }

    fn saw(&mut self, mut step: Step, says: &str) {
        if let Some(trace) = &mut self.trace {
            says.clone_into(&mut step.says);
            trace.push(step);
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
        // Of a table that starts later, entry 0 may be before address 0.
        let at = PhysAddr(table.0.wrapping_add(u64::from(index).wrapping_mul(size)));
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
        // The last entry in a piece may reach into the next one, if the table is where no processor has one.
        let bytes = slot.as_ref().filter(|piece| piece.present);
        let bytes = bytes.and_then(|piece| piece.bytes.get(start..start.saturating_add(usize::from(form.entry_bytes))));
        bytes.map_or_else(|| alone(self.memory, form, at).map_err(name), |bytes| Ok(Some(form.endian.get(bytes))))
    }
}

/// Shift and number of index bits of the table below an entry of `depth` whose own index starts at `shift`. `None` if
/// there is no such level.
pub(super) fn geometry(form: &Form, depth: usize, shift: u8, bits: Option<u8>) -> Option<(u8, u8)> {
    let next = form.levels.get(depth.saturating_add(1))?;
    match bits {
        None => Some((next.shift, next.bits)),
        Some(bits) if bits > 0 && bits < shift => Some((shift - bits, bits)),
        Some(_) => None,
    }
}

/// A span with the tag of the address that was asked for.
fn tagged(span: Span, tag: u64, root: &Root) -> Span {
    let with = |addr: VirtAddr| VirtAddr((addr.0 & !root.ignored) | tag);
    VirtRange::new(with(span.virt.first()), with(span.virt.last())).map_or(span, |virt| Span { virt, ..span })
}

/// Reads one entry where the piece around it is not all RAM: a block, and a filtered dump, may end inside of a table.
pub(super) fn alone(memory: &dyn PhysMemory, form: &Form, at: PhysAddr) -> Result<Option<u64>, MemoryError> {
    let mut bytes = [0; 8];
    let Some(bytes) = bytes.get_mut(..usize::from(form.entry_bytes)) else { return Ok(None) };
    Ok(memory.read(at, bytes)?.then(|| form.endian.get(bytes)))
}

enum Next {
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

/// The addresses around `virt` that no root translates. Of a root that ignores tags, the one with the tag of `virt`
/// counts; the gap ends with the tag then.
fn gap(radix: &Radix, virt: VirtAddr) -> VirtRange {
    let ignored = radix.roots.iter().fold(0, |all, root| all | root.ignored);
    let (mut first, mut last) = (0, u64::MAX);
    if ignored != 0 {
        // The bits from the lowest ignored one up, which are all at the top.
        let below = (1_u64 << ignored.trailing_zeros()) - 1;
        (first, last) = (virt.0 & !below, virt.0 | below);
    }
    for root in &radix.roots {
        let with = |addr: VirtAddr| (addr.0 & !root.ignored) | (virt.0 & root.ignored);
        let (start, end) = (with(root.virt.first()), with(root.virt.last()));
        if end < virt.0 {
            first = first.max(end + 1);
        }
        if start > virt.0 {
            last = last.min(start - 1);
        }
    }
    VirtRange::new(VirtAddr(first), VirtAddr(last)).unwrap_or(EVERYTHING)
}
