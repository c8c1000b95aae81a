//! A virtual address for memory that nothing maps.
//!
//! A program header has one whether there is one or not. Readers that look memory up by it (gdb, drgn) must not find this
//! memory where the tables put other memory, nor where a user would look for something else: the physical address, which QEMU's
//! dumps have there, is an address of some process in most guests.

use guestdump_arch::{Class, PhysRange};

use crate::plan::segments::Load;

/// Where 64-bit files have memory that nothing maps: at its physical address plus this. No processor known here
/// translates an address with just this bit above bit 60 when Linux runs it: it is not canonical on x86 and riscv64, in neither
/// half on aarch64, in quadrant 2 on ppc64 (Power ISA 3.0 Book III 5.7.5.1), above all of a region-second table on s390x.
pub const UNMAPPED: u64 = 1 << 63;

/// 32-bit files have it in gaps from here on: a process that reads through a null pointer reads nothing.
const FIRST_GAP: u64 = 1 << 16;
const LAST_GAP: u64 = u32::MAX as u64;

/// The parts of `ranges` (ascending, disjoint) that no load has.
pub(super) fn unmapped(ranges: &[PhysRange], loads: &[Load]) -> Vec<PhysRange> {
    let mut mapped: Vec<PhysRange> = loads.iter().map(|load| load.phys).collect();
    mapped.sort_unstable_by_key(|range| range.start());
    let mut mapped = mapped.into_iter().peekable();
    let mut out = Vec::new();
    for range in ranges {
        let mut at = range.start();
        while let Some(next) = mapped.next_if(|next| next.start() < range.end()) {
            out.push(PhysRange::between(at, next.start()));
            at = at.max(next.end());
        }
        out.push(PhysRange::between(at, range.end()));
    }
    out.retain(|range| !range.is_empty());
    out
}

/// Gives each of `rest` an address that none of `loads` has.
pub(super) fn place(rest: &[PhysRange], loads: &[Load], class: Class) -> Vec<Load> {
    let used = used(loads);
    let gaps = || in_gaps(rest, &used);
    if let Some(placed) = (class == Class::Elf32).then(gaps).flatten() {
        return placed;
    }
    let base = window(rest, &used);
    rest.iter().map(|phys| Load { virt: phys.start().0.wrapping_add(base), phys: *phys }).collect()
}

/// First and last of the addresses that loads have: ascending, disjoint.
fn used(loads: &[Load]) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = loads.iter().map(|load| (load.virt, load.last())).collect();
    all.sort_unstable();
    all.dedup_by(|next, kept| {
        let one = next.0 <= kept.1;
        if one {
            kept.1 = kept.1.max(next.1);
        }
        one
    });
    all
}

/// What is added to the physical addresses of `rest` so that they are free: [`UNMAPPED`], or another multiple of 2^60 if
/// tables map something there. 0 if there are mappings everywhere.
fn window(rest: &[PhysRange], used: &[(u64, u64)]) -> u64 {
    let (Some(first), Some(last)) = (rest.first(), rest.last()) else { return UNMAPPED };
    let is_free = |base: &u64| {
        let (Some(start), Some(end)) = (base.checked_add(first.start().0), base.checked_add(last.end().0)) else {
            return false;
        };
        let next = used.get(used.partition_point(|used| used.1 < start));
        next.is_none_or(|next| next.0 >= end)
    };
    (8..=15_u64).chain((1..8).rev()).map(|number| number << 60).find(is_free).unwrap_or(0)
}

/// The largest in the largest gap, and so on. `None` if they do not fit.
fn in_gaps(rest: &[PhysRange], used: &[(u64, u64)]) -> Option<Vec<Load>> {
    let mut gaps = gaps(used);
    gaps.sort_by_key(|gap| core::cmp::Reverse(gap.1 - gap.0));
    let mut gaps = gaps.into_iter();
    let mut sorted = rest.to_vec();
    sorted.sort_by_key(|range| core::cmp::Reverse(range.len()));
    let (mut at, mut end) = gaps.next()?;
    let mut out = Vec::with_capacity(sorted.len());
    for phys in sorted {
        // Addresses agree modulo a page.
        let aligned = |at: u64| at.next_multiple_of(4096) + phys.start().0 % 4096;
        while aligned(at).saturating_add(phys.len()) > end {
            (at, end) = gaps.next()?;
        }
        out.push(Load { virt: aligned(at), phys });
        at = aligned(at) + phys.len();
    }
    Some(out)
}

/// Start and end of the gaps in a 32-bit address space.
fn gaps(used: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    let mut at = FIRST_GAP;
    for (first, last) in used.iter().take_while(|used| used.0 <= LAST_GAP) {
        out.push((at, (*first).max(at)));
        at = at.max(last.saturating_add(1));
    }
    out.push((at, (LAST_GAP + 1).max(at)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestdump_arch::PhysAddr;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::between(PhysAddr(start), PhysAddr(end))
    }

    fn load(virt: u64, start: u64, end: u64) -> Load {
        Load { virt, phys: range(start, end) }
    }

    #[test]
    fn what_no_load_has_is_unmapped() {
        let ranges = [range(0x1000, 0x9000), range(0xa000, 0xc000)];
        let loads =
            [load(0, 0x3000, 0x5000), load(9, 0x2000, 0x4000), load(7, 0x1000, 0x2000), load(1, 0xb000, 0xc000)];
        assert_eq!(unmapped(&ranges, &loads), [range(0x5000, 0x9000), range(0xa000, 0xb000)]);
        assert_eq!(unmapped(&ranges, &[]), ranges);
    }

    #[test]
    fn unmapped_memory_is_where_nothing_is_mapped() {
        let rest = [range(0x1000, 0x2000), range(0x8000, 0x9000)];
        let at = |loads: &[Load]| place(&rest, loads, Class::Elf64).iter().map(|load| load.virt).collect::<Vec<_>>();
        assert_eq!(at(&[load(0x1000, 0, 0x1000)]), [UNMAPPED + 0x1000, UNMAPPED + 0x8000]);
        assert_eq!(at(&[load(UNMAPPED + 0x3000, 0, 0x1000)]), [(9 << 60) + 0x1000, (9 << 60) + 0x8000]);
    }

    #[test]
    fn a_32_bit_file_has_it_in_gaps() {
        let loads = [load(0, 0, 0x2_0000), load(0x2_3000, 0, 0xf000_0000)];
        let rest = [range(0x1000, 0x2000), range(0x10_0000, 0x20_0000), range(0x8123, 0x9000)];
        let placed = place(&rest, &loads, Class::Elf32);
        let virt: Vec<u64> = placed.iter().map(|load| load.virt).collect();
        assert_eq!(virt, [0xf002_3000, 0xf012_3000, 0xf012_4123]);
        let too_much = [range(0, 0xf000_0000)];
        assert_eq!(place(&too_much, &loads, Class::Elf32)[0].virt, UNMAPPED);
        assert_eq!(gaps(&used(&loads))[1], (0x2_0000, 0x2_3000));
    }
}
