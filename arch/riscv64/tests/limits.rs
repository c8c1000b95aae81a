//! The work of a survey: that of the tables that are there, however they lead to each other.
#![allow(clippy::unwrap_used, reason = "code of tests")]

use guestdump_arch::conformance::tables::{Scheme, scattered_pages_cost_their_tables, shared_tables_are_read_once};
use guestdump_arch::conformance::{TestMemory, vcpu};
use guestdump_arch::{Arch, Endian, Paging};
use guestdump_riscv64::ARCH;

const ROOT: u64 = 0x1000;

fn paging(mode: u64) -> Paging {
    ARCH.paging(&vcpu(&ARCH, 0, &[("satp", mode << 60 | ROOT >> 12)])).unwrap()
}

const SV39: Scheme<'_> = Scheme {
    levels: &[(30, 9), (21, 9), (12, 9)],
    entry_bytes: 8,
    endian: Endian::Little,
    align: 4096,
    table: |_, at| at >> 2 | 1,
    page: |at| at >> 2 | 0xcf,
    // Each canonical half has its part of the table.
    roots: 2,
    before: 0,
    empty: 0,
};

const SV48: Scheme<'_> = Scheme { levels: &[(39, 9), (30, 9), (21, 9), (12, 9)], ..SV39 };

const SV57: Scheme<'_> = Scheme { levels: &[(48, 9), (39, 9), (30, 9), (21, 9), (12, 9)], ..SV39 };

fn schemes() -> [(Scheme<'static>, Paging); 3] {
    [(SV39, paging(8)), (SV48, paging(9)), (SV57, paging(10))]
}

#[test]
fn scattered_pages() {
    for (scheme, paging) in schemes() {
        scattered_pages_cost_their_tables(scheme, ROOT, &paging, TestMemory::default());
    }
}

#[test]
fn shared_tables() {
    for (scheme, paging) in schemes() {
        let tables = [ROOT, 0x2000, 0x3000, 0x4000, 0x5000];
        shared_tables_are_read_once(scheme, &tables[..scheme.levels.len()], &paging, TestMemory::default());
    }
}

/// A root of which all 512 entries are itself; at the last level such an entry is none.
#[test]
fn self_pointers() {
    for (scheme, paging) in schemes() {
        let itself = Scheme { page: |_| ROOT >> 2 | 1, ..scheme };
        shared_tables_are_read_once(itself, &[ROOT; 5][..scheme.levels.len()], &paging, TestMemory::default());
    }
}
