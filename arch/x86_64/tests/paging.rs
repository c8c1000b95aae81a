//! Page tables of x86-64, and those of i386 under a vCPU that is not in long mode: fixtures, a naive walker,
//! libkdumpfile.

#[path = "../../i386/tests/common/mod.rs"]
mod common;

use common::tables::Scheme;
use common::{oracle, read, walks};
use guestdump_arch::conformance::check_walks;
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
