//! Page tables of AArch64: fixtures, a naive walker, libkdumpfile, and what registers say.

mod common;

use common::tables::{Granule, Scheme, Tables};
use common::{oracle, read};
use guestdump_aarch64::ARCH;
use guestdump_arch::conformance::{Random, check_walks, describe};
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::paging::{Paging, Target};
use guestdump_arch::{Arch, Endian, Registers, Vcpu, VirtAddr};

const FIXTURES: [&str; 4] = ["aarch64_4k.txt", "aarch64_16k.txt", "aarch64_64k.txt", "aarch64_52bit.txt"];

const SCHEMES: [Scheme; 9] = [
    Scheme::of(Granule::K4, false, false),
    Scheme::of(Granule::K16, false, false),
    Scheme::of(Granule::K64, false, false),
    Scheme::of(Granule::Mixed, false, false),
    Scheme::of(Granule::K4, true, false),
    Scheme::of(Granule::K16, true, false),
    Scheme::of(Granule::K64, true, false),
    Scheme::of(Granule::K4, false, true),
    Scheme::of(Granule::K64, true, true),
];

#[test]
fn fixtures() {
    for name in FIXTURES {
        check_walks(&ARCH, &read(&format!("paging/{name}")));
    }
}

/// Random tables, random addresses: the same answer, from an entry that covers as much. One walker serves all addresses
/// of a case, so that what it keeps between walks is under test too.
#[test]
fn random_tables_agree_with_the_naive_walker() {
    for scheme in SCHEMES {
        let (mut mapped, mut deep, mut all) = (0_u64, 0_u64, 0_u64);
        for seed in 0..200 {
            let mut rng = Random(seed);
            let tables = Tables::random(scheme, &mut rng);
            let (paging, memory) = (tables.paging(&ARCH), tables.memory());
            let mut walker = Walker::new(&paging, &memory);
            for _ in 0..60 {
                let virt = tables.address(&mut rng);
                let span = walker.span_at(VirtAddr(virt)).unwrap();
                let expected = tables.naive(virt);
                let fixture = || tables.fixture(&format!("seed {seed}"), &[virt]);
                assert_eq!(describe(&paging, &span, virt), expected.text, "{virt:#x} of\n{}", fixture());
                if expected.size > 0 {
                    let len = span.virt.len_minus_one() + 1;
                    // A first table with one entry maps less than the entry could.
                    assert!(
                        len == expected.size && virt / len == span.virt.first().0 / len,
                        "{virt:#x} of\n{}",
                        fixture()
                    );
                }
                all += 1;
                mapped += u64::from(matches!(span.target, Target::Phys(_)));
                deep += u64::from((1..=65536).contains(&expected.size));
            }
        }
        eprintln!("{scheme:?}: {mapped} mapped, {deep} deep of {all}");
        assert!(mapped > all / 5 && mapped < all * 4 / 5 && deep > all / 5, "{mapped} mapped, {deep} deep of {all}");
    }
}

/// From 0 to the top, span by span: no gap, no overlap, and the naive walker says the same of the first and the last byte.
#[test]
fn every_span_agrees_with_the_naive_walker() {
    for (scheme, seed) in SCHEMES.into_iter().zip(0..) {
        let mut rng = Random(seed);
        let tables = sparse(scheme, &mut rng);
        let (paging, memory) = (tables.paging(&ARCH), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        let (mut next, mut spans) = (Some(VirtAddr(0)), 0);
        while let Some(virt) = next {
            let span = walker.span_at(virt).unwrap();
            assert_eq!(span.virt.first(), virt, "{scheme:?}: a gap or an overlap before {}", span.virt);
            for end in [span.virt.first().0, span.virt.last().0] {
                let expected = tables.naive(end);
                let fixture = || tables.fixture("x", &[end]);
                assert_eq!(describe(&paging, &span, end), expected.text, "{end:#x} of\n{}", fixture());
            }
            next = span.virt.next();
            spans += 1;
        }
        assert!(spans > 500, "{scheme:?}: only {spans} spans");
    }
}

/// A chain of tables that branches a little below each of two roots, so that the whole can be enumerated.
fn sparse(scheme: Scheme, rng: &mut Random) -> Tables {
    let mut tables = Tables::random(scheme, rng);
    tables.ram.clear();
    // Sizes that need three levels and more, whatever the granule is.
    tables.regime.tcr = tables.regime.tcr & !0x3f_003f | 16 | 17 << 16;
    (tables.regime.ttbr0, tables.regime.ttbr1) = (0x10_0000, 0x20_0000);
    let mut open = vec![(0x10_0000, 0), (0x20_0000, 0)];
    for n in 0..10 {
        let (parent, depth) = rng.pick(&open);
        let child = 0x30_0000 + n * 0x1_0000;
        tables.put(parent + rng.below(if depth == 0 { 2 } else { 512 }) * 8, child | 3);
        tables.touch(child);
        if depth < 2 {
            open.push((child, depth + 1));
        }
        for _ in 0..rng.below(30) {
            let at = child + rng.below(512) * 8;
            let page = &tables.ram[&(at & !0xfff)];
            if page[(at & 0xfff) as usize..][..8] == [0; 8] {
                let low = rng.pick(&[0x401, 0x401, 0x403, 0x402]);
                // What looks like a table here is beyond RAM.
                tables.put(at, (rng.bits() & 0xff_0000_0000) | 0x1_0000_0000 | low);
            }
        }
    }
    tables
}

#[test]
fn addrxlat_agrees() {
    if !oracle::available() {
        return;
    }
    for name in FIXTURES {
        eprintln!("{name}: {:?}", oracle::fixture_agrees(&ARCH, &format!("paging/{name}")));
    }
    for scheme in SCHEMES {
        let tally = oracle::random_tables_agree(&ARCH, scheme, 100, 50);
        eprintln!("random {scheme:?}: {tally:?}");
        assert!(tally.mapped > tally.walks / 5 && tally.invalid < tally.walks / 5, "{tally:?}");
    }
}
