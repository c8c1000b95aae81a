//! Seeds of ELF files put together from fields, among them some that readers or plans once fell over.

use guestdump_core::arch::Endian;

use super::Seed;
use super::input::{Input, shrink};
use crate::bodies::elf;

/// All of them.
pub fn all(seeds: &mut Vec<Seed>) {
    layouts(seeds);
    two_vmcoreinfos(seeds);
    overlapping_notes(seeds);
    end_of_memory(seeds);
}

/// Files of every class and byte order: notes, a block that is stored, one that is a hole.
fn layouts(seeds: &mut Vec<Seed>) {
    for number in 0..8 {
        let mut input = Input::default();
        input.u8(number & 1).u8(number >> 1 & 1).u8(number).u8(number >> 2).u8(3);
        input.u8(0b010).u16(0).u16(0).u16(32);
        input.u8(0).u16(32).u16(0x10).u16(300);
        input.u8(0b100_1000).u16(332).scaled(0x8000_0000).u16(0).scaled(0x4000);
        let mut note = [0; 12];
        let endian = if number & 2 == 0 { Endian::Little } else { Endian::Big };
        for (word, value) in note.chunks_mut(4).zip([5, 12, 0]) {
            endian.put(value, word);
        }
        input.bytes(&note).bytes(b"CORE\0\0\0\0A=1\nB=2\nC=3\n").bytes(&[b'm'; 300]);
        seeds.push(("elf_fields", format!("layout-{number}"), input.0));
    }
    // Two halves of the address space, neither of which is in the file.
    let mut input = Input::default();
    input.u8(0).u8(0).u8(0).u8(0).u8(2);
    for start in [0, 1 << 63] {
        input.u8(0b101_1000).u16(0).scaled(start).scaled(0xffff << 48).scaled(0x7fff << 48);
    }
    seeds.push(("elf_fields", "halves".to_owned(), input.0));
    let mut input = Input::default();
    input.u8(0).u8(0).u8(0).u8(0).u8(1).u8(0b111_0000).u16(0).u16(0).scaled(0).u64(u64::MAX);
    seeds.push(("elf_fields", "everything".to_owned(), input.0.clone()));
    seeds.push(("elf_fields", "everything-odd".to_owned(), input.u8(0).0.clone()));
}

/// Two notes of one name that should be there once.
fn two_vmcoreinfos(seeds: &mut Vec<Seed>) {
    for spare in 0..2 {
        let mut input = Input::default();
        input.u8(0).u8(0).u8(0).u8(0).u8(2);
        input.u8(0b010).u16(0).u16(0).u16(56).u8(0).u16(0).u16(0x10).u16(56);
        for text in [b"A=1\n", b"B=2\n"] {
            for word in [11_u32, 4, 0] {
                input.bytes(&word.to_le_bytes());
            }
            input.bytes(b"VMCOREINFO\0\0").bytes(text);
        }
        input.bytes(&vec![0; spare]);
        seeds.push(("elf_fields", format!("two-vmcoreinfos-{spare}"), input.0));
    }
}

/// Many program headers that all say: these are the notes, forty thousand empty ones.
fn overlapping_notes(seeds: &mut Vec<Seed>) {
    let (count, len) = (150_u64, 500_000);
    let mut file = elf::build(&[0; 5]);
    file[56..58].copy_from_slice(&(count as u16).to_le_bytes());
    for _ in 0..count {
        file.extend_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0]);
        for word in [64 + 56 * count, 0, 0, len, len, 0] {
            file.extend_from_slice(&word.to_le_bytes());
        }
    }
    file.resize(file.len() + len as usize, 0);
    seeds.push(("elf_read", "overlapping-notes".to_owned(), shrink(&file)));
}

/// Blocks up to the end of all addresses, and so many notes that offsets in a file would pass it.
fn end_of_memory(seeds: &mut Vec<Seed>) {
    for spare in 0..2 {
        let mut file = elf::build(&[0; 5]);
        file[56..58].copy_from_slice(&3_u16.to_le_bytes());
        let notes = 0x5000 + spare;
        for (kind, offset, phys, file_len, mem_len) in [
            (4, 64 + 3 * 56, 0, notes, notes),
            (1, 0, 0, 0, 0_u64.wrapping_sub(0x3000)),
            (1, 0, 0_u64.wrapping_sub(0x2000), 0, 0x1fff),
        ] {
            file.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
            for word in [offset, phys, phys, file_len, mem_len, 0] {
                file.extend_from_slice(&word.to_le_bytes());
            }
        }
        file.resize(file.len() + notes as usize, 0);
        seeds.push(("elf_read", format!("crash-end-of-memory-{spare}"), shrink(&file)));
    }
}
