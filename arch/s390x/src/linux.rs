//! Linux on s390x: where the image lies, and the pointer to VMCOREINFO in low storage.
//!
//! Up to 6.9 the kernel's addresses are real ones: image and linear map are where they are mapped, KASLR or not. Since 6.10
//! both are mapped apart, and VMCOREINFO says where: linux `arch/s390/kernel/vmcore_info.c` (IDENTITYBASE, KERNELOFFSET,
//! KERNELOFFPHYS, hexadecimal without 0x), `arch/s390/include/asm/page.h` (`__pa`). Where that linear map ends it does not
//! say: addresses outside of the image are for the page tables ([`crate::paging::home`]).

use guestdump_arch::{Endian, KernelFacts, LinuxLayout, MemoryError, PhysAddr, PhysMemory, VirtAddr};

/// `vmcore_info` of `struct lowcore` (linux `arch/s390/include/asm/lowcore.h`, a fixed place for dump tools; in the one at
/// absolute zero, whatever the prefixes): not aligned. Observed: 6.1 of Debian, 0x1ad2000.
const VMCORE_INFO: PhysAddr = PhysAddr(0xe0c);

/// No image is longer: symbols from `_stext` on are in it, modules and vmalloc are farther away.
const IMAGE_MAX: u64 = 1 << 30;

/// Kernel facts of s390x.
#[derive(Debug)]
pub struct Linux;

fn hex(kernel: &dyn KernelFacts, key: &str) -> Option<u64> {
    u64::from_str_radix(kernel.text(key)?.trim(), 16).ok()
}

impl LinuxLayout for Linux {
    fn image_phys(&self, kernel: &dyn KernelFacts, virt: VirtAddr) -> Option<PhysAddr> {
        let start = kernel.symbol("_stext")?;
        virt.0.checked_sub(start.0).filter(|offset| *offset < IMAGE_MAX)?;
        match kernel.text("KERNELOFFPHYS") {
            None => Some(PhysAddr(virt.0)),
            Some(_) => {
                let offset = virt.0.checked_sub(hex(kernel, "KERNELOFFSET")?)?;
                hex(kernel, "KERNELOFFPHYS")?.checked_add(offset).map(PhysAddr)
            }
        }
    }

    fn vmcoreinfo_at(&self, memory: &dyn PhysMemory) -> Result<Option<PhysAddr>, MemoryError> {
        let mut bytes = [0; 8];
        let there = memory.read(VMCORE_INFO, &mut bytes)?;
        let at = Endian::Big.get(&bytes);
        Ok((there && at != 0).then_some(PhysAddr(at)))
    }
}
