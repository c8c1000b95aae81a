//! Hashed page tables of ppc64, with the segments of the SLB.
//!
//! Source: the Power ISA 2.07B, book III-S, 5.7 "Storage Addressing": "Segment Lookaside Buffer", "Virtual Address
//! Generation", "Page Table", "Storage Protection"; and 3.0B, book III, chapter "Storage Control", for tables that a partition
//! table tells of, where an entry keeps B elsewhere. Sizes of pages, which the ISA leaves to the processor, are those that
//! firmware tells Linux in `ibm,segment-page-sizes`, and Linux its log, on POWER5 to POWER9:
//! `base_shift=12: shift=24, ... penc=56`. Pages of 16 GiB are not among them here.
//!
//! The table of a pseries guest is its hypervisor's and not in its memory. What can be walked is the table of a machine
//! without a hypervisor, and any that a manifest has the memory of.

use core::ops::ControlFlow;
use std::collections::HashMap;
use std::rc::Rc;

use guestdump_arch::paging::form::{Field, Rights};
use guestdump_arch::paging::mappings::{Bound, Excess, Mapping, Visitor};
use guestdump_arch::paging::survey::Survey;
use guestdump_arch::paging::walk::{Step, WalkError};
use guestdump_arch::paging::{Hole, Span, Target};
use guestdump_arch::{Endian, MemoryError, PhysAddr, PhysMemory, Presence, Reg, Registers, Spans, VirtAddr, VirtRange};

use crate::registers::{SLB_ENTRIES, SLB0};

const FORM: &str = "ppc64 hashed";
const LEVEL: &str = "page table entry group";
/// HTABORG of SDR1, bits 4:45, and of a partition table entry.
const ORIGIN: u64 = 0x0fff_ffff_fffc_0000;
/// HTABSIZE, bits 59:63: the table has `1 << (18 + n)` bytes.
const SIZE: u64 = 0x1f;
/// The largest HTABSIZE.
const LARGEST: u64 = 28;
/// Bytes of a group of eight entries, as a power of two.
const GROUP_SHIFT: u32 = 7;
const GROUP: usize = 1 << GROUP_SHIFT;
/// Bytes of an entry.
const ENTRY: usize = 16;
/// Bytes that are read at once where all of the table is gone through.
const PIECE: u64 = 4096;
/// Bits of a hash value.
const HASH: u64 = (1 << 39) - 1;
/// An abbreviated virtual page number has no address bits below.
const AVPN_SHIFT: u8 = 23;
const AVPN: u64 = (1 << 55) - 1;

/// Doubleword 0 of an entry: L, H, V.
const LARGE: u64 = 1 << 2;
const SECONDARY: u64 = 1 << 1;
const VALID: u64 = 1;

/// A page size as a segment's base size, a page's own, and how LP of an entry says that: the low bits of address bits
/// 19:12, as many as the page leaves free.
const SIZES: [(u8, u8, u64); 5] = [(12, 16, 7), (12, 24, 0x38), (16, 16, 1), (16, 24, 8), (24, 24, 0)];

const EVERYTHING: VirtRange = match VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX)) {
    Some(range) => range,
    None => unreachable!(),
};

/// How entries are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// B is in doubleword 0.
    Isa207,
    /// B is in doubleword 1.
    Isa300,
}

/// Where the table is.
#[derive(Debug, Clone, Copy)]
pub enum Where {
    /// SDR1 says it.
    Sdr1(u64),
    /// Entry 0 of the partition table at this address does.
    PartitionTable(PhysAddr),
}

/// A table whose place is known.
#[derive(Debug, Clone, Copy)]
struct Table {
    at: u64,
    /// Number of groups less one.
    mask: u64,
    format: Format,
}

/// A valid entry of the SLB.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    slot: u16,
    /// Its first address, and its size as a power of two.
    first: u64,
    shift: u8,
    vsid: u64,
    /// Base page size as a power of two; `None` if L and LP say none that is known.
    base: Option<u8>,
    /// Doubleword 1 of the entry.
    raw: u64,
}

/// Translation through the SLB and a hashed page table.
#[derive(Debug)]
pub struct Hashed {
    place: Where,
    /// By address, disjoint.
    segments: Vec<Segment>,
}

/// An entry of the table that maps a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// Where it is.
    at: u64,
    group: u64,
    words: [u64; 2],
    /// Size of the page as a power of two.
    shift: u8,
}

/// Bits `low` to `high` of a number, both included, counted from the least significant.
const fn field(value: u64, low: u32, high: u32) -> u64 {
    (value >> low) & (u64::MAX >> (63 - (high - low)))
}

const fn below(shift: u8) -> u64 {
    (1 << shift) - 1
}

impl Table {
    /// `None` if HTABSIZE is larger than it can be.
    const fn new(said: u64, format: Format) -> Option<Self> {
        let size = said & SIZE;
        if size > LARGEST {
            return None;
        }
        let mask = (1 << (11 + size)) - 1;
        Some(Self { at: said & ORIGIN & !((mask << GROUP_SHIFT) | (GROUP as u64 - 1)), mask, format })
    }

    const fn group(&self, number: u64) -> PhysAddr {
        PhysAddr(self.at + (number << GROUP_SHIFT))
    }

    /// B of an entry: 0 for segments of 256 MiB, 1 for those of 1 TiB.
    const fn b(&self, words: [u64; 2]) -> u64 {
        match self.format {
            Format::Isa207 => words[0] >> 62,
            Format::Isa300 => field(words[1], 58, 59),
        }
    }

    /// Where a page of `1 << shift` bytes is.
    const fn phys(&self, words: [u64; 2], shift: u8) -> u64 {
        let highest = if matches!(self.format, Format::Isa207) { 59 } else { 56 };
        (field(words[1], 12, highest) << 12) & !below(shift)
    }
}

impl Segment {
    /// Both doublewords as `slbmte` takes them: RB with ESID and V, RS with B, VSID, Ks, Kp, N, L, C and LP.
    fn new(slot: u16, esid: u64, raw: u64) -> Option<Self> {
        const V: u64 = 1 << 27;
        let (shift, vsid) = match raw >> 62 {
            0 => (28, field(raw, 12, 61)),
            1 => (40, field(raw, 24, 61)),
            _ => return None,
        };
        let base = match (raw & 0x100 != 0, field(raw, 4, 5)) {
            (false, 0) => Some(12),
            (true, 0) => Some(24),
            (true, 1) => Some(16),
            _ => None,
        };
        (esid & V != 0).then_some(Self { slot, first: esid & !below(shift), shift, vsid, base, raw })
    }

    const fn last(&self) -> u64 {
        self.first | below(self.shift)
    }

    const fn contains(&self, addr: u64) -> bool {
        self.first <= addr && addr <= self.last()
    }

    fn range(&self) -> Option<VirtRange> {
        VirtRange::new(VirtAddr(self.first), VirtAddr(self.last()))
    }

    const fn b(&self) -> u64 {
        self.raw >> 62
    }

    /// What of a hash value does not come from the page.
    const fn hash(&self) -> u64 {
        (if self.shift == 28 { self.vsid } else { self.vsid ^ (self.vsid << 25) }) & HASH
    }

    /// The abbreviated page number that an entry for `addr` has.
    const fn avpn(&self, addr: u64, base: u8) -> u64 {
        let offset = (addr & below(self.shift)) & !below(base);
        (self.vsid << (self.shift - AVPN_SHIFT)) | (offset >> AVPN_SHIFT)
    }

    /// The page whose entry is in a group: what the number leaves out is in the hash value.
    const fn page_of(&self, avpn: u64, group: u64, secondary: bool, base: u8) -> u64 {
        let offset = (avpn << AVPN_SHIFT) & below(self.shift);
        let hash = (if secondary { !group } else { group }) ^ self.hash();
        let low = (hash << base) & below(AVPN_SHIFT) & !below(base);
        self.first | offset | if base < AVPN_SHIFT { low } else { 0 }
    }

    /// What an entry allows, by the segment's keys. Virtual page class keys (AMR) are not looked at.
    fn rights(&self, words: [u64; 2]) -> Rights {
        let pp = (words[1] >> 63 << 2) | (words[1] & 3);
        let with = |key: u64, all: Rights| match (key != 0, pp) {
            (false, 0..=2) | (true, 2) => all,
            (false, 3 | 6) | (true, 1 | 3 | 6) => all.without(Rights::WRITE),
            _ => Rights::NONE,
        };
        let (ks, kp, no_execute) = (self.raw & 0x800, self.raw & 0x400, self.raw & 0x200 != 0);
        // N, and G: guarded memory is not executed.
        with(ks, Rights::KERNEL)
            .or(with(kp, Rights::USER))
            .without_if(no_execute || words[1] & 0xc != 0, Rights::EXECUTE)
    }
}

/// Size of the page of an entry in a segment of base size `base`.
fn page_shift(base: u8, words: [u64; 2]) -> Option<u8> {
    if words[0] & LARGE == 0 {
        return (base == 12).then_some(12);
    }
    let fits = |(of, shift, lp): &(u8, u8, u64)| {
        let bits = below((*shift).min(20)) >> 12;
        *of == base && (words[1] >> 12) & bits == *lp
    };
    SIZES.iter().find(|size| fits(size)).map(|size| size.1)
}

fn words(bytes: &[u8]) -> [u64; 2] {
    let (high, low) = bytes.split_at_checked(8).unwrap_or((bytes, &[]));
    [Endian::Big.get(high), Endian::Big.get(low)]
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

/// On the way through a table.
struct Visit<'a> {
    table: Table,
    /// By B and VSID.
    segments: HashMap<(u64, u64), Rc<[Segment]>>,
    survey: &'a mut Survey,
    memory: &'a dyn PhysMemory,
    visitor: &'a mut dyn Visitor,
    /// Groups that were read again, to look a page up.
    groups_read: u64,
}

impl Visit<'_> {
    fn table(&mut self) -> Result<(), Bound> {
        let end = (self.table.mask + 1) << GROUP_SHIFT;
        let (mut offset, mut bytes) = (0, Vec::new());
        while offset < end {
            let at = PhysAddr(self.table.at + offset);
            let next = (offset + PIECE) & !(PIECE - 1);
            bytes.resize(usize::try_from(next - offset).unwrap_or(0), 0);
            self.survey.count(PIECE / ENTRY as u64, VirtAddr(0), LEVEL, at)?;
            match self.memory.read(at, &mut bytes) {
                Ok(true) => self.groups(offset, &bytes)?,
                Ok(false) => {
                    let extent = self.memory.extent(at, end - offset);
                    if extent.presence == Presence::Absent {
                        offset += (extent.len_bytes & !(GROUP as u64 - 1)).max(GROUP as u64);
                        continue;
                    }
                    self.one_by_one(offset)?;
                }
                Err(_) => self.one_by_one(offset)?,
            }
            offset = next;
        }
        Ok(())
    }

    /// A piece that is not all RAM, or not all readable: group by group.
    fn one_by_one(&mut self, offset: u64) -> Result<(), Bound> {
        let end = (offset + PIECE) & !(PIECE - 1);
        for offset in (offset..end).step_by(GROUP) {
            let (at, mut bytes) = (PhysAddr(self.table.at + offset), [0; GROUP]);
            match self.memory.read(at, &mut bytes) {
                Ok(true) => self.groups(offset, &bytes)?,
                Ok(false) => {}
                Err(source) => {
                    let error = unreadable(PhysAddr(self.table.at), offset >> GROUP_SHIFT, source);
                    self.visitor.unreadable(EVERYTHING, &error);
                }
            }
        }
        Ok(())
    }

    /// Groups that start at `offset` of the table.
    fn groups(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Bound> {
        for (number, words) in (0_u64..).zip(bytes.chunks_exact(ENTRY).map(words)) {
            if words[0] & VALID == 0 {
                continue;
            }
            let at = self.table.at + offset + number * ENTRY as u64;
            let (b, avpn) = (self.table.b(words), field(words[0], 7, 61));
            let vsid = avpn >> if b == 0 { 28 - AVPN_SHIFT } else { 40 - AVPN_SHIFT };
            let segments = self.segments.get(&(b, vsid)).cloned();
            for segment in segments.as_deref().unwrap_or_default() {
                self.entry(segment, at, words)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, segment: &Segment, at: u64, words: [u64; 2]) -> Result<(), Bound> {
        let Some(base) = segment.base.filter(|base| page_shift(*base, words).is_some()) else { return Ok(()) };
        let group = (at - self.table.at) >> GROUP_SHIFT;
        let secondary = words[0] & SECONDARY != 0;
        let addr = segment.page_of(field(words[0], 7, 61), group, secondary, base);
        if !Hashed::groups(&self.table, segment, addr, base).contains(&(secondary, group)) {
            return Ok(());
        }
        // An entry before it may be the one that is found.
        self.groups_read += 2;
        if self.groups_read >= PIECE >> GROUP_SHIFT {
            self.groups_read = 0;
            self.survey.count(PIECE / ENTRY as u64, VirtAddr(addr), LEVEL, self.table.group(group))?;
        }
        let Ok(Ok(found)) = Hashed::find(&self.table, self.memory, segment, addr, base) else { return Ok(()) };
        let mapping = Hashed::mapping(&self.table, &found, segment, addr, base).filter(|_| found.at == at);
        match mapping.map(|mapping| self.visitor.mapping(mapping)) {
            Some(ControlFlow::Break(())) => Err(Bound {
                excess: Excess::Mappings,
                virt: VirtAddr(addr),
                level: LEVEL,
                table: self.table.group(group),
            }),
            _ => Ok(()),
        }
    }
}

fn segment_step(segment: &Segment) -> Step {
    const FIELDS: &[Field] = &[
        Field::bits("B", 62, 63),
        Field::bits("VSID", 12, 61),
        Field::bit("Ks", 11),
        Field::bit("Kp", 10),
        Field::bit("N", 9),
        Field::bit("L", 8),
        Field::bit("C", 7),
        Field::bits("LP", 4, 5),
    ];
    let pages = segment.base.map_or("an unknown size".to_owned(), |base| format!("{:#x} bytes", 1_u64 << base));
    Step {
        name: "SLB",
        level: 0,
        table: PhysAddr(0),
        index: segment.slot.into(),
        raw: Some(segment.raw),
        says: format!("segment of {:#x} bytes, pages of {pages}", 1_u64 << segment.shift),
        fields: FIELDS.iter().map(|field| (field.name, field.of(segment.raw))).collect(),
        rights: if segment.base.is_some() { Rights::ALL } else { Rights::NONE },
    }
}

/// Of a table that there is not.
fn table_step(place: Where, why: Hole) -> Step {
    let (name, table) = match place {
        Where::Sdr1(sdr1) => ("SDR1", PhysAddr(sdr1 & ORIGIN)),
        Where::PartitionTable(at) => ("partition table", at),
    };
    let (raw, says) = match why {
        Hole::Invalid { raw, .. } => (Some(raw), "no hashed page table"),
        _ => (None, "the table is not in RAM"),
    };
    Step { name, level: 0, table, index: 0, raw, says: says.to_owned(), fields: Vec::new(), rights: Rights::NONE }
}

/// Of a group; and of the entry in it, which has two doublewords.
fn group_steps(
    table: &Table,
    segment: &Segment,
    group: u64,
    secondary: bool,
    found: Option<&Found>,
    absent: bool,
) -> Vec<Step> {
    const HIGH: &[Field] = &[Field::bit("L", 2), Field::bit("H", 1), Field::bit("V", 0)];
    const LOW: &[Field] = &[
        Field::bit("pp0", 63),
        Field::bit("R", 8),
        Field::bit("C", 7),
        Field::bits("WIMG", 3, 6),
        Field::bit("N", 2),
        Field::bits("pp", 0, 1),
    ];
    let name = if secondary { "secondary group" } else { "primary group" };
    let (at, fields, rights) = (table.group(group), Vec::new(), Rights::NONE);
    let says = if absent { "the table is not in RAM" } else { "no entry for the page" }.to_owned();
    let none = Step { name, level: 1, table: at, index: 0, raw: None, says, fields, rights };
    let Some(found) = found else { return vec![none] };
    let index = u32::try_from((found.at - at.0) / ENTRY as u64).unwrap_or(0);
    let of = |fields: &[Field], raw| fields.iter().map(|field| (field.name, field.of(raw))).collect();
    let [high, low] = found.words;
    let page =
        format!("page of {:#x} bytes at {}", 1_u64 << found.shift, PhysAddr(table.phys(found.words, found.shift)));
    let entry =
        Step { index, raw: Some(high), says: "entry for the page".to_owned(), fields: of(HIGH, high), ..none.clone() };
    let rights = segment.rights(found.words);
    vec![
        Step { rights: Rights::ALL, ..entry.clone() },
        Step { name: "doubleword 1", raw: Some(low), says: page, fields: of(LOW, low), rights, ..entry },
    ]
}
