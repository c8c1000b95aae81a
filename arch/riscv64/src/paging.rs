//! Page tables of RV64: Sv39, Sv48 and Sv57, with Svnapot.
//!
//! Source: the ISA, 4.1.11 "Supervisor Address Translation and Protection (satp) Register", 4.3.2 "Virtual Address
//! Translation Process", 4.4 "Sv39", 4.5 "Sv48", 4.6 "Sv57", chapter 5 "Svnapot", chapter 6 "Svpbmt"; 3.1.6.4 for the byte
//! order of tables. The level of a table is the i of 4.3.2: 0 holds pages.
//!
//! - Address bits above the index of the root must all equal its top bit: two roots on one table, a low and a high half.
//! - What a translation would fault on for lack of rights (U, SUM, A, D) is mapped all the same.
//! - Bits 62:54 (PBMT, reserved, in newer versions for software) and, in an entry that points to a table, U, A and D do
//!   not count. A CPU that knows nothing of a reserved bit faults; where memory lies does not depend on it, and CPUs of
//!   T-Head keep memory types in 62:59.
//! - Machine mode does not translate; what it loads with mstatus.MPRV set is not looked at.
//! - A vCPU that runs a guest of its own (V) translates in two stages, and is refused.

use guestdump_arch::paging::form::{Entry, Field, Form, Level, Radix, Rights, Root};
use guestdump_arch::{ArchError, Endian, Paging, PhysAddr, Space, Vcpu, VirtAddr, VirtRange};

use crate::registers::{MSTATUS, PRIV, SATP};

/// priv: machine mode.
const MACHINE: u64 = 3;
/// priv: V, virtualisation mode.
const PRIV_V: u64 = 1 << 2;
/// mstatus.SBE: byte order of supervisor mode, and of all page tables.
const MSTATUS_SBE: u64 = 1 << 36;

/// satp.MODE, bits 63:60.
const SATP_MODE_SHIFT: u32 = 60;
/// satp.PPN, bits 43:0.
const SATP_PPN: u64 = (1 << 44) - 1;
const PAGE_SHIFT: u8 = 12;

/// Entry: valid.
const V: u64 = 1;
/// Entry: readable. One of R, W and X makes a leaf; W without R is reserved.
const R: u64 = 1 << 1;
/// Entry: writable.
const W: u64 = 1 << 2;
/// Entry: executable.
const X: u64 = 1 << 3;
/// Entry: for user mode.
const U: u64 = 1 << 4;
/// Entry: Svnapot, one of the entries of a larger page.
const N: u64 = 1 << 63;
/// The PPN in an entry, bits 53:10, becomes bits 55:12 of an address.
const PPN_TO_ADDRESS: u32 = 2;
/// Bits 55:12.
const ADDRESS: u64 = SATP_PPN << PAGE_SHIFT;
/// Svnapot knows one size, 64 KiB, written as PPN bits 3:0 = 1000 (table 5.1).
const NAPOT_SHIFT: u8 = 16;
const NAPOT_BITS: u64 = 0xf << PAGE_SHIFT;
const NAPOT_64K: u64 = 0x8 << PAGE_SHIFT;

const LEVELS: &[Level] = &[
    Level { name: "level 4", shift: 48, bits: 9 },
    Level { name: "level 3", shift: 39, bits: 9 },
    Level { name: "level 2", shift: 30, bits: 9 },
    Level { name: "level 1", shift: 21, bits: 9 },
    Level { name: "level 0", shift: PAGE_SHIFT, bits: 9 },
];

/// Steps 3 to 6 of 4.3.2. That level 0 may not point to a table is the walker's business.
fn decode(form: &Form, _level: usize, shift: u8, raw: u64) -> Entry {
    let address = (raw << PPN_TO_ADDRESS) & form.address_mask;
    let at = PhysAddr(address);
    match (raw & V, raw & (R | W | X)) {
        (0, _) => Entry::NotPresent,
        (_, 0) if raw & N == 0 => Entry::Table { at, entries: None, bits: None },
        (_, 0 | W) => Entry::Invalid,
        (_, rwx) if rwx == W | X => Entry::Invalid,
        _ if raw & N != 0 => napot(address, shift),
        // A misaligned superpage.
        _ if address & ((1 << shift) - 1) != 0 => Entry::Invalid,
        _ => Entry::Leaf { at, shift },
    }
}

/// A leaf with N: all other sizes, and N of superpages, are reserved.
const fn napot(address: u64, shift: u8) -> Entry {
    if shift == PAGE_SHIFT && address & NAPOT_BITS == NAPOT_64K {
        return Entry::Leaf { at: PhysAddr(address & !NAPOT_BITS), shift: NAPOT_SHIFT };
    }
    Entry::Invalid
}

/// What a leaf allows (4.3.1): supervisor mode gets at pages of user mode with sstatus.SUM, and never executes them.
fn rights(_form: &Form, _level: usize, _shift: u8, raw: u64) -> Rights {
    if raw & (R | W | X) == 0 {
        return Rights::ALL;
    }
    Rights::ALL
        .without_if(raw & R == 0, Rights::READ)
        .without_if(raw & W == 0, Rights::WRITE)
        .without_if(raw & X == 0, Rights::EXECUTE)
        .without_if(raw & U == 0, Rights::USER)
        .without_if(raw & U != 0, Rights::KERNEL_EXECUTE)
}

/// Figure 4.21 and its like for Sv48 and Sv57.
const fn fields(_form: &Form, _level: usize, _shift: u8, raw: u64) -> &'static [Field] {
    const FIELDS: &[Field] = &[
        Field::bit("N", 63),
        Field::bits("PBMT", 61, 62),
        Field::bits("RSW", 8, 9),
        Field::bit("D", 7),
        Field::bit("A", 6),
        Field::bit("G", 5),
        Field::bit("U", 4),
        Field::bit("X", 3),
        Field::bit("W", 2),
        Field::bit("R", 1),
        Field::bit("V", 0),
    ];
    const NOT_VALID: &[Field] = &[Field::bit("V", 0)];
    if raw & V == 0 { NOT_VALID } else { FIELDS }
}

/// The two canonical halves of `bits`-bit addresses, translated from the same table.
fn halves(bits: u32, table: PhysAddr, level: usize) -> Vec<Root> {
    let half = 1_u64 << (bits - 1);
    let low = VirtRange::new(VirtAddr(0), VirtAddr(half - 1));
    let high = VirtRange::new(VirtAddr(half.wrapping_neg()), VirtAddr(u64::MAX));
    [low, high].into_iter().flatten().map(|virt| Root { virt, table, level, entries: None, ignored: 0 }).collect()
}

fn tables(name: &'static str, bits: u32, level: usize, satp: u64, endian: Endian) -> Paging {
    let form = Form {
        name,
        levels: LEVELS,
        entry_bytes: 8,
        endian,
        address_mask: ADDRESS,
        features: 0,
        decode,
        rights,
        fields,
    };
    let table = PhysAddr((satp & SATP_PPN) << PAGE_SHIFT);
    Paging::Radix(Radix { form, roots: halves(bits, table, level) })
}

/// The error of a vCPU that names what is not known.
fn unknown(arch: &'static str, vcpu: &Vcpu, register: &'static str, needed_for: &'static str) -> ArchError {
    ArchError::RegisterUnknown { arch, vcpu: vcpu.id, register, needed_for }
}

/// priv; where it is not known the mode is taken to be one that satp rules.
fn mode(arch: &'static str, vcpu: &Vcpu) -> Result<u64, ArchError> {
    match vcpu.registers.get(PRIV).unwrap_or(0) {
        mode if mode & PRIV_V != 0 => Err(unknown(arch, vcpu, "vsatp", "address translation in virtualisation mode")),
        mode => Ok(mode),
    }
}

/// How a vCPU translates addresses.
///
/// # Errors
/// [`ArchError::RegisterUnknown`] if satp is not known; and of a vCPU in virtualisation mode, whose tables vsatp and hgatp
/// give. [`ArchError::Unsupported`] if the MODE of satp is none that is defined.
pub fn paging(arch: &'static str, vcpu: &Vcpu) -> Result<Paging, ArchError> {
    match mode(arch, vcpu)? {
        MACHINE => Ok(Paging::Off),
        _ => supervisor(arch, vcpu),
    }
}

/// The space that the vCPU is in; and the kernel's, where the firmware does not translate.
pub fn spaces(arch: &'static str, vcpu: &Vcpu) -> Vec<Space> {
    let mut spaces = vec![Space { name: "current", kernel: false, paging: paging(arch, vcpu) }];
    if vcpu.registers.get(PRIV) == Some(MACHINE) {
        spaces.push(Space { name: "supervisor", kernel: false, paging: supervisor(arch, vcpu) });
    }
    spaces
}

/// How supervisor mode of a vCPU translates addresses, also while the vCPU is in the firmware's machine mode. Tables are
/// taken to be little-endian where mstatus is not known.
///
/// # Errors
/// As [`paging`].
pub fn supervisor(arch: &'static str, vcpu: &Vcpu) -> Result<Paging, ArchError> {
    mode(arch, vcpu)?;
    let satp = vcpu.registers.get(SATP).ok_or_else(|| unknown(arch, vcpu, "satp", "address translation"))?;
    let sbe = vcpu.registers.get(MSTATUS).unwrap_or(0) & MSTATUS_SBE != 0;
    let endian = if sbe { Endian::Big } else { Endian::Little };
    match satp >> SATP_MODE_SHIFT {
        0 => Ok(Paging::Off),
        8 => Ok(tables("Sv39", 39, 2, satp, endian)),
        9 => Ok(tables("Sv48", 48, 1, satp, endian)),
        10 => Ok(tables("Sv57", 57, 0, satp, endian)),
        mode => {
            let what = format!("satp {satp:#x} has MODE {mode}, which is none that is defined");
            Err(ArchError::Unsupported { arch, vcpu: vcpu.id, what })
        }
    }
}
