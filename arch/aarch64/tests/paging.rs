//! Page tables of AArch64: fixtures, a naive walker, libkdumpfile, and what registers say.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use common::tables::{Granule, Scheme, Tables};
use common::{naive, oracle};
use guestdump_aarch64::ARCH;
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::tables::Told;
use guestdump_arch::conformance::{Random, TestMemory, check_walks, describe};
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::paging::{Paging, Target};
use guestdump_arch::{Arch, ArchError, Endian, PhysAddr, Registers, Vcpu, VirtAddr};

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
            let told = Told::of(&paging, &memory);
            for _ in 0..60 {
                let virt = tables.address(&mut rng);
                let span = walker.span_at(VirtAddr(virt)).unwrap();
                let expected = tables.naive(virt);
                let fixture = || tables.fixture(&format!("seed {seed}"), &[virt]);
                assert_eq!(describe(&paging, &span, virt), expected.text, "{virt:#x} of\n{}", fixture());
                told.check(naive::untagged(tables.regime.tcr, virt), &expected.text);
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
    tables.regime.tcr = tables.regime.tcr & !0x60_00bf_00bf & !(1 << 23) | 16 | 17 << 16;
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

/// A vCPU whose tables map 1 GiB at 0 (or, of the EL2 tables, at 1 GiB, and at 3 GiB from TTBR1).
fn translated(registers: &[(&str, u64)]) -> Result<Vec<String>, ArchError> {
    let mut memory = TestMemory::default();
    for (table, to) in [(0x1000, 0x4000_0000_u64), (0x2000, 0x8000_0000), (0x3000, 0xc000_0000)] {
        memory.put_int(table, 8, Endian::Little, to | 0x701);
        memory.put_int(table + 0xff8, 8, Endian::Little, to | 0x701);
    }
    let mut vcpu = Vcpu { id: 3, registers: Registers::unknown(ARCH.registers()) };
    for (name, value) in registers {
        vcpu.registers.set_named(name, &value.to_le_bytes()).unwrap();
    }
    let paging = ARCH.paging(&vcpu)?;
    let mut walker = Walker::new(&paging, &memory);
    let mut at = |virt: u64| match walker.translate(VirtAddr(virt)).unwrap() {
        Some(phys) => format!("{phys}"),
        None => "-".to_owned(),
    };
    Ok(vec![at(0x123), at(0xffff_ffff_ffff_f123)])
}

/// 39 bits in both halves, 4 KiB: the first table is one of level 1.
const TCR: u64 = 0x5_8019_0019;
const EL1: [(&str, u64); 4] =
    [("sctlr_el1", 0x30d0_0801), ("tcr_el1", TCR), ("ttbr0_el1", 0x1000), ("ttbr1_el1", 0x2000)];
const HCR_VHE: u64 = 1 << 34 | 1 << 27;

#[test]
fn the_exception_level_says_whose_tables_count() {
    let el2 = [("sctlr_el2", 1), ("tcr_el2", TCR), ("ttbr0_el2", 0x2000), ("ttbr1_el2", 0x3000)];
    let of = |cpsr: u64, hcr: Option<u64>| {
        let mut registers = [&EL1[..], &el2, &[("cpsr", cpsr)]].concat();
        registers.extend(hcr.map(|hcr| ("hcr_el2", hcr)));
        translated(&registers).map_err(|error| error.to_string())
    };
    let at = |low: &str, high: &str| Ok(vec![low.to_owned(), high.to_owned()]);
    let (el1, vhe) = (at("0x40000123", "0xbffff123"), at("0x80000123", "0xfffff123"));
    // EL0t, EL1t, EL1h, User mode of AArch32: the kernel's at EL1.
    for cpsr in [0x6000_1000, 0x3c4, 0x4000_00c5, 0x10] {
        assert_eq!(of(cpsr, None), el1);
        assert_eq!(of(cpsr, Some(1 << 31)), el1);
    }
    // EL2h with E2H: two halves. EL0 with TGE too.
    assert_eq!(of(0x3c9, Some(HCR_VHE)), vhe);
    assert_eq!(of(0x3c9, Some(1 << 34)), vhe);
    assert_eq!(of(0, Some(HCR_VHE)), vhe);
    assert_eq!(of(0x10, Some(HCR_VHE)), vhe);
    assert_eq!(of(0, Some(1 << 34)), el1);
    assert_eq!(of(0x3c5, Some(HCR_VHE)), el1);
    // EL2h without E2H: what is IPS with it is DS then, and the blocks have bits 9:8 set.
    assert_eq!(of(0x3c9, Some(1 << 31)), at("-", "-"));
    let refused = |cpsr, hcr| of(cpsr, hcr).unwrap_err();
    let unknown = |name: &str, what: &str| {
        format!("aarch64: register {name} of vCPU 3 is not known, and address translation{what} needs it")
    };
    assert_eq!(refused(0x3c9, None), unknown("hcr_el2", ""));
    assert_eq!(refused(0x3cd, None), unknown("tcr_el3", " at EL3"));
    assert_eq!(
        refused(0x1d3, None),
        "aarch64: vCPU 3: EL1 is in AArch32 state (cpsr 0x1d3), whose tables are not walked"
    );
}

/// TCR_EL2 without E2H: T0SZ and TG0 in place, PS in bits 18:16, DS in bit 32; no EPD, no high half.
#[test]
fn el2_with_one_half_has_its_own_tcr() {
    let of = |tcr: u64| {
        let tcr_and = [("cpsr", 9), ("hcr_el2", 0), ("sctlr_el2", 1), ("tcr_el2", tcr), ("ttbr0_el2", 0x2000)];
        translated(&tcr_and).unwrap().remove(0)
    };
    assert_eq!(of(0x19 | 5 << 16), "0x80000123");
    // Bit 7 and what is TG1, T1SZ, EPD1 elsewhere says nothing.
    assert_eq!(of(0x19 | 5 << 16 | 1 << 7 | 0xbff8_0000), "0x80000123");
    // 52 bits: DS; the table at level -1 has sixteen entries, of which none may be a block.
    assert_eq!(of(12 | 6 << 16 | 1 << 32), "-");
    // 32 bits of physical addresses are enough for 2 GiB.
    assert_eq!(of(0x19), "0x80000123");
}

#[test]
fn each_register_that_is_missing_is_named() {
    for missing in 0..EL1.len() {
        let mut registers = EL1.to_vec();
        let (name, _) = registers.remove(missing);
        let error = translated(&registers).unwrap_err();
        let expected =
            ArchError::RegisterUnknown { arch: "aarch64", vcpu: 3, register: name, needed_for: "address translation" };
        assert_eq!(error, expected);
    }
    // A half that is off needs no table.
    let without = |off: u64, name: &str| {
        let tcr = ("tcr_el1", TCR | off);
        let registers: Vec<_> = EL1.into_iter().filter(|(other, _)| *other != name && *other != "tcr_el1").collect();
        translated(&[&registers[..], &[tcr]].concat()).unwrap()
    };
    assert_eq!(without(1 << 7, "ttbr0_el1"), ["-", "0xbffff123"]);
    assert_eq!(without(1 << 23, "ttbr1_el1"), ["0x40000123", "-"]);
}

/// By another table than TTBR1's, and the high half alone.
#[test]
fn the_kernels_half_by_another_table() {
    let mut memory = TestMemory::default();
    memory.put_int(0x3000 + 0xff8, 8, Endian::Little, 0xc000_0701);
    let mut vcpu = Vcpu { id: 3, registers: Registers::unknown(ARCH.registers()) };
    for (name, value) in EL1 {
        vcpu.registers.set_named(name, &value.to_le_bytes()).unwrap();
    }
    let paging = ARCH.kernel_tables(&vcpu, PhysAddr(0x3000)).unwrap();
    let mut walker = Walker::new(&paging, &memory);
    assert_eq!(walker.translate(VirtAddr(0xffff_ffff_ffff_f123)).unwrap(), Some(PhysAddr(0xffff_f123)));
    let Paging::Radix(radix) = &paging else { panic!() };
    assert_eq!(radix.roots.iter().map(|root| root.virt.first().0).collect::<Vec<_>>(), [0xffff_ff80_0000_0000]);
    vcpu.registers.set_named("sctlr_el1", &[0]).unwrap();
    assert!(ARCH.kernel_tables(&vcpu, PhysAddr(0x3000)).is_none());
}

#[test]
fn gdbs_names_are_names() {
    let registers = EL1.map(|(name, value)| (name.to_uppercase(), value));
    let named: Vec<_> = registers.iter().map(|(name, value)| (&**name, *value)).collect();
    assert_eq!(translated(&named).unwrap(), ["0x40000123", "0xbffff123"]);
    // QEMU's name of SCTLR_EL1.
    let plain: Vec<_> = named.into_iter().map(|(name, value)| (name.split("SCTLR_").next().unwrap(), value)).collect();
    let plain = plain.into_iter().map(|(name, value)| (if name.is_empty() { "SCTLR" } else { name }, value));
    assert_eq!(translated(&plain.collect::<Vec<_>>()).unwrap(), ["0x40000123", "0xbffff123"]);
}

#[test]
fn an_mmu_that_is_off_translates_nothing() {
    assert!(matches!(translated(&[("sctlr_el1", 0x30d0_0800)]).unwrap()[..], [ref low, _] if low == "0x123"));
}

/// No value of a register may stop the program.
#[test]
fn random_registers_are_harmless() {
    let mut rng = Random(1);
    let memory = TestMemory::default();
    for _ in 0..20_000 {
        let mut vcpu = Vcpu { id: 0, registers: Registers::unknown(ARCH.registers()) };
        for (name, _) in EL1 {
            vcpu.registers.set_named(name, &rng.bits().to_le_bytes()).unwrap();
        }
        vcpu.registers.set_named("sctlr_el1", &[1]).unwrap();
        let paging = ARCH.paging(&vcpu).unwrap();
        let Paging::Radix(radix) = &paging else { panic!("the MMU is on") };
        assert!(radix.roots.windows(2).all(|pair| pair[0].virt.last() < pair[1].virt.first()));
        let mut walker = Walker::new(&paging, &memory);
        for virt in [0, u64::MAX, rng.bits()] {
            assert!(walker.span_at(VirtAddr(virt)).unwrap().virt.contains(VirtAddr(virt)));
        }
    }
}
