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

/// A PT_LOAD's addresses: those whose bytes it has, and those that it only counts.
fn parts(load: &Segment) -> Option<(PhysRange, PhysRange)> {
    let whole = PhysRange::new(PhysAddr(load.phys), load.mem_len.max(load.file_len))?;
    let middle = PhysAddr(load.phys.checked_add(load.file_len)?);
    Some((PhysRange::between(whole.start(), middle), PhysRange::between(middle, whole.end())))
}

/// Physical memory of the PT_LOADs. Several may show the same bytes (a paging dump; the image of a kernel beside its
/// linear map): the first one that has them counts. A tail that only p_memsz counts was left out by a filter
/// (makedumpfile -E); a segment at offset -1 is QEMU's for memory outside of a wanted range.
pub fn memory(file: &Arc<dyn DumpFile>, headers: &Headers, warnings: &mut Vec<String>) -> Found {
    let mut loads: Vec<&Segment> = headers.segments.iter().filter(|part| part.kind == raw::PT_LOAD.0).collect();
    loads.sort_by_key(|load| (load.phys, u64::MAX - load.file_len));
    let (mut taken, mut tails) = (Vec::new(), Vec::new());
    let mut blocks: Vec<(PhysRange, Box<dyn Backing>)> = Vec::new();
    let (mut end, mut cut, mut far) = (0_u64, 0_u64, 0_u64);
    for load in loads {
        let absent = load.offset == u64::MAX || (headers.class == Class::Elf32 && load.offset == u64::from(u32::MAX));
        if absent && load.file_len == 0 {
            continue;
        }
        let Some((stored, tail)) = parts(load) else {
            far += u64::from(load.mem_len > 0);
            continue;
        };
        tails.extend(Some(tail).filter(|tail| !tail.is_empty()));
        let rest = PhysRange::between(PhysAddr(stored.start().0.max(end).min(stored.end().0)), stored.end());
        if rest.is_empty() {
            continue;
        }
        let skipped = rest.start().0 - stored.start().0;
        let there = load.file_len.min(file.len().saturating_sub(load.offset));
        cut = cut.saturating_add(load.file_len - there);
        let offset = load.offset.saturating_add(skipped);
        blocks.push((rest, Box::new(FilePart { file: Arc::clone(file), offset, len: rest.len() })));
        end = rest.end().0;
        push(&mut taken, rest);
    }
    if cut > 0 {
        warnings.push(format!("{cut} bytes of memory lie behind the end of the file: it was cut"));
    }
    if far > 0 {
        warnings.push(format!("{far} PT_LOADs end beyond 2^64 and are not read"));
    }
    finish(blocks, &taken, tails)
}

fn finish(blocks: Vec<(PhysRange, Box<dyn Backing>)>, taken: &[PhysRange], mut tails: Vec<PhysRange>) -> Found {
    tails.sort_by_key(|tail| tail.start());
    let mut merged = Vec::new();
    tails.into_iter().for_each(|tail| push(&mut merged, tail));
    let excluded: Vec<PhysRange> = merged.into_iter().flat_map(|tail| without(tail, taken)).collect();
    let mut all: Vec<PhysRange> = taken.iter().chain(&excluded).copied().collect();
    all.sort_by_key(|range| range.start());
    let mut ranges = Vec::new();
    all.into_iter().for_each(|range| push(&mut ranges, range));
    let excluded_bytes = excluded.iter().map(|range| range.len()).sum();
    Found { memory: ElfMemory { stored: BlockMemory::new(blocks), excluded }, ranges, excluded_bytes }
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
    fn tails_are_left_out_and_not_zero() {
        let (found, warnings) = found(vec![load(100, 8, 20, 0), load(116, 4, 4, 8), load(200, 0, 5, 0)]);
        assert!(warnings.is_empty());
        assert_eq!(found.ranges, [range(100, 120), range(200, 205)]);
        assert_eq!(found.excluded_bytes, 8 + 5);
        let extent = |at| found.memory.extent(PhysAddr(at), 100);
        assert_eq!(extent(108), Extent { presence: Presence::Excluded, len_bytes: 8 });
        assert_eq!(extent(116), Extent { presence: Presence::Data, len_bytes: 4 });
        assert_eq!(extent(120), Extent { presence: Presence::Absent, len_bytes: 80 });
        assert_eq!(extent(203), Extent { presence: Presence::Excluded, len_bytes: 2 });
        assert!(!found.memory.read(PhysAddr(107), &mut [0; 2]).unwrap());
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
    fn memory_outside_of_a_wanted_range_is_no_memory() {
        let (found, _) = found(vec![load(0, 0, 40, u64::MAX), load(40, 8, 8, 0)]);
        assert_eq!((found.ranges, found.excluded_bytes), (vec![range(40, 48)], 0));
    }
}
