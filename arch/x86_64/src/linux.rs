//! Linux on x86-64: the kernel image is mapped at a fixed virtual address, wherever it was loaded.
//!
//! linux `Documentation/arch/x86/x86_64/mm.rst`: "kernel text mapping, mapped to physical address 0" at
//! 0xffffffff80000000; `phys_base` (arch/x86/kernel/head_64.S, exported by VMCOREINFO since 2.6.27 as a signed decimal
//! number) is where that zero really is. It is negative when KASLR chose a virtual slot above the physical one.

use guestdump_arch::{KernelFacts, LinuxLayout, PhysAddr, VirtAddr};

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
}
