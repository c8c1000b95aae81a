//! What Linux on an architecture fixes: where its image and its linear map lie, where it leaves a pointer to
//! VMCOREINFO. Optional: a guest without Linux is dumped all the same.

use core::fmt;

use crate::addr::{PhysAddr, VirtAddr};
use crate::memory::{MemoryError, PhysMemory};
use crate::register::Reg;

/// What VMCOREINFO says, as far as an architecture asks. Core implements it.
pub trait KernelFacts {
    /// The text behind `key=`.
    fn text(&self, key: &str) -> Option<&str>;

    /// `NUMBER(name)`: decimal with a sign, or hexadecimal with 0x; both occur in the same note.
    fn number(&self, name: &str) -> Option<i128>;

    /// `SYMBOL(name)`: the address of a kernel symbol, relocated.
    fn symbol(&self, name: &str) -> Option<VirtAddr>;

    /// `PAGESIZE`, in bytes.
    fn page_size(&self) -> Option<u32>;
}

/// A range of kernel-virtual addresses that maps physical memory in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinearMap {
    /// First virtual address.
    pub virt: VirtAddr,
    /// What it maps to.
    pub phys: PhysAddr,
    /// Length in bytes.
    pub len_bytes: u64,
}

/// Translates a kernel-virtual address through a vCPU's tables: what the addresses from it to the end of its span map to.
pub type TranslateKernel<'a> = dyn FnMut(VirtAddr) -> Option<LinearMap> + 'a;

/// Kernel facts of one architecture.
pub trait LinuxLayout: fmt::Debug + Send + Sync {
    /// Where an address inside the kernel image is, by arithmetic alone. `None` if the note does not say.
    fn image_phys(&self, kernel: &dyn KernelFacts, virt: VirtAddr) -> Option<PhysAddr>;

    /// The part of the kernel's linear map that readers must find as `p_vaddr` because they cannot walk this
    /// architecture's tables. `None` where they need none.
    fn linear_map(&self, kernel: &dyn KernelFacts, translate: &mut TranslateKernel<'_>) -> Option<LinearMap> {
        let _ = (kernel, translate);
        None
    }

    /// What those registers hold that translate the kernel's own addresses, as far as VMCOREINFO tells: for dumps whose notes
    /// lack them, such as those that a kernel saves of itself. `None` if it does not say where the kernel's tables are.
    fn registers(&self, kernel: &dyn KernelFacts) -> Option<Vec<(Reg, u64)>> {
        let _ = kernel;
        None
    }

    /// Where the kernel says its VMCOREINFO note is, if this architecture has a fixed place for that (s390x lowcore).
    ///
    /// # Errors
    /// [`MemoryError`] if that place is RAM and cannot be read.
    fn vmcoreinfo_at(&self, memory: &dyn PhysMemory) -> Result<Option<PhysAddr>, MemoryError> {
        let _ = memory;
        Ok(None)
    }
}
