//! Page tables of riscv64: fixtures, a naive walker, and what registers say. addrxlat 0.5.1, the oracle of other
//! architectures, has no form for them (0.5.4 has one).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use common::tables::Tables;
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::tables::Told;
use guestdump_arch::conformance::{Random, check_walks, describe};
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::paging::{Paging, Target};
use guestdump_arch::{Arch, ArchError, Vcpu, VirtAddr};
use guestdump_riscv64::ARCH;

#[test]
fn fixtures() {
    check_walks(&ARCH, &read("paging/riscv64.txt"));
}

/// Random tables, random addresses: the same answer, from an entry that covers as much. One walker serves all addresses
/// of a case, so that what it keeps between walks is under test too.
#[test]
fn random_tables_agree_with_the_naive_walker() {
    for levels in 3..=5 {
        let (mut mapped, mut deep, mut all) = (0_u64, 0_u64, 0_u64);
        for seed in 0..300 {
            let mut rng = Random(seed);
            let tables = Tables::random(levels, &mut rng);
            let (paging, memory) = (tables.paging(&ARCH), tables.memory());
            let mut walker = Walker::new(&paging, &memory);
            let told = Told::of(&paging, &memory);
            for _ in 0..60 {
                let virt = tables.address(&mut rng);
                let span = walker.span_at(VirtAddr(virt)).unwrap();
                let expected = tables.naive(virt);
                let fixture = || tables.fixture(&format!("seed {seed}"), &[virt]);
                assert_eq!(describe(&paging, &span, virt), expected.text, "{virt:#x} of\n{}", fixture());
                told.check(virt, &expected.text);
                if expected.size > 0 {
                    let around = (virt & !(expected.size - 1), virt | (expected.size - 1));
                    assert_eq!((span.virt.first().0, span.virt.last().0), around, "{virt:#x} of\n{}", fixture());
                }
                all += 1;
                mapped += u64::from(matches!(span.target, Target::Phys(_)));
                deep += u64::from(expected.size == 4096);
            }
        }
        eprintln!("{levels} levels: {mapped} mapped, {deep} deep of {all}");
        assert!(mapped > all / 10 && mapped < all * 9 / 10 && deep > all / 20, "{mapped} mapped, {deep} deep of {all}");
    }
}

/// From 0 to the top, span by span: no gap, no overlap, and the naive walker says the same of the first and the last byte.
#[test]
fn every_span_agrees_with_the_naive_walker() {
    for (levels, seed) in (0..9).map(|seed| (3 + seed % 3, u64::from(seed))) {
        let tables = sparse(levels, &mut Random(seed));
        let (paging, memory) = (tables.paging(&ARCH), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        let (mut next, mut spans) = (Some(VirtAddr(0)), 0);
        while let Some(virt) = next {
            let span = walker.span_at(virt).unwrap();
            assert_eq!(span.virt.first(), virt, "seed {seed}: a gap or an overlap before {}", span.virt);
            for end in [span.virt.first().0, span.virt.last().0] {
                let expected = tables.naive(end);
                let fixture = || tables.fixture("x", &[end]);
                assert_eq!(describe(&paging, &span, end), expected.text, "{end:#x} of\n{}", fixture());
            }
            next = span.virt.next();
            spans += 1;
        }
        assert!(spans > 500, "seed {seed}: only {spans} spans");
    }
}

/// A chain of tables that branches a little: every table is reached once, so that the whole can be enumerated.
fn sparse(levels: u32, rng: &mut Random) -> Tables {
    let mut tables = Tables::empty(levels, false, 1);
    let mut open = vec![(0x1000, levels - 1)];
    for n in 0..12 {
        let (parent, level) = rng.pick(&open);
        let child = 0x2000 + n * 0x1000;
        tables.put(parent + rng.below(512) * 8, child >> 2 | 1);
        tables.touch(child);
        if level > 1 {
            open.push((child, level - 1));
        }
    }
    for page in tables.ram.keys().copied().collect::<Vec<_>>() {
        for _ in 0..rng.below(40) {
            let at = page + rng.below(512) * 8;
            let taken = tables.ram[&page][(at & 0xfff) as usize] & 1 != 0;
            if !taken {
                // Leaves only, aligned or not: no cycles.
                let address = (rng.bits() << rng.pick(&[12, 15, 21, 30, 39])) & 0x00ff_ffff_ffff_f000;
                tables.put(at, u64::from(rng.one_in(4)) << 63 | address >> 2 | rng.pick(&[0xcf, 0xcf, 0x3, 0x5, 0xce]));
            }
        }
    }
    tables
}

fn vcpu(registers: &[(&str, u64)]) -> Vcpu {
    guestdump_arch::conformance::vcpu(&ARCH, 2, registers)
}

fn paging(registers: &[(&str, u64)]) -> Result<Paging, ArchError> {
    ARCH.paging(&vcpu(registers))
}

#[test]
fn a_register_that_counts_must_be_known_and_no_other() {
    let message = |registers: &[(&str, u64)]| paging(registers).unwrap_err().to_string();
    let needs = "register satp of vCPU 2 is not known, and address translation needs it";
    assert_eq!(message(&[]), format!("riscv64: {needs}"));
    assert_eq!(message(&[("priv", 1), ("mstatus", 0), ("pc", 0x1000)]), format!("riscv64: {needs}"));
    assert!(message(&[("priv", 5), ("satp", 0)]).contains("vsatp"));
    assert!(matches!(paging(&[("priv", 3)]), Ok(Paging::Off)));
    assert!(matches!(paging(&[("satp", 0)]), Ok(Paging::Off)));
}

#[test]
fn only_the_modes_that_are_defined_are_known() {
    for mode in 0..16 {
        let found = paging(&[("satp", mode << 60 | 1)]);
        match mode {
            0 => assert!(matches!(found, Ok(Paging::Off))),
            8..=10 => assert!(matches!(found, Ok(Paging::Radix(_)))),
            _ => assert!(matches!(found, Err(ArchError::Unsupported { vcpu: 2, .. })), "{mode}"),
        }
    }
}

#[test]
fn the_kernels_addresses_are_those_of_satp_while_the_firmware_runs() {
    let in_firmware = vcpu(&[("priv", 3), ("satp", 9 << 60 | 1)]);
    assert!(matches!(ARCH.paging(&in_firmware), Ok(Paging::Off)));
    assert!(matches!(ARCH.kernel_paging(&in_firmware), Ok(Paging::Radix(_))));
    let spaces = |vcpu| ARCH.spaces(vcpu).into_iter().map(|space| (space.name, space.paging.unwrap().is_on()));
    assert_eq!(spaces(&in_firmware).collect::<Vec<_>>(), [("current", false), ("supervisor", true)]);
    assert_eq!(spaces(&vcpu(&[("priv", 1), ("satp", 9 << 60 | 1)])).collect::<Vec<_>>(), [("current", true)]);
    assert!(ARCH.kernel_paging(&vcpu(&[("priv", 3)])).is_err());
    assert!(ARCH.kernel_paging(&vcpu(&[("priv", 7), ("satp", 9 << 60 | 1)])).is_err());
}
