//! Dynamic address translation and prefixing of z/Architecture.
//!
//! Source: z/Architecture Principles of Operation (SA22-7832), chapter 3 "Storage": "Prefixing" and "Dynamic Address
//! Translation" with its "Translation Control", "Translation Tables" and "Translation Process". Bits are numbered from the
//! left there and in [`bit`]: bit 63 is 1.
//!
//! The PSW picks one of the address spaces that control registers designate. Linux has had its own in the home space since
//! 5.11, and a process's in the primary space: translation is that of a process while the vCPU runs one.
//!
//! Where an entry is invalid *and* otherwise wrong, invalid wins, as in the manual. That an address in 24-bit or 31-bit
//! addressing mode is cut before translation is the business of whoever asks.

use guestdump_arch::paging::Swap;
use guestdump_arch::paging::form::{Entry, Field, Form, Level, Radix, Rights, Root};
use guestdump_arch::{ArchError, Endian, Paging, PhysAddr, Reg, Space, Vcpu, VirtAddr, VirtRange};

use crate::registers::{CR0, PREFIX, PSWM, cr};

/// Bit `number` of a doubleword.
const fn bit(number: u32) -> u64 {
    1 << (63 - number)
}

/// PSW: DAT mode.
const PSW_DAT: u64 = bit(5);
/// PSW: address-space control, bits 16 and 17.
const PSW_AS_SHIFT: u32 = 63 - 17;
/// CR0: instruction-execution-protection enablement.
const CR0_EXECUTE_PROTECTION: u64 = bit(20);
/// CR0: enhanced-DAT enablement, without which there are no large pages.
const CR0_EDAT: u64 = bit(40);

/// ASCE: private space.
const ASCE_PRIVATE: u64 = bit(55);
/// ASCE: real space, no tables.
const ASCE_REAL: u64 = bit(58);

/// Region-table and segment-table entry: invalid.
const INVALID: u64 = bit(58);
/// Region-third-table and segment-table entry: it maps a page of the level's own size.
const FORMAT: u64 = bit(53);
/// Region-third-table and segment-table entry: common to all spaces, and not allowed in a private one.
const COMMON: u64 = bit(59);
/// Origins of region and segment tables, bits 0 to 51. Whether such an address is real or absolute the manual leaves open;
/// here it is absolute.
const ORIGIN: u64 = !0xfff;
/// Origin of a page table, bits 0 to 52.
const PAGE_TABLE_ORIGIN: u64 = !0x7ff;
/// Page-table entry: invalid.
const PAGE_INVALID: u64 = bit(53);
/// All entries: DAT protection. In region-table entries with enhanced DAT only.
const PROTECTED: u64 = bit(54);
/// Entries that map a page: instruction-execution protection.
const NO_EXECUTE: u64 = bit(55);
/// Page-table entry: must be zero.
const PAGE_ZERO: u64 = bit(52);

const LEVELS: &[Level] = &[
    Level { name: "region-first table", shift: 53, bits: 11 },
    Level { name: "region-second table", shift: 42, bits: 11 },
    Level { name: "region-third table", shift: 31, bits: 11 },
    Level { name: "segment table", shift: 20, bits: 11 },
    Level { name: "page table", shift: 12, bits: 8 },
];
/// Index of the segment table in [`LEVELS`]; a designation or table type of n is n levels above it.
const SEGMENT: usize = 3;
/// Index of the region-third table.
const REGION_THIRD: usize = 2;

/// Feature of the form: enhanced DAT applies.
const EDAT: u32 = 1;
/// Feature of the form: instruction-execution protection is enabled.
const EXECUTE_PROTECTION: u32 = 4;
/// Feature of the form: the space is private.
const PRIVATE: u32 = 2;

/// "Region-Table Entries", "Segment-Table Entries", "Page-Table Entries".
fn decode(form: &Form, level: usize, shift: u8, raw: u64) -> Entry {
    if level > SEGMENT {
        return page(raw);
    }
    if raw & INVALID != 0 {
        return Entry::NotPresent;
    }
    let edat = form.features & EDAT != 0 && shift <= 31;
    let may_be_common = level == SEGMENT || edat;
    if type_of(raw) != SEGMENT - level || (may_be_common && raw & COMMON != 0 && form.features & PRIVATE != 0) {
        return Entry::Invalid;
    }
    let at = PhysAddr(raw & form.address_mask);
    match level {
        _ if edat && raw & FORMAT != 0 => Entry::Leaf { at, shift },
        SEGMENT => Entry::Table { at: PhysAddr(raw & PAGE_TABLE_ORIGIN), entries: None, bits: None },
        _ => Entry::Table { at, entries: Some(quarters((raw >> 6) & 3, raw & 3)), bits: None },
    }
}

fn page(raw: u64) -> Entry {
    match (raw & PAGE_INVALID, raw & PAGE_ZERO) {
        (0, 0) => Entry::Leaf { at: PhysAddr(raw & ORIGIN), shift: 12 },
        (0, _) => Entry::Invalid,
        _ => Entry::NotPresent,
    }
}

/// Table type of an entry, or designation type of an ASCE: bits 60 and 61.
const fn type_of(raw: u64) -> usize {
    ((raw >> 2) & 3) as usize
}

/// The entries of a table that exist: its quarters `offset..=length` of 512 entries each. None, where the first is behind
/// the last.
const fn quarters(offset: u64, length: u64) -> core::ops::Range<u32> {
    (offset as u32 * 512)..((length as u32 + 1) * 512)
}

/// "Access Exceptions Recognized": protection is the same to the kernel and the user; keys are not looked at.
fn rights(form: &Form, level: usize, shift: u8, raw: u64) -> Rights {
    let counts = level >= SEGMENT || form.features & EDAT != 0;
    let is_page = matches!(decode(form, level, shift, raw), Entry::Leaf { .. });
    let no_execute = is_page && form.features & EXECUTE_PROTECTION != 0 && raw & NO_EXECUTE != 0;
    Rights::ALL.without_if(counts && raw & PROTECTED != 0, Rights::WRITE).without_if(no_execute, Rights::EXECUTE)
}

/// Names in the figures of "Region-Table Entries", "Segment-Table Entries", "Page-Table Entries".
const fn fields(form: &Form, level: usize, _shift: u8, raw: u64) -> &'static [Field] {
    const P: Field = Field::bit("P", 9);
    const TT: Field = Field::bits("TT", 2, 3);
    const I: Field = Field::bit("I", 5);
    const PAGE_I: Field = Field::bit("I", 10);
    const TF: Field = Field::bits("TF", 6, 7);
    const TL: Field = Field::bits("TL", 0, 1);
    const CR: Field = Field::bit("CR", 4);
    const CS: Field = Field::bit("CS", 4);
    const FC: Field = Field::bit("FC", 10);
    const AV: Field = Field::bit("AV", 16);
    const ACC: Field = Field::bits("ACC", 12, 15);
    const F: Field = Field::bit("F", 11);
    const IEP: Field = Field::bit("IEP", 8);
    let large = form.features & EDAT != 0 && raw & FORMAT != 0;
    match level {
        ..REGION_THIRD => &[P, TF, I, TT, TL],
        REGION_THIRD if large => &[AV, ACC, F, FC, P, IEP, I, CR, TT],
        REGION_THIRD => &[FC, P, TF, I, CR, TT, TL],
        SEGMENT if large => &[AV, ACC, F, FC, P, IEP, I, CS, TT],
        SEGMENT => &[FC, P, I, CS, TT],
        _ => &[PAGE_I, P, IEP],
    }
}

/// "Address-Space-Control Element": the space starts at 0 and is as large as its first table can map.
fn tables(asce: u64, cr0: u64) -> Radix {
    let level = SEGMENT - type_of(asce);
    let private = if asce & ASCE_PRIVATE == 0 { 0 } else { PRIVATE };
    let edat = if cr0 & CR0_EDAT == 0 { 0 } else { EDAT };
    let execute_protection = if cr0 & CR0_EXECUTE_PROTECTION == 0 { 0 } else { EXECUTE_PROTECTION };
    let form = Form {
        name: "z/Architecture DAT",
        levels: LEVELS,
        entry_bytes: 8,
        endian: Endian::Big,
        address_mask: ORIGIN,
        features: private | edat | execute_protection,
        decode,
        rights,
        fields,
    };
    let bits = LEVELS.get(level).map_or(64, |first| u32::from(first.shift) + u32::from(first.bits));
    let last = VirtAddr(u64::MAX.checked_shr(64_u32.saturating_sub(bits)).unwrap_or(u64::MAX));
    let root =
        |virt| Root { virt, table: PhysAddr(asce & ORIGIN), level, entries: Some(quarters(0, asce & 3)), ignored: 0 };
    Radix { form, roots: VirtRange::new(VirtAddr(0), last).map(root).into_iter().collect() }
}

/// Size of what prefixing swaps: the pages at real 0 and at the prefix.
const PREFIX_AREA: u64 = 8192;
/// The bits of the prefix that count, 33 to 50 of 64.
const PREFIX_MASK: u64 = 0x7fff_e000;

/// A register, or the error that names it.
fn need(arch: &'static str, vcpu: &Vcpu, reg: Reg) -> Result<u64, ArchError> {
    let register = vcpu.registers.defs().get(usize::from(reg.0)).map_or("", |def| def.name);
    let unknown = ArchError::RegisterUnknown { arch, vcpu: vcpu.id, register, needed_for: "address translation" };
    vcpu.registers.get(reg).ok_or(unknown)
}

/// "Prefixing": translation gives real addresses. Absolute ones, which memory has, differ by a swap of two areas.
fn prefixed(arch: &'static str, vcpu: &Vcpu, real: Paging) -> Result<Paging, ArchError> {
    match need(arch, vcpu, PREFIX)? & PREFIX_MASK {
        0 => Ok(real),
        prefix => Ok(Paging::Swapped(Box::new(real), Swap::Areas { at: PhysAddr(prefix), len_bytes: PREFIX_AREA })),
    }
}

/// The space that a control register designates.
fn space(arch: &'static str, vcpu: &Vcpu, control: u16) -> Result<Paging, ArchError> {
    let asce = need(arch, vcpu, cr(control))?;
    if asce & ASCE_REAL != 0 {
        return prefixed(arch, vcpu, Paging::Off);
    }
    prefixed(arch, vcpu, Paging::Radix(tables(asce, need(arch, vcpu, CR0)?)))
}

/// The home space, whatever the vCPU runs: the kernel's of Linux 5.11 and later.
///
/// # Errors
/// [`ArchError::RegisterUnknown`] if CR0, CR13 or the prefix is not known.
pub fn home(arch: &'static str, vcpu: &Vcpu) -> Result<Paging, ArchError> {
    space(arch, vcpu, 13)
}

/// The space that the vCPU is in, then the others that its control registers designate: each once. The kernel's is the home space
/// ([`home`]), whatever else designates it.
pub fn spaces(arch: &'static str, vcpu: &Vcpu) -> Vec<Space> {
    let current = vcpu.registers.get(PSWM).filter(|psw| psw & PSW_DAT != 0).map(control_of);
    let mut seen: Vec<u64> = current.and_then(|control| vcpu.registers.get(cr(control))).into_iter().collect();
    let home = vcpu.registers.get(cr(13));
    let kernel = home.is_some() && home == seen.first().copied();
    let mut spaces = vec![Space { name: "current", kernel, paging: paging(arch, vcpu) }];
    for (name, control) in [("primary", 1), ("secondary", 7), ("home", 13)] {
        let asce = vcpu.registers.get(cr(control));
        if Some(control) == current || asce.is_some_and(|asce| seen.contains(&asce)) {
            continue;
        }
        seen.extend(asce);
        let kernel = asce.is_some() && asce == home;
        spaces.push(Space { name, kernel, paging: space(arch, vcpu, control) });
    }
    spaces
}

/// The control register that designates the space which a PSW picks.
const fn control_of(psw: u64) -> u16 {
    match (psw >> PSW_AS_SHIFT) & 3 {
        2 => 7,
        3 => 13,
        _ => 1,
    }
}

/// How a vCPU translates the addresses of its data. In access-register mode that is by access register; the primary
/// space, which access register 0 and all instructions have, stands for all.
///
/// # Errors
/// [`ArchError::RegisterUnknown`] if the PSW, a control register that counts, or the prefix is not known.
pub fn paging(arch: &'static str, vcpu: &Vcpu) -> Result<Paging, ArchError> {
    let psw = need(arch, vcpu, PSWM)?;
    if psw & PSW_DAT == 0 {
        return prefixed(arch, vcpu, Paging::Off);
    }
    space(arch, vcpu, control_of(psw))
}
