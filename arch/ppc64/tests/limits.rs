//! The work of a survey: that of the tables that are there, however they lead to each other.
#![allow(clippy::unwrap_used, reason = "code of tests")]

mod common;

use common::vcpu;
use guestdump_arch::conformance::TestMemory;
use guestdump_arch::conformance::tables::{
    Scheme, Told, scattered_pages_cost_their_tables, shared_tables_are_read_once,
};
use guestdump_arch::paging::mappings::Limits;
use guestdump_arch::paging::survey::Survey;
use guestdump_arch::{Arch, Endian, Paging};
use guestdump_ppc64::ARCH;

const PROCESS_TABLE: u64 = 0x1_0000;
const ROOT: u64 = 0x10_0000;

/// Process 1 has a tree, process 0 none.
fn paging() -> (Paging, TestMemory) {
    let registers = [("msr", 0x8000_0000_0000_1033), ("prtbl", PROCESS_TABLE), ("pidr", 1)];
    let mut memory = TestMemory::default();
    memory.put_int(PROCESS_TABLE + 16, 8, Endian::Big, 0x4000_0000_0000_00a0 | ROOT | 13);
    (ARCH.paging(&vcpu(&registers)).unwrap(), memory)
}

/// Linux with pages of 4 KiB.
const RADIX: Scheme<'_> = Scheme {
    levels: &[(39, 13), (30, 9), (21, 9), (12, 9)],
    entry_bytes: 8,
    endian: Endian::Big,
    align: 4096,
    table: |_, at| 0x8000_0000_0000_0009 | at,
    page: |at| 0xc000_0000_0000_0187 | at,
    roots: 1,
    // One of the process table for each quadrant.
    before: 2,
    empty: 0,
};

#[test]
fn scattered_pages() {
    let (paging, memory) = paging();
    scattered_pages_cost_their_tables(RADIX, ROOT, &paging, memory);
}

#[test]
fn shared_tables() {
    let (paging, memory) = paging();
    shared_tables_are_read_once(RADIX, &[ROOT, 0x20_0000, 0x30_0000, 0x40_0000], &paging, memory);
}

/// A directory of which all entries are itself, with 9 index bits each. At the last level none is left.
#[test]
fn self_pointers() {
    const ITSELF: u64 = 0x20_0000;
    let (paging, memory) = paging();
    let itself = Scheme { page: |_| 0x8000_0000_0000_0009 | ITSELF, ..RADIX };
    shared_tables_are_read_once(itself, &[ROOT, ITSELF, ITSELF, ITSELF], &paging, memory);
}

/// The same where each entry says another number of index bits: one directory is many, but not more than there are
/// pairs of first and last address bits at each of eight levels.
#[test]
fn self_pointers_of_all_sizes() {
    let (paging, mut memory) = paging();
    for index in 0..8192 {
        memory.put_int(ROOT + index * 8, 8, Endian::Big, 1 << 63 | ROOT | (5 + index % 27));
    }
    let mut survey = Survey::new(Limits::default());
    survey.visit(&paging, &memory, &mut Told::default()).unwrap();
    eprintln!("{} entries, {} tables", survey.entries_read(), survey.tables_held());
    assert!(survey.tables_held() < 8 * 28 * 28 / 2, "{}", survey.tables_held());
}
