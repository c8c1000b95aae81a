//! Linux on x86-64: the kernel image is mapped at a fixed virtual address, wherever it was loaded.
//!
//! linux `Documentation/arch/x86/x86_64/mm.rst`: "kernel text mapping, mapped to physical address 0" at
//! 0xffffffff80000000; `phys_base` (arch/x86/kernel/head_64.S, exported by VMCOREINFO since 2.6.27 as a signed decimal
//! number) is where that zero really is. It is negative when KASLR chose a virtual slot above the physical one.
//!
//! vmcoreinfo.rst: `init_top_pgt` (`init_level4_pgt` before 4.13) is the kernel's top table, `pgtable_l5_enabled` tells whether it
//! has five levels, `sme_mask` is the bit of entries that means encrypted.

use guestdump_arch::{KernelFacts, LinuxLayout, PhysAddr, Reg, VirtAddr};
use guestdump_i386::paging::{CR0_PG, CR4_PAE};
use guestdump_i386::registers::{C_BIT, CR0, CR3, CR4, EFER};

use crate::notes::EFER_LMA;
use crate::paging::CR4_LA57;

/// `__START_KERNEL_map`.
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// With KASLR the image lies within 1 GiB of it (`KERNEL_IMAGE_SIZE`); modules follow.
const KERNEL_IMAGE_SIZE: u64 = 1 << 30;

/// Kernel facts of x86-64.
#[derive(Debug)]
pub struct Linux;

impl LinuxLayout for Linux {
    fn image_phys(&self, kernel: &dyn KernelFacts, virt: VirtAddr) -> Option<PhysAddr> {
        let offset = virt.0.checked_sub(START_KERNEL_MAP).filter(|offset| *offset < KERNEL_IMAGE_SIZE)?;
        let phys = kernel.number("phys_base")?.checked_add(i128::from(offset))?;
        u64::try_from(phys).ok().map(PhysAddr)
    }

    fn registers(&self, kernel: &dyn KernelFacts) -> Option<Vec<(Reg, u64)>> {
        let table = kernel.symbol("init_top_pgt").or_else(|| kernel.symbol("init_level4_pgt"))?;
        let table = self.image_phys(kernel, table)?;
        let five = kernel.number("pgtable_l5_enabled").is_some_and(|enabled| enabled != 0);
        let cr4 = CR4_PAE | if five { CR4_LA57 } else { 0 };
        let mut all = vec![(CR0, CR0_PG), (CR3, table.0), (CR4, cr4), (EFER, EFER_LMA)];
        let sme = kernel.number("sme_mask").and_then(|mask| u64::try_from(mask).ok()).filter(|mask| *mask != 0);
        all.extend(sme.map(|mask| (C_BIT, u64::from(mask.trailing_zeros()))));
        Some(all)
    }
}
