//! The work of a survey: that of the tables that are there, however they lead to each other.
#![allow(clippy::unwrap_used, reason = "code of tests")]

use guestdump_arch::conformance::tables::{Scheme, scattered_pages_cost_their_tables, shared_tables_are_read_once};
use guestdump_arch::conformance::{TestMemory, vcpu};
use guestdump_arch::{Arch, Endian, Paging};
use guestdump_s390x::ARCH;

const ORIGIN: u64 = 0x1_0000;

/// The home space: a whole region-first table.
fn paging() -> Paging {
    let registers = [("pswm", 0x0400_c001_8000_0000), ("cr0", 0), ("cr13", ORIGIN | 0xf), ("prefix", 0)];
    ARCH.paging(&vcpu(&ARCH, 0, &registers)).unwrap()
}

/// Entries of whole tables: the type of each table, a length of 3.
const DAT: Scheme<'_> = Scheme {
    levels: &[(53, 11), (42, 11), (31, 11), (20, 11), (12, 8)],
    entry_bytes: 8,
    endian: Endian::Big,
    align: 1 << 14,
    table: |level, at| if level == 3 { at } else { at | (3 - level as u64) << 2 | 3 },
    page: |at| at,
    roots: 1,
    before: 0,
    // Zeros would be pages: invalid, at either place of that bit.
    empty: 0x420,
};

#[test]
fn scattered_pages() {
    scattered_pages_cost_their_tables(DAT, ORIGIN, &paging(), TestMemory::default());
}

/// A region-first table of which all entries lead to one region-second table, and so on. A table can not be its own: each
/// entry has the type of its table.
#[test]
fn shared_tables() {
    let tables = [ORIGIN, 0x2_0000, 0x3_0000, 0x4_0000, 0x5_0000];
    shared_tables_are_read_once(DAT, &tables, &paging(), TestMemory::default());
}
