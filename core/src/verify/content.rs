//! Counting and comparing memory, in parallel and in order.

use std::collections::BTreeMap;

use guestdump_arch::PhysAddr;
use rayon::prelude::*;

use super::digest::{Leaves, of_leaf};
use super::leaves::{Leaf, Memory, leaf_range};
use super::{Class, Digest, FRAME};

/// Leaves that are read before their results are put together: memory stays small, and workers busy.
const BATCH: usize = 256;
/// Damaged places that are named.
const NAMED: usize = 8;

/// What a memory is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Frames by class; those outside of memory are not counted.
    pub frames: BTreeMap<Class, u64>,
    /// Digest of the content; frames that cannot be read are not in it.
    pub digest: Digest,
    /// Where frames cannot be read, and why: the first ones.
    pub errors: Vec<(PhysAddr, String)>,
}

impl Content {
    /// Frames of a class.
    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        self.frames.get(&class).copied().unwrap_or(0)
    }

    /// All frames of the guest's memory.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.frames.values().sum()
    }
}

/// How two memories differ.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    /// Frames by their class in either, where they differ: (data, data) are different bytes.
    pub frames: BTreeMap<(Class, Class), u64>,
    /// Frames of the first memory that are equal in the second.
    pub equal: u64,
    /// The first byte that differs, or the first of the first frame that only one has.
    pub first: Option<PhysAddr>,
}

impl Difference {
    /// Frames that differ.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.frames.values().sum()
    }
}

/// Reads all of a memory, on the workers of the current rayon pool.
#[must_use]
pub fn survey(memory: Memory<'_>) -> Content {
    survey_with(memory, &mut |_| {})
}

/// The same; `done` hears of bytes that were looked at, those since the last call.
#[must_use]
pub fn survey_with(memory: Memory<'_>, done: &mut dyn FnMut(u64)) -> Content {
    let mut sum = Sum::new();
    let mut leaves = memory.leaves();
    loop {
        let batch: Vec<(Option<u64>, u64)> = leaves.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return sum.finish();
        }
        let zeros = batch.iter().map(|found| found.1).sum();
        sum.zeros(zeros);
        done(zeros);
        let numbers: Vec<u64> = batch.into_iter().filter_map(|found| found.0).collect();
        let read = numbers.par_iter().map_init(Leaf::new, |leaf, number| look(leaf, memory, *number));
        for read in read.collect::<Vec<Read>>() {
            done(read.classes.values().sum::<u64>() * FRAME as u64);
            sum.add(read);
        }
    }
}

/// Reads all of two memories, and compares them.
#[must_use]
pub fn compare(ours: Memory<'_>, theirs: Memory<'_>) -> (Content, Content, Difference) {
    let (mut one, mut other, mut difference) = (Sum::new(), Sum::new(), Difference::default());
    let mut union = Union::new(ours.leaves(), theirs.leaves());
    loop {
        let batch: Vec<Wanted> = union.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        let room = || (Leaf::new(), Leaf::new());
        let read = batch.par_iter().map_init(room, |(a, b), wanted| {
            let (in_ours, in_theirs) = (look(a, ours, wanted.number), look(b, theirs, wanted.number));
            // What its own list has skipped is counted there.
            (wanted.ours.then_some(in_ours), wanted.theirs.then_some(in_theirs), differences(a, b, wanted.number))
        });
        for (in_ours, in_theirs, found) in read.collect::<Vec<_>>() {
            in_ours.into_iter().for_each(|read| one.add(read));
            in_theirs.into_iter().for_each(|read| other.add(read));
            merge(&mut difference, found);
        }
    }
    one.zeros(union.skipped.0);
    other.zeros(union.skipped.1);
    let (ours, theirs) = (one.finish(), other.finish());
    let lost: u64 = difference.frames.iter().filter(|pair| pair.0.0 != Class::Outside).map(|pair| pair.1).sum();
    difference.equal = ours.total().saturating_sub(lost);
    (ours, theirs, difference)
}

/// What one leaf says.
struct Read {
    number: u64,
    hash: Option<[u8; 32]>,
    classes: BTreeMap<Class, u64>,
    error: Option<(PhysAddr, String)>,
}

fn look(leaf: &mut Leaf, memory: Memory<'_>, number: u64) -> Read {
    leaf.read(memory, number);
    let mut classes = BTreeMap::new();
    for class in leaf.classes.iter().filter(|class| **class != Class::Outside) {
        *classes.entry(*class).or_insert(0) += 1;
    }
    Read { number, hash: of_leaf(leaf), classes, error: leaf.error.take() }
}

/// The sum of leaves.
struct Sum {
    content: Content,
    leaves: Leaves,
}

impl Sum {
    fn new() -> Self {
        let leaves = Leaves::new();
        Self { content: Content { frames: BTreeMap::new(), digest: leaves.digest(), errors: Vec::new() }, leaves }
    }

    fn add(&mut self, read: Read) {
        for (class, count) in read.classes {
            *self.content.frames.entry(class).or_insert(0) += count;
        }
        if let Some(hash) = read.hash {
            self.leaves.add(read.number, &hash);
        }
        self.content.errors.extend(read.error.filter(|_| self.content.errors.len() < NAMED));
    }

    fn zeros(&mut self, bytes: u64) {
        if bytes > 0 {
            *self.content.frames.entry(Class::Zero).or_insert(0) += bytes / FRAME as u64;
        }
    }

    fn finish(mut self) -> Content {
        self.content.digest = self.leaves.digest();
        self.content
    }
}

/// The frames of a leaf in which two memories differ.
fn differences(ours: &Leaf, theirs: &Leaf, number: u64) -> Difference {
    let mut found = Difference::default();
    let frames = ours.bytes.chunks(FRAME).zip(theirs.bytes.chunks(FRAME));
    let classes = ours.classes.iter().zip(&theirs.classes);
    for (index, ((a, b), (one, other))) in frames.zip(classes).enumerate() {
        let nothing = |class: &Class| matches!(class, Class::Outside | Class::Zero);
        if (one == other && a == b && *one != Class::Damaged) || (nothing(one) && nothing(other)) {
            continue;
        }
        *found.frames.entry((*one, *other)).or_insert(0) += 1;
        let within = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
        let start = leaf_range(number).start().0 + (index * FRAME) as u64;
        found.first.get_or_insert(PhysAddr(start + within as u64));
    }
    found
}

fn merge(sum: &mut Difference, found: Difference) {
    for (classes, count) in found.frames {
        *sum.frames.entry(classes).or_insert(0) += count;
    }
    sum.first = sum.first.or(found.first);
}

/// A leaf that one of two lists wants, or both.
struct Wanted {
    number: u64,
    ours: bool,
    theirs: bool,
}

/// Two ascending lists of leaves as one.
struct Union<A: Iterator, B: Iterator> {
    ours: core::iter::Peekable<A>,
    theirs: core::iter::Peekable<B>,
    /// Bytes of zeros that either list has skipped.
    skipped: (u64, u64),
}

type Found = (Option<u64>, u64);

impl<A: Iterator<Item = Found>, B: Iterator<Item = Found>> Union<A, B> {
    fn new(ours: A, theirs: B) -> Self {
        Self { ours: ours.peekable(), theirs: theirs.peekable(), skipped: (0, 0) }
    }
}

impl<A: Iterator<Item = Found>, B: Iterator<Item = Found>> Iterator for Union<A, B> {
    type Item = Wanted;

    fn next(&mut self) -> Option<Wanted> {
        // The last item of a list is what was skipped behind its last leaf.
        if let Some((_, zeros)) = self.ours.next_if(|found| found.0.is_none()) {
            self.skipped.0 += zeros;
        }
        if let Some((_, zeros)) = self.theirs.next_if(|found| found.0.is_none()) {
            self.skipped.1 += zeros;
        }
        let heads = [self.ours.peek().and_then(|found| found.0), self.theirs.peek().and_then(|found| found.0)];
        let number = heads.into_iter().flatten().min()?;
        let (ours, theirs) = (heads[0] == Some(number), heads[1] == Some(number));
        if ours {
            self.skipped.0 += self.ours.next().map_or(0, |found| found.1);
        }
        if theirs {
            self.skipped.1 += self.theirs.next().map_or(0, |found| found.1);
        }
        Some(Wanted { number, ours, theirs })
    }
}
