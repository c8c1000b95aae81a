//! Linux on ppc64: all memory, and with it the kernel image, is mapped in order from PAGE_OFFSET on.
//!
//! linux `arch/powerpc/Kconfig`: PAGE_OFFSET is 0xc000000000000000 on every 64-bit kernel;
//! `arch/powerpc/include/asm/page.h`: `__pa(x) = x & 0x0fffffffffffffff`, for the image too, wherever a relocatable
//! kernel was loaded.

use guestdump_arch::linux::TranslateKernel;
use guestdump_arch::{KernelFacts, LinearMap, LinuxLayout, PhysAddr, VirtAddr};

/// PAGE_OFFSET.
const PAGE_OFFSET: u64 = 0xc000_0000_0000_0000;
/// vmalloc, I/O and vmemmap start at 0xc008000000000000 (linux `book3s/64/radix.h` RADIX_KERN_VIRT_START,
/// `hash-64k.h` H_KERN_VIRT_START), so that no RAM can lie beyond (`MAX_PHYSMEM_BITS` is at most 51). Kernels with a
/// hashed page table and pages of 4 KiB end their map sooner, and their RAM with it (46 bits).
const LINEAR_LEN: u64 = 1 << 51;

/// Kernel facts of ppc64.
#[derive(Debug)]
pub struct Linux;

impl LinuxLayout for Linux {
    fn image_phys(&self, _kernel: &dyn KernelFacts, virt: VirtAddr) -> Option<PhysAddr> {
        virt.0.checked_sub(PAGE_OFFSET).filter(|offset| *offset < LINEAR_LEN).map(PhysAddr)
    }

    /// drgn reads page tables through this map, and finds it only as `p_vaddr`. It is not followed through the tables:
    /// a pseries vCPU does not tell where they are.
    fn linear_map(&self, kernel: &dyn KernelFacts, _translate: &mut TranslateKernel<'_>) -> Option<LinearMap> {
        self.image_phys(kernel, kernel.symbol("_stext")?)?;
        Some(LinearMap { virt: VirtAddr(PAGE_OFFSET), phys: PhysAddr(0), len_bytes: LINEAR_LEN })
    }
}
