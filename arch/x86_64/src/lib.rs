//! x86-64: PC guests, whose vCPUs may also be in a 32-bit mode.

pub mod linux;
pub mod notes;
pub mod paging;
pub mod registers;

use guestdump_arch::{
    Arch, ArchError, CAbi, Class, DumpInfo, Endian, GuestFacts, Identity, LinuxLayout, NoteKind, Paging, PhysAddr,
    PhysRange, RegDef, Vcpu,
};

/// EM_X86_64.
pub const EM_X86_64: u16 = 62;

static IDENTITY: Identity = Identity {
    name: "x86_64",
    aliases: &[("amd64", None), ("x86-64", None), ("x64", None)],
    elf_machine: EM_X86_64,
    qemu_targets: &["x86_64"],
    endians: &[Endian::Little],
    paging_forms: &["32-bit (PSE, PSE-36)", "PAE", "4-level", "5-level"],
};

/// The architecture.
#[derive(Debug)]
pub struct X86_64;

/// The one value of [`X86_64`].
pub static ARCH: X86_64 = X86_64;

impl Arch for X86_64 {
    fn identity(&self) -> &'static Identity {
        &IDENTITY
    }

    fn registers(&self) -> &'static [RegDef] {
        registers::REGISTERS
    }

    /// The first vCPU's mode decides, as in QEMU: outside of long mode the dump is an i386 one. A guest whose mode is
    /// not known is taken as 64-bit.
    fn dump_info(&self, facts: &GuestFacts<'_>) -> Result<DumpInfo, ArchError> {
        let first = facts.vcpus.first().and_then(|vcpu| notes::long_mode(&vcpu.registers));
        let as_32_bit = guestdump_i386::dump_info(IDENTITY.name, facts)?;
        if first == Some(false) {
            return Ok(as_32_bit);
        }
        let phys_base = facts.kernel.and_then(|kernel| kernel.number("phys_base"));
        Ok(DumpInfo {
            machine: EM_X86_64,
            class: Class::Elf64,
            abi: CAbi { word: 8, u64_align: 8, endian: Endian::Little },
            phys_base: phys_base.and_then(|base| i64::try_from(base).ok()).unwrap_or(0),
            uts_machine: "x86_64",
            ..as_32_bit
        })
    }

    fn notes(&self, _info: &DumpInfo) -> &'static [NoteKind] {
        notes::KINDS
    }

    fn paging(&self, vcpu: &Vcpu) -> Result<Paging, ArchError> {
        paging::paging(IDENTITY.name, vcpu)
    }

    fn kernel_tables(&self, vcpu: &Vcpu, root: PhysAddr) -> Option<Paging> {
        paging::kernel_tables(IDENTITY.name, vcpu, root)
    }

    fn linux(&self) -> Option<&'static dyn LinuxLayout> {
        Some(&linux::Linux)
    }

    fn device_window(&self) -> Option<PhysRange> {
        Some(guestdump_i386::DEVICE_WINDOW)
    }
}
