//! The note area: what the vCPUs' notes and VMCOREINFO are framed as, and where they lie in it.
//!
//! Framing: `n_namesz`, `n_descsz`, `n_type` (four bytes each in either class), then name and descriptor, each padded to
//! four bytes (System V ABI, "Note section"; observed in QEMU's dumps of either class).

use guestdump_arch::{DumpInfo, Endian};

use crate::guest::{Guest, Note};
use crate::vmcoreinfo;

/// The note area of a dump.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NoteArea {
    /// All notes, framed.
    pub bytes: Vec<u8>,
    /// Where VMCOREINFO's descriptor lies in it, and its length.
    pub vmcoreinfo: Option<(usize, usize)>,
    /// Name, type and descriptor length of each note, in order.
    pub list: Vec<(String, u32, usize)>,
}

impl NoteArea {
    /// The notes of a guest: those that its source handed over as they are, or those made from its registers; VMCOREINFO
    /// always last.
    #[must_use]
    pub fn of(guest: &Guest, info: &DumpInfo) -> Self {
        let mut area = Self::default();
        let made;
        let notes = match &guest.notes {
            Some(notes) => notes,
            None => {
                made = from_registers(guest, info);
                &made
            }
        };
        for note in notes {
            area.push(info.endian, &note.name, note.n_type, &note.desc);
        }
        if let Some(info_note) = &guest.vmcoreinfo {
            let at = area.push(info.endian, vmcoreinfo::NOTE_NAME, 0, info_note.bytes());
            area.vmcoreinfo = Some((at, info_note.bytes().len()));
        }
        area
    }

    /// Appends a note and says where its descriptor lies.
    fn push(&mut self, endian: Endian, name: &[u8], n_type: u32, desc: &[u8]) -> usize {
        let words = [name.len() as u64 + 1, desc.len() as u64, u64::from(n_type)];
        for word in words {
            let mut bytes = [0; 4];
            endian.put(word, &mut bytes);
            self.bytes.extend_from_slice(&bytes);
        }
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(desc);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.list.push((String::from_utf8_lossy(name).into_owned(), n_type, desc.len()));
        at
    }
}

/// Group 0 of every vCPU, then group 1 of every vCPU, and so on: QEMU's order.
fn from_registers(guest: &Guest, info: &DumpInfo) -> Vec<Note> {
    let kinds = guest.arch.notes(info);
    let groups = kinds.iter().map(|kind| kind.group).max().map_or(0..=0, |last| 0..=last);
    let mut notes = Vec::new();
    for group in groups {
        for vcpu in &guest.vcpus {
            for kind in kinds.iter().filter(|kind| kind.group == group) {
                let Some(desc) = kind.encode(vcpu.id, &vcpu.registers, info.endian) else { continue };
                notes.push(Note { name: kind.name.as_bytes().to_vec(), n_type: kind.n_type, desc });
            }
        }
    }
    notes
}
