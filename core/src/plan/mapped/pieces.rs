//! Runs of memory with their virtual addresses, as few as say the same: each virtual address once, no two runs that are one.
//!
//! Readers that look memory up by virtual address need each address once: of two segments with one address gdb 13.1 takes the
//! first in the file, drgn 0.3.0 the last. No order serves both.

use std::collections::BTreeMap;

use guestdump_arch::{PhysAddr, PhysRange};

use crate::plan::segments::Load;

/// There is no room for another piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Full;

/// A part of a piece that was left out: an earlier piece has its virtual addresses, for other memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hidden {
    /// The part.
    pub part: Load,
    /// What its first address has.
    pub kept: PhysAddr,
}

/// Pieces of `ranges`, at most so many.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    ranges: &'a [PhysRange],
    /// By the first virtual address. No address is in two.
    held: BTreeMap<u64, PhysRange>,
    most: usize,
}

impl<'a> Pieces<'a> {
    pub const fn new(ranges: &'a [PhysRange], most: usize) -> Self {
        Self { ranges, held: BTreeMap::new(), most }
    }

    /// Takes a piece, which is not empty; less the addresses that were taken before, of which `hidden` is told where they
    /// have other memory.
    pub fn push(&mut self, load: Load, mut hidden: impl FnMut(Hidden)) -> Result<(), Full> {
        let mut rest = Some(load);
        while let Some(next) = rest {
            let (part, behind) = match self.at(next.virt) {
                Some(held) => {
                    let (part, behind) = split(next, held.last());
                    if distance(&part) != distance(&held) {
                        let kept = held.phys.start().0.wrapping_add(part.virt.wrapping_sub(held.virt));
                        hidden(Hidden { part, kept: PhysAddr(kept) });
                    }
                    (None, behind)
                }
                None => {
                    let above = self.held.range(next.virt..).next();
                    let (part, behind) = split(next, above.map_or(u64::MAX, |above| above.0.saturating_sub(1)));
                    (Some(part), behind)
                }
            };
            part.map_or(Ok(()), |part| self.insert(part))?;
            rest = behind;
        }
        Ok(())
    }

    /// The piece that has an address.
    fn at(&self, virt: u64) -> Option<Load> {
        let (first, phys) = self.held.range(..=virt).next_back()?;
        let load = Load { virt: *first, phys: *phys };
        (load.last() >= virt).then_some(load)
    }

    /// Takes a piece of whose addresses none is held, and joins it with its neighbours.
    fn insert(&mut self, mut load: Load) -> Result<(), Full> {
        let below = load.virt.checked_sub(1).and_then(|last| self.at(last)).filter(|below| self.goes_on(below, &load));
        let next = load.last().checked_add(1).and_then(|first| Some((first, *self.held.get(&first)?)));
        let above = next.map(|(virt, phys)| Load { virt, phys }).filter(|above| self.goes_on(&load, above));
        if below.is_none() && above.is_none() && self.held.len() >= self.most {
            return Err(Full);
        }
        if let Some(above) = above {
            self.held.remove(&above.virt);
            load.phys = PhysRange::between(load.phys.start(), above.phys.end());
        }
        if let Some(below) = below {
            load = Load { virt: below.virt, phys: PhysRange::between(below.phys.start(), load.phys.end()) };
        }
        self.held.insert(load.virt, load.phys);
        Ok(())
    }

    /// Whether two pieces, of which one has the addresses behind the other's, are one. Those of two ranges stay apart even
    /// where one range follows the other.
    fn goes_on(&self, load: &Load, next: &Load) -> bool {
        let at = next.phys.start();
        load.phys.end() == at && self.ranges.binary_search_by_key(&at, |range| range.start()).is_err()
    }

    /// All that were taken, by virtual address.
    pub fn finish(self) -> Vec<Load> {
        self.held.into_iter().map(|(virt, phys)| Load { virt, phys }).collect()
    }
}

fn distance(load: &Load) -> u64 {
    load.virt.wrapping_sub(load.phys.start().0)
}

/// The part of a piece up to a virtual address, which is not below its first, and what is behind.
fn split(load: Load, last: u64) -> (Load, Option<Load>) {
    let Some(len) = last.checked_sub(load.virt).and_then(|len| len.checked_add(1)) else { return (load, None) };
    if len >= load.phys.len() {
        return (load, None);
    }
    let cut = PhysAddr(load.phys.start().0.saturating_add(len));
    let part = Load { phys: PhysRange::between(load.phys.start(), cut), ..load };
    let behind = Load { virt: load.virt.saturating_add(len), phys: PhysRange::between(cut, load.phys.end()) };
    (part, Some(behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(virt: u64, start: u64, len: u64) -> Load {
        Load { virt, phys: PhysRange::new(PhysAddr(start), len).unwrap() }
    }

    /// What is held in the end, and what was hidden.
    fn pushed(loads: &[Load], ranges: &[PhysRange]) -> (Vec<Load>, Vec<Hidden>) {
        let (mut pieces, mut hidden) = (Pieces::new(ranges, 100), Vec::new());
        loads.iter().for_each(|load| pieces.push(*load, |part| hidden.push(part)).unwrap());
        (pieces.finish(), hidden)
    }

    fn joined(loads: &[Load], ranges: &[PhysRange]) -> Vec<Load> {
        let (held, hidden) = pushed(loads, ranges);
        assert_eq!(hidden, []);
        held
    }

    const ALL: [PhysRange; 1] = [PhysRange::between(PhysAddr(0), PhysAddr(1 << 40))];

    /// What QEMU 10.0 gets wrong: a page in front of a run moves the run's virtual address and not its physical one.
    #[test]
    fn a_page_in_front_joins_without_moving_anything() {
        let pages = [load(0x20_1000, 0x100_1000, 0x1000), load(0x20_0000, 0x100_0000, 0x1000)];
        assert_eq!(joined(&pages, &ALL), [load(0x20_0000, 0x100_0000, 0x2000)]);
    }

    #[test]
    fn runs_that_overlap_or_become_adjacent_are_one() {
        let runs = [
            load(0x5000, 0x1000, 0x1000),
            load(0x7000, 0x3000, 0x3000),
            load(0x6000, 0x2000, 0x2000),
            load(0x6000, 0x2000, 0x2000),
        ];
        assert_eq!(joined(&runs, &ALL), [load(0x5000, 0x1000, 0x5000)]);
        let aliases = [load(0x5000, 0x1000, 0x1000), load(0x6000, 0x1000, 0x1000)];
        assert_eq!(joined(&aliases, &ALL).len(), 2);
    }

    #[test]
    fn the_border_between_two_ranges_stays() {
        let ranges =
            [PhysRange::between(PhysAddr(0), PhysAddr(0x2000)), PhysRange::between(PhysAddr(0x2000), PhysAddr(0x9000))];
        let pages = [load(0x1000, 0x1000, 0x1000), load(0x2000, 0x2000, 0x1000), load(0x3000, 0x3000, 0x1000)];
        assert_eq!(joined(&pages, &ranges), [load(0x1000, 0x1000, 0x1000), load(0x2000, 0x2000, 0x2000)]);
    }

    #[test]
    fn the_top_of_the_address_space_does_not_go_on_at_its_bottom() {
        let pages = [load(u64::MAX - 0xfff, 0x1000, 0x1000), load(0, 0x2000, 0x1000)];
        assert_eq!(joined(&pages, &ALL).len(), 2);
    }

    #[test]
    fn full_is_full_of_pieces_that_differ() {
        let mut pieces = Pieces::new(&ALL, 10);
        let mut push = |load| pieces.push(load, |hidden| panic!("{hidden:?}"));
        // A hundred times the same is one, and so is what joins it.
        (0..100).for_each(|_| assert_eq!(push(load(0, 0, 0x1000)), Ok(())));
        (1..10).for_each(|page| assert_eq!(push(load(page << 20, page << 13, 0x1000)), Ok(())));
        assert_eq!(push(load(11 << 20, 0x1000, 0x1000)), Err(Full));
        assert_eq!(push(load(0x1000, 0x1000, 0x1000)), Ok(()));
        assert_eq!(pieces.finish().len(), 10);
    }

    #[test]
    fn who_comes_first_has_an_address() {
        let first = [load(0x2000, 0xa000, 0x1000), load(0x4000, 0xc000, 0x2000)];
        // Around and between them, over the same memory as one of them, and all of it within another.
        let (held, hidden) =
            pushed(&[first[0], first[1], load(0x1000, 0x9000, 0x6000), load(0x4800, 0x800, 0x800)], &ALL);
        assert_eq!(held, [load(0x1000, 0x9000, 0x6000)]);
        assert_eq!(hidden, [Hidden { part: load(0x4800, 0x800, 0x800), kept: PhysAddr(0xc800) }]);
        let (held, hidden) = pushed(&[first[0], first[1], load(0x1000, 0x1_0000, 0x6000)], &ALL);
        let around = [load(0x1000, 0x1_0000, 0x1000), load(0x3000, 0x1_2000, 0x1000), load(0x6000, 0x1_5000, 0x1000)];
        assert_eq!(held, [around[0], first[0], around[1], first[1], around[2]]);
        let parts = [load(0x2000, 0x1_1000, 0x1000), load(0x4000, 0x1_3000, 0x2000)];
        let kept = [PhysAddr(0xa000), PhysAddr(0xc000)];
        assert_eq!(hidden, [0, 1].map(|i| Hidden { part: parts[i], kept: kept[i] }));
    }

    /// Against a page at a time.
    #[test]
    fn random_pieces_are_what_a_map_of_pages_has() {
        let ranges = [PhysRange::between(PhysAddr(0), PhysAddr(32)), PhysRange::between(PhysAddr(32), PhysAddr(64))];
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let (mut pieces, mut naive, mut lost) = (Pieces::new(&ranges, 1000), BTreeMap::new(), 0_u64);
            let mut lost_naive = 0;
            for _ in 0..20 {
                let (start, len) = (random(2) * 32 + random(24), 1 + random(8));
                let piece = load(u64::MAX - 63 + random(56), start, len);
                pieces.push(piece, |hidden| lost += hidden.part.phys.len()).unwrap();
                for i in 0..len {
                    let had = *naive.entry(piece.virt + i).or_insert(start + i);
                    lost_naive += u64::from(had != start + i);
                }
            }
            let held = pieces.finish();
            let all: Vec<_> =
                held.iter().flat_map(|l| (0..l.phys.len()).map(|i| (l.virt + i, l.phys.start().0 + i))).collect();
            assert_eq!(all, naive.into_iter().collect::<Vec<_>>());
            assert_eq!(lost, lost_naive);
            let one = |pair: &[Load]| pair[0].last() + 1 == pair[1].virt && pair[0].phys.end() == pair[1].phys.start();
            assert!(held.windows(2).all(|pair| !one(pair) || pair[1].phys.start().0 == 32), "{held:?}");
        }
    }
}
