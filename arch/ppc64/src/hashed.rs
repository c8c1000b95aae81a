//! Hashed page tables of ppc64, with the segments of the SLB.
//!
//! Source: the Power ISA 2.07B, book III-S, 5.7 "Storage Addressing": "Segment Lookaside Buffer", "Virtual Address
//! Generation", "Page Table", "Storage Protection"; and 3.0B, book III, chapter "Storage Control", for tables that a partition
//! table tells of, where an entry keeps B elsewhere. Sizes of pages, which the ISA leaves to the processor, are those that
//! firmware tells Linux in `ibm,segment-page-sizes`, and Linux its log, on POWER5 to POWER9:
//! `base_shift=12: shift=24, ... penc=56` (so Linux 6.1 on POWER8 under QEMU 10.0.2).
//!
//! The table of a pseries guest is its hypervisor's and not in its memory. What can be walked is the table of a machine
//! without a hypervisor, and any that a manifest has the memory of.

mod steps;
mod tables;
mod visit;

use std::collections::HashMap;

use guestdump_arch::paging::mappings::{Bound, Mapping, Visitor};
use guestdump_arch::paging::survey::Survey;
use guestdump_arch::paging::walk::{Step, WalkError};
use guestdump_arch::paging::{Hole, Span, Target};
use guestdump_arch::{Endian, MemoryError, PhysAddr, PhysMemory, Reg, Registers, Spans, VirtAddr, VirtRange};

use crate::registers::{SLB_ENTRIES, SLB0};
use steps::{group_steps, segment_step, table_step};
pub use tables::Segment;
use tables::{AVPN, ENTRY, Format, Found, GROUP, ORIGIN, SECONDARY, Table, VALID, below, field, page_shift, words};
use visit::Visit;

const FORM: &str = "ppc64 hashed";
const LEVEL: &str = "page table entry group";
const EVERYTHING: VirtRange = match VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX)) {
    Some(range) => range,
    None => unreachable!(),
};

/// Where the table is.
#[derive(Debug, Clone, Copy)]
pub enum Where {
    /// SDR1 says it.
    Sdr1(u64),
    /// Entry 0 of the partition table at this address does.
    PartitionTable(PhysAddr),
}

/// Translation through the SLB and a hashed page table.
#[derive(Debug)]
pub struct Hashed {
    place: Where,
    /// By address, disjoint.
    segments: Vec<Segment>,
}

fn unreadable(table: PhysAddr, index: u64, source: MemoryError) -> WalkError {
    WalkError::Entry { form: FORM, level: LEVEL, table, index: u32::try_from(index).unwrap_or(u32::MAX), source }
}

impl Hashed {
    /// Translation through `segments`, as [`Hashed::segments`] gives them.
    #[must_use]
    pub const fn new(segments: Vec<Segment>, place: Where) -> Self {
        Self { place, segments }
    }

    /// The valid entries of the SLB by address, or `None` if nothing is known of it. Of entries that overlap, which a CPU
    /// does not allow, the first counts.
    #[must_use]
    pub fn segments(registers: &Registers) -> Option<Vec<Segment>> {
        let slots = (0..SLB_ENTRIES).filter_map(|slot| Some((slot, registers.bytes(Reg(SLB0.0 + slot))?)));
        let slots: Vec<(u16, &[u8])> = slots.collect();
        let mut segments: Vec<Segment> = Vec::new();
        for (slot, bytes) in &slots {
            let (raw, esid) = bytes.split_at_checked(8).unwrap_or((bytes, &[]));
            let segment = Segment::new(*slot, Endian::Little.get(esid), Endian::Little.get(raw));
            let free = |new: &Segment| segments.iter().all(|old| new.last() < old.first || old.last() < new.first);
            segments.extend(segment.filter(free));
        }
        segments.sort_by_key(|segment| segment.first);
        (!slots.is_empty()).then_some(segments)
    }

    fn segment(&self, addr: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.contains(addr))
    }

    /// The addresses around `addr` that have no segment.
    fn gap(&self, addr: u64) -> VirtRange {
        let below = self.segments.iter().map(Segment::last).filter(|last| *last < addr).max();
        let above = self.segments.iter().map(|segment| segment.first).filter(|first| *first > addr).min();
        let (first, last) = (below.map_or(0, |last| last + 1), above.map_or(u64::MAX, |first| first - 1));
        VirtRange::new(VirtAddr(first), VirtAddr(last)).unwrap_or(EVERYTHING)
    }

    /// The table, or why there is none: a hole for all addresses.
    fn table(&self, memory: &dyn PhysMemory) -> Result<Result<Table, Hole>, WalkError> {
        let (table, raw, format) = match self.place {
            Where::Sdr1(sdr1) => (PhysAddr(sdr1 & ORIGIN), Some(sdr1), Format::Isa207),
            Where::PartitionTable(at) => {
                let mut bytes = [0; 8];
                let read = memory.read(at, &mut bytes).map_err(|source| unreadable(at, 0, source))?;
                (at, read.then(|| Endian::Big.get(&bytes)), Format::Isa300)
            }
        };
        let Some(raw) = raw else { return Ok(Err(Hole::TableAbsent { level: 0, table })) };
        // HR of a partition table entry: the partition has radix trees.
        let is_radix = format == Format::Isa300 && raw >> 63 != 0;
        let table = Table::new(raw, format).filter(|_| !is_radix);
        Ok(table.ok_or(Hole::Invalid { level: 0, index: 0, raw }))
    }

    /// The groups in which an entry for `addr` may be, the primary one first.
    fn groups(table: &Table, segment: &Segment, addr: u64, base: u8) -> [(bool, u64); 2] {
        let hash = segment.hash() ^ ((addr & below(segment.shift)) >> base);
        [(false, hash & table.mask), (true, !hash & table.mask)]
    }

    /// The entry for `addr`, if there is one; or the group that is not in RAM.
    fn find(
        table: &Table,
        memory: &dyn PhysMemory,
        segment: &Segment,
        addr: u64,
        base: u8,
    ) -> Result<Result<Found, Hole>, WalkError> {
        let avpn = segment.avpn(addr, base);
        let groups = Self::groups(table, segment, addr, base);
        for (secondary, group) in groups {
            let (at, mut bytes) = (table.group(group), [0; GROUP]);
            if !memory.read(at, &mut bytes).map_err(|source| unreadable(PhysAddr(table.at), group, source))? {
                return Ok(Err(Hole::TableAbsent { level: 1, table: at }));
            }
            for (entry, words) in (0_u64..).zip(bytes.chunks_exact(ENTRY).map(words)) {
                let here = words[0] & VALID != 0 && (words[0] & SECONDARY != 0) == secondary;
                let same = table.b(words) == segment.b() && field(words[0], 7, 61) == avpn & AVPN;
                if let (true, Some(shift)) = (here && same, page_shift(base, words)) {
                    return Ok(Ok(Found { at: at.0 + entry * ENTRY as u64, group, words, shift }));
                }
            }
        }
        let index = groups.first().and_then(|(_, group)| u32::try_from(*group).ok()).unwrap_or(u32::MAX);
        Ok(Err(Hole::NotPresent { level: 1, index, raw: 0 }))
    }

    /// What the base page around `addr` maps to.
    fn mapping(table: &Table, found: &Found, segment: &Segment, addr: u64, base: u8) -> Option<Mapping> {
        let first = addr & !below(base);
        let virt = VirtRange::new(VirtAddr(first), VirtAddr(first | below(base)))?;
        let phys = PhysAddr(table.phys(found.words, found.shift) | (first & below(found.shift)));
        Some(Mapping { virt, phys, rights: segment.rights(found.words) })
    }
}

impl Spans for Hashed {
    fn span_at(&self, memory: &dyn PhysMemory, virt: VirtAddr) -> Result<Span, WalkError> {
        let hole = |virt, hole| Ok(Span { virt, target: Target::Hole(hole) });
        let Some((segment, whole)) = self.segment(virt.0).and_then(|found| Some((found, found.range()?))) else {
            return hole(self.gap(virt.0), Hole::NoRoot);
        };
        let Some(base) = segment.base else {
            return hole(whole, Hole::Invalid { level: 0, index: segment.slot.into(), raw: segment.raw });
        };
        let table = match self.table(memory)? {
            Ok(table) => table,
            Err(why) => return hole(whole, why),
        };
        let found = Self::find(&table, memory, segment, virt.0, base)?;
        let mapping = found.as_ref().ok().and_then(|found| Self::mapping(&table, found, segment, virt.0, base));
        match (mapping, found) {
            (Some(Mapping { virt, phys, .. }), _) => Ok(Span { virt, target: Target::Phys(phys) }),
            (None, Err(why)) => {
                let page = VirtRange::new(VirtAddr(virt.0 & !below(base)), VirtAddr(virt.0 | below(base)));
                hole(page.unwrap_or(whole), why)
            }
            (None, Ok(_)) => hole(whole, Hole::NoRoot),
        }
    }

    fn steps(&self, memory: &dyn PhysMemory, virt: VirtAddr) -> Result<Vec<Step>, WalkError> {
        let Some(segment) = self.segment(virt.0) else { return Ok(Vec::new()) };
        let mut steps = vec![segment_step(segment)];
        let Some(base) = segment.base else { return Ok(steps) };
        let table = match self.table(memory)? {
            Ok(table) => table,
            Err(why) => {
                steps.push(table_step(self.place, why));
                return Ok(steps);
            }
        };
        let found = Self::find(&table, memory, segment, virt.0, base)?;
        for (secondary, group) in Self::groups(&table, segment, virt.0, base) {
            let here = found.as_ref().ok().filter(|found| found.group == group);
            let here = here.filter(|found| (found.words[0] & SECONDARY != 0) == secondary);
            let absent = matches!(found, Err(Hole::TableAbsent { table: at, .. }) if at == table.group(group));
            steps.extend(group_steps(&table, segment, group, secondary, here, absent));
            if here.is_some() || absent {
                break;
            }
        }
        Ok(steps)
    }

    /// Goes through the table: an entry tells its virtual page, which segments have it, if any, and whether it is the one
    /// that is found for it.
    fn visit(&self, survey: &mut Survey, memory: &dyn PhysMemory, visitor: &mut dyn Visitor) -> Result<(), Bound> {
        let whole = self.segments.iter().filter_map(Segment::range);
        let table = match self.table(memory) {
            Ok(Ok(table)) => table,
            Ok(Err(Hole::TableAbsent { table, level })) => {
                whole.for_each(|virt| visitor.absent(virt, table, level));
                return Ok(());
            }
            Ok(Err(_)) => return Ok(()),
            Err(error) => {
                whole.for_each(|virt| visitor.unreadable(virt, &error));
                return Ok(());
            }
        };
        let mut segments: HashMap<(u64, u64), Vec<Segment>> = HashMap::new();
        for segment in &self.segments {
            if survey.is_first(PhysAddr(table.at), [segment.first, segment.raw]) {
                segments.entry((segment.b(), segment.vsid)).or_default().push(*segment);
            }
        }
        if segments.is_empty() {
            return Ok(());
        }
        let segments = segments.into_iter().map(|(key, same)| (key, same.into())).collect();
        Visit { table, segments, survey, memory, visitor, groups_read: 0 }.table()
    }
}
