//! The work of a survey: that of the tables that are there, however they lead to each other.
#![allow(clippy::unwrap_used, reason = "code of tests")]

use guestdump_arch::conformance::tables::{Scheme, scattered_pages_cost_their_tables, shared_tables_are_read_once};
use guestdump_arch::conformance::{TestMemory, vcpu};
use guestdump_arch::{Arch, Endian, Paging};
use guestdump_i386::ARCH;

fn paging(cr3: u64, cr4: u64) -> Paging {
    ARCH.paging(&vcpu(&ARCH, 0, &[("cr0", 0x8000_0001), ("cr3", cr3), ("cr4", cr4)])).unwrap()
}

const LEGACY: Scheme<'_> = Scheme {
    levels: &[(22, 10), (12, 10)],
    entry_bytes: 4,
    endian: Endian::Little,
    align: 4096,
    table: |_, at| at | 7,
    page: |at| at | 7,
    roots: 1,
    before: 0,
    empty: 0,
};

const PAE: Scheme<'_> = Scheme {
    levels: &[(30, 2), (21, 9), (12, 9)],
    entry_bytes: 8,
    table: |level, at| at | if level == 0 { 1 } else { 7 },
    ..LEGACY
};

#[test]
fn scattered_pages() {
    scattered_pages_cost_their_tables(LEGACY, 0x1000, &paging(0x1000, 0x10), TestMemory::default());
    scattered_pages_cost_their_tables(PAE, 0x1020, &paging(0x1020, 0x20), TestMemory::default());
}

#[test]
fn shared_tables() {
    shared_tables_are_read_once(LEGACY, &[0x1000, 0x2000], &paging(0x1000, 0x10), TestMemory::default());
    shared_tables_are_read_once(PAE, &[0x1020, 0x2000, 0x3000], &paging(0x1020, 0x20), TestMemory::default());
}

/// A page directory of which every entry is itself.
#[test]
fn self_pointers() {
    let itself = Scheme { page: |_| 0x1007, ..LEGACY };
    shared_tables_are_read_once(itself, &[0x1000; 2], &paging(0x1000, 0x10), TestMemory::default());
    let itself = Scheme { page: |_| 0x2007, ..PAE };
    shared_tables_are_read_once(itself, &[0x1020, 0x2000, 0x2000], &paging(0x1020, 0x20), TestMemory::default());
}
