//! How long the plan of a dump with virtual addresses takes: 131072 scattered pages of 4 KiB, for which QEMU 10.0.2 needs
//! 35.7 s; and tables of every form that lead to themselves, where it does not end. `cargo bench -p guestdump-core --bench paging`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/hostile.rs"]
mod hostile;

use std::sync::Arc;
use std::time::{Duration, Instant};

use guestdump_core::arch::{self, Endian, PhysAddr, PhysRange, Registers, Vcpu};
use guestdump_core::block::{Backing, Block, BlockKind, BlockMemory, Bytes};
use guestdump_core::format;
use guestdump_core::guest::{Guest, Past};
use guestdump_core::plan::mapped::Wanted;
use guestdump_core::plan::{Plan, PlanOptions};

const ROOT: u64 = 0x1000;

fn guest(ram: Vec<u8>) -> Guest {
    let arch = arch::ALL[0];
    let range = PhysRange::new(PhysAddr(0), ram.len() as u64).unwrap();
    let mut registers = Registers::unknown(arch.registers());
    for (name, value) in [("cr0", 0x8000_0001_u64), ("cr3", ROOT), ("cr4", 0x20), ("efer", 0x500)] {
        registers.set_named(name, &value.to_le_bytes()).unwrap();
    }
    let backed: Vec<(PhysRange, Box<dyn Backing>)> = vec![(range, Box::new(Bytes(ram)))];
    Guest {
        arch,
        endian: Some(Endian::Little),
        machine_page_size: None,
        blocks: vec![Block { range, kind: BlockKind::Ram, name: "ram".to_owned() }],
        memory: Arc::new(BlockMemory::new(backed)),
        vcpus: vec![Vcpu { id: 0, registers }],
        notes: None,
        vmcoreinfo: None,
        banner: None,
        remarks: Vec::new(),
        past: Past::default(),
    }
}

/// Four tables of pages for each 1024 addresses; neighbours in virtual memory are none in physical memory.
fn scattered(pages: u64) -> Vec<u8> {
    let mut ram = vec![0; 4 << 20];
    let mut put = |table: u64, index: u64, to: u64| {
        let at = (table + index * 8) as usize;
        ram[at..at + 8].copy_from_slice(&(to | 3).to_le_bytes());
    };
    put(ROOT, 0, 0x2000);
    put(0x2000, 4, 0x3000);
    for page in 0..pages {
        let table = 0x4000 + page / 512 * 4096;
        put(0x3000, page / 512, table);
        put(table, page % 512, (page * 389 % 1024) << 12);
    }
    ram
}

fn measure(what: &str, guest: &Guest) {
    let format = format::by_name("elf").unwrap();
    let paging = Some(Wanted::default());
    let options = PlanOptions { format, range: None, dump_level: 0, device_memory: false, page_size: None, paging };
    let mut best = Duration::MAX;
    let mut said = String::new();
    for _ in 0..7 {
        let start = Instant::now();
        let plan = Plan::new(guest, &options).unwrap();
        best = best.min(start.elapsed());
        let mapped = plan.mapped.unwrap();
        said = format!("{} mappings, {} entries read", mapped.mappings, mapped.entries_read);
    }
    println!("{what:<28} {:>8.1} ms  {said}", best.as_secs_f64() * 1e3);
}

fn main() {
    measure("131072 scattered pages", &guest(scattered(131_072)));
    hostile::CASES.iter().for_each(|case| measure(case.name, &case.guest()));
}
