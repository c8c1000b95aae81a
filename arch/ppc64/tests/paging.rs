//! Radix trees of ppc64: fixtures, a naive walker, a real guest's own translations, drgn.
#![allow(clippy::unwrap_used, reason = "code of tests")]

mod common;

use common::trees::{Known, Shape, Trees};
use common::{oracle, vcpu};
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::tables::Told;
use guestdump_arch::conformance::{Random, TestMemory, check_walks, describe, walk_cases};
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::paging::{Hole, Span, Target};
use guestdump_arch::{Arch, Endian, Paging, PhysAddr, VirtAddr};
use guestdump_ppc64::ARCH;

#[test]
fn fixture_of_4_kib_pages() {
    check_walks(&ARCH, &read("paging/ppc64_radix_4k.txt"));
}

#[test]
fn fixture_of_64_kib_pages() {
    check_walks(&ARCH, &read("paging/ppc64_radix_64k.txt"));
}

#[test]
fn fixture_of_other_trees() {
    check_walks(&ARCH, &read("paging/ppc64_radix.txt"));
}

#[test]
fn a_real_guest_translates_as_qemu_says() {
    check_walks(&ARCH, &read("paging/ppc64_radix_64k_linux.txt"));
}

/// Random trees, random addresses: the same answer, from an entry that covers as much. One walker serves all addresses
/// of a case, so that what it keeps between walks is under test too.
fn random_trees_agree(shape: Shape, known: Known) {
    let (cases, addresses) = (300, 60);
    let (mut mapped, mut not) = (0, 0);
    for seed in 0..cases {
        let mut rng = Random(seed);
        let wild = rng.pick(&[5, 15, 40]);
        let trees = Trees::random(shape, known, wild, &mut rng);
        let (paging, memory) = (trees.paging(), trees.memory());
        let mut walker = Walker::new(&paging, &memory);
        let told = Told::of(&paging, &memory);
        for _ in 0..addresses {
            let virt = trees.address(&mut rng);
            let span = walker.span_at(VirtAddr(virt)).unwrap();
            let expected = trees.naive(virt);
            let fixture = || trees.fixture(&format!("seed {seed}"), &[virt]);
            assert_eq!(
                words(&paging, &span, virt),
                without_names(&paging, &expected.text),
                "{virt:#x} of\n{}",
                fixture()
            );
            told.check(virt, &expected.text);
            if expected.size > 0 {
                let around = (virt & !(expected.size - 1), virt | (expected.size - 1));
                assert_eq!((span.virt.first().0, span.virt.last().0), around, "{virt:#x} of\n{}", fixture());
            }
            *if expected.text.starts_with("0x") { &mut mapped } else { &mut not } += 1;
        }
    }
    // The generator is worth something: both kinds of answers occur.
    let least = cases * addresses / 5;
    assert!(mapped > least && not > least, "{mapped} mapped, {not} not");
}

/// Names of levels are known of a radix form only.
fn without_names(paging: &Paging, text: &str) -> String {
    match paging {
        Paging::Custom(_) => text.split_whitespace().next().unwrap().to_owned(),
        _ => text.to_owned(),
    }
}

fn words(paging: &Paging, span: &Span, virt: u64) -> String {
    without_names(paging, &describe(paging, span, virt))
}

#[test]
fn random_trees_agree_with_the_naive_walker() {
    for shape in [Shape::Pages4K, Shape::Pages64K, Shape::Any] {
        random_trees_agree(shape, Known::ProcessTable);
    }
    random_trees_agree(Shape::Any, Known::PartitionTable);
    random_trees_agree(Shape::Pages4K, Known::PartitionTable);
}

#[test]
fn random_trees_from_a_root_agree_with_the_naive_walker() {
    for shape in [Shape::Pages4K, Shape::Pages64K] {
        random_trees_agree(shape, Known::Root);
    }
}

/// From 0 to the top, span by span: no gap, no overlap, and the naive walker says the same of the first and the last
/// byte of each.
#[test]
fn every_span_agrees_with_the_naive_walker() {
    for (seed, shape) in [(1, Shape::Pages4K), (2, Shape::Pages64K), (3, Shape::Pages4K)] {
        let mut rng = Random(seed);
        let trees = Trees::random(shape, Known::ProcessTable, 20, &mut rng);
        let (paging, memory) = (trees.paging(), trees.memory());
        let mut walker = Walker::new(&paging, &memory);
        let (mut next, mut spans) = (Some(VirtAddr(0)), 0);
        while let Some(virt) = next {
            let span = walker.span_at(virt).unwrap();
            assert_eq!(span.virt.first(), virt, "seed {seed}: a gap or an overlap before {}", span.virt);
            for end in [span.virt.first().0, span.virt.last().0] {
                assert_eq!(describe(&paging, &span, end), trees.naive(end).text, "seed {seed}: {end:#x}");
            }
            next = span.virt.next();
            spans += 1;
        }
        assert!(spans > 8192, "seed {seed}: only {spans} spans");
    }
}

/// drgn tells mapped from not mapped, and where to: of an address it takes the 53 bits that Linux uses
/// (`_PAGE_PA_MAX`), of the 57 that the ISA has.
fn same(ours: &str, theirs: &str) -> bool {
    match ours.strip_prefix("0x") {
        Some(digits) => format!("{:#x}", u64::from_str_radix(digits, 16).unwrap() % (1 << 53)) == theirs,
        None => theirs == "hole",
    }
}

#[test]
fn drgn_agrees_on_the_fixtures() {
    if !oracle::available() {
        return;
    }
    for path in ["paging/ppc64_radix_4k.txt", "paging/ppc64_radix_64k.txt", "paging/ppc64_radix_64k_linux.txt"] {
        let text = read(path);
        let expected = walk_cases(&text).into_iter().flat_map(|case| case.walks);
        let (mut asked, mut answers) = (0, oracle::ask(&text).into_iter());
        for (virt, ours) in expected {
            let theirs = answers.next().expect("an answer for each walk");
            if theirs != "not asked" {
                assert!(same(&ours, &theirs), "{path}: {virt:#x} -> {ours}, drgn {theirs}");
                asked += 1;
            }
        }
        assert!(answers.next().is_none() && asked > 5, "{path}: {asked} walks");
    }
}

#[test]
fn drgn_agrees_on_random_trees() {
    if !oracle::available() {
        return;
    }
    let mut rng = Random(0x6472_676e);
    for shape in [Shape::Pages4K, Shape::Pages64K] {
        let mut sets = Vec::new();
        for number in 0..60 {
            let known = [Known::Root, Known::ProcessTable][number % 2];
            let trees = Trees::random(shape, known, 0, &mut rng);
            let walks: Vec<u64> = (0..40).map(|_| trees.address(&mut rng)).collect();
            sets.push((trees, walks));
        }
        let text: String = sets.iter().map(|(trees, walks)| trees.fixture("random", walks)).collect();
        let mut answers = oracle::ask(&text).into_iter();
        let (mut asked, mut mapped) = (0, 0);
        for (trees, walks) in &sets {
            let (paging, memory) = (trees.paging(), trees.memory());
            let mut walker = Walker::new(&paging, &memory);
            for virt in walks {
                let ours = describe(&paging, &walker.span_at(VirtAddr(*virt)).unwrap(), *virt);
                let theirs = answers.next().expect("an answer for each walk");
                if theirs != "not asked" {
                    asked += 1;
                    mapped += u64::from(theirs != "hole");
                    let fixture = || trees.fixture("x", &[*virt]);
                    assert!(same(&ours, &theirs), "guestdump {ours}, drgn {theirs}:\n{}", fixture());
                }
            }
        }
        eprintln!("{}: {asked} walks, {mapped} mapped", shape.name());
        assert!(answers.next().is_none() && asked > 1000 && mapped > asked / 3);
    }
}

fn error(values: &[(&str, u64)]) -> String {
    ARCH.paging(&vcpu(values)).unwrap_err().to_string()
}

const ON: (&str, u64) = ("msr", 0x8000_0000_0000_1033);
const ON_HV: (&str, u64) = ("msr", 0x9000_0000_0000_1033);
const RADIX: (&str, u64) = ("lpcr", 0x3d3_f408);

#[test]
fn what_is_missing_is_named() {
    assert_eq!(error(&[RADIX]), "ppc64: register msr of vCPU 0 is not known, and address translation needs it");
    assert_eq!(error(&[ON]), "ppc64: register lpcr of vCPU 0 is not known, and address translation needs it");
    assert_eq!(
        error(&[ON, RADIX, ("ptcr", 0)]),
        "ppc64: register prtbl of vCPU 0 is not known, and address translation under a hypervisor needs it"
    );
    assert_eq!(
        error(&[ON, ("lpcr", 0x3_f008)]),
        "ppc64: register slb0 of vCPU 0 is not known, and a hashed page table (LPCR.HR is 0) needs it"
    );
    assert!(error(&[ON, ("lpcr", 0x3_f008), ("prtbl", 0x1000), ("pidr", 1)]).contains("register slb0 of vCPU 0"));
    assert!(error(&[ON, ("prtbl", 0x1000)]).contains("register pidr of vCPU 0"));
    assert!(error(&[ON_HV, RADIX]).contains("register ptcr of vCPU 0"));
    assert!(error(&[ON_HV, RADIX, ("ptcr", 0x1000)]).contains("register pidr of vCPU 0"));
}

#[test]
fn real_mode_is_off() {
    for msr in [0, 0x9000_0000_0000_0000, 0x8000_0000_0000_1021] {
        assert!(matches!(ARCH.paging(&vcpu(&[("msr", msr)])).unwrap(), Paging::Off));
    }
}

#[test]
fn the_kernel_needs_no_pid() {
    let kernel = |values: &[(&str, u64)]| ARCH.kernel_paging(&vcpu(values));
    let Paging::Radix(radix) = kernel(&[("msr", 0), ("prtbl", 0x8000_0000_1e00_000c)]).unwrap() else { panic!() };
    let [root] = radix.roots.as_slice() else { panic!("{:?}", radix.roots) };
    assert_eq!((root.virt.first().0, root.table), (0xc000_0000_0000_0000, PhysAddr(0x1e00_0000)));
    let hashed = kernel(&[ON, ("lpcr", 0x3_f008), ("prtbl", 0x1000)]).unwrap_err().to_string();
    assert!(hashed.contains("register slb0 of vCPU 0"), "{hashed}");
    let real = kernel(&[("msr", 0)]).unwrap_err().to_string();
    assert!(real.contains("register lpcr of vCPU 0"), "{real}");
    let guest = kernel(&[("msr", 0), RADIX]).unwrap_err().to_string();
    assert!(guest.contains("register prtbl of vCPU 0"), "{guest}");
    assert!(matches!(kernel(&[("msr", 0), RADIX, ("prtbl", 0)]), Ok(Paging::Off)));
    let unknown = kernel(&[ON, RADIX]).unwrap_err().to_string();
    assert!(unknown.contains("register prtbl of vCPU 0"), "{unknown}");
}

/// In real mode, or without PIDR, the kernel's quadrant is known all the same.
#[test]
fn spaces_of_a_vcpu() {
    let names = |values: &[(&str, u64)]| {
        let spaces = ARCH.spaces(&vcpu(values)).into_iter();
        spaces.map(|space| (space.name, space.paging.is_ok_and(|paging| paging.is_on()))).collect::<Vec<_>>()
    };
    let prtbl = ("prtbl", 0x8000_0000_1e00_000c);
    assert_eq!(names(&[ON, prtbl, ("pidr", 1)]), [("current", true)]);
    assert_eq!(names(&[ON, prtbl]), [("current", false), ("kernel", true)]);
    assert_eq!(names(&[("msr", 0), prtbl]), [("current", false), ("kernel", true)]);
    assert_eq!(names(&[("msr", 0)]), [("current", false)]);
    assert_eq!(names(&[ON]), [("current", false)]);
}

#[test]
fn a_partition_table_that_says_nothing_is_a_hole() {
    let registers = [ON_HV, RADIX, ("ptcr", 0x4004), ("pidr", 3)];
    let paging = ARCH.paging(&vcpu(&registers)).unwrap();
    let mut memory = TestMemory::default();
    let target = |memory: &TestMemory, virt| {
        let span = Walker::new(&paging, memory).span_at(VirtAddr(virt)).unwrap();
        (span.virt.first().0, span.virt.last().0, span.target)
    };
    let absent = Target::Hole(Hole::TableAbsent { level: 0, table: PhysAddr(0x4000) });
    assert_eq!(target(&memory, 0x1234), (0, 0xf_ffff_ffff_ffff, absent));
    memory.put_int(0x4000, 8, Endian::Big, 1 << 63);
    let empty = Target::Hole(Hole::NotPresent { level: 0, index: 0, raw: 0 });
    assert_eq!(target(&memory, 0xc000_0000_0000_1234), (0xc000_0000_0000_0000, 0xc00f_ffff_ffff_ffff, empty));
    let between = (0x0010_0000_0000_0000, 0xbfff_ffff_ffff_ffff, Target::Hole(Hole::NoRoot));
    assert_eq!(target(&memory, 0x4000_0000_0000_0000), between);
}
