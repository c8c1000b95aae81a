//! Seeds that our own writers write.

use std::io::Cursor;
use std::sync::Arc;

use guestdump_core::arch::{self, Arch, Class, Endian, PhysAddr, PhysRange, Reg, Registers, Vcpu};
use guestdump_core::block::{Backing, Block, BlockKind, BlockMemory, Bytes, Zeros};
use guestdump_core::format::flattened::{Flattened, HEADER_LEN};
use guestdump_core::format::{self, Format, read};
use guestdump_core::guest::{Guest, Past};
use guestdump_core::plan::Plan;
use guestdump_core::run::{RunOptions, Unobserved, run};
use guestdump_core::sink::Seekable;
use guestdump_core::vmcoreinfo::{Origin, Vmcoreinfo};

use super::Seed;
use super::input::shrink;
use crate::bodies::writing::options;

/// A guest with text, noise, zeros, a gap, a block that is not page aligned, and two vCPUs whose registers differ.
fn tiny(arch: &'static dyn Arch, endian: Endian) -> Guest {
    let text: Vec<u8> = b"guest page ".iter().copied().cycle().take(0x180).collect();
    let mut first = vec![0; 0x1000];
    first.extend_from_slice(&text);
    first.resize(0x2000, 0);
    first.extend((0..0x180_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8));
    let parts: Vec<(u64, u64, Box<dyn Backing>)> = vec![
        (0, 0x2800, Box::new(Bytes(first))),
        (0x8000, 0x2000, Box::new(Zeros)),
        (0xc123, 0x200, Box::new(Bytes(text))),
    ];
    let range = |start, len| PhysRange::new(PhysAddr(start), len).expect("a short range");
    let block = |part: &(u64, u64, Box<dyn Backing>)| Block {
        range: range(part.0, part.1),
        kind: BlockKind::Ram,
        name: "ram".to_owned(),
    };
    let vcpu = |id: u32| {
        let mut registers = Registers::unknown(arch.registers());
        for index in 0..arch.registers().len() as u16 {
            registers.set(Reg(index), u64::from(index) << (8 * id) | 1);
        }
        Vcpu { id, registers }
    };
    let text = b"OSRELEASE=6.1.0-tiny\nPAGESIZE=4096\nNUMBER(phys_base)=-35651584\n".to_vec();
    Guest {
        arch,
        endian: Some(endian),
        machine_page_size: None,
        blocks: parts.iter().map(block).collect(),
        memory: Arc::new(BlockMemory::new(parts.into_iter().map(|part| (range(part.0, part.1), part.2)).collect())),
        vcpus: vec![vcpu(0), vcpu(1)],
        notes: None,
        vmcoreinfo: Some(Vmcoreinfo::new(text, Origin::Given)),
        banner: None,
        remarks: Vec::new(),
        past: Past::default(),
    }
}

fn written(guest: &Guest, format: &'static Format) -> Vec<u8> {
    let plan = Plan::new(guest, &options(format)).expect("a plan");
    let mut out = Vec::new();
    let threads = RunOptions::new(1);
    if format.flattened {
        run(&plan, guest, &mut Flattened::new(&mut out), threads, &Unobserved)
    } else {
        run(&plan, guest, &mut Seekable::new(Cursor::new(&mut out)), threads, &Unobserved)
    }
    .expect("memory takes everything");
    out
}

/// A kdump file whose headers have the 64-bit layout and are little-endian.
pub fn little_endian_64bit_kdump() -> Vec<u8> {
    let format = format::ALL.iter().find(|format| format.container == format::Container::Kdump && !format.flattened);
    let format = format.expect("there is one");
    let little = arch::ALL.iter().filter(|arch| arch.identity().endians.contains(&Endian::Little));
    let mut files = little.map(|arch| written(&tiny(*arch, Endian::Little), format));
    let wanted = |file: &Vec<u8>| read::open(Arc::new(file.clone())).is_ok_and(|dump| dump.class == Class::Elf64);
    files.find(wanted).expect("there is one")
}

/// Dumps of the tiny guest of every architecture and byte order: as ELF, and in some of the other formats each, so that
/// all of them come up.
pub fn own_dumps(seeds: &mut Vec<Seed>) {
    let guests = arch::ALL.iter().flat_map(|arch| arch.identity().endians.iter().map(move |endian| (*arch, endian)));
    for (number, (arch, endian)) in guests.enumerate() {
        for (index, format) in format::ALL.iter().enumerate() {
            if index == 0 || (index + number) % 4 == 0 {
                let dump = written(&tiny(arch, *endian), format);
                let name = format!("{}-{}-{}", arch.identity().name, endian.name(), format.name);
                seeds.push(match (format.flattened, format.container) {
                    (true, _) => ("flattened_read", name, shrink(&dump[HEADER_LEN..])),
                    (false, format::Container::Elf) => ("elf_read", name, shrink(&dump)),
                    (false, format::Container::Kdump) => ("kdump_read", name, shrink(&dump)),
                });
            }
        }
    }
}
