//! PT_LOAD segments: from blocks, each piece with its place in memory, in the kernel's map and in the file.

use guestdump_arch::{Class, LinearMap, PhysAddr, PhysRange};

/// One PT_LOAD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// `p_vaddr`.
    pub virt: u64,
    /// `p_paddr` and `p_memsz`.
    pub phys: PhysRange,
    /// `p_offset`.
    pub offset: u64,
}

/// Alignment of memory in the file, so that a reader can map it: a segment's offset and address agree modulo this.
const ALIGN: u64 = 4096;

/// The segments of `ranges`, with data from `first_offset` on.
///
/// A block is one segment, but for two cases that readers ask for. Where the kernel's linear map starts or ends inside a
/// block, it is split, so that `p_vaddr` is right on both sides. And where a block at physical 0 would be the only segment, it is
/// split in two: drgn takes physical addresses for absent when all are 0.
#[must_use]
pub fn segments(ranges: &[PhysRange], first_offset: u64, linear: Option<LinearMap>) -> Vec<Segment> {
    let mut pieces: Vec<PhysRange> = Vec::new();
    for range in ranges {
        let (before, rest) = split_at(*range, Some(linear.map_or(0, |map| map.phys.0)));
        let (mapped, behind) = split_at(rest, linear.map(|map| map.phys.0.saturating_add(map.len_bytes)));
        pieces.extend([before, mapped, behind].into_iter().filter(|piece| !piece.is_empty()));
    }
    if let [only] = pieces.as_slice()
        && only.start() == PhysAddr(0)
    {
        let (low, high) = split_at(*only, Some(only_split(only.len())));
        pieces = [low, high].into_iter().filter(|piece| !piece.is_empty()).collect();
    }
    place(&pieces, first_offset, linear)
}

/// Where the only segment is split: at 1 MiB, or at the first page of a smaller one.
const fn only_split(len: u64) -> u64 {
    if len > 1 << 20 { 1 << 20 } else { ALIGN }
}

fn split_at(range: PhysRange, at: Option<u64>) -> (PhysRange, PhysRange) {
    let at = at.unwrap_or(u64::MAX).clamp(range.start().0, range.end().0);
    (PhysRange::between(range.start(), PhysAddr(at)), PhysRange::between(PhysAddr(at), range.end()))
}

fn place(pieces: &[PhysRange], first_offset: u64, linear: Option<LinearMap>) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::with_capacity(pieces.len());
    let mut free = first_offset;
    for phys in pieces {
        let follows = out.last().is_some_and(|last| last.phys.end() == phys.start());
        // Where the file would be longer than any file, the layout refuses it.
        let aligned = free.checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX);
        let offset = if follows { free } else { aligned.saturating_add(phys.start().0 % ALIGN) };
        out.push(Segment { virt: virt(*phys, linear), phys: *phys, offset });
        free = offset.saturating_add(phys.len());
    }
    out
}

/// `p_vaddr`: the linear map's address where a reader needs it, else the physical address, as QEMU has it.
fn virt(phys: PhysRange, linear: Option<LinearMap>) -> u64 {
    let start = phys.start().0;
    let mapped = linear.filter(|map| start.wrapping_sub(map.phys.0) < map.len_bytes);
    mapped.map_or(start, |map| map.virt.0.wrapping_add(start - map.phys.0))
}

/// The class that can hold these segments: ELFCLASS32 is given up when an offset or an end passes 4 GiB.
#[must_use]
pub fn class(wanted: Class, segments: &[Segment]) -> Class {
    let end = segments.iter().map(|segment| segment.offset.saturating_add(segment.phys.len())).max().unwrap_or(0);
    if end > u64::from(u32::MAX) { Class::Elf64 } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestdump_arch::VirtAddr;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::between(PhysAddr(start), PhysAddr(end))
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
