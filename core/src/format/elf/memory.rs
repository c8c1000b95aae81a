//! The memory of an ELF core file: what its PT_LOADs hold, and what they say was left out.

use std::sync::Arc;

use guestdump_arch::{Class, Extent, MemoryError, PhysAddr, PhysMemory, PhysRange, Presence};
use object::elf as raw;

use super::read::{Headers, Segment};
use crate::block::{Backing, BlockMemory};
use crate::format::DumpFile;
use crate::format::read::FilePart;
use crate::plan::excluded::without;

/// Physical memory of PT_LOADs.
#[derive(Debug)]
pub struct ElfMemory {
    stored: BlockMemory,
    /// Memory whose bytes a filter left out: ascending, disjoint, not adjacent.
    excluded: Vec<PhysRange>,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The memory.
    pub memory: ElfMemory,
    /// All of it, stored or left out: ascending, disjoint, not adjacent.
    pub ranges: Vec<PhysRange>,
    /// Bytes of it that were left out.
    pub excluded_bytes: u64,
}

/// Appends a range to ascending ones; what overlaps or touches the last one becomes part of it.
fn push(ranges: &mut Vec<PhysRange>, range: PhysRange) {
    match ranges.last_mut() {
        Some(last) if last.end() >= range.start() => {
            *last = PhysRange::between(last.start(), last.end().max(range.end()));
        }
        _ => ranges.push(range),
    }
}

/// All of these ranges: ascending, disjoint, not adjacent.
fn merged(ranges: impl IntoIterator<Item = PhysRange>) -> Vec<PhysRange> {
    let mut sorted: Vec<PhysRange> = ranges.into_iter().collect();
    sorted.sort_by_key(|range| range.start());
    let mut out = Vec::new();
    sorted.into_iter().for_each(|range| push(&mut out, range));
    out
}

/// A range of memory and where its bytes are in the file.
#[derive(Clone, Copy, Debug)]
struct Part {
    range: PhysRange,
    offset: u64,
}

impl Part {
    /// That part of it. `range` lies inside.
    fn only(self, range: PhysRange) -> Self {
        let skipped = range.start().0.saturating_sub(self.range.start().0);
        Self { range, offset: self.offset.saturating_add(skipped) }
    }
}

/// Pages are never smaller.
const SMALLEST_PAGE: u64 = 4096;

/// What PT_LOADs say of memory.
#[derive(Debug, Default)]
struct Parts {
    /// What the file has.
    stored: Vec<Part>,
    /// What it should have, behind its end.
    cut: Vec<Part>,
    /// The rest of a page that p_filesz ends in: zeros (System V ABI, "Program header", `p_memsz`).
    zeros: Vec<PhysRange>,
    /// Further pages that p_memsz counts and p_filesz does not.
    tails: Vec<PhysRange>,
    /// PT_LOADs beyond all addresses.
    far: u64,
}

impl Parts {
    fn add(&mut self, load: &Segment, file_len: u64) {
        let at = |bytes: u64| load.phys.checked_add(bytes).map(PhysAddr);
        let there = load.file_len.min(file_len.saturating_sub(load.offset));
        let ends = (at(there), at(load.file_len), at(load.mem_len.max(load.file_len)));
        let (Some(there), Some(stored), Some(all)) = ends else {
            self.far += u64::from(load.mem_len > 0);
            return;
        };
        let whole = Part { range: PhysRange::between(PhysAddr(load.phys), all), offset: load.offset };
        // Filters leave out whole pages.
        let page_end = stored.0.checked_next_multiple_of(SMALLEST_PAGE).map_or(all, PhysAddr).min(all);
        let page_end = if load.file_len == 0 { stored } else { page_end };
        let part = |start, end| Some(PhysRange::between(start, end)).filter(|range| !range.is_empty());
        self.stored.extend(part(whole.range.start(), there).map(|range| whole.only(range)));
        self.cut.extend(part(there, stored).map(|range| whole.only(range)));
        self.zeros.extend(part(stored, page_end));
        self.tails.extend(part(page_end, all));
    }
}

/// Parts without what an earlier one shows: ascending and disjoint. Of those that start at the same address the longest
/// comes first.
fn placed(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_by_key(|part| (part.range.start(), u64::MAX - part.range.len()));
    let mut end = PhysAddr(0);
    let rest = |part: Part| {
        let rest = PhysRange::between(part.range.start().max(end).min(part.range.end()), part.range.end());
        end = end.max(part.range.end());
        Some(part.only(rest)).filter(|part| !part.range.is_empty())
    };
    parts.into_iter().filter_map(rest).collect()
}

/// Physical memory of the PT_LOADs. Several may show the same bytes (a paging dump; the image of a kernel beside its
/// linear map): the first one that has them counts. Pages that only p_memsz counts were left out by a filter
/// (makedumpfile -E); a segment at offset -1 is QEMU's for memory outside of a wanted range.
pub fn memory(file: &Arc<dyn DumpFile>, headers: &Headers, warnings: &mut Vec<String>) -> Found {
    let mut parts = Parts::default();
    for load in headers.segments.iter().filter(|part| part.kind == raw::PT_LOAD.0) {
        let absent = load.offset == u64::MAX || (headers.class == Class::Elf32 && load.offset == u64::from(u32::MAX));
        if !absent || load.file_len > 0 {
            parts.add(load, file.len());
        }
    }
    let stored = placed(parts.stored);
    let taken = merged(stored.iter().map(|part| part.range));
    // Bytes behind the end of the file may be before it in another segment.
    let cut = placed(parts.cut)
        .into_iter()
        .flat_map(|part| without(part.range, &taken).into_iter().map(move |range| part.only(range)));
    let cut: Vec<Part> = cut.collect();
    let cut_bytes: u64 = cut.iter().map(|part| part.range.len()).sum();
    if cut_bytes > 0 {
        warnings.push(format!("{cut_bytes} bytes of memory lie behind the end of the file: it was cut"));
    }
    if parts.far > 0 {
        warnings.push(format!("{} PT_LOADs end beyond 2^64 and are not read", parts.far));
    }
    found(file, stored.into_iter().chain(cut).collect(), parts.zeros, parts.tails)
}

fn found(file: &Arc<dyn DumpFile>, mut parts: Vec<Part>, zeros: Vec<PhysRange>, tails: Vec<PhysRange>) -> Found {
    parts.sort_by_key(|part| part.range.start());
    let taken = merged(parts.iter().map(|part| part.range));
    let zeros: Vec<PhysRange> = merged(zeros).into_iter().flat_map(|range| without(range, &taken)).collect();
    let taken = merged(taken.into_iter().chain(zeros.iter().copied()));
    let tails = merged(tails);
    let excluded: Vec<PhysRange> = tails.into_iter().flat_map(|tail| without(tail, &taken)).collect();
    let ranges = merged(taken.iter().chain(&excluded).copied());
    let excluded_bytes = excluded.iter().map(|range| range.len()).sum();
    let block = |range: PhysRange, offset, len| -> (PhysRange, Box<dyn Backing>) {
        (range, Box::new(FilePart { file: Arc::clone(file), offset, len }))
    };
    let parts = parts.into_iter().map(|part| block(part.range, part.offset, part.range.len()));
    let mut blocks: Vec<(PhysRange, Box<dyn Backing>)> =
        parts.chain(zeros.into_iter().map(|range| block(range, 0, 0))).collect();
    blocks.sort_by_key(|block| block.0.start());
    let stored = BlockMemory::new(blocks);
    Found { memory: ElfMemory { stored, excluded }, ranges, excluded_bytes }
}

impl PhysMemory for ElfMemory {
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        self.stored.read(addr, buf)
    }

    fn extent(&self, addr: PhysAddr, limit_bytes: u64) -> Extent {
        let extent = self.stored.extent(addr, limit_bytes);
        if extent.presence != Presence::Absent {
            return extent;
        }
        let next = self.excluded.partition_point(|range| range.end() <= addr);
        match self.excluded.get(next) {
            Some(range) if range.contains(addr) => {
                Extent { presence: Presence::Excluded, len_bytes: extent.len_bytes.min(range.end().0 - addr.0) }
            }
            Some(range) => Extent { len_bytes: extent.len_bytes.min(range.start().0 - addr.0), ..extent },
            None => extent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestdump_arch::Endian;

    fn load(phys: u64, file_len: u64, mem_len: u64, offset: u64) -> Segment {
        Segment { kind: raw::PT_LOAD.0, offset, virt: 0, phys, file_len, mem_len }
    }

    fn found(segments: Vec<Segment>) -> (Found, Vec<String>) {
        let file: Arc<dyn DumpFile> = Arc::new((0..64_u8).collect::<Vec<u8>>());
        let headers = Headers {
            class: Class::Elf64,
            endian: Endian::Little,
            machine: 62,
            kind: 4,
            flags: 0,
            phoff: 64,
            segments,
            cut_segments: 0,
        };
        let mut warnings = Vec::new();
        (memory(&file, &headers, &mut warnings), warnings)
    }

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::between(PhysAddr(start), PhysAddr(end))
    }

    #[test]
    fn pages_that_lack_are_left_out_and_not_zero() {
        let (found, warnings) = found(vec![load(0x1000, 8, 0x3000, 0), load(0x3ff8, 8, 8, 8), load(0x9000, 0, 5, 0)]);
        assert!(warnings.is_empty());
        assert_eq!(found.ranges, [range(0x1000, 0x4000), range(0x9000, 0x9005)]);
        assert_eq!(found.excluded_bytes, 0x2000 - 8 + 5);
        let extent = |at| found.memory.extent(PhysAddr(at), 0x10000);
        assert_eq!(extent(0x2000), Extent { presence: Presence::Excluded, len_bytes: 0x1ff8 });
        assert_eq!(extent(0x3ff8), Extent { presence: Presence::Data, len_bytes: 8 });
        assert_eq!(extent(0x4000), Extent { presence: Presence::Absent, len_bytes: 0x5000 });
        assert_eq!(extent(0x9003), Extent { presence: Presence::Excluded, len_bytes: 2 });
        assert!(!found.memory.read(PhysAddr(0x1fff), &mut [0; 2]).unwrap());
        let mut bytes = [9; 3];
        assert!(found.memory.read(PhysAddr(0x1006), &mut bytes).unwrap());
        assert_eq!(bytes, [6, 7, 0]);
    }

    #[test]
    fn the_rest_of_a_page_is_zeros_where_no_other_segment_has_it() {
        let (found, _) = found(vec![load(0x1000, 8, 0x1000, 0), load(0x1010, 2, 2, 30), load(0x1012, 1, 4, 40)]);
        assert_eq!((found.ranges, found.excluded_bytes), (vec![range(0x1000, 0x2000)], 0));
        let mut bytes = [9; 8];
        assert!(found.memory.read(PhysAddr(0x100e), &mut bytes).unwrap());
        assert_eq!(bytes, [0, 0, 30, 31, 40, 0, 0, 0]);
    }

    #[test]
    fn shown_twice_counts_once_and_what_is_cut_is_said() {
        let (found, warnings) = found(vec![load(0, 40, 40, 0), load(10, 40, 40, 20), load(u64::MAX - 3, 8, 8, 0)]);
        assert_eq!(found.ranges, [range(0, 50)]);
        let mut byte = [0];
        assert!(found.memory.read(PhysAddr(45), &mut byte).unwrap());
        assert_eq!(byte, [55]);
        assert_eq!(warnings, ["1 PT_LOADs end beyond 2^64 and are not read"]);
        let (_, warnings) = self::found(vec![load(0, 80, 80, 0)]);
        assert_eq!(warnings, ["16 bytes of memory lie behind the end of the file: it was cut"]);
    }

    #[test]
    fn what_a_cut_segment_lacks_may_be_in_another_one() {
        // 60..64 and 100..110 of the file's end; the middle of the first one is at the file's start as well.
        let (found, warnings) = found(vec![load(100, 40, 40, 44), load(125, 10, 10, 5)]);
        assert_eq!(found.ranges, [range(100, 140)]);
        assert_eq!(warnings, ["10 bytes of memory lie behind the end of the file: it was cut"]);
        let mut bytes = [0; 15];
        assert!(found.memory.read(PhysAddr(120), &mut bytes).is_err());
        assert!(found.memory.read(PhysAddr(125), &mut bytes[..10]).unwrap());
        assert_eq!(bytes[..10], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        assert!(found.memory.read(PhysAddr(119), &mut bytes[..1]).unwrap());
        assert_eq!(bytes[0], 63);
        assert!(found.memory.read(PhysAddr(135), &mut bytes[..1]).is_err());
    }

    #[test]
    fn memory_outside_of_a_wanted_range_is_no_memory() {
        let (found, _) = found(vec![load(0, 0, 40, u64::MAX), load(40, 8, 8, 0)]);
        assert_eq!((found.ranges, found.excluded_bytes), (vec![range(40, 48)], 0));
    }
}
