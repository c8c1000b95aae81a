//! Linux on i386: the linear map starts at PAGE_OFFSET, which VMCOREINFO does not give.
//!
//! The kernel image lies in the linear map (linux `arch/x86/include/asm/page_32.h`: `__pa(x) = x - PAGE_OFFSET`), so
//! that one translation of a kernel address gives PAGE_OFFSET, whatever the split and whatever KASLR did.

use guestdump_arch::linux::TranslateKernel;
use guestdump_arch::{KernelFacts, LinearMap, LinuxLayout, PhysAddr, VirtAddr};

/// Kernel facts of i386.
#[derive(Debug)]
pub struct Linux;

impl LinuxLayout for Linux {
    fn image_phys(&self, _kernel: &dyn KernelFacts, _virt: VirtAddr) -> Option<PhysAddr> {
        None
    }

    /// drgn and gdb do not walk i386 tables: they need the map as `p_vaddr`. It is followed span by span until it ends
    /// (at high memory), so that no address is claimed that the kernel does not map so.
    fn linear_map(&self, kernel: &dyn KernelFacts, translate: &mut TranslateKernel<'_>) -> Option<LinearMap> {
        let text = kernel.symbol("_stext")?;
        let offset = text.0.checked_sub(translate(text)?.phys.0)?;
        let mut end = 0_u64;
        while let Some(span) = translate(VirtAddr(offset.checked_add(end)?)) {
            if span.phys.0 != end {
                break;
            }
            end = end.checked_add(span.len_bytes)?;
            if offset.checked_add(end)? > u64::from(u32::MAX) {
                break;
            }
        }
        (end > 0).then_some(LinearMap { virt: VirtAddr(offset), phys: PhysAddr(0), len_bytes: end })
    }
}
