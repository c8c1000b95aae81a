//! i386: 32-bit x86 guests, and what x86-64 shares with them.

pub mod linux;
pub mod notes;
pub mod paging;
pub mod registers;

use guestdump_arch::{
    Arch, ArchError, CAbi, Class, DumpInfo, Endian, GuestFacts, Identity, LinuxLayout, NoteKind, Paging, PhysAddr,
    PhysRange, RegDef, Vcpu,
};

/// EM_386.
pub const EM_386: u16 = 3;

static IDENTITY: Identity = Identity {
    name: "i386",
    aliases: &[("i486", None), ("i586", None), ("i686", None), ("x86", None)],
    elf_machine: EM_386,
    qemu_targets: &["i386"],
    endians: &[Endian::Little],
    paging_forms: &["32-bit (PSE, PSE-36)", "PAE"],
};

/// The last 256 MiB below 4 GiB of a PC: local APICs (Intel SDM volume 3, 11.4.1), the flash from whose end a CPU starts
/// (10.1.4). QEMU 10.0.2 and 7.2 have video RAM at 0xfd000000 (-device VGA) and flash at 0xfffc0000 there, and put both into
/// their dumps.
pub const DEVICE_WINDOW: PhysRange = PhysRange::between(PhysAddr(0xf000_0000), PhysAddr(1 << 32));

/// The architecture.
#[derive(Debug)]
pub struct I386;

/// The one value of [`I386`].
pub static ARCH: I386 = I386;

/// A dump of a vCPU outside of long mode: ELFCLASS32 while its memory ends at 4 GiB or below, else ELFCLASS64 (System V
/// ABI: p_paddr has the width of the class). kdump headers are those of an i386 kernel either way: `long` has four
/// bytes, and a u64 is aligned to four (System V ABI, Intel386 supplement).
///
/// # Errors
/// [`ArchError::ByteOrder`] for a big-endian guest.
pub fn dump_info(arch: &'static str, facts: &GuestFacts<'_>) -> Result<DumpInfo, ArchError> {
    if let Some(endian @ Endian::Big) = facts.endian {
        return Err(ArchError::ByteOrder { arch, endian });
    }
    let beyond = facts.ram.iter().any(|range| range.end().0 > 1 << 32);
    let (page_size, page_size_from) = page_size(facts);
    Ok(DumpInfo {
        machine: EM_386,
        class: if beyond { Class::Elf64 } else { Class::Elf32 },
        endian: Endian::Little,
        abi: CAbi { word: 4, u64_align: 4, endian: Endian::Little },
        page_size,
        page_size_from,
        phys_base: 0,
        uts_machine: "i686",
    })
}

/// 4096, unless the kernel says otherwise.
#[must_use]
pub fn page_size(facts: &GuestFacts<'_>) -> (u32, &'static str) {
    match facts.kernel.and_then(|kernel| kernel.page_size()) {
        Some(size) => (size, "VMCOREINFO"),
        None => (4096, "the architecture"),
    }
}

impl Arch for I386 {
    fn identity(&self) -> &'static Identity {
        &IDENTITY
    }

    fn registers(&self) -> &'static [RegDef] {
        registers::REGISTERS
    }

    fn dump_info(&self, facts: &GuestFacts<'_>) -> Result<DumpInfo, ArchError> {
        dump_info(IDENTITY.name, facts)
    }

    fn notes(&self, _info: &DumpInfo) -> &'static [NoteKind] {
        notes::KINDS
    }

    fn paging(&self, vcpu: &Vcpu) -> Result<Paging, ArchError> {
        paging::outside_long_mode(IDENTITY.name, vcpu)
    }

    fn linux(&self) -> Option<&'static dyn LinuxLayout> {
        Some(&linux::Linux)
    }

    fn device_window(&self) -> Option<PhysRange> {
        Some(DEVICE_WINDOW)
    }
}
