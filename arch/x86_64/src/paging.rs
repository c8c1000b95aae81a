//! Page tables of x86-64: 4-level and 5-level paging; without long mode those of i386.
//!
//! Source: Intel SDM volume 3A, chapter 5 ("Paging"), 5.5 ("4-level paging and 5-level paging"). Address bits above the
//! index of the root must all equal its top bit: two roots on one table, a low and a high half.

use guestdump_arch::paging::form::{Form, Level, Radix, Root};
use guestdump_arch::{ArchError, Endian, Paging, PhysAddr, Vcpu, VirtAddr, VirtRange};
use guestdump_i386::paging::{
    CR0_PG, GIB_PAGES, address_mask, behind_a20, need, outside_long_mode, rights, wide, wide_fields,
};
use guestdump_i386::registers::{CR0, CR3, CR4};

use crate::notes::long_mode;

/// CR4.LA57.
pub(crate) const CR4_LA57: u64 = 1 << 12;

const LEVELS: &[Level] = &[
    Level { name: "PML5", shift: 48, bits: 9 },
    Level { name: "PML4", shift: 39, bits: 9 },
    Level { name: "PDPT", shift: 30, bits: 9 },
    Level { name: "page directory", shift: 21, bits: 9 },
    Level { name: "page table", shift: 12, bits: 9 },
];

/// The two canonical halves of `bits`-bit addresses, translated from the same table.
fn halves(bits: u32, table: PhysAddr, level: usize) -> Vec<Root> {
    let half = 1_u64 << (bits - 1);
    let low = VirtRange::new(VirtAddr(0), VirtAddr(half - 1));
    let high = VirtRange::new(VirtAddr(half.wrapping_neg()), VirtAddr(u64::MAX));
    [low, high].into_iter().flatten().map(|virt| Root { virt, table, level, entries: None, ignored: 0 }).collect()
}

/// Tables of a vCPU in long mode.
fn long_mode_tables(cr3: u64, address_mask: u64, la57: bool) -> Radix {
    let (name, bits, level) = if la57 { ("x86 5-level", 57, 0) } else { ("x86 4-level", 48, 1) };
    let form = Form {
        name,
        levels: LEVELS,
        entry_bytes: 8,
        endian: Endian::Little,
        address_mask,
        features: GIB_PAGES,
        decode: wide,
        rights,
        fields: wide_fields,
    };
    Radix { form, roots: halves(bits, PhysAddr(cr3 & address_mask), level) }
}

/// How a vCPU translates addresses.
///
/// # Errors
/// [`ArchError::RegisterUnknown`] if a control register or EFER is not known; of [`address_mask`].
pub fn paging(arch: &'static str, vcpu: &Vcpu) -> Result<Paging, ArchError> {
    if need(arch, vcpu, CR0, "cr0")? & CR0_PG == 0 {
        return Ok(behind_a20(vcpu, Paging::Off));
    }
    let unknown =
        ArchError::RegisterUnknown { arch, vcpu: vcpu.id, register: "efer", needed_for: "address translation" };
    if !long_mode(&vcpu.registers).ok_or(unknown)? {
        return outside_long_mode(arch, vcpu);
    }
    let cr4 = need(arch, vcpu, CR4, "cr4")?;
    let (cr3, mask) = (need(arch, vcpu, CR3, "cr3")?, address_mask(arch, vcpu)?);
    Ok(behind_a20(vcpu, Paging::Radix(long_mode_tables(cr3, mask, cr4 & CR4_LA57 != 0))))
}

/// The high half of long mode by another table than that of CR3: Linux with page-table isolation has one with little of the
/// kernel there while user mode runs.
pub fn kernel_tables(arch: &'static str, vcpu: &Vcpu, root: PhysAddr) -> Option<Paging> {
    let is_on = need(arch, vcpu, CR0, "cr0").ok()? & CR0_PG != 0 && long_mode(&vcpu.registers)?;
    let la57 = need(arch, vcpu, CR4, "cr4").ok()? & CR4_LA57 != 0;
    let mut radix = long_mode_tables(root.0, address_mask(arch, vcpu).ok()?, la57);
    radix.roots.retain(|root| root.virt.first().0 >> 63 == 1);
    is_on.then(|| behind_a20(vcpu, Paging::Radix(radix)))
}
