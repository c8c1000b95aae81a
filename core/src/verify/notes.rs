//! Comparing notes, one by one.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::read::Dump;
use crate::vmcoreinfo;

/// How the notes of two dumps differ in one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteDifference {
    /// Name of the note.
    pub name: String,
    /// Its type.
    pub n_type: u32,
    /// Which of the notes with this name and type, from 0.
    pub index: usize,
    /// Length of its descriptor in either dump, in bytes; `None` where a dump has no such note.
    pub lengths: (Option<usize>, Option<usize>),
    /// The first byte of the descriptor that differs, where both have the note.
    pub first: Option<usize>,
}

/// A name and a type.
type Key = (Vec<u8>, u32);

/// Descriptors of a dump by the name and type of their note, in file order, VMCOREINFO among them.
fn by_kind(dump: &Dump) -> BTreeMap<Key, Vec<&[u8]>> {
    let mut kinds: BTreeMap<Key, Vec<&[u8]>> = BTreeMap::new();
    for note in &dump.notes {
        kinds.entry((note.name.clone(), note.n_type)).or_default().push(&note.desc);
    }
    if let Some(info) = &dump.vmcoreinfo {
        kinds.entry((vmcoreinfo::NOTE_NAME.to_vec(), 0)).or_default().push(info.bytes());
    }
    kinds
}

/// The notes that are not equal: the n-th of a name and type in one dump is compared with the n-th in the other.
#[must_use]
pub fn compare_notes(ours: &Dump, theirs: &Dump) -> Vec<NoteDifference> {
    let (one, other) = (by_kind(ours), by_kind(theirs));
    let keys: BTreeSet<&Key> = one.keys().chain(other.keys()).collect();
    let nothing = Vec::new();
    let mut out = Vec::new();
    for key in keys {
        let (ours, theirs) = (one.get(key).unwrap_or(&nothing), other.get(key).unwrap_or(&nothing));
        for index in 0..ours.len().max(theirs.len()) {
            let (a, b) = (ours.get(index).copied(), theirs.get(index).copied());
            if a != b {
                let name = String::from_utf8_lossy(&key.0).into_owned();
                let lengths = (a.map(<[u8]>::len), b.map(<[u8]>::len));
                let first = a.zip(b).map(|(a, b)| parted(a, b));
                out.push(NoteDifference { name, n_type: key.1, index, lengths, first });
            }
        }
    }
    out
}

/// Where two descriptors that are not equal part.
fn parted(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()))
}
