//! A guest as a source hands it over: architecture, memory, vCPUs, notes. Everything right of here works on this.

use std::sync::Arc;

use guestdump_arch::{
    Arch, ArchError, DumpInfo, Endian, GuestFacts, KernelFacts, LayoutFor, NoteKind, PhysMemory, PhysRange, Registers,
    Vcpu,
};

use crate::block::{Block, BlockKind};
use crate::vmcoreinfo::{self, Vmcoreinfo};

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

impl Note {
    fn is(&self, name: &str, n_type: u32) -> bool {
        self.name == name.as_bytes() && self.n_type == n_type
    }
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
    /// there are none, notes are made from the registers. A source that knows more registers than its notes say has
    /// completed them ([`complete_notes`]).
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
/// n-th of them; of a kind that not every vCPU has (SVE registers of vCPUs that differ), to that of the NT_PRSTATUS before it.
/// Notes of no known kind say nothing.
///
/// A hypervisor numbers them in `pr_pid`, from 1 (QEMU). Where that is no such list the order counts: cloud-hypervisor
/// starts at 0, and a kernel that saved itself gives the task that each CPU ran.
#[must_use]
pub fn vcpus_from_notes(arch: &'static dyn Arch, info: &DumpInfo, notes: &[Note]) -> Vec<Vcpu> {
    let mut vcpus: Vec<Vcpu> = Vec::new();
    let mut pids: Vec<u32> = Vec::new();
    for kind in arch.notes(info) {
        for (note, index) in notes.iter().zip(owners(kind, notes)).filter_map(|(note, owner)| Some((note, owner?))) {
            if (kind.name, kind.n_type) == PRSTATUS {
                let id = u32::try_from(index).unwrap_or(u32::MAX);
                vcpus.push(Vcpu { id, registers: Registers::unknown(arch.registers()) });
            }
            let Some(vcpu) = vcpus.get_mut(index) else { continue };
            let what = LayoutFor::Descriptor(&note.desc, info.endian);
            let Some(layout) = (kind.layout)(what) else { continue };
            pids.extend(layout.decode(&note.desc, &mut vcpu.registers, info.endian));
        }
    }
    if pids.len() == vcpus.len() && are_numbers(&pids) {
        vcpus.iter_mut().zip(pids).for_each(|(vcpu, pid)| vcpu.id = pid - 1);
    }
    vcpus
}

/// For each note, the number of the vCPU that it belongs to, if it is of this kind.
fn owners(kind: &NoteKind, notes: &[Note]) -> Vec<Option<usize>> {
    let is_own = |note: &Note| note.is(kind.name, kind.n_type);
    let is_start = |note: &Note| note.is(PRSTATUS.0, PRSTATUS.1);
    let count = |is: &dyn Fn(&Note) -> bool| notes.iter().filter(|note| is(note)).count();
    let one_each = kind.group != 0 || count(&is_own) == count(&is_start);
    let (mut starts, mut own) = (0_usize, 0_usize);
    let owner = |note: &Note| {
        starts += usize::from(is_start(note));
        own += usize::from(is_own(note));
        is_own(note).then_some(if one_each { own } else { starts })?.checked_sub(1)
    };
    notes.iter().map(owner).collect()
}

/// Whether these can number vCPUs from 1. Their order is free: QEMU lists CPUs as they were plugged.
fn are_numbers(pids: &[u32]) -> bool {
    let mut sorted = pids.to_vec();
    sorted.sort_unstable();
    sorted.first() != Some(&0) && sorted.windows(2).all(|pair| pair.first() != pair.last())
}

/// What [`complete_notes`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Completed {
    /// Fields of all notes together that were zero and are not any more.
    pub fields: usize,
    /// Name and type of the notes that each vCPU got.
    pub added: Vec<(&'static str, u32)>,
}

/// Completes notes that a source hands over with what it knows of the same vCPUs' registers besides: fields that are
/// zero are filled, and notes of kinds that none has are added. Nothing else changes.
///
/// Notes belong to vCPUs as in [`vcpus_from_notes`]: a kind is added only if every vCPU has that note. It lies behind
/// the other notes of its vCPU, for readers take a note for that of the NT_PRSTATUS before it. Kinds that lie apart from
/// their vCPUs ([`NoteKind::group`]) are not added.
pub fn complete_notes(arch: &'static dyn Arch, info: &DumpInfo, notes: &mut Vec<Note>, vcpus: &[Vcpu]) -> Completed {
    let mut done = Completed::default();
    let mut added: Vec<Vec<Note>> = vec![Vec::new(); vcpus.len()];
    for kind in arch.notes(info) {
        if notes.iter().any(|note| note.is(kind.name, kind.n_type)) {
            let owners = owners(kind, notes);
            for (note, owner) in notes.iter_mut().zip(owners) {
                done.fields += owner.and_then(|at| vcpus.get(at)).map_or(0, |vcpu| fill(kind, info, note, vcpu));
            }
        } else if kind.group == 0
            && let Some(of_all) = made(kind, info, vcpus)
        {
            done.added.push((kind.name, kind.n_type));
            added.iter_mut().zip(of_all).for_each(|(to, note)| to.push(note));
        }
    }
    // From the last one on: places before it stay where they are.
    for (end, of_vcpu) in ends(arch.notes(info), notes).into_iter().zip(added).rev() {
        notes.splice(end..end, of_vcpu);
    }
    done
}

/// Fills what is zero in a note of this kind; the number of fields.
fn fill(kind: &NoteKind, info: &DumpInfo, note: &mut Note, vcpu: &Vcpu) -> usize {
    let layout = (kind.layout)(LayoutFor::Descriptor(&note.desc, info.endian));
    layout.map_or(0, |layout| layout.fill(&mut note.desc, &vcpu.registers, info.endian))
}

/// The note of this kind of each vCPU, unless one has none.
fn made(kind: &NoteKind, info: &DumpInfo, vcpus: &[Vcpu]) -> Option<Vec<Note>> {
    let of_one = |vcpu: &Vcpu| {
        let desc = kind.encode(vcpu.id, &vcpu.registers, info.endian)?;
        Some(Note { name: kind.name.as_bytes().to_vec(), n_type: kind.n_type, desc })
    };
    vcpus.iter().map(of_one).collect()
}

/// Where the notes of each vCPU end: before the next NT_PRSTATUS, VMCOREINFO, or notes of a group of their own.
fn ends(kinds: &[NoteKind], notes: &[Note]) -> Vec<usize> {
    let is_apart = |note: &Note| {
        note.name == vmcoreinfo::NOTE_NAME
            || kinds.iter().any(|kind| kind.group != 0 && note.is(kind.name, kind.n_type))
    };
    let (mut ends, mut within) = (Vec::new(), false);
    for (note, end) in notes.iter().zip(1..) {
        if note.is(PRSTATUS.0, PRSTATUS.1) {
            within = true;
            ends.push(end);
            continue;
        }
        within &= !is_apart(note);
        if let Some(last) = ends.last_mut().filter(|_| within) {
            *last = end;
        }
    }
    ends
}

/// Type of the note that every vCPU has.
pub const NT_PRSTATUS: u32 = 1;
const PRSTATUS: (&str, u32) = ("CORE", NT_PRSTATUS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;

    /// Every architecture, what its dumps look like, and two vCPUs of which all registers are known.
    fn known() -> Vec<(&'static dyn Arch, DumpInfo, [Vcpu; 2])> {
        let of = |arch: &'static dyn Arch| {
            let orders = [None, Some(Endian::Little), Some(Endian::Big)];
            let facts = |endian| GuestFacts { vcpus: &[], ram: &[], endian, machine_page_size: None, kernel: None };
            let info = orders.into_iter().find_map(|endian| arch.dump_info(&facts(endian)).ok()).unwrap();
            let vcpu = |id: u32| {
                let mut registers = Registers::unknown(arch.registers());
                for (number, def) in (1_u64..).zip(arch.registers()) {
                    let value = (number * 2 + u64::from(id)) << 16 | 16;
                    registers.set(registers.find(def.name).unwrap(), value);
                }
                Vcpu { id, registers }
            };
            (arch, info, [vcpu(0), vcpu(1)])
        };
        arch::ALL.iter().map(|arch| of(*arch)).collect()
    }

    fn note(name: &str, n_type: u32, desc: Vec<u8>) -> Note {
        Note { name: name.as_bytes().to_vec(), n_type, desc }
    }

    /// The notes of a vCPU in one group.
    fn of(vcpu: &Vcpu, arch: &dyn Arch, info: &DumpInfo, group: u8) -> Vec<Note> {
        let kinds = arch.notes(info).iter().filter(|kind| kind.group == group);
        let desc = |kind: &NoteKind| kind.encode(vcpu.id, &vcpu.registers, info.endian);
        kinds.filter_map(|kind| Some(note(kind.name, kind.n_type, desc(kind)?))).collect()
    }

    #[test]
    fn notes_are_added_behind_their_vcpu_and_before_what_lies_apart() {
        for (arch, info, vcpus) in known() {
            let apart: Vec<Note> = vcpus.iter().flat_map(|vcpu| of(vcpu, arch, &info, 1)).collect();
            let stranger = note("OTHER", 7, vec![1]);
            let last = note("VMCOREINFO", 0, b"OSRELEASE=6.1".to_vec());
            let (mut notes, mut expected) = (Vec::new(), Vec::new());
            for vcpu in &vcpus {
                let [prstatus, rest @ ..] = &of(vcpu, arch, &info, 0)[..] else { panic!("{info:?}") };
                notes.extend([prstatus.clone(), stranger.clone()]);
                expected.extend([prstatus.clone(), stranger.clone()]);
                expected.extend_from_slice(rest);
            }
            for list in [&mut notes, &mut expected] {
                list.extend(apart.iter().cloned().chain([last.clone()]));
            }
            let done = complete_notes(arch, &info, &mut notes, &vcpus);
            assert_eq!(notes, expected);
            assert_eq!((done.fields, done.added.len() * 2), (0, expected.len() - 5 - apart.len()));
            // What is complete stays as it is.
            assert_eq!(complete_notes(arch, &info, &mut notes, &vcpus), Completed::default());
            assert_eq!(notes, expected);
        }
    }

    #[test]
    fn vcpus_have_the_numbers_of_a_hypervisor_or_those_of_their_order() {
        for (arch, info, vcpus) in known() {
            for (pids, ids) in
                [([1, 3], [0, 2]), ([3, 2], [2, 1]), ([0, 1], [0, 1]), ([7, 7], [0, 1]), ([0, 0], [0, 1])]
            {
                let notes: Vec<Note> = vcpus
                    .iter()
                    .zip(pids)
                    .map(|(vcpu, pid)| {
                        let vcpu = Vcpu { id: u32::wrapping_sub(pid, 1), registers: vcpu.registers.clone() };
                        of(&vcpu, arch, &info, 0).swap_remove(0)
                    })
                    .collect();
                let found: Vec<u32> = vcpus_from_notes(arch, &info, &notes).iter().map(|vcpu| vcpu.id).collect();
                assert_eq!(found, ids, "{pids:?} of {}", arch.identity().name);
            }
        }
    }

    #[test]
    fn fields_that_are_zero_are_filled_and_others_stay() {
        for (arch, info, vcpus) in known() {
            let whole: Vec<Note> = vcpus.iter().flat_map(|vcpu| of(vcpu, arch, &info, 0)).collect();
            let mut notes = whole.clone();
            let of_first = notes.len() / 2;
            // The pc and its neighbours of vCPU 1 as another writer left them: zero.
            let desc = &mut notes[of_first].desc;
            let from = desc.len() / 2 / 8 * 8;
            desc[from..from + 16].fill(0);
            // What is not zero is the writer's word.
            notes[0].desc[from..from + 16].fill(0xee);
            let mut expected = whole;
            expected[0].desc[from..from + 16].fill(0xee);
            let done = complete_notes(arch, &info, &mut notes, &vcpus);
            assert_eq!(notes, expected);
            assert!(done.fields >= 2 && done.added.is_empty(), "{done:?}");
        }
    }

    #[test]
    fn a_kind_that_one_vcpu_lacks_is_not_added() {
        for (arch, info, mut vcpus) in known() {
            let prstatus = |vcpu: &Vcpu| of(vcpu, arch, &info, 0).swap_remove(0);
            let mut notes: Vec<Note> = vcpus.iter().map(prstatus).collect();
            let before = notes.clone();
            vcpus[0].registers = Registers::unknown(arch.registers());
            let done = complete_notes(arch, &info, &mut notes, &vcpus);
            assert_eq!((done, notes), (Completed::default(), before));
        }
    }
}
