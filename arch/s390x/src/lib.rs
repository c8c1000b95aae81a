//! s390x: z/Architecture guests, always 64-bit and big-endian.

pub mod linux;
pub mod notes;
pub mod paging;
pub mod registers;

use guestdump_arch::{
    Arch, ArchError, CAbi, Class, DumpInfo, Endian, GuestFacts, Identity, LinuxLayout, NoteKind, Paging, RegDef, Space,
    Vcpu,
};

/// EM_S390.
pub const EM_S390: u16 = 22;

static IDENTITY: Identity = Identity {
    name: "s390x",
    aliases: &[("s390", None), ("zarch", None)],
    elf_machine: EM_S390,
    qemu_targets: &["s390x"],
    endians: &[Endian::Big],
    paging_forms: &["segment table", "region-third table", "region-second table", "region-first table"],
};

/// The architecture.
#[derive(Debug)]
pub struct S390x;

/// The one value of [`S390x`].
pub static ARCH: S390x = S390x;

/// 4096, which is all that DAT has, unless the kernel says otherwise.
fn page_size(facts: &GuestFacts<'_>) -> (u32, &'static str) {
    match facts.kernel.and_then(|kernel| kernel.page_size()) {
        Some(size) => (size, "VMCOREINFO"),
        None => (4096, "the architecture"),
    }
}

impl Arch for S390x {
    fn identity(&self) -> &'static Identity {
        &IDENTITY
    }

    fn registers(&self) -> &'static [RegDef] {
        registers::REGISTERS
    }

    /// ELFCLASS64 in big-endian order whatever the vCPUs do: 31-bit code runs in the same machine.
    fn dump_info(&self, facts: &GuestFacts<'_>) -> Result<DumpInfo, ArchError> {
        if let Some(endian @ Endian::Little) = facts.endian {
            return Err(ArchError::ByteOrder { arch: IDENTITY.name, endian });
        }
        let (page_size, page_size_from) = page_size(facts);
        Ok(DumpInfo {
            machine: EM_S390,
            class: Class::Elf64,
            endian: Endian::Big,
            abi: CAbi { word: 8, u64_align: 8, endian: Endian::Big },
            page_size,
            page_size_from,
            phys_base: 0,
            uts_machine: "s390x",
        })
    }

    fn notes(&self, _info: &DumpInfo) -> &'static [NoteKind] {
        notes::KINDS
    }

    fn paging(&self, vcpu: &Vcpu) -> Result<Paging, ArchError> {
        paging::paging(IDENTITY.name, vcpu)
    }

    fn kernel_paging(&self, vcpu: &Vcpu) -> Result<Paging, ArchError> {
        paging::home(IDENTITY.name, vcpu)
    }

    fn spaces(&self, vcpu: &Vcpu) -> Vec<Space> {
        paging::spaces(IDENTITY.name, vcpu)
    }

    fn linux(&self) -> Option<&'static dyn LinuxLayout> {
        Some(&linux::Linux)
    }
}
