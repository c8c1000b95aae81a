//! A guest as a source hands it over: architecture, memory, vCPUs, notes. Everything right of here works on this.

use std::sync::Arc;

use guestdump_arch::{
    Arch, ArchError, DumpInfo, Endian, GuestFacts, KernelFacts, PhysMemory, PhysRange, Registers, Vcpu,
};

use crate::block::{Block, BlockKind};
use crate::vmcoreinfo::Vmcoreinfo;

/// A note without its framing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Name without its NUL.
    pub name: Vec<u8>,
    /// `n_type`.
    pub n_type: u32,
    /// Descriptor.
    pub desc: Vec<u8>,
}

/// A guest that can be dumped.
#[derive(Debug)]
pub struct Guest {
    /// Its architecture.
    pub arch: &'static dyn Arch,
    /// Its byte order, where the source knows it.
    pub endian: Option<Endian>,
    /// Page size that its machine prescribes for dumps, where the source knows it.
    pub machine_page_size: Option<u32>,
    /// Its memory map: RAM and device memory, sorted and disjoint.
    pub blocks: Vec<Block>,
    /// Its memory.
    pub memory: Arc<dyn PhysMemory>,
    /// Its vCPUs, in order.
    pub vcpus: Vec<Vcpu>,
    /// Notes of the vCPUs that the source hands over as bytes, in file order; they go into the dump as they are. Where
    /// there are none, notes are made from the registers.
    pub notes: Option<Vec<Note>>,
    /// What its kernel says of itself, where that was found.
    pub vmcoreinfo: Option<Vmcoreinfo>,
    /// The kernel's banner, where VMCOREINFO was not found but this was.
    pub banner: Option<String>,
    /// How the source got at all this, for people.
    pub remarks: Vec<String>,
    /// What was done to its memory before, where the source is a dump.
    pub past: Past,
}

/// What an existing dump says of how it was made. A guest that is no dump has none of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Past {
    /// Pages of which kinds it may lack: makedumpfile's levels.
    pub dump_level: u8,
    /// Whether memory was left out of it on purpose ([`guestdump_arch::Presence::Excluded`]).
    pub filtered: bool,
    /// What is damaged or missing, for people.
    pub damage: Vec<String>,
}

impl Guest {
    /// The blocks that a dump holds: RAM, and device memory if asked for.
    pub fn dumped(&self, device_memory: bool) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| device_memory || block.kind == BlockKind::Ram)
    }

    /// The architecture that the dump belongs to: that of the first vCPU's mode, which for a PC may be i386.
    #[must_use]
    pub fn arch_of_dump(&self) -> &'static dyn Arch {
        let info = self.dump_info(&[]).ok();
        info.and_then(|info| crate::arch::by_elf_machine(info.machine)).unwrap_or(self.arch)
    }

    /// What a dump of these ranges must look like.
    ///
    /// # Errors
    /// [`ArchError`] if the source contradicts the architecture.
    pub fn dump_info(&self, ram: &[PhysRange]) -> Result<DumpInfo, ArchError> {
        let kernel = self.vmcoreinfo.as_ref().map(|info| info as &dyn KernelFacts);
        let (endian, machine_page_size) = (self.endian, self.machine_page_size);
        self.arch.dump_info(&GuestFacts { vcpus: &self.vcpus, ram, endian, machine_page_size, kernel })
    }
}

/// vCPUs from the notes of a dump: each NT_PRSTATUS starts a vCPU, and the n-th note of every other kind belongs to the
/// n-th of them. Notes of no known kind say nothing.
#[must_use]
pub fn vcpus_from_notes(arch: &'static dyn Arch, info: &DumpInfo, notes: &[Note]) -> Vec<Vcpu> {
    let mut vcpus: Vec<Vcpu> = Vec::new();
    for kind in arch.notes(info) {
        let same = notes.iter().filter(|note| note.name == kind.name.as_bytes() && note.n_type == kind.n_type);
        for (index, note) in same.enumerate() {
            if kind.n_type == NT_PRSTATUS && kind.name == "CORE" {
                let id = u32::try_from(index).unwrap_or(u32::MAX);
                vcpus.push(Vcpu { id, registers: Registers::unknown(arch.registers()) });
            }
            let Some(vcpu) = vcpus.get_mut(index) else { continue };
            let what = guestdump_arch::LayoutFor::Descriptor(&note.desc, info.endian);
            let Some(layout) = (kind.layout)(what) else { continue };
            if let Some(pid) = layout.decode(&note.desc, &mut vcpu.registers, info.endian) {
                vcpu.id = pid.saturating_sub(1);
            }
        }
    }
    vcpus
}

/// Type of the note that every vCPU has.
pub const NT_PRSTATUS: u32 = 1;
