//! Random registers of every architecture and byte order through a dump and back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use std::io::Cursor;
use std::sync::Arc;

use guestdump_core::arch::{self, Arch, Endian, Reg, Registers, Vcpu};
use guestdump_core::block::{BlockKind, Zeros};
use guestdump_core::format::{self, read};
use guestdump_core::plan::{Plan, PlanOptions};
use guestdump_core::run::{RunOptions, Unobserved, run};
use guestdump_core::sink::Seekable;
use proptest::prelude::*;

/// A vCPU with `noise` in its registers.
fn vcpu(arch: &'static dyn Arch, id: u32, noise: &[u8]) -> Vcpu {
    let mut registers = Registers::unknown(arch.registers());
    for (index, def) in arch.registers().iter().enumerate() {
        let bytes: Vec<u8> = (0..usize::from(def.width)).map(|at| noise[(index * 37 + at) % noise.len()]).collect();
        registers.set_part(Reg(index as u16), 0, &bytes);
    }
    Vcpu { id, registers }
}

/// Notes of a guest, written as `format` and read again.
fn notes_of(arch: &'static dyn Arch, endian: Endian, vcpus: Vec<Vcpu>, format: &str) -> (Vec<u8>, Vec<u8>) {
    let mut guest = common::guest(arch, endian, vec![(0, BlockKind::Ram, 0x2000, Box::new(Zeros))]);
    guest.vcpus = vcpus;
    let format = format::by_name(format).unwrap();
    let options =
        PlanOptions { format, range: None, dump_level: 0, device_memory: false, page_size: None, paging: None };
    let plan = Plan::new(&guest, &options).unwrap();
    let mut out = Vec::new();
    run(&plan, &guest, &mut Seekable::new(Cursor::new(&mut out)), RunOptions::new(1), &Unobserved).unwrap();
    let mut again = read::open(Arc::new(out)).unwrap().into_guest(Some(arch)).unwrap();
    // From the registers that were read, not from the notes as they were.
    again.notes = None;
    let options = PlanOptions { format: format::by_name("elf").unwrap(), ..options };
    (plan.notes.bytes, Plan::new(&again, &options).unwrap().notes.bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn notes_made_from_notes_are_the_same_notes(noise in proptest::collection::vec(any::<u8>(), 300..700)) {
        for arch in arch::ALL {
            for endian in arch.identity().endians {
                for format in ["elf", "kdump-raw-none"] {
                    let vcpus = (0..3).map(|id| vcpu(*arch, id, &noise[id as usize * 13..])).collect();
                    let (written, again) = notes_of(*arch, *endian, vcpus, format);
                    prop_assert!(written == again, "{} {}", arch.identity().name, format);
                }
            }
        }
    }
}

/// A vCPU of which nothing is known still has its NT_PRSTATUS, and nothing is made up beside it.
#[test]
fn nothing_is_made_up_of_unknown_registers() {
    for arch in arch::ALL {
        let unknown = Vcpu { id: 4, registers: Registers::unknown(arch.registers()) };
        let mut guest =
            common::guest(*arch, arch.identity().endians[0], vec![(0, BlockKind::Ram, 0x2000, Box::new(Zeros))]);
        guest.vcpus = vec![unknown];
        guest.vmcoreinfo = None;
        let options = PlanOptions {
            format: format::by_name("elf").unwrap(),
            range: None,
            dump_level: 0,
            device_memory: false,
            page_size: None,
            paging: None,
        };
        let plan = Plan::new(&guest, &options).unwrap();
        let list: Vec<(&str, u32)> = plan.notes.list.iter().map(|note| (note.0.as_str(), note.1)).collect();
        assert_eq!(list, [("CORE", 1)], "{}", arch.identity().name);
    }
}
