//! What lies where: a guest's memory in cells of equal size, for a picture.

use guestdump_arch::{PhysAddr, PhysRange};
use rayon::prelude::*;

use super::leaves::{Leaf, Memory};
use super::{Class, FRAME};
use crate::compress::{self, Encoder};

/// The codec by which frames are told apart: fast, and part of every build.
const CODEC: &str = "lzo";

/// What a frame of memory is to the eye.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Kind {
    /// Zeros.
    Zero,
    /// Becomes smaller by a quarter or more.
    Compressible,
    /// Does not: compressed, encrypted or random data.
    Incompressible,
    /// Not in the dump.
    Missing,
    /// Cannot be read.
    Damaged,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Zero, Self::Compressible, Self::Incompressible, Self::Missing, Self::Damaged];

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Compressible => "compressible",
            Self::Incompressible => "incompressible",
            Self::Missing => "excluded",
            Self::Damaged => "damaged",
        }
    }
}

/// Addresses of equal length, and what the memory in them is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    /// The addresses.
    pub range: PhysRange,
    /// Frames of each kind, in the order of [`Kind::ALL`]; what is left of the range is no memory.
    pub frames: [u64; 5],
}

impl Cell {
    /// Frames of memory.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.frames.iter().sum()
    }
}

/// The smallest cell size, a power of two in bytes, by which `ranges` make at most `most` cells.
#[must_use]
pub fn cell_size(ranges: &[PhysRange], most: usize) -> u64 {
    let shifts = FRAME.trailing_zeros()..63;
    let fits = |shift: &u32| count(ranges, *shift) <= most as u64;
    1 << shifts.into_iter().find(fits).unwrap_or(62)
}

/// Cells of `1 << shift` bytes that `ranges` touch.
fn count(ranges: &[PhysRange], shift: u32) -> u64 {
    let mut next = 0;
    let mut count = 0_u64;
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let (first, end) = ((range.start().0 >> shift).max(next), ((range.end().0 - 1) >> shift) + 1);
        count = count.saturating_add(end.saturating_sub(first));
        next = end.max(next);
    }
    count
}

/// Reads all of a memory, on the workers of the current rayon pool. Cells without memory are left out.
#[must_use]
pub fn picture(memory: Memory<'_>, cell_bytes: u64) -> Vec<Cell> {
    let size = cell_bytes.next_power_of_two().max(FRAME as u64);
    let mut starts: Vec<u64> = Vec::new();
    for range in memory.ranges {
        let first = (range.start().0 / size).max(starts.last().map_or(0, |last| last / size + 1));
        starts.extend((first..range.end().0.div_ceil(size)).map(|number| number * size));
    }
    let room = || (Leaf::new(), encoder(), vec![0; FRAME]);
    let range = |start: u64| PhysRange::between(PhysAddr(start), PhysAddr(start.saturating_add(size)));
    starts.par_iter().map_init(room, |tools, start| look(memory, range(*start), tools)).collect()
}

fn encoder() -> Option<Box<dyn Encoder>> {
    compress::by_name(CODEC)?.encoder(FRAME).ok()
}

/// Room for a leaf, the encoder, room for what it makes.
type Tools = (Leaf, Option<Box<dyn Encoder>>, Vec<u8>);

fn look(memory: Memory<'_>, range: PhysRange, tools: &mut Tools) -> Cell {
    let first = memory.ranges.partition_point(|part| part.end() <= range.start());
    let parts = memory.ranges.get(first..).unwrap_or_default().iter().map(|part| part.intersect(range));
    let ranges: Vec<PhysRange> = parts.take_while(|part| !part.is_empty()).collect();
    let inside = Memory { ranges: &ranges, ..memory };
    let mut cell = Cell { range, frames: [0; 5] };
    let (leaf, encoder, out) = tools;
    for (number, zeros) in inside.leaves() {
        add(&mut cell, Kind::Zero, zeros / FRAME as u64);
        let Some(number) = number else { break };
        leaf.read(inside, number);
        for (class, frame) in leaf.classes.iter().zip(leaf.bytes.chunks(FRAME)) {
            let kind = match class {
                Class::Outside => continue,
                Class::Zero => Kind::Zero,
                Class::Data => data(frame, encoder.as_deref_mut(), out),
                Class::Missing => Kind::Missing,
                Class::Damaged => Kind::Damaged,
            };
            add(&mut cell, kind, 1);
        }
    }
    cell
}

/// Whether a frame becomes smaller.
fn data(frame: &[u8], encoder: Option<&mut (dyn Encoder + 'static)>, out: &mut [u8]) -> Kind {
    let len = encoder.and_then(|encoder| encoder.compress(frame, out).ok().flatten());
    if len.is_some_and(|len| len <= FRAME / 4 * 3) { Kind::Compressible } else { Kind::Incompressible }
}

fn add(cell: &mut Cell, kind: Kind, count: u64) {
    let at = Kind::ALL.iter().position(|one| *one == kind);
    if let Some(frames) = at.and_then(|at| cell.frames.get_mut(at)) {
        *frames += count;
    }
}
