//! PT_LOAD segments: from blocks, each piece with its place in memory, in the kernel's map and in the file.

use guestdump_arch::{Class, LinearMap, PhysAddr, PhysRange};

/// Memory and its virtual address: a PT_LOAD that has no place in the file yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// `p_vaddr`.
    pub virt: u64,
    /// `p_paddr` and `p_memsz`; not empty.
    pub phys: PhysRange,
}

impl Load {
    /// The last virtual address.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.virt.saturating_add(self.phys.len().saturating_sub(1))
    }
}

/// One PT_LOAD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// `p_vaddr`.
    pub virt: u64,
    /// `p_paddr` and `p_filesz`: the memory that the file holds. Empty where it holds nothing of the segment.
    pub phys: PhysRange,
    /// `p_memsz`: more than `phys` has where memory behind it is left out.
    pub mem_len: u64,
    /// `p_offset`.
    pub offset: u64,
}

/// Alignment of memory in the file, so that a reader can map it: a segment's offset and address agree modulo this.
const ALIGN: u64 = 4096;

/// The loads of `ranges` (ascending, disjoint) in a dump without virtual addresses.
///
/// A block is one, but for where the kernel's linear map starts or ends inside: it is split there, so that `p_vaddr` is
/// right on both sides.
#[must_use]
pub fn loads(ranges: &[PhysRange], linear: Option<LinearMap>) -> Vec<Load> {
    let mut loads = Vec::with_capacity(ranges.len());
    for range in ranges {
        let (before, rest) = split_at(*range, Some(linear.map_or(0, |map| map.phys.0)));
        let (mapped, behind) = split_at(rest, linear.map(|map| map.phys.0.saturating_add(map.len_bytes)));
        let parts = [before, mapped, behind].into_iter().filter(|part| !part.is_empty());
        loads.extend(parts.map(|phys| Load { virt: virt(phys, linear), phys }));
    }
    split_only(loads)
}

/// Splits a load at physical 0 in two where it is the only one: drgn takes physical addresses for absent when all are 0.
#[must_use]
pub fn split_only(loads: Vec<Load>) -> Vec<Load> {
    let [only] = loads.as_slice() else { return loads };
    if only.phys.start() != PhysAddr(0) {
        return loads;
    }
    let (low, high) = split_at(only.phys, Some(only_split(only.phys.len())));
    let parts = [low, high].into_iter().filter(|part| !part.is_empty());
    parts.map(|phys| Load { virt: only.virt.wrapping_add(phys.start().0), phys }).collect()
}

/// Where the only segment is split: at 1 MiB, or at the first page of a smaller one.
const fn only_split(len: u64) -> u64 {
    if len > 1 << 20 { 1 << 20 } else { ALIGN }
}

fn split_at(range: PhysRange, at: Option<u64>) -> (PhysRange, PhysRange) {
    let at = at.unwrap_or(u64::MAX).clamp(range.start().0, range.end().0);
    (PhysRange::between(range.start(), PhysAddr(at)), PhysRange::between(PhysAddr(at), range.end()))
}

/// Where the memory of `ranges` lies in a file that has room from `first_offset` on: once, however many loads show it.
#[must_use]
pub fn data(ranges: &[PhysRange], first_offset: u64) -> Vec<(PhysRange, u64)> {
    let mut out: Vec<(PhysRange, u64)> = Vec::with_capacity(ranges.len());
    let mut free = first_offset;
    for range in ranges {
        let follows = out.last().is_some_and(|last| last.0.end() == range.start());
        // Where the file would be longer than any file, the layout refuses it.
        let aligned = free.checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX);
        let offset = if follows { free } else { aligned.saturating_add(range.start().0 % ALIGN) };
        out.push((*range, offset));
        free = offset.saturating_add(range.len());
    }
    out
}

/// The segments of loads, without their places in the file. Memory of the `excluded` ranges (ascending, disjoint) is left
/// out: it ends a segment, whose tail it is, in the way of makedumpfile -E.
#[must_use]
pub fn cut(loads: &[Load], excluded: &[PhysRange]) -> Vec<Segment> {
    let mut out = Vec::with_capacity(loads.len());
    for load in loads {
        let part = |stored: PhysRange, tail: u64| {
            let virt = load.virt.wrapping_add(stored.start().0.wrapping_sub(load.phys.start().0));
            Segment { virt, phys: stored, mem_len: stored.len().saturating_add(tail), offset: 0 }
        };
        let mut at = load.phys.start();
        let from = excluded.partition_point(|range| range.end() <= at);
        for range in excluded.iter().skip(from).take_while(|range| range.start() < load.phys.end()) {
            let tail = range.intersect(load.phys);
            out.push(part(PhysRange::between(at, tail.start()), tail.len()));
            at = tail.end();
        }
        if at < load.phys.end() {
            out.push(part(PhysRange::between(at, load.phys.end()), 0));
        }
    }
    out
}

/// Gives segments, each of which is part of a piece of `data` or empty, their places in the file.
pub fn place(segments: &mut [Segment], data: &[(PhysRange, u64)]) {
    for segment in segments {
        let at = segment.phys.start();
        let piece = data.get(data.partition_point(|piece| piece.0.end() <= at));
        segment.offset = piece.map_or(0, |(range, offset)| offset.saturating_add(at.0.saturating_sub(range.start().0)));
    }
}

/// `p_vaddr`: the linear map's address where a reader needs it, else the physical address, as QEMU has it.
fn virt(phys: PhysRange, linear: Option<LinearMap>) -> u64 {
    let start = phys.start().0;
    let mapped = linear.filter(|map| start.wrapping_sub(map.phys.0) < map.len_bytes);
    mapped.map_or(start, |map| map.virt.0.wrapping_add(start - map.phys.0))
}

/// The class that can hold these segments: ELFCLASS32 is given up when an offset, an end or an address passes 4 GiB.
#[must_use]
pub fn class(wanted: Class, segments: &[Segment]) -> Class {
    let largest = |segment: &Segment| {
        let last = segment.virt.saturating_add(segment.mem_len.saturating_sub(1));
        last.max(segment.offset.saturating_add(segment.phys.len()))
    };
    let end = segments.iter().map(largest).max().unwrap_or(0);
    if end > u64::from(u32::MAX) { Class::Elf64 } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestdump_arch::VirtAddr;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::between(PhysAddr(start), PhysAddr(end))
    }

    fn segments(ranges: &[PhysRange], first_offset: u64, linear: Option<LinearMap>) -> Vec<Segment> {
        let mut segments = cut(&loads(ranges, linear), &[]);
        place(&mut segments, &data(ranges, first_offset));
        segments
    }

    fn shown(segments: &[Segment]) -> Vec<(u64, u64, u64, u64)> {
        segments.iter().map(|s| (s.virt, s.phys.start().0, s.phys.len(), s.offset)).collect()
    }

    #[test]
    fn a_lone_block_at_zero_is_split() {
        let all = segments(&[range(0, 0x30_0000)], 0x1234, None);
        assert_eq!(shown(&all), [(0, 0, 0x10_0000, 0x2000), (0x10_0000, 0x10_0000, 0x20_0000, 0x10_2000)]);
        assert_eq!(segments(&[range(0, 0x800)], 0, None).len(), 1);
        assert_eq!(segments(&[range(0, 0x2000)], 0, None).len(), 2);
        assert_eq!(segments(&[range(0x1000, 0x30_0000)], 0, None).len(), 1);
    }

    #[test]
    fn memory_that_is_left_out_is_the_tail_of_a_segment() {
        let out = [range(0x1000, 0x3000), range(0x5000, 0x6000), range(0x8000, 0xa000)];
        let ranges = [range(0x1000, 0x9000), range(0x9000, 0xb000)];
        let stored = [range(0x3000, 0x5000), range(0x6000, 0x8000), range(0xa000, 0xb000)];
        let mut all = cut(&loads(&ranges, None), &out);
        place(&mut all, &data(&stored, 0x10));
        let shown: Vec<_> = all.iter().map(|s| (s.phys.start().0, s.phys.len(), s.mem_len, s.offset)).collect();
        let expected = [
            (0x1000, 0, 0x2000, 0x1000),
            (0x3000, 0x2000, 0x3000, 0x1000),
            (0x6000, 0x2000, 0x3000, 0x3000),
            (0x9000, 0, 0x1000, 0x5000),
            (0xa000, 0x1000, 0x1000, 0x5000),
        ];
        assert_eq!(shown, expected);
        assert!(all.iter().all(|segment| segment.virt == segment.phys.start().0));
    }

    #[test]
    fn offsets_agree_with_addresses_modulo_a_page() {
        let all = segments(&[range(0x123, 0x1456), range(0x9001, 0x9002)], 0x100, None);
        assert_eq!(shown(&all), [(0x123, 0x123, 0x1333, 0x1123), (0x9001, 0x9001, 1, 0x3001)]);
    }

    #[test]
    fn what_lies_before_the_linear_map_is_not_in_it() {
        let linear = LinearMap { virt: VirtAddr(0xff00_0000), phys: PhysAddr(0x2000), len_bytes: 0x1000 };
        let all = segments(&[range(0x1000, 0x4000)], 0, Some(linear));
        let virt: Vec<(u64, u64)> = all.iter().map(|s| (s.virt, s.phys.len())).collect();
        assert_eq!(virt, [(0x1000, 0x1000), (0xff00_0000, 0x1000), (0x3000, 0x1000)]);
    }

    #[test]
    fn the_linear_map_gives_virtual_addresses_up_to_its_end() {
        let linear = LinearMap { virt: VirtAddr(0xc000_0000), phys: PhysAddr(0), len_bytes: 0x3000 };
        let all = segments(&[range(0, 0x1000), range(0x2000, 0x8000)], 0, Some(linear));
        let virt: Vec<(u64, u64)> = all.iter().map(|s| (s.virt, s.phys.len())).collect();
        assert_eq!(virt, [(0xc000_0000, 0x1000), (0xc000_2000, 0x1000), (0x3000, 0x5000)]);
    }
}
