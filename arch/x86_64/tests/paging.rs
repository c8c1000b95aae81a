//! Page tables of x86-64, and those of i386 under a vCPU that is not in long mode: fixtures, a naive walker,
//! libkdumpfile.
#![allow(clippy::unwrap_used, reason = "code of tests")]

#[path = "../../i386/tests/common/mod.rs"]
mod common;

use common::tables::Scheme;
use common::{oracle, walks};
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::{TestMemory, check_walks, vcpu};
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::{Arch, VirtAddr};
use guestdump_x86_64::ARCH;

#[test]
fn fixture_of_4_level_paging() {
    check_walks(&ARCH, &read("paging/x86_64_4level.txt"));
}

#[test]
fn fixture_of_5_level_paging() {
    check_walks(&ARCH, &read("paging/x86_64_5level.txt"));
}

#[test]
fn fixtures_of_i386_outside_of_long_mode() {
    check_walks(&ARCH, &read("paging/x86_32.txt"));
    check_walks(&ARCH, &read("paging/x86_pae.txt"));
}

#[test]
fn random_4_level_tables_agree_with_the_naive_walker() {
    walks::random_tables_agree(&ARCH, Scheme::FourLevel, 300, 60);
}

#[test]
fn random_5_level_tables_agree_with_the_naive_walker() {
    walks::random_tables_agree(&ARCH, Scheme::FiveLevel, 300, 60);
}

#[test]
fn random_tables_of_i386_agree_with_the_naive_walker() {
    walks::random_tables_agree(&ARCH, Scheme::Legacy, 50, 60);
    walks::random_tables_agree(&ARCH, Scheme::Pae, 50, 60);
}

#[test]
fn every_span_of_4_level_tables_agrees_with_the_naive_walker() {
    walks::enumeration_agrees(&ARCH, Scheme::FourLevel, 0..12);
}

#[test]
fn every_span_of_5_level_tables_agrees_with_the_naive_walker() {
    walks::enumeration_agrees(&ARCH, Scheme::FiveLevel, 0..12);
}

#[test]
fn a20_that_is_low_counts_nowhere() {
    for scheme in [Scheme::FourLevel, Scheme::FiveLevel] {
        walks::a_bit_does_not_count(&ARCH, scheme, 20, ("a20", 0), true);
    }
}

#[test]
fn the_encryption_bit_is_not_address() {
    for (scheme, bit) in [(Scheme::FourLevel, 47), (Scheme::FiveLevel, 51)] {
        walks::a_bit_does_not_count(&ARCH, scheme, bit, ("c_bit", bit.into()), false);
    }
}

/// Real mode, where the line was for.
#[test]
fn a20_counts_without_paging() {
    let translate = |a20, virt| {
        let paging = ARCH.paging(&vcpu(&ARCH, 2, &[("cr0", 0x10), ("a20", a20)])).unwrap();
        Walker::new(&paging, &TestMemory::default()).translate(VirtAddr(virt)).unwrap().unwrap().0
    };
    assert_eq!([translate(1, 0x10_ffef), translate(0, 0x10_ffef)], [0x10_ffef, 0xffef]);
    assert_eq!([translate(0, 0x2f_ffff), translate(0, 0x3f_ffff)], [0x2f_ffff, 0x2f_ffff]);
}

#[test]
fn an_encryption_bit_that_cannot_be_one_is_refused() {
    let registers = [("cr0", 0x8000_0001), ("cr3", 0), ("cr4", 0x20), ("efer", 0xd01), ("c_bit", 52)];
    let error = ARCH.paging(&vcpu(&ARCH, 2, &registers)).unwrap_err().to_string();
    assert_eq!(error, "x86_64: vCPU 2: c_bit 52 is none of the address bits 32 to 51");
}

#[test]
fn addrxlat_agrees() {
    if !oracle::available() {
        return;
    }
    for (scheme, reserved_ps) in [(Scheme::FourLevel, 2), (Scheme::FiveLevel, 2)] {
        let fixtures = oracle::fixture_agrees(&ARCH, &format!("paging/{}.txt", scheme.name()));
        assert_eq!((fixtures.reserved_ps, fixtures.not_modelled), (reserved_ps, 0));
        eprintln!("{}.txt: {fixtures:?}", scheme.name());
        eprintln!("random {}: {:?}", scheme.name(), oracle::random_tables_agree(&ARCH, scheme, 200, 50));
    }
}
