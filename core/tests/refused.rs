//! Files that are no dumps of machines: what they are is said. Their first bytes and notes are written down here a second time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

use std::sync::Arc;

use guestdump_core::format::read;

fn refusal(file: &[u8]) -> String {
    read::open(Arc::new(file.to_vec())).unwrap_err().to_string()
}

#[test]
fn kinds_that_are_known() {
    let others: [(&[u8], &str); 8] = [
        (b"sadump\0\0\0\0\0\x01", "a sadump file"),
        (b"\xed\x23\x8f\x61\x73\x01\x19\xa8\x09\0\0\0", "an LKCD dump"),
        (b"\xa8\x19\x01\x73\x61\x8f\x23\xfd\0\0\0\x03", "a stand-alone dump of s390"),
        (b"PAGEDU64\x0f\0\0\0", "a Windows crash dump"),
        (b"QEVM\0\0\0\x03\x01", "a saved state of QEMU"),
        (b"LibvirtQemudSave\x02\0\0\0", "a guest saved by libvirt"),
        (b"\x1f\x8b\x08\0", "a file compressed with gzip"),
        (b"", "an empty file"),
    ];
    for (start, what) in others {
        assert_eq!(refusal(start), format!("it is {what}, which is not read"));
    }
    assert_eq!(refusal(b"Linux"), "not a dump: the file starts with 4c 69 6e 75 78");
}

fn note(name: &[u8], n_type: u32, desc: &[u8]) -> Vec<u8> {
    let words = [name.len() as u32 + 1, desc.len() as u32, n_type].map(u32::to_le_bytes).concat();
    let padded = |bytes: &[u8], len: usize| {
        let mut bytes = bytes.to_vec();
        bytes.resize(len.next_multiple_of(4), 0);
        bytes
    };
    [words, padded(name, name.len() + 1), padded(desc, desc.len())].concat()
}

/// A core of x86_64 with these notes and no memory.
fn core(notes: &[u8]) -> Vec<u8> {
    let ident = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 9], &[4, 0, 62, 0, 1, 0, 0, 0]].concat();
    let words = [0_u64, 64, 0].map(u64::to_le_bytes).concat();
    let halves = [0_u16, 0, 64, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat();
    let load = [
        [4_u32, 0].map(u32::to_le_bytes).concat(),
        [120, 0, 0, notes.len() as u64, 0, 0].map(u64::to_le_bytes).concat(),
    ];
    [ident, words, halves, load.concat(), notes.to_vec()].concat()
}

#[test]
fn cores_of_processes() {
    let mut info = vec![0; 136];
    info[40..56].copy_from_slice(b"qemu-system-x86\0");
    let auxv = note(b"CORE", 6, &[0; 16]);
    let process = [note(b"CORE", 3, &info), note(b"CORE", 1, &[0; 336]), auxv.clone()].concat();
    assert_eq!(refusal(&core(&process)), "it is the core of a process, qemu-system-x86, and not of a machine");
    assert_eq!(refusal(&core(&auxv)), "it is the core of a process, of unknown name, and not of a machine");
    let machine = [process, note(b"VMCOREINFO", 0, b"OSRELEASE=6.1.0\n")].concat();
    assert!(read::open(Arc::new(core(&machine))).is_ok());
}
