//! Translation on s390x: fixtures, a naive walker, libkdumpfile, QEMU.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "code of tests")]

mod common;

use common::naive::{self, Answer};
use common::oracle;
use common::tables::{HOME, Shape, Tables};
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::tables::Told;
use guestdump_arch::conformance::{Random, TestMemory, check_walks, describe, walk_cases};
use guestdump_arch::paging::Target;
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::{Arch, ArchError, Endian, Paging, PhysAddr, Registers, Vcpu, VirtAddr};
use guestdump_s390x::{ARCH, paging};

const FIXTURE: &str = "paging/s390x.txt";

#[test]
fn fixture() {
    check_walks(&ARCH, &read(FIXTURE));
}

fn shape(rng: &mut Random, first: u64, everything: bool) -> Shape {
    let edat = !everything || rng.one_in(2);
    Shape { first, edat, prefix: 0, everything }
}

#[test]
fn random_tables_agree_with_the_naive_walker() {
    let (mut mapped, mut sizes, mut all) = (0, [0; 64], 0);
    for seed in 0..800 {
        let mut rng = Random(seed);
        let shape = shape(&mut rng, seed % 4, true);
        let tables = Tables::random(shape, &mut rng);
        let (paging, memory) = (tables.paging(), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        let told = Told::of(&paging, &memory);
        for _ in 0..60 {
            let virt = tables.address(&mut rng);
            let span = walker.span_at(VirtAddr(virt)).unwrap();
            let Answer { text, size, .. } = tables.naive(virt);
            let fixture = || tables.fixture(&format!("seed {seed}"), &[virt]);
            told.check(virt, &text);
            assert_eq!(describe(&paging, &span, virt), text, "{virt:#x} of\n{}", fixture());
            if size > 0 {
                let around = (virt & !(size - 1), virt | (size - 1));
                assert_eq!((span.virt.first().0, span.virt.last().0), around, "{virt:#x} of\n{}", fixture());
                sizes[size.trailing_zeros() as usize] += 1;
            }
            mapped += u64::from(matches!(span.target, Target::Phys(_)));
            all += 1;
        }
    }
    // The generator is worth something: all kinds of answers occur.
    assert!(mapped > all / 5 && mapped < all * 4 / 5, "{mapped} mapped of {all}");
    for shift in [12, 20, 31, 42, 53] {
        assert!(sizes[shift] > all / 100, "{} of {all} from an entry of 1 << {shift} bytes", sizes[shift]);
    }
}

#[test]
fn every_span_agrees_with_the_naive_walker() {
    for seed in 0..12 {
        let mut rng = Random(seed);
        // Tables that lead to each other by chance have spans without end: those from the segment table have not.
        let shape = Shape { prefix: (seed % 3) << 16, ..shape(&mut rng, 0, true) };
        let tables = Tables::random(shape, &mut rng);
        let (paging, memory) = (tables.paging(), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        let (mut next, mut spans) = (Some(VirtAddr(0)), 0);
        while let Some(virt) = next {
            let span = walker.span_at(virt).unwrap();
            assert_eq!(span.virt.first(), virt, "seed {seed}: a gap or an overlap before {}", span.virt);
            for end in [span.virt.first().0, span.virt.last().0] {
                let expected = tables.naive(end).real.map(|real| PhysAddr(naive::absolute(real, shape.prefix)));
                assert_eq!(span.phys(VirtAddr(end)), expected, "{end:#x} of\n{}", tables.fixture("x", &[end]));
            }
            let inside = span.virt.first().0 + rng.below(span.virt.len_minus_one().max(1));
            assert_eq!(walker.span_at(VirtAddr(inside)).unwrap(), span);
            next = span.virt.next();
            spans += 1;
        }
        assert!(spans > 500, "seed {seed}: only {spans} spans");
    }
}

#[test]
fn prefixing_swaps_two_areas_and_no_more() {
    for seed in 0..300 {
        let mut rng = Random(seed);
        let prefix = rng.pick(&[0x2000, 0x1_0000, 0x20_0000, 0x7fff_e000]);
        let tables = Tables::random(Shape { prefix, ..shape(&mut rng, seed % 4, true) }, &mut rng);
        let (paging, memory) = (tables.paging(), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        for _ in 0..60 {
            let virt = tables.address(&mut rng);
            let expected = tables.naive(virt).real.map(|real| PhysAddr(naive::absolute(real, prefix)));
            let found = walker.translate(VirtAddr(virt)).unwrap();
            assert_eq!(found, expected, "{virt:#x} of\n{}", tables.fixture("x", &[virt]));
        }
    }
}

fn vcpu(registers: &[(&str, u64)]) -> Vcpu {
    let mut vcpu = Vcpu { id: 2, registers: Registers::unknown(ARCH.registers()) };
    for (name, value) in registers {
        vcpu.registers.set_named(name, &value.to_le_bytes()).unwrap();
    }
    vcpu
}

#[test]
fn a_register_that_counts_must_be_known_and_no_other() {
    let needed = |registers: &[(&str, u64)]| match ARCH.paging(&vcpu(registers)) {
        Err(ArchError::RegisterUnknown { register, .. }) => register,
        other => panic!("{other:?}"),
    };
    assert_eq!(needed(&[]), "pswm");
    assert_eq!(needed(&[("pswm", 0)]), "prefix");
    assert_eq!(needed(&[("pswm", 0x0400_0001_8000_0000)]), "cr1");
    assert_eq!(needed(&[("pswm", 0x0400_4001_8000_0000)]), "cr1");
    assert_eq!(needed(&[("pswm", 0x0400_8001_8000_0000)]), "cr7");
    assert_eq!(needed(&[("pswm", HOME)]), "cr13");
    assert_eq!(needed(&[("pswm", HOME), ("cr13", 0x1_0007)]), "cr0");
    assert_eq!(needed(&[("pswm", HOME), ("cr13", 0x1_0007), ("cr0", 0)]), "prefix");
    assert_eq!(needed(&[("pswm", HOME), ("cr13", 0x1_0027)]), "prefix");
    assert!(ARCH.paging(&vcpu(&[("pswm", HOME), ("cr13", 0x1_0007), ("cr0", 0), ("prefix", 0)])).is_ok());
}

#[test]
fn the_home_space_is_that_of_cr13_whatever_runs() {
    let mut memory = TestMemory::default();
    memory.put(0x1_0000, &0x2_0000_u64.to_be_bytes());
    memory.put(0x2_0000, &0x7_7000_u64.to_be_bytes());
    let process =
        vcpu(&[("pswm", 0x0705_0001_8000_0000), ("cr1", 0x20), ("cr13", 0x1_0000), ("cr0", 0), ("prefix", 0)]);
    let translated = |paging| Walker::new(&paging, &memory).translate(VirtAddr(0x123)).unwrap();
    assert_eq!(translated(paging::home("s390x", &process).unwrap()), Some(PhysAddr(0x7_7123)));
    assert_eq!(translated(ARCH.paging(&process).unwrap()), Some(PhysAddr(0x123)));
}

/// The same answer. addrxlat tells the address of an entry that it cannot read, and no index of a wrong table type.
fn same_as_addrxlat(ours: &str, theirs: &str) -> bool {
    let hex = |text: &str| u64::from_str_radix(text.rsplit("0x").next().unwrap(), 16).unwrap();
    if ours.starts_with("no RAM for ") && theirs.starts_with("no RAM for entry at ") {
        return (0..0x4000).contains(&hex(theirs).wrapping_sub(hex(ours)));
    }
    ours == theirs || (ours.starts_with("invalid") && ours.split('[').next() == Some(theirs))
}

/// What addrxlat cannot know (its limits are told in `s390x_oracle.py`), by cases of the fixture.
const BEYOND_ADDRXLAT: [&str; 9] = [
    "the same bits without enhanced DAT",
    "private space",
    "a process and the kernel: primary space",
    "access registers: the primary space stands for all",
    "secondary space",
    "DAT off",
    "real space",
    "prefixing without translation",
    "prefixing behind translation; the tables are at absolute addresses",
];

#[test]
fn addrxlat_agrees_on_the_fixture() {
    if !oracle::addrxlat_is_there() {
        return;
    }
    let text = read(FIXTURE);
    let mut answers = oracle::ask("addrxlat", &text).into_iter();
    let (mut same, mut different) = (0, Vec::new());
    for case in walk_cases(&text) {
        let paging = case.paging(&ARCH);
        let mut walker = Walker::new(&paging, &case.memory);
        for (virt, _) in &case.walks {
            let ours = describe(&paging, &walker.span_at(VirtAddr(*virt)).unwrap(), *virt);
            let theirs = answers.next().expect("an answer for each walk");
            if BEYOND_ADDRXLAT.contains(&case.name.as_str()) {
                continue;
            } else if same_as_addrxlat(&ours, &theirs) {
                same += 1;
            } else {
                different.push(*virt);
            }
        }
    }
    // Bit 52; entries behind the first quarter under a table offset; length of the first table; a table length of 0.
    let known = [
        0x2000,
        0x1_2000_0123,
        0x1_5ff0_0123,
        0x2_fff0_0123,
        0x4000_0123,
        0x7fff_ffff,
        0x500_0000_0123,
        0x7fe8_0000_0000_0123,
        0x8000_0000_0000_0123,
        u64::MAX,
    ];
    assert_eq!((same, different), (56, known.to_vec()));
}

#[test]
fn addrxlat_agrees_on_random_tables() {
    if !oracle::addrxlat_is_there() {
        return;
    }
    let mut rng = Random(0x6164_6472_786c_6174);
    let mut sets = Vec::new();
    for i in 0..400 {
        let tables = Tables::random(shape(&mut rng, i % 4, false), &mut rng);
        let walks: Vec<u64> = (0..50).map(|_| tables.address(&mut rng)).collect();
        sets.push((tables, walks));
    }
    let text: String = sets.iter().map(|(tables, walks)| tables.fixture("random", walks)).collect();
    let mut answers = oracle::ask("addrxlat", &text).into_iter();
    let mut mapped = 0;
    for (tables, walks) in &sets {
        let (paging, memory) = (tables.paging(), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        for virt in walks {
            let ours = describe(&paging, &walker.span_at(VirtAddr(*virt)).unwrap(), *virt);
            let theirs = answers.next().expect("an answer for each walk");
            let fixture = || tables.fixture("x", &[*virt]);
            assert!(same_as_addrxlat(&ours, &theirs), "guestdump {ours}, addrxlat {theirs}:\n{}", fixture());
            mapped += u64::from(ours.starts_with("0x"));
        }
    }
    assert!(mapped > 4000, "{mapped} mapped");
}

/// End of the RAM of QEMU's machine: what translates to addresses behind it, QEMU calls unmapped.
const QEMU_RAM: u64 = 4 << 30;

#[test]
fn qemu_agrees_on_random_tables() {
    if !oracle::qemu_is_there() {
        return;
    }
    let mut rng = Random(0x7165_6d75);
    let mut sets = Vec::new();
    for i in 0..100 {
        let prefix = rng.pick(&[0, 0x2000, 0x1_0000, 0x20_0000, 0x7fff_e000]);
        let shape = Shape { first: i % 4, edat: false, prefix, everything: true };
        let tables = Tables::random(shape, &mut rng);
        let walks: Vec<u64> = (0..50).map(|_| tables.address(&mut rng)).collect();
        sets.push((tables, walks));
    }
    let text: String = sets.iter().map(|(tables, walks)| tables.fixture("random", walks)).collect();
    let mut answers = oracle::ask("qemu", &text).into_iter();
    let mut mapped = 0;
    for (tables, walks) in &sets {
        let (paging, memory) = (tables.paging(), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        for virt in walks {
            let theirs = answers.next().expect("an answer for each walk");
            // All of its memory is there, and holds zeros.
            if tables.naive(*virt).text.starts_with("no RAM") {
                continue;
            }
            let ours = walker.translate(VirtAddr(*virt)).unwrap().filter(|at| at.0 < QEMU_RAM);
            mapped += u64::from(ours.is_some());
            let ours = ours.map_or_else(|| "unmapped".to_owned(), |at| at.to_string());
            assert_eq!(ours, theirs, "{virt:#x} of\n{}", tables.fixture("x", &[*virt]));
        }
    }
    assert!(mapped > 700, "{mapped} mapped");
}

/// Cases of the fixture that QEMU knows otherwise: no enhanced DAT in its TCG; the secondary space is the primary one to
/// its monitor.
const BEYOND_QEMU: [&str; 3] =
    ["1 MiB and 2 GiB pages", "secondary space", "prefixing behind translation; the tables are at absolute addresses"];

#[test]
fn qemu_agrees_on_the_fixture() {
    if !oracle::qemu_is_there() {
        return;
    }
    let text = read(FIXTURE);
    let mut answers = oracle::ask("qemu", &text).into_iter();
    for case in walk_cases(&text) {
        let paging = case.paging(&ARCH);
        let mut walker = Walker::new(&paging, &case.memory);
        for (virt, expected) in &case.walks {
            let theirs = answers.next().expect("an answer for each walk");
            let large = BEYOND_QEMU.contains(&case.name.as_str()) && (*virt >= 0x10_0000 || case.name.starts_with('1'));
            if large || case.name == "secondary space" || expected.starts_with("no RAM for") {
                continue;
            }
            let ours = walker.translate(VirtAddr(*virt)).unwrap().filter(|at| at.0 < QEMU_RAM);
            let ours = ours.map_or_else(|| "unmapped".to_owned(), |at| at.to_string());
            assert_eq!(ours, theirs, "[{}] {virt:#x}", case.name);
        }
    }
}

/// The current space, then those that other control registers designate, each once; real mode too has a prefix.
#[test]
fn spaces_of_a_vcpu() {
    // Segment tables at 0x1000, 0x2000, 0x3000 whose entry 0 maps 1 MiB at 0x100000, 0x200000, 0x300000.
    let mut memory = TestMemory::default();
    (1..=3).for_each(|n| memory.put_int(n << 12, 8, Endian::Big, n << 20 | 0x400));
    let spaces = |psw: u64, others: &[(&str, u64)]| {
        let mut registers = Registers::unknown(ARCH.registers());
        for (name, value) in [("pswm", psw), ("cr0", 1 << 23), ("prefix", 0)].iter().chain(others) {
            registers.set_named(name, &value.to_le_bytes()).unwrap();
        }
        let at = |paging: Paging| Walker::new(&paging, &memory).translate(VirtAddr(0x123)).unwrap().unwrap().0;
        let spaces = ARCH.spaces(&Vcpu { id: 1, registers }).into_iter();
        spaces.map(|space| (space.name, space.paging.map(at).map_err(|error| error.to_string()))).collect::<Vec<_>>()
    };
    let all = [("cr1", 0x1003), ("cr7", 0x2003), ("cr13", 0x3003)];
    let named = |names: &[(&'static str, u64)]| names.iter().map(|(name, at)| (*name, Ok(*at))).collect::<Vec<_>>();
    // Primary, secondary, home, access-register mode; DAT off.
    let (primary, secondary, home) = (("primary", 0x10_0123), ("secondary", 0x20_0123), ("home", 0x30_0123));
    assert_eq!(spaces(0x0400_0001_8000_0000, &all), named(&[("current", 0x10_0123), secondary, home]));
    assert_eq!(spaces(0x0400_8001_8000_0000, &all), named(&[("current", 0x20_0123), primary, home]));
    assert_eq!(spaces(0x0400_c001_8000_0000, &all), named(&[("current", 0x30_0123), primary, secondary]));
    assert_eq!(spaces(0x0400_4001_8000_0000, &all), named(&[("current", 0x10_0123), secondary, home]));
    assert_eq!(spaces(0x0000_0001_8000_0000, &all), named(&[("current", 0x123), primary, secondary, home]));
    // One space in two registers; a real space; one that is not known.
    let same = [("cr1", 0x1003), ("cr7", 0x1003), ("cr13", 0x20)];
    assert_eq!(spaces(0x0400_0001_8000_0000, &same), named(&[("current", 0x10_0123), ("home", 0x123)]));
    let unknown = "s390x: register cr13 of vCPU 1 is not known, and address translation needs it".to_owned();
    let found = spaces(0x0400_0001_8000_0000, &all[..2]);
    assert_eq!(found, [("current", Ok(0x10_0123)), ("secondary", Ok(0x20_0123)), ("home", Err(unknown))]);
}

/// The home space is the kernel's, in whatever other register it is; a space that is not known is not taken for it.
#[test]
fn the_kernels_space_is_the_home_space() {
    let kernels = |psw: u64, others: &[(&str, u64)]| {
        let mut registers = Registers::unknown(ARCH.registers());
        for (name, value) in [("pswm", psw), ("cr0", 0), ("prefix", 0)].iter().chain(others) {
            registers.set_named(name, &value.to_le_bytes()).unwrap();
        }
        let spaces = ARCH.spaces(&Vcpu { id: 1, registers });
        spaces.into_iter().filter(|space| space.kernel).map(|space| space.name).collect::<Vec<_>>()
    };
    let all = [("cr1", 0x1003), ("cr7", 0x2003), ("cr13", 0x3003)];
    let (primary, home, off) = (0x0400_0001_8000_0000, 0x0400_c001_8000_0000, 0x0000_0001_8000_0000);
    assert_eq!(kernels(primary, &all), ["home"]);
    assert_eq!(kernels(home, &all), ["current"]);
    assert_eq!(kernels(off, &all), ["home"]);
    let same = [("cr1", 0x3003), ("cr7", 0x2003), ("cr13", 0x3003)];
    assert_eq!(kernels(primary, &same), ["current"]);
    assert_eq!(kernels(off, &same), ["primary"]);
    assert_eq!(kernels(primary, &all[..2]), [""; 0]);
}
