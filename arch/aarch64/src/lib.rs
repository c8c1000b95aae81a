//! AArch64: 64-bit Arm guests of either byte order.

pub mod linux;
pub mod notes;
pub mod paging;
pub mod registers;

use guestdump_arch::{
    Arch, ArchError, CAbi, Class, DumpInfo, Endian, GuestFacts, Identity, KernelFacts, LinuxLayout, NoteKind, Paging,
    PhysAddr, RegDef, Vcpu,
};

/// EM_AARCH64.
pub const EM_AARCH64: u16 = 183;

static IDENTITY: Identity = Identity {
    name: "aarch64",
    aliases: &[
        ("arm64", None),
        ("armv8", None),
        ("aarch64_le", Some(Endian::Little)),
        ("aarch64_be", Some(Endian::Big)),
    ],
    elf_machine: EM_AARCH64,
    qemu_targets: &["aarch64"],
    endians: &[Endian::Little, Endian::Big],
    paging_forms: &["4K, 16K and 64K granules", "52-bit LPA (64K)", "52-bit LPA2 (4K, 16K)"],
};

/// The architecture.
#[derive(Debug)]
pub struct AArch64;

/// The one value of [`AArch64`].
pub static ARCH: AArch64 = AArch64;

/// The byte order that the first vCPU's kernel runs in, as QEMU decides it: SCTLR_EL1.EE.
fn endian(facts: &GuestFacts<'_>) -> Endian {
    let sctlr = facts.vcpus.first().and_then(|vcpu| vcpu.registers.get(registers::SCTLR_EL1));
    let said_by_sctlr = sctlr.map(paging::sctlr_endian);
    facts.endian.or(said_by_sctlr).unwrap_or(Endian::Little)
}

/// The kernel's page size; else the machine's rule, where the source has one; else 64 KiB, as in QEMU for every CPU that
/// can run AArch64, whatever the guest's pages.
fn page_size(facts: &GuestFacts<'_>) -> (u32, &'static str) {
    let said_by_kernel = facts.kernel.and_then(|kernel| kernel.page_size()).map(|size| (size, "VMCOREINFO"));
    let said_by_machine = facts.machine_page_size.map(|size| (size, "the machine"));
    said_by_kernel.or(said_by_machine).unwrap_or((65536, "QEMU's rule"))
}

/// `PHYS_OFFSET`, the number that turns an offset in the linear map into a physical address, as QEMU and makedumpfile
/// store it. With a randomised linear map it is "negative" and VMCOREINFO has it as a large hexadecimal number: the same
/// 64 bits are stored. Where the kernel does not say, the start of RAM, as QEMU guesses.
fn phys_base(facts: &GuestFacts<'_>) -> i64 {
    let as_stored = |kernel: &dyn KernelFacts| linux::number(kernel, "PHYS_OFFSET").map(u64::cast_signed);
    let start_of_ram = || facts.ram.first().and_then(|range| i64::try_from(range.start().0).ok());
    facts.kernel.and_then(as_stored).or_else(start_of_ram).unwrap_or(0)
}

impl Arch for AArch64 {
    fn identity(&self) -> &'static Identity {
        &IDENTITY
    }

    fn registers(&self) -> &'static [RegDef] {
        registers::REGISTERS
    }

    fn dump_info(&self, facts: &GuestFacts<'_>) -> Result<DumpInfo, ArchError> {
        let endian = endian(facts);
        let (page_size, page_size_from) = page_size(facts);
        Ok(DumpInfo {
            machine: EM_AARCH64,
            class: Class::Elf64,
            endian,
            abi: CAbi { word: 8, u64_align: 8, endian },
            page_size,
            page_size_from,
            phys_base: phys_base(facts),
            uts_machine: if endian == Endian::Big { "aarch64_be" } else { "aarch64" },
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
}
