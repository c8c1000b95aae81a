//! Page tables of i386: fixtures, a naive walker, libkdumpfile.

mod common;

use common::tables::Scheme;
use common::{oracle, walks};
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::{check_walks, describe, vcpu};
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::{Arch, Endian, Extent, MemoryError, PhysAddr, PhysMemory, Presence, VirtAddr};
use guestdump_i386::ARCH;

#[test]
fn fixture_of_32_bit_paging() {
    check_walks(&ARCH, &read("paging/x86_32.txt"));
}

#[test]
fn fixture_of_pae() {
    check_walks(&ARCH, &read("paging/x86_pae.txt"));
}

#[test]
fn random_32_bit_tables_agree_with_the_naive_walker() {
    walks::random_tables_agree(&ARCH, Scheme::Legacy, 300, 60);
}

#[test]
fn random_pae_tables_agree_with_the_naive_walker() {
    walks::random_tables_agree(&ARCH, Scheme::Pae, 300, 60);
}

#[test]
fn every_span_of_32_bit_tables_agrees_with_the_naive_walker() {
    walks::enumeration_agrees(&ARCH, Scheme::Legacy, 0..12);
}

#[test]
fn every_span_of_pae_tables_agrees_with_the_naive_walker() {
    walks::enumeration_agrees(&ARCH, Scheme::Pae, 0..12);
}

/// Tables that have the bits of the line all the same, where a page may be above and below.
#[test]
fn a20_that_is_low_counts_nowhere() {
    for scheme in [Scheme::Legacy, Scheme::Pae] {
        walks::a_bit_does_not_count(&ARCH, scheme, 20, ("a20", 0), true);
    }
}

#[test]
fn the_encryption_bit_is_not_address() {
    walks::a_bit_does_not_count(&ARCH, Scheme::Pae, 47, ("c_bit", 47), false);
}

#[test]
fn addrxlat_agrees() {
    if !oracle::available() {
        return;
    }
    let fixtures = oracle::fixture_agrees(&ARCH, "paging/x86_32.txt");
    eprintln!("x86_32.txt: {fixtures:?}");
    // Two walks with CR4.PSE off.
    assert_eq!((fixtures.reserved_ps, fixtures.not_modelled), (0, 2));
    let fixtures = oracle::fixture_agrees(&ARCH, "paging/x86_pae.txt");
    eprintln!("x86_pae.txt: {fixtures:?}");
    assert_eq!((fixtures.reserved_ps, fixtures.not_modelled), (1, 0));
    for scheme in [Scheme::Legacy, Scheme::Pae] {
        eprintln!("random {}: {:?}", scheme.name(), oracle::random_tables_agree(&ARCH, scheme, 200, 50));
    }
}

/// RAM of any length from `start`: a filtered dump begins and ends where its user said.
#[derive(Debug)]
struct OneBlock {
    start: u64,
    bytes: Vec<u8>,
}

impl PhysMemory for OneBlock {
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        let from = addr.0.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let bytes = from.and_then(|from| self.bytes.get(from..from.checked_add(buf.len())?));
        bytes.into_iter().for_each(|bytes| buf.copy_from_slice(bytes));
        Ok(bytes.is_some())
    }

    fn extent(&self, _addr: PhysAddr, _limit_bytes: u64) -> Extent {
        Extent { presence: Presence::Absent, len_bytes: 1 }
    }
}

#[test]
fn a_table_that_ram_holds_in_part_is_walked_as_far_as_it_goes() {
    // Page directory at 0x1000 whose first 16 bytes are cut off, page table at 0x2000 that ends after entry 5.
    let mut block = OneBlock { start: 0x1010, bytes: vec![0; 0x1008] };
    let mut put = |at: usize, entry: u64| Endian::Little.put(entry, &mut block.bytes[at - 0x1010..at - 0x1010 + 4]);
    put(0x1010, 0x2067);
    put(0x2014, 0x0007_7067);
    let paging = ARCH.paging(&vcpu(&ARCH, 0, &[("cr0", 0x8000_0001), ("cr3", 0x1000), ("cr4", 0x10)])).unwrap();
    let mut walker = Walker::new(&paging, &block);
    let mut at = |virt: u64| {
        let span = walker.span_at(VirtAddr(virt)).unwrap();
        describe(&paging, &span, virt)
    };
    assert_eq!(at(0x0100_5123), "0x77123");
    assert_eq!(at(0x0100_4123), "not present at page table[4] = 0x0");
    assert_eq!(at(0x0100_6123), "no RAM for page table at 0x2000");
    assert_eq!(at(0x00c0_0000), "no RAM for page directory at 0x1000");
    assert_eq!(at(0x0140_0000), "not present at page directory[5] = 0x0");
}
