//! Page tables of x86 without long mode: 32-bit paging with PSE and PSE-36, and PAE paging.
//!
//! Source: Intel SDM volume 3A, chapter 5 ("Paging"), tables 5-4 to 5-11.

use guestdump_arch::paging::Swap;
use guestdump_arch::paging::form::{Entry, Field, Form, Level, Radix, Rights, Root};
use guestdump_arch::{ArchError, Endian, Paging, PhysAddr, Reg, Vcpu, VirtAddr, VirtRange};

use crate::registers::{A20, C_BIT, CR0, CR3, CR4};

/// CR0.PG.
pub const CR0_PG: u64 = 1 << 31;
/// CR4.PSE: 4 MiB pages of 32-bit paging.
pub const CR4_PSE: u64 = 1 << 4;
/// CR4.PAE.
pub const CR4_PAE: u64 = 1 << 5;
/// P of every entry.
pub const PRESENT: u64 = 1;
/// PS: the entry maps a page of the level's own size.
pub const PAGE_SIZE: u64 = 1 << 7;
/// R/W.
const WRITABLE: u64 = 1 << 1;
/// U/S.
const USER: u64 = 1 << 2;
/// XD, which AMD calls NX.
const NO_EXECUTE: u64 = 1 << 63;
/// Bits 51:12, the widest physical address that the architecture allows (SDM 5.1.4, MAXPHYADDR at most 52). Bits above
/// it are for software and protection keys.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Feature of the 32-bit form: CR4.PSE is set.
const PSE: u32 = 1;

const TWO_LEVELS: &[Level] =
    &[Level { name: "page directory", shift: 22, bits: 10 }, Level { name: "page table", shift: 12, bits: 10 }];

const THREE_LEVELS: &[Level] = &[
    Level { name: "PDPT", shift: 30, bits: 2 },
    Level { name: "page directory", shift: 21, bits: 9 },
    Level { name: "page table", shift: 12, bits: 9 },
];

fn legacy(form: &Form, _level: usize, shift: u8, raw: u64) -> Entry {
    if raw & PRESENT == 0 {
        return Entry::NotPresent;
    }
    let at = PhysAddr(raw & form.address_mask & 0xffff_f000);
    if shift == 12 {
        return Entry::Leaf { at, shift };
    }
    if raw & PAGE_SIZE != 0 && form.features & PSE != 0 {
        // PSE-36 (SDM table 5-4): bits 20:13 are bits 39:32 of the address.
        let high = ((raw >> 13) & 0xff) << 32;
        return Entry::Leaf { at: PhysAddr((raw & 0xffc0_0000) | (high & form.address_mask)), shift };
    }
    Entry::Table { at, entries: None, bits: None }
}

/// Decodes PAE and long-mode entries: both are eight bytes with the same bits.
#[must_use]
pub fn wide(form: &Form, _level: usize, shift: u8, raw: u64) -> Entry {
    let at = PhysAddr(raw & form.address_mask);
    match (raw & PRESENT, raw & PAGE_SIZE, shift) {
        (0, ..) => Entry::NotPresent,
        (_, _, 12) => Entry::Leaf { at, shift },
        (_, 0, _) => Entry::Table { at, entries: None, bits: None },
        // 2 MiB and, in long mode only, 1 GiB. Bit 12 of such an entry is PAT, not address: below the page's size.
        (_, _, 21) => Entry::Leaf { at, shift },
        (_, _, 30) if form.features & GIB_PAGES != 0 => Entry::Leaf { at, shift },
        _ => Entry::Invalid,
    }
}

/// What an entry allows (SDM 5.6.1), where CR0.WP is set; bit 63 counts whatever EFER.NXE is.
#[must_use]
pub fn rights(_form: &Form, _level: usize, _shift: u8, raw: u64) -> Rights {
    Rights::ALL
        .without_if(raw & WRITABLE == 0, Rights::WRITE)
        .without_if(raw & USER == 0, Rights::USER)
        .without_if(raw & NO_EXECUTE != 0, Rights::EXECUTE)
}

/// The same; entries of the PDPT have no such bits (SDM table 5-8).
fn pae_rights(form: &Form, level: usize, shift: u8, raw: u64) -> Rights {
    if shift == 30 { Rights::ALL } else { rights(form, level, shift, raw) }
}

const XD: Field = Field::bit("XD", 63);
const KEY: Field = Field::bits("protection key", 59, 62);
const LARGE_PAT: Field = Field::bit("PAT", 12);
const G: Field = Field::bit("G", 8);
const PS: Field = Field::bit("PS", 7);
const PAT: Field = Field::bit("PAT", 7);
const D: Field = Field::bit("D", 6);
const A: Field = Field::bit("A", 5);
const PCD: Field = Field::bit("PCD", 4);
const PWT: Field = Field::bit("PWT", 3);
const US: Field = Field::bit("U/S", 2);
const RW: Field = Field::bit("R/W", 1);
const P: Field = Field::bit("P", 0);

/// SDM tables 5-5 and 5-6.
fn legacy_fields(form: &Form, _level: usize, shift: u8, raw: u64) -> &'static [Field] {
    match (raw & PRESENT, raw & PAGE_SIZE, shift) {
        (0, ..) => &[P],
        (_, _, 12) => &[G, PAT, D, A, PCD, PWT, US, RW, P],
        (_, 0, _) => &[PS, A, PCD, PWT, US, RW, P],
        _ if form.features & PSE != 0 => &[LARGE_PAT, G, PS, D, A, PCD, PWT, US, RW, P],
        _ => &[A, PCD, PWT, US, RW, P],
    }
}

fn pae_fields(form: &Form, level: usize, shift: u8, raw: u64) -> &'static [Field] {
    match (raw & PRESENT, shift) {
        (0, _) => &[P],
        (_, 30) => &[PCD, PWT, P],
        _ => wide_fields(form, level, shift, raw),
    }
}

/// SDM tables 5-9 to 5-11 and 5-15 to 5-20.
#[must_use]
pub fn wide_fields(_form: &Form, _level: usize, shift: u8, raw: u64) -> &'static [Field] {
    match (raw & PRESENT, raw & PAGE_SIZE, shift) {
        (0, ..) => &[P],
        (_, _, 12) => &[XD, KEY, G, PAT, D, A, PCD, PWT, US, RW, P],
        (_, 0, _) => &[XD, PS, A, PCD, PWT, US, RW, P],
        _ => &[XD, KEY, LARGE_PAT, G, PS, D, A, PCD, PWT, US, RW, P],
    }
}

/// Feature of the long-mode forms: PS in a PDPT entry means 1 GiB.
pub const GIB_PAGES: u32 = 2;

const BELOW_4_GIB: VirtRange = match VirtRange::new(VirtAddr(0), VirtAddr(0xffff_ffff)) {
    Some(range) => range,
    None => unreachable!(),
};

fn two_levels(cr3: u64, address_mask: u64, pse: bool) -> Radix {
    let form = Form {
        name: "x86 32-bit",
        levels: TWO_LEVELS,
        entry_bytes: 4,
        endian: Endian::Little,
        address_mask,
        features: if pse { PSE } else { 0 },
        decode: legacy,
        rights,
        fields: legacy_fields,
    };
    let table = PhysAddr(cr3 & address_mask & 0xffff_f000);
    Radix { form, roots: vec![Root { virt: BELOW_4_GIB, table, level: 0, entries: None, ignored: 0 }] }
}

fn pae(cr3: u64, address_mask: u64) -> Radix {
    let form = Form {
        name: "x86 PAE",
        levels: THREE_LEVELS,
        entry_bytes: 8,
        endian: Endian::Little,
        address_mask,
        features: 0,
        decode: wide,
        rights: pae_rights,
        fields: pae_fields,
    };
    let table = PhysAddr(cr3 & (address_mask | 0xfe0) & 0xffff_ffe0);
    Radix { form, roots: vec![Root { virt: BELOW_4_GIB, table, level: 0, entries: None, ignored: 0 }] }
}

/// A control register, or the error that names it.
///
/// # Errors
/// [`ArchError::RegisterUnknown`].
pub fn need(arch: &'static str, vcpu: &Vcpu, reg: Reg, register: &'static str) -> Result<u64, ArchError> {
    let unknown = ArchError::RegisterUnknown { arch, vcpu: vcpu.id, register, needed_for: "address translation" };
    vcpu.registers.get(reg).ok_or(unknown)
}

/// The A20 line, by number.
const LINE_20: u8 = 20;

/// Bits of an entry that are address: neither the encryption bit nor a line that is held at 0. Where nothing says otherwise
/// there are no such bits: only SEV has the one, and only machines from before the line is opened the other.
///
/// # Errors
/// [`ArchError::Unsupported`] if the encryption bit is not among those that can be one, 51:32.
pub fn address_mask(arch: &'static str, vcpu: &Vcpu) -> Result<u64, ArchError> {
    let masked = if line_is_low(vcpu) { 1 << LINE_20 } else { 0 };
    match vcpu.registers.get(C_BIT) {
        None => Ok(ADDRESS & !masked),
        Some(bit @ 32..=51) => Ok(ADDRESS & !masked & !(1 << bit)),
        Some(bit) => {
            let what = format!("c_bit {bit} is none of the address bits 32 to 51");
            Err(ArchError::Unsupported { arch, vcpu: vcpu.id, what })
        }
    }
}

fn line_is_low(vcpu: &Vcpu) -> bool {
    vcpu.registers.get(A20) == Some(0)
}

/// What the A20 line leaves of addresses: of those that are not translated too, and inside of large pages.
#[must_use]
pub fn behind_a20(vcpu: &Vcpu, paging: Paging) -> Paging {
    if line_is_low(vcpu) { Paging::Swapped(Box::new(paging), Swap::Without { bit: LINE_20 }) } else { paging }
}

/// Paging of a vCPU that is not in long mode.
///
/// # Errors
/// [`ArchError::RegisterUnknown`] if CR0, CR3 or CR4 is not known; of [`address_mask`].
pub fn outside_long_mode(arch: &'static str, vcpu: &Vcpu) -> Result<Paging, ArchError> {
    if need(arch, vcpu, CR0, "cr0")? & CR0_PG == 0 {
        return Ok(behind_a20(vcpu, Paging::Off));
    }
    let cr3 = need(arch, vcpu, CR3, "cr3")?;
    let cr4 = need(arch, vcpu, CR4, "cr4")?;
    let mask = address_mask(arch, vcpu)?;
    let radix = if cr4 & CR4_PAE == 0 { two_levels(cr3, mask, cr4 & CR4_PSE != 0) } else { pae(cr3, mask) };
    Ok(behind_a20(vcpu, Paging::Radix(radix)))
}
