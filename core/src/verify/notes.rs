//! Comparing notes, one by one.

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

type Key = (Vec<u8>, u32);

/// Notes by name and type, in file order, VMCOREINFO among them.
fn by_kind(dump: &Dump) -> Vec<(Key, Vec<&[u8]>)> {
    let mut kinds: Vec<(Key, Vec<&[u8]>)> = Vec::new();
    let notes = dump.notes.iter().map(|note| ((note.name.clone(), note.n_type), note.desc.as_slice()));
    let info = dump.vmcoreinfo.as_ref().map(|info| ((vmcoreinfo::NOTE_NAME.to_vec(), 0), info.bytes()));
    for (key, desc) in notes.chain(info) {
        match kinds.iter_mut().find(|kind| kind.0 == key) {
            Some(kind) => kind.1.push(desc),
            None => kinds.push((key, vec![desc])),
        }
    }
    kinds
}

/// The notes that are not equal: the n-th of a name and type in one dump is compared with the n-th in the other.
#[must_use]
pub fn compare_notes(ours: &Dump, theirs: &Dump) -> Vec<NoteDifference> {
    let (one, other) = (by_kind(ours), by_kind(theirs));
    let mut keys: Vec<&Key> = one.iter().map(|kind| &kind.0).collect();
    keys.extend(other.iter().map(|kind| &kind.0).filter(|key| !one.iter().any(|kind| kind.0 == **key)));
    let of = |kinds: &[(Key, Vec<&'_ [u8]>)], key: &Key| {
        kinds.iter().find(|kind| kind.0 == *key).map_or(0, |kind| kind.1.len())
    };
    let mut out = Vec::new();
    for key in keys {
        let get = |kinds: &'_ [(Key, Vec<&'_ [u8]>)], index: usize| {
            kinds.iter().find(|kind| kind.0 == *key).and_then(|kind| kind.1.get(index)).map(|desc| desc.to_vec())
        };
        for index in 0..of(&one, key).max(of(&other, key)) {
            let (a, b) = (get(&one, index), get(&other, index));
            if a != b {
                let first = a.as_ref().zip(b.as_ref()).map(|(a, b)| parted(a, b));
                let lengths = (a.map(|desc| desc.len()), b.map(|desc| desc.len()));
                let name = String::from_utf8_lossy(&key.0).into_owned();
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
