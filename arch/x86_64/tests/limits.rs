//! The work of a survey: that of the tables that are there, however they lead to each other.
#![allow(clippy::unwrap_used, reason = "code of tests")]

use guestdump_arch::conformance::tables::{Scheme, scattered_pages_cost_their_tables, shared_tables_are_read_once};
use guestdump_arch::conformance::{TestMemory, vcpu};
use guestdump_arch::{Arch, Endian, Paging};
use guestdump_x86_64::ARCH;

const CR3: u64 = 0x1000;

fn paging(cr4: u64) -> Paging {
    ARCH.paging(&vcpu(&ARCH, 0, &[("cr0", 0x8000_0001), ("cr3", CR3), ("cr4", cr4), ("efer", 0xd01)])).unwrap()
}

const FOUR_LEVEL: Scheme<'_> = Scheme {
    levels: &[(39, 9), (30, 9), (21, 9), (12, 9)],
    entry_bytes: 8,
    endian: Endian::Little,
    align: 4096,
    table: |_, at| at | 7,
    page: |at| at | 7,
    // Each canonical half has its part of the table.
    roots: 2,
    before: 0,
    empty: 0,
};

const FIVE_LEVEL: Scheme<'_> = Scheme { levels: &[(48, 9), (39, 9), (30, 9), (21, 9), (12, 9)], ..FOUR_LEVEL };

fn schemes() -> [(Scheme<'static>, Paging); 2] {
    [(FOUR_LEVEL, paging(0x20)), (FIVE_LEVEL, paging(0x1020))]
}

#[test]
fn scattered_pages() {
    for (scheme, paging) in schemes() {
        scattered_pages_cost_their_tables(scheme, CR3, &paging, TestMemory::default());
    }
}

#[test]
fn shared_tables() {
    for (scheme, paging) in schemes() {
        let tables = [CR3, 0x2000, 0x3000, 0x4000, 0x5000];
        shared_tables_are_read_once(scheme, &tables[..scheme.levels.len()], &paging, TestMemory::default());
    }
}

/// A root of which all 512 entries are itself.
#[test]
fn self_pointers() {
    for (scheme, paging) in schemes() {
        let itself = Scheme { page: |_| CR3 | 7, ..scheme };
        shared_tables_are_read_once(itself, &[CR3; 5][..scheme.levels.len()], &paging, TestMemory::default());
    }
}
