//! Linux on arm64: where the image and the linear map are.
//!
//! linux `arch/arm64/include/asm/memory.h`: `__kimg_to_phys(addr) = addr - kimage_voffset`; `__lm_to_phys(addr) = addr -
//! PAGE_OFFSET + PHYS_OFFSET`. `arch/arm64/kernel/crash_core.c` (before 5.8 machine_kexec.c) exports VA_BITS,
//! kimage_voffset and PHYS_OFFSET since 4.12, TCR_EL1_T1SZ since 5.10. Numbers wrap: with a randomised linear map
//! PHYS_OFFSET is below zero.
//!
//! Since 5.4 (14c127c957c1, "arm64: mm: Flip kernel VA space") the linear map is the lower half of the kernel's addresses
//! and the image in the upper; before it was the other way round. The half that the image is in tells which.
//!
//! Readers walk this architecture's tables: no PT_LOAD needs a kernel address.

use guestdump_arch::{KernelFacts, LinuxLayout, PhysAddr, VirtAddr};

/// No image is larger: modules must be within branch distance of it.
const LARGEST_IMAGE: u64 = 256 << 20;
/// The image starts at a multiple of this (`MIN_KIMG_ALIGN`), and `_stext` is not far behind its start.
const IMAGE_ALIGN: u64 = 2 << 20;

/// Kernel facts of arm64.
#[derive(Debug)]
pub struct Linux;

/// A number of VMCOREINFO as 64 bits: large hexadecimal ones are addresses, and what is negative wraps.
pub(crate) fn number(kernel: &dyn KernelFacts, name: &str) -> Option<u64> {
    let number = kernel.number(name)?;
    u64::try_from(number).ok().or_else(|| i64::try_from(number).ok().map(i64::cast_unsigned))
}

/// How a kernel divides its half of the address space.
struct Halves {
    /// `VA_BITS` of its configuration.
    va_bits: u32,
    /// Where its upper half starts: `_PAGE_END(VA_BITS_MIN)`.
    middle: u64,
    /// Whether the linear map is below.
    flipped: bool,
}

impl Halves {
    fn of(kernel: &dyn KernelFacts, stext: VirtAddr) -> Option<Self> {
        let va_bits = number(kernel, "VA_BITS").and_then(|bits| u32::try_from(bits).ok())?;
        if !(36..=52).contains(&va_bits) {
            return None;
        }
        // memory.h, VA_BITS_MIN: a kernel for 52 bits must run on CPUs with less; 16K pages then have three levels.
        let least = if kernel.page_size() == Some(16384) { 47 } else { 48 };
        let middle = (1_u64 << (if va_bits > 48 { least } else { va_bits } - 1)).wrapping_neg();
        Some(Self { va_bits, middle, flipped: stext.0 >= middle })
    }

    /// The offset of an address in the linear map, or `None` if it is not there.
    fn linear_offset(&self, virt: u64) -> Option<u64> {
        let start = if self.flipped { (1_u64 << self.va_bits).wrapping_neg() } else { self.middle };
        let inside = start <= virt && (virt < self.middle || !self.flipped);
        inside.then(|| virt.wrapping_sub(start))
    }
}

/// Bits that kernel addresses have on this CPU: `vabits_actual`.
fn va_bits_of_cpu(kernel: &dyn KernelFacts) -> Option<u64> {
    let t1sz = number(kernel, "TCR_EL1_T1SZ")?;
    64_u64.checked_sub(t1sz)
}

impl LinuxLayout for Linux {
    /// Also of an address in the linear map: dumps without system registers have no other way to read it.
    fn image_phys(&self, kernel: &dyn KernelFacts, virt: VirtAddr) -> Option<PhysAddr> {
        let stext = kernel.symbol("_stext")?;
        let image = (stext.0 & !(IMAGE_ALIGN - 1)).wrapping_sub(IMAGE_ALIGN);
        if virt.0.wrapping_sub(image) < LARGEST_IMAGE {
            return Some(PhysAddr(virt.0.wrapping_sub(number(kernel, "kimage_voffset")?)));
        }
        let halves = Halves::of(kernel, stext)?;
        let phys = halves.linear_offset(virt.0)?.wrapping_add(number(kernel, "PHYS_OFFSET")?);
        // A kernel for 52 bits on a CPU with 48 moves PHYS_OFFSET to make up for it (since 5.11); an older one does not,
        // and gives what no CPU of 48 bits can address.
        let narrow = va_bits_of_cpu(kernel).is_some_and(|bits| bits < 52);
        (phys >> if narrow { 48 } else { 52 } == 0).then_some(PhysAddr(phys))
    }
}
