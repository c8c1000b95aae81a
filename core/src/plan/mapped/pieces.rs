//! Runs of memory with their virtual addresses, as few as say the same: no pair of addresses twice, no two that are one.

use guestdump_arch::{PhysAddr, PhysRange};

use crate::plan::segments::Load;

/// What became of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Push {
    /// It is held.
    Held,
    /// There is no room.
    Full,
}

/// Pieces of `ranges`, at most so many.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    ranges: &'a [PhysRange],
    held: Vec<Load>,
    most: usize,
}

impl<'a> Pieces<'a> {
    pub fn new(ranges: &'a [PhysRange], most: usize) -> Self {
        Self { ranges, held: Vec::new(), most }
    }

    /// Takes a piece. Where there is no room, what is held is joined first; a fifth of the room must come free by that, so that
    /// joining costs no more than a few times what is pushed.
    pub fn push(&mut self, load: Load) -> Push {
        if self.held.len() >= self.most {
            join(&mut self.held, self.ranges);
            if self.held.len() >= self.most - self.most / 5 {
                return Push::Full;
            }
        }
        self.held.push(load);
        Push::Held
    }

    /// All that were taken, joined.
    pub fn finish(mut self) -> Vec<Load> {
        join(&mut self.held, self.ranges);
        self.held
    }
}

/// Joins pieces that touch or overlap, and have the same distance between virtual and physical addresses. Those of two
/// ranges stay apart even where one range follows the other.
fn join(loads: &mut Vec<Load>, ranges: &[PhysRange]) {
    let distance = |load: &Load| load.virt.wrapping_sub(load.phys.start().0);
    let is_border = |at: PhysAddr| ranges.binary_search_by_key(&at, |range| range.start()).is_ok();
    loads.sort_unstable_by_key(|load| (distance(load), load.phys.start()));
    loads.dedup_by(|next, kept| {
        let (start, end) = (next.phys.start(), kept.phys.end());
        let touches = start < end || (start == end && !is_border(start));
        // The last virtual address is not followed by the first.
        let one = touches && distance(next) == distance(kept) && next.virt >= kept.virt;
        if one {
            kept.phys = PhysRange::between(kept.phys.start(), next.phys.end().max(end));
        }
        one
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(virt: u64, start: u64, len: u64) -> Load {
        Load { virt, phys: PhysRange::new(PhysAddr(start), len).unwrap() }
    }

    fn joined(loads: &[Load], ranges: &[PhysRange]) -> Vec<Load> {
        let mut pieces = Pieces::new(ranges, 100);
        loads.iter().for_each(|load| assert_eq!(pieces.push(*load), Push::Held));
        pieces.finish()
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
        // A hundred times the same is one.
        for _ in 0..100 {
            assert_eq!(pieces.push(load(0, 0, 0x1000)), Push::Held);
        }
        let pushed: Vec<Push> = (1..20).map(|page| pieces.push(load(page << 20, page << 13, 0x1000))).collect();
        assert!(pushed.contains(&Push::Full));
        let held = pieces.finish().len();
        assert!((8..=10).contains(&held), "{held}");
    }
}
