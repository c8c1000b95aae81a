//! Linux on riscv64: where the image and the linear map are.
//!
//! linux `arch/riscv/include/asm/page.h`: `__pa` of the image subtracts `kernel_map.va_kernel_pa_offset`, that of the linear
//! map PAGE_OFFSET - `phys_ram_base`; `is_linear_mapping`: the map has at most KERN_VIRT_SIZE bytes, a quarter of the
//! addresses. `arch/riscv/kernel/vmcore_info.c` (before 6.9 crash_core.c) exports PAGE_OFFSET, KERNEL_LINK_ADDR and
//! MODULES_END in hexadecimal, VA_BITS and phys_ram_base in decimal.
//!
//! Up to 6.3 phys_ram_base is where the image was loaded, and the linear map starts there. Since 6.4 (3335068f8721, "riscv:
//! Use PUD/P4D/PGD pages for the linear mapping") it is the start of RAM, and va_kernel_pa_offset, exported to make up for
//! it, says where the image is. First releases of 6.4 have the one without the other: of their image this is wrong.

use guestdump_arch::linux::TranslateKernel;
use guestdump_arch::{KernelFacts, LinearMap, LinuxLayout, PhysAddr, VirtAddr};

/// Kernel facts of riscv64.
#[derive(Debug)]
pub struct Linux;

fn number(kernel: &dyn KernelFacts, name: &str) -> Option<u64> {
    u64::try_from(kernel.number(name)?).ok()
}

/// The image is the last thing there is: modules and BPF code lie below it, with KASLR above KERNEL_LINK_ADDR too.
fn in_image(kernel: &dyn KernelFacts, virt: VirtAddr) -> Option<PhysAddr> {
    let link = number(kernel, "KERNEL_LINK_ADDR")?;
    virt.0.checked_sub(number(kernel, "MODULES_END").unwrap_or(link).max(link))?;
    match number(kernel, "va_kernel_pa_offset") {
        Some(offset) => virt.0.checked_sub(offset),
        // Before there was KASLR.
        None => number(kernel, "phys_ram_base")?.checked_add(virt.0 - link),
    }
    .map(PhysAddr)
}

fn linear(kernel: &dyn KernelFacts) -> Option<LinearMap> {
    let virt = VirtAddr(number(kernel, "PAGE_OFFSET")?);
    let phys = PhysAddr(number(kernel, "phys_ram_base")?);
    // KERN_VIRT_SIZE.
    let len_bits = number(kernel, "VA_BITS").filter(|bits| (39..=57).contains(bits))? - 2;
    Some(LinearMap { virt, phys, len_bytes: 1 << len_bits })
}

impl LinuxLayout for Linux {
    /// Also of an address in the linear map: dumps without satp have no other way to read it.
    fn image_phys(&self, kernel: &dyn KernelFacts, virt: VirtAddr) -> Option<PhysAddr> {
        in_image(kernel, virt).or_else(|| {
            let map = linear(kernel)?;
            let offset = virt.0.checked_sub(map.virt.0).filter(|offset| *offset < map.len_bytes)?;
            map.phys.checked_add(offset)
        })
    }

    /// drgn walks no tables of this architecture. How much of the map is RAM the note does not say: all that it may be.
    fn linear_map(&self, kernel: &dyn KernelFacts, _translate: &mut TranslateKernel<'_>) -> Option<LinearMap> {
        linear(kernel)
    }
}
