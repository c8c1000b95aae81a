//! Seeds from what QEMU wrote and said of real guests: `testdata/captures`.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use guestdump_core::arch;
use guestdump_core::format::read::{self, Dump};

use super::Seed;
use super::input::shrink;
use super::records::flat;

/// What QEMU wrote and said of a real guest.
pub fn capture(name: &str, folder: &Path, seeds: &mut Vec<Seed>) -> io::Result<()> {
    let head = fs::read(folder.join("elf.head"))?;
    seeds.push(("elf_read", name.to_owned(), shrink(&head)));
    seeds.push(("flattened_read", name.to_owned(), shrink(&flat(&[(0, &head[..head.len().min(1500)])]))));
    if ["i386-pae", "s390x", "x86_64"].contains(&name) {
        seeds.push(("qmp_head", name.to_owned(), head.clone()));
    }
    let registers = fs::read(folder.join("registers_-a.txt"))?;
    seeds.push(("qmp_replies", format!("{name}-registers"), registers[..registers.len().min(1200)].to_vec()));
    for reply in ["query-memdev", "query-status"] {
        let reply = fs::read(folder.join(format!("{reply}.json")))?;
        seeds.push(("qmp_replies", format!("{name}-{}", reply.len()), reply));
    }
    if let Ok(Dump { notes, vmcoreinfo, arch: Some(arch), endian, .. }) = read::open(Arc::new(head)) {
        let number = arch::ALL.iter().position(|known| known.identity().name == arch.identity().name).unwrap_or(0);
        let order = arch.identity().endians.iter().position(|known| *known == endian).unwrap_or(0);
        seeds.extend(vmcoreinfo.map(|info| ("vmcoreinfo", name.to_owned(), info.bytes().to_vec())));
        let mut kinds: Vec<(Vec<u8>, u32)> = Vec::new();
        for note in notes.into_iter().filter(|note| note.desc.len() <= 1024) {
            if !kinds.contains(&(note.name.clone(), note.n_type)) {
                kinds.push((note.name.clone(), note.n_type));
                let kind = format!("{name}-{}-{:x}", String::from_utf8_lossy(&note.name), note.n_type);
                seeds.push(("notes", kind, [&[number as u8, order as u8], note.desc.as_slice()].concat()));
            }
        }
    }
    Ok(())
}
