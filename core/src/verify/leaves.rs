//! Which leaves of a memory must be read, and reading one of them.

use guestdump_arch::{PhysAddr, PhysMemory, PhysRange, Presence};

use super::{Class, FRAME, FRAMES, LEAF};
use crate::filter::zero::is_zero;

/// Memory and its ranges, ascending and disjoint.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// The bytes.
    pub memory: &'a dyn PhysMemory,
    /// Where there are some.
    pub ranges: &'a [PhysRange],
}

impl Memory<'_> {
    /// The parts of the ranges in a leaf.
    fn parts(&self, number: u64) -> impl Iterator<Item = PhysRange> {
        let leaf = leaf_range(number);
        let first = self.ranges.partition_point(|range| range.end() <= leaf.start());
        let parts = self.ranges.get(first..).unwrap_or_default().iter().map(move |range| range.intersect(leaf));
        parts.take_while(|part| !part.is_empty())
    }

    /// From `from` on, the first leaf that may hold anything but zeros, and how many bytes of memory are skipped as zeros on
    /// the way to it.
    fn next_leaf(&self, from: u64) -> (Option<u64>, u64) {
        let mut at = from.saturating_mul(LEAF as u64);
        let mut zeros = 0_u64;
        let first = self.ranges.partition_point(|range| range.end().0 <= at);
        for range in self.ranges.get(first..).unwrap_or_default() {
            at = at.max(range.start().0);
            while at < range.end().0 {
                let rest = range.end().0 - at;
                let extent = self.memory.extent(PhysAddr(at), rest);
                // Only whole leaves are skipped, so that every other one is looked at once and as a whole.
                let end = at.saturating_add(extent.len_bytes.min(rest));
                let whole = at.is_multiple_of(LEAF as u64) && end - at >= LEAF as u64;
                if extent.presence != Presence::Zero || !whole {
                    return (Some(at / LEAF as u64), zeros);
                }
                let skipped = (end - at) & !(LEAF as u64 - 1);
                zeros += skipped;
                at += skipped;
            }
        }
        (None, zeros)
    }

    /// Numbers of the leaves that must be looked at, ascending, and before each how many bytes of zeros were skipped.
    pub fn leaves(self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let mut next = Some(0);
        core::iter::from_fn(move || {
            let (found, zeros) = self.next_leaf(next?);
            next = found.map(|number| number + 1);
            Some((found, zeros))
        })
    }
}

/// The addresses of a leaf.
#[must_use]
pub fn leaf_range(number: u64) -> PhysRange {
    let start = number.saturating_mul(LEAF as u64);
    PhysRange::between(PhysAddr(start), PhysAddr(start.saturating_add(LEAF as u64)))
}

/// A leaf that was read.
#[derive(Debug)]
pub struct Leaf {
    /// Its bytes; what is not memory, missing or damaged is zero.
    pub bytes: Vec<u8>,
    /// Class of each frame.
    pub classes: [Class; FRAMES],
    /// The first error, and where.
    pub error: Option<(PhysAddr, String)>,
}

impl Leaf {
    /// Room for one.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: vec![0; LEAF], classes: [Class::Outside; FRAMES], error: None }
    }

    /// Reads leaf `number`.
    pub fn read(&mut self, memory: Memory<'_>, number: u64) {
        self.bytes.fill(0);
        self.classes = [Class::Outside; FRAMES];
        self.error = None;
        let base = leaf_range(number).start().0;
        for part in memory.parts(number) {
            let (start, end) = (offset(part.start().0 - base), offset(part.end().0 - base));
            if !self.read_part(memory.memory, base, start, end) {
                self.read_frames(memory.memory, base, start, end);
            }
        }
        for (class, frame) in self.classes.iter_mut().zip(self.bytes.chunks(FRAME)) {
            if matches!(class, Class::Zero) && !is_zero(frame) {
                *class = Class::Data;
            }
        }
    }

    /// All bytes of a part at once, if all can be read. Whether they are zeros is seen later.
    fn read_part(&mut self, memory: &dyn PhysMemory, base: u64, start: usize, end: usize) -> bool {
        let Some(bytes) = self.bytes.get_mut(start..end) else { return false };
        if !memory.read(PhysAddr(base + start as u64), bytes).unwrap_or(false) {
            bytes.fill(0);
            return false;
        }
        for frame in start / FRAME..end.div_ceil(FRAME) {
            self.mark(frame, Class::Zero);
        }
        true
    }

    fn read_frames(&mut self, memory: &dyn PhysMemory, base: u64, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let frame = at / FRAME;
            let stop = ((frame + 1) * FRAME).min(end);
            let Some(bytes) = self.bytes.get_mut(at..stop) else { return };
            let phys = PhysAddr(base + at as u64);
            let class = match memory.read(phys, bytes) {
                Ok(true) => Class::Zero,
                Ok(false) => Class::Missing,
                Err(error) => {
                    self.error.get_or_insert_with(|| (phys, error.to_string()));
                    Class::Damaged
                }
            };
            if class != Class::Zero {
                bytes.fill(0);
            }
            self.mark(frame, class);
            at = stop;
        }
    }

    /// A frame of which parts are of different classes is of the last one in the order of the classes.
    fn mark(&mut self, frame: usize, class: Class) {
        if let Some(slot) = self.classes.get_mut(frame) {
            *slot = (*slot).max(class);
        }
    }
}

fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(LEAF)
}
