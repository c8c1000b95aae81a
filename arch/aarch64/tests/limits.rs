//! The work of a survey: that of the tables that are there, however they lead to each other.
#![allow(clippy::unwrap_used, reason = "code of tests")]

use guestdump_aarch64::ARCH;
use guestdump_arch::conformance::tables::{Scheme, scattered_pages_cost_their_tables, shared_tables_are_read_once};
use guestdump_arch::conformance::{TestMemory, vcpu};
use guestdump_arch::{Arch, Endian, Paging};

const TTBR0: u64 = 0x1_0000;

/// The low half alone: TG0 and T0SZ, EPD1 set.
fn paging(tcr: u64) -> Paging {
    let tcr = tcr | 1 << 23 | 5 << 32;
    ARCH.paging(&vcpu(&ARCH, 0, &[("sctlr_el1", 1), ("tcr_el1", tcr), ("ttbr0_el1", TTBR0)])).unwrap()
}

const K4: Scheme<'_> = Scheme {
    levels: &[(39, 9), (30, 9), (21, 9), (12, 9)],
    entry_bytes: 8,
    endian: Endian::Little,
    align: 4096,
    table: |_, at| at | 3,
    page: |at| at | 0x703,
    roots: 1,
    before: 0,
    empty: 0,
};

const K16: Scheme<'_> = Scheme { levels: &[(47, 1), (36, 11), (25, 11), (14, 11)], align: 1 << 14, ..K4 };

const K64: Scheme<'_> = Scheme { levels: &[(42, 6), (29, 13), (16, 13)], align: 1 << 16, ..K4 };

/// With 48 bits each.
fn schemes() -> [(Scheme<'static>, Paging); 3] {
    [(K4, paging(16)), (K16, paging(16 | 2 << 14)), (K64, paging(16 | 1 << 14))]
}

#[test]
fn scattered_pages() {
    for (scheme, paging) in schemes() {
        scattered_pages_cost_their_tables(scheme, TTBR0, &paging, TestMemory::default());
    }
}

#[test]
fn shared_tables() {
    for (scheme, paging) in schemes() {
        let tables = [TTBR0, 0x2_0000, 0x3_0000, 0x4_0000];
        shared_tables_are_read_once(scheme, &tables[..scheme.levels.len()], &paging, TestMemory::default());
    }
}

/// A table of which all entries are itself.
#[test]
fn self_pointers() {
    for (scheme, paging) in schemes() {
        let itself = Scheme { page: |_| TTBR0 | 0x703, ..scheme };
        shared_tables_are_read_once(itself, &[TTBR0; 4][..scheme.levels.len()], &paging, TestMemory::default());
    }
}
