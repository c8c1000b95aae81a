//! The contract of an architecture: about six methods, called per vCPU and per note, never per byte.

use core::fmt;

use thiserror::Error;

use crate::abi::{CAbi, Class, Endian};
use crate::addr::{PhysAddr, PhysRange};
use crate::linux::{KernelFacts, LinuxLayout};
use crate::note::NoteKind;
use crate::paging::Paging;
use crate::register::{RegDef, Vcpu};

/// Names under which an architecture is known.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Name, as in `--arch`.
    pub name: &'static str,
    /// Other names that `--arch` takes, each with the byte order that it says, if it says one.
    pub aliases: &'static [(&'static str, Option<Endian>)],
    /// `e_machine` of its dumps.
    pub elf_machine: u16,
    /// What QMP's `query-target` calls it.
    pub qemu_targets: &'static [&'static str],
    /// Byte orders that its guests may have, the usual one first.
    pub endians: &'static [Endian],
    /// Names of the page-table forms that it knows, for the support matrix.
    pub paging_forms: &'static [&'static str],
}

/// What is known about a guest before its dump is planned.
#[derive(Clone, Copy)]
pub struct GuestFacts<'a> {
    /// Its vCPUs, in order.
    pub vcpus: &'a [Vcpu],
    /// The ranges that will be dumped, ascending.
    pub ram: &'a [PhysRange],
    /// Its byte order, where the source knows it.
    pub endian: Option<Endian>,
    /// The machine's rule for the page size of a dump, where the source knows it (pseries: 64 KiB).
    pub machine_page_size: Option<u32>,
    /// What its kernel says.
    pub kernel: Option<&'a dyn KernelFacts>,
}

impl fmt::Debug for GuestFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestFacts({} vCPUs, {} ranges)", self.vcpus.len(), self.ram.len())
    }
}

/// What a dump of this guest must look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DumpInfo {
    /// `e_machine`.
    pub machine: u16,
    /// Class of an ELF file.
    pub class: Class,
    /// Byte order of the dump's headers and notes. Page tables have their own.
    pub endian: Endian,
    /// How the guest kernel's compiler places struct members: the layout of kdump headers.
    pub abi: CAbi,
    /// Page size of a kdump file in bytes: a power of two, the guest kernel's own where it is known.
    pub page_size: u32,
    /// Where that page size comes from, for the reader of a plan.
    pub page_size_from: &'static str,
    /// `phys_base` of the kdump sub-header. May be negative.
    pub phys_base: i64,
    /// What `uname -m` says in such a guest.
    pub uts_machine: &'static str,
}

/// Why a guest cannot be described.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ArchError {
    /// The architecture has no such byte order.
    #[error("{arch} has no {} guests", endian.name())]
    ByteOrder {
        /// Name of the architecture.
        arch: &'static str,
        /// What the source said.
        endian: Endian,
    },
    /// A register that decides is not known.
    #[error("{arch}: register {register} of vCPU {vcpu} is not known, and {needed_for} needs it")]
    RegisterUnknown {
        /// Name of the architecture.
        arch: &'static str,
        /// Which vCPU.
        vcpu: u32,
        /// Which register.
        register: &'static str,
        /// For what.
        needed_for: &'static str,
    },
    /// A vCPU translates in a way that is not known here.
    #[error("{arch}: vCPU {vcpu}: {what}")]
    Unsupported {
        /// Name of the architecture.
        arch: &'static str,
        /// Which vCPU.
        vcpu: u32,
        /// What, with the register and value that say so.
        what: String,
    },
}

/// An address space of a vCPU.
#[derive(Debug)]
pub struct Space {
    /// Name: "current", "home".
    pub name: &'static str,
    /// Whether it is the kernel's alone: a vCPU has others at the same addresses, or none of its own.
    pub kernel: bool,
    /// Its translation, or why it is not known.
    pub paging: Result<Paging, ArchError>,
}

/// One guest architecture, held as `&'static dyn Arch`: the target is chosen at run time.
pub trait Arch: fmt::Debug + Send + Sync + 'static {
    /// Its names.
    fn identity(&self) -> &'static Identity;

    /// Its registers: one list for notes, manifests, walkers and display.
    fn registers(&self) -> &'static [RegDef];

    /// Class, byte order, C ABI, page size of a dump of this guest.
    ///
    /// # Errors
    /// [`ArchError`] if the source contradicts the architecture.
    fn dump_info(&self, facts: &GuestFacts<'_>) -> Result<DumpInfo, ArchError>;

    /// The per-vCPU notes of such a dump, in file order within their group.
    fn notes(&self, info: &DumpInfo) -> &'static [NoteKind];

    /// How a vCPU translates addresses now.
    ///
    /// # Errors
    /// [`ArchError::RegisterUnknown`] if a register that says so is not known: never silently "off".
    fn paging(&self, vcpu: &Vcpu) -> Result<Paging, ArchError>;

    /// How the kernel's own addresses are translated, whatever the vCPU runs now. Only where a vCPU in user mode does not
    /// map the kernel is that another way.
    ///
    /// # Errors
    /// As [`Arch::paging`].
    fn kernel_paging(&self, vcpu: &Vcpu) -> Result<Paging, ArchError> {
        self.paging(vcpu)
    }

    /// How the kernel's own half of the addresses is translated by the table at `root`, with what else the vCPU's registers
    /// say. `None` where the kernel has no half of its own in them, or nobody hides it from a vCPU in user mode (page-table
    /// isolation of Linux).
    fn kernel_tables(&self, vcpu: &Vcpu, root: PhysAddr) -> Option<Paging> {
        let _ = (vcpu, root);
        None
    }

    /// The address spaces that a vCPU's registers designate, the current one first. Only where there are others besides it
    /// (s390x) or it does not count (firmware of riscv64) is this more than [`Arch::paging`].
    fn spaces(&self, vcpu: &Vcpu) -> Vec<Space> {
        vec![Space { name: "current", kernel: false, paging: self.paging(vcpu) }]
    }

    /// What Linux fixes on this architecture.
    fn linux(&self) -> Option<&'static dyn LinuxLayout> {
        None
    }

    /// Addresses of which the platform's machines have firmware and devices only: what a hypervisor's dump has there is no
    /// RAM of the kernel, whatever the dump calls it.
    fn device_window(&self) -> Option<PhysRange> {
        None
    }
}
