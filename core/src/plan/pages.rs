//! Which page frames a kdump file holds, and a bit for each.
//!
//! Blocks need not be page aligned: a frame is in the dump when any byte of it is, once, however many blocks share it.
//! The first bitmap follows from the runs of frames alone, so that an address space with huge gaps costs nothing.

use guestdump_arch::{Pfn, PhysAddr, PhysRange};

/// Page frames `first..first + count`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PfnRun {
    /// First frame.
    pub first: Pfn,
    /// How many.
    pub count: u64,
}

impl PfnRun {
    /// One past the last frame.
    #[must_use]
    pub const fn end(self) -> Pfn {
        Pfn(self.first.0.saturating_add(self.count))
    }

    /// The addresses of its frames.
    #[must_use]
    pub fn addresses(self, page_size: u32) -> PhysRange {
        let size = u64::from(page_size);
        PhysRange::between(PhysAddr(self.first.0.saturating_mul(size)), PhysAddr(self.end().0.saturating_mul(size)))
    }
}

/// The frames that any of `ranges` (ascending, disjoint) touches: ascending, disjoint, not adjacent.
#[must_use]
pub fn runs(ranges: &[PhysRange], page_size: u32) -> Vec<PfnRun> {
    let size = u64::from(page_size);
    let mut out: Vec<PfnRun> = Vec::with_capacity(ranges.len());
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let (first, end) = (range.start().0 / size, range.end().0.div_ceil(size));
        match out.last_mut() {
            Some(last) if last.end().0 >= first => last.count = last.count.max(end.saturating_sub(last.first.0)),
            _ => out.push(PfnRun { first: Pfn(first), count: end - first }),
        }
    }
    out
}

/// Frames in all runs.
#[must_use]
pub fn count(runs: &[PfnRun]) -> u64 {
    runs.iter().map(|run| run.count).sum()
}

/// Fills `out` with the bits of frames from `first_pfn` (a multiple of 8) on: byte pfn / 8, bit pfn % 8, least
/// significant first. Frames in `without` (ascending) have no bit.
pub fn fill_bitmap(runs: &[PfnRun], without: &[Pfn], first_pfn: u64, out: &mut [u8]) {
    out.fill(0);
    let end = first_pfn.saturating_add((out.len() as u64).saturating_mul(8));
    let from = runs.partition_point(|run| run.end().0 <= first_pfn);
    for run in runs.iter().skip(from).take_while(|run| run.first.0 < end) {
        set_bits(out, run.first.0.max(first_pfn) - first_pfn, run.end().0.min(end) - first_pfn);
    }
    let lost = without.partition_point(|pfn| pfn.0 < first_pfn);
    for pfn in without.iter().skip(lost).take_while(|pfn| pfn.0 < end) {
        let bit = pfn.0 - first_pfn;
        if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| out.get_mut(at)) {
            *byte &= !(1 << (bit % 8));
        }
    }
}

fn set_bits(out: &mut [u8], from: u64, to: u64) {
    let mut bit = from;
    while bit < to {
        let whole = bit.is_multiple_of(8) && to - bit >= 8;
        let bytes = if whole { (to - bit) / 8 } else { 1 };
        let start = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
        if whole {
            out.get_mut(start..end).unwrap_or_default().fill(0xff);
            bit += 8 * bytes;
        } else {
            out.get_mut(start..end).unwrap_or_default().iter_mut().for_each(|byte| *byte |= 1 << (bit % 8));
            bit += 1;
        }
    }
}

/// Whether any frame of `first..end` is in a run.
#[must_use]
pub fn any(runs: &[PfnRun], first: u64, end: u64) -> bool {
    let from = runs.partition_point(|run| run.end().0 <= first);
    runs.get(from).is_some_and(|run| run.first.0 < end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn blocks_that_share_a_page_are_one_run() {
        let range = |start, end| PhysRange::between(PhysAddr(start), PhysAddr(end));
        let shared = runs(&[range(0x1010, 0x1020), range(0x1fff, 0x2001), range(0x3000, 0x3001)], 4096);
        assert_eq!(shared, [PfnRun { first: Pfn(1), count: 3 }]);
        let gap = runs(&[range(0, 1), range(0x2000, 0x2001)], 4096);
        assert_eq!(count(&gap), 2);
        assert_eq!(gap.len(), 2);
    }

    proptest! {
        #[test]
        fn bitmaps_have_a_bit_for_each_frame(
            lens in proptest::collection::vec((1_u64..90, 1_u64..90), 0..12),
            lost in proptest::collection::btree_set(0_u64..1200, 0..20),
            first in 0_u64..20,
        ) {
            let mut at = 0;
            let mut ranges = Vec::new();
            let mut naive = BTreeSet::new();
            for (gap, len) in lens {
                ranges.push(PhysRange::new(PhysAddr(at + gap), len).unwrap());
                at += gap + len;
                naive.extend((at - len..at).map(|byte| byte / 16));
            }
            let runs = runs(&ranges, 16);
            prop_assert_eq!(count(&runs), naive.len() as u64);
            let lost: Vec<Pfn> = lost.into_iter().filter(|pfn| naive.remove(pfn)).map(Pfn).collect();
            let mut bits = [0xa5; 13];
            fill_bitmap(&runs, &lost, first * 8, &mut bits);
            for (i, byte) in bits.iter().enumerate() {
                for bit in 0..8 {
                    let pfn = first * 8 + i as u64 * 8 + bit;
                    prop_assert_eq!(byte >> bit & 1 == 1, naive.contains(&pfn));
                }
            }
        }
    }
}
