//! ppc64: 64-bit Power guests of either byte order.
//!
//! What follows "the ISA" below is the Power ISA, version 3.0B, where no other is named.

pub mod hashed;
pub mod linux;
pub mod notes;
pub mod paging;
pub mod registers;

use guestdump_arch::{
    Arch, ArchError, CAbi, Class, DumpInfo, Endian, GuestFacts, Identity, LinuxLayout, NoteKind, Paging, RegDef,
    Registers, Space, Vcpu,
};

use registers::{HID0, LPCR, MSR, PVR};

/// EM_PPC64.
pub const EM_PPC64: u16 = 21;

/// "ppc64" alone says nothing of the byte order; where nothing else does, it is big, as the name is for Linux and QEMU.
static IDENTITY: Identity = Identity {
    name: "ppc64",
    aliases: &[
        ("ppc64le", Some(Endian::Little)),
        ("ppc64el", Some(Endian::Little)),
        ("powerpc64le", Some(Endian::Little)),
        ("ppc64be", Some(Endian::Big)),
        ("powerpc64", None),
    ],
    elf_machine: EM_PPC64,
    qemu_targets: &["ppc64"],
    endians: &[Endian::Big, Endian::Little],
    paging_forms: &["radix"],
};

/// The architecture.
#[derive(Debug)]
pub struct Ppc64;

/// The one value of [`Ppc64`].
pub static ARCH: Ppc64 = Ppc64;

/// MSR.LE (the ISA, book III, "Machine State Register"): the byte order that the vCPU runs in now.
const MSR_LE: u64 = 1;
/// MSR.HV: it runs as a hypervisor, whose interrupts HID0 rules and LPCR does not.
pub(crate) const MSR_HV: u64 = 1 << 60;
/// LPCR.ILE (the ISA, book III, "Logical Partitioning Control Register"): byte order of interrupt handlers that are no
/// hypervisor's.
const LPCR_ILE: u64 = 1 << 25;

/// HID0.HILE, the same for a hypervisor, is in another place on POWER8 (version numbers 4b, 4c, 4d in PVR; POWER8
/// User's Manual, HID0) than from POWER9 on (POWER9 User's Manual, HID0).
const fn hid0_hile(pvr: u64) -> u64 {
    match pvr >> 16 {
        0x4b..=0x4d => 1 << 44,
        _ => 1 << 59,
    }
}

/// The byte order in which a vCPU takes interrupts, which is that of its kernel; where the register that says so is not
/// known, the one in which the vCPU runs now.
fn interrupt_endian(registers: &Registers) -> Option<Endian> {
    let is_set = |register, bit| registers.get(register).map(|value| value & bit != 0);
    let by_kind = match is_set(MSR, MSR_HV) {
        Some(true) => registers.get(PVR).and_then(|pvr| is_set(HID0, hid0_hile(pvr))),
        Some(false) | None => is_set(LPCR, LPCR_ILE),
    };
    let little = by_kind.or_else(|| is_set(MSR, MSR_LE))?;
    Some(if little { Endian::Little } else { Endian::Big })
}

/// The kernel's own page size; else the machine's rule; else that of the machine that most guests run on.
fn page_size(facts: &GuestFacts<'_>) -> (u32, &'static str) {
    let known = facts.kernel.and_then(|kernel| kernel.page_size());
    match (known, facts.machine_page_size) {
        (Some(size), _) => (size, "VMCOREINFO"),
        (None, Some(size)) => (size, "the machine"),
        (None, None) => (65536, "QEMU's rule for pseries"),
    }
}

impl Arch for Ppc64 {
    fn identity(&self) -> &'static Identity {
        &IDENTITY
    }

    fn registers(&self) -> &'static [RegDef] {
        registers::REGISTERS
    }

    /// The first vCPU's interrupts decide the byte order, as in QEMU, where the source does not know it.
    fn dump_info(&self, facts: &GuestFacts<'_>) -> Result<DumpInfo, ArchError> {
        let first = facts.vcpus.first().and_then(|vcpu| interrupt_endian(&vcpu.registers));
        let endian = facts.endian.or(first).unwrap_or(Endian::Big);
        let (page_size, page_size_from) = page_size(facts);
        Ok(DumpInfo {
            machine: EM_PPC64,
            class: Class::Elf64,
            endian,
            abi: CAbi { word: 8, u64_align: 8, endian },
            page_size,
            page_size_from,
            phys_base: 0,
            uts_machine: if endian == Endian::Little { "ppc64le" } else { "ppc64" },
        })
    }

    fn notes(&self, _info: &DumpInfo) -> &'static [NoteKind] {
        notes::KINDS
    }

    fn paging(&self, vcpu: &Vcpu) -> Result<Paging, ArchError> {
        paging::paging(IDENTITY.name, vcpu)
    }

    fn kernel_paging(&self, vcpu: &Vcpu) -> Result<Paging, ArchError> {
        paging::kernel(IDENTITY.name, vcpu)
    }

    fn spaces(&self, vcpu: &Vcpu) -> Vec<Space> {
        paging::spaces(IDENTITY.name, vcpu)
    }

    fn linux(&self) -> Option<&'static dyn LinuxLayout> {
        Some(&linux::Linux)
    }
}
