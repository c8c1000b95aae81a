//! riscv64: 64-bit RISC-V guests.
//!
//! What follows "the ISA" below is The RISC-V Instruction Set Manual, Volume II: Privileged Architecture, with the section
//! numbers of version 20211203.

pub mod linux;
pub mod notes;
pub mod paging;
pub mod registers;

use guestdump_arch::{
    Arch, ArchError, CAbi, Class, DumpInfo, Endian, GuestFacts, Identity, LinuxLayout, NoteKind, Paging, RegDef, Space,
    Vcpu,
};

/// EM_RISCV, for 32-bit guests too: these are of ELFCLASS32 and not described here.
pub const EM_RISCV: u16 = 243;

/// mstatus.UBE (the ISA, 3.1.6.4 "Endianness Control in mstatus and mstatush Registers"): data of user mode is big-endian.
const MSTATUS_UBE: u64 = 1 << 6;

static IDENTITY: Identity = Identity {
    name: "riscv64",
    aliases: &[("rv64", None)],
    elf_machine: EM_RISCV,
    qemu_targets: &["riscv64"],
    endians: &[Endian::Little, Endian::Big],
    paging_forms: &["Sv39", "Sv48", "Sv57", "Svnapot"],
};

/// The architecture.
#[derive(Debug)]
pub struct Riscv64;

/// The one value of [`Riscv64`].
pub static ARCH: Riscv64 = Riscv64;

/// The byte order of the first vCPU's user mode decides, as in QEMU, where the source does not know it.
fn endian(facts: &GuestFacts<'_>) -> Endian {
    let mstatus = facts.vcpus.first().and_then(|vcpu| vcpu.registers.get(registers::MSTATUS));
    let said_by_mstatus = mstatus.map(|mstatus| if mstatus & MSTATUS_UBE == 0 { Endian::Little } else { Endian::Big });
    facts.endian.or(said_by_mstatus).unwrap_or(Endian::Little)
}

/// 4096, which is the smallest page of every form of tables and QEMU's rule, unless the kernel says otherwise.
fn page_size(facts: &GuestFacts<'_>) -> (u32, &'static str) {
    match facts.kernel.and_then(|kernel| kernel.page_size()) {
        Some(size) => (size, "VMCOREINFO"),
        None => (4096, "the architecture"),
    }
}

impl Arch for Riscv64 {
    fn identity(&self) -> &'static Identity {
        &IDENTITY
    }

    fn registers(&self) -> &'static [RegDef] {
        registers::REGISTERS
    }

    /// `phys_base` is 0, as QEMU 10.0.2 has it, although RAM starts elsewhere.
    fn dump_info(&self, facts: &GuestFacts<'_>) -> Result<DumpInfo, ArchError> {
        let endian = endian(facts);
        let (page_size, page_size_from) = page_size(facts);
        Ok(DumpInfo {
            machine: EM_RISCV,
            class: Class::Elf64,
            endian,
            abi: CAbi { word: 8, u64_align: 8, endian },
            page_size,
            page_size_from,
            phys_base: 0,
            uts_machine: "riscv64",
        })
    }

    fn notes(&self, _info: &DumpInfo) -> &'static [NoteKind] {
        notes::KINDS
    }

    fn paging(&self, vcpu: &Vcpu) -> Result<Paging, ArchError> {
        paging::paging(IDENTITY.name, vcpu)
    }

    /// A vCPU that is in the firmware for a moment has the kernel's satp all the same.
    fn kernel_paging(&self, vcpu: &Vcpu) -> Result<Paging, ArchError> {
        paging::supervisor(IDENTITY.name, vcpu)
    }

    fn spaces(&self, vcpu: &Vcpu) -> Vec<Space> {
        paging::spaces(IDENTITY.name, vcpu)
    }

    fn linux(&self) -> Option<&'static dyn LinuxLayout> {
        Some(&linux::Linux)
    }
}
