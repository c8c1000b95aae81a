//! Hashed page tables of ppc64: a naive walker, surveys, and what registers say.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use core::ops::ControlFlow;

use common::hash::Tables;
use common::vcpu;
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::tables::Told;
use guestdump_arch::conformance::{Random, TestMemory, walk_cases};
use guestdump_arch::paging::form::Rights;
use guestdump_arch::paging::mappings::{Limits, Mapping, Shared, Visitor};
use guestdump_arch::paging::survey::Survey;
use guestdump_arch::paging::walk::{WalkError, Walker};
use guestdump_arch::paging::{Hole, Target};
use guestdump_arch::{Arch, Endian, Paging, PhysAddr, Registers, Vcpu, VirtAddr, VirtRange};
use guestdump_ppc64::ARCH;

fn with(registers: &[(String, u128)]) -> Vcpu {
    let mut vcpu = Vcpu { id: 0, registers: Registers::unknown(ARCH.registers()) };
    for (name, value) in registers {
        let width = vcpu.registers.defs()[usize::from(vcpu.registers.find(name).unwrap().0)].width;
        vcpu.registers.set_named(name, &value.to_le_bytes()[..usize::from(width)]).unwrap();
    }
    vcpu
}

fn paging(registers: &[(String, u128)]) -> Paging {
    ARCH.paging(&with(registers)).unwrap()
}

/// The same tables by a partition table at 0x1000, whose entry says their format.
fn under_a_hypervisor(tables: &Tables, memory: &mut TestMemory) -> Paging {
    memory.put_int(0x1000, 8, Endian::Big, tables.sdr1);
    let mut registers = tables.registers();
    registers.retain(|(name, _)| name != "sdr1" && name != "msr");
    registers.extend([("msr".to_owned(), 0x9000_0000_0000_1033), ("ptcr".to_owned(), 0x1000)]);
    paging(&registers)
}

fn set(tables: &Tables) -> (Paging, TestMemory) {
    let mut memory = tables.memory();
    let paging = if tables.new_format { under_a_hypervisor(tables, &mut memory) } else { paging(&tables.registers()) };
    (paging, memory)
}

fn rights(expected: [(bool, bool, bool); 2]) -> String {
    let one = |(read, write, execute)| {
        let letter = |has, letter| if has { letter } else { '-' };
        [letter(read, 'r'), letter(write, 'w'), letter(execute, 'x')].iter().collect::<String>()
    };
    format!("{}/{}", one(expected[0]), one(expected[1]))
}

/// Every interrupt starts in real mode, with the SLB of what it interrupted; firmware has none.
#[test]
fn in_real_mode_the_kernel_has_its_segments() {
    let tables = Tables::random(false, &mut Random(1));
    let spaces = |changed: &[(&str, Option<u128>)]| {
        let mut registers = tables.registers();
        registers.retain(|(name, _)| changed.iter().all(|(other, _)| !name.starts_with(other)));
        registers.extend(changed.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?))));
        let vcpu = with(&registers);
        let spaces = ARCH.spaces(&vcpu).into_iter().map(|space| (space.name, space.paging));
        spaces.map(|(name, paging)| (name, paging.map(|paging| paging.is_on()).ok())).collect::<Vec<_>>()
    };
    let on = ("current", Some(true));
    assert_eq!(spaces(&[]), [on]);
    let (real, off) = (("msr", Some(0x9000_0000_0000_1001)), ("current", Some(false)));
    assert_eq!(spaces(&[real]), [off, ("kernel", Some(true))]);
    assert_eq!(spaces(&[real, ("slb", None), ("slb0", Some(0))]), [off]);
    assert_eq!(spaces(&[real, ("slb", None)]), [off]);
    assert!(ARCH.kernel_paging(&with(&[("msr".to_owned(), 0), ("lpcr".to_owned(), 0x3_f008)])).is_err());
}

#[test]
fn random_tables_agree_with_the_naive_walker() {
    let (mut mapped, mut not, mut bases) = (0, 0, [0; 35]);
    for seed in 0..120 {
        let mut rng = Random(seed);
        let tables = Tables::random(seed % 3 == 2, &mut rng);
        let (paging, memory) = set(&tables);
        let told = Told::of(&paging, &memory);
        let mut walker = Walker::new(&paging, &memory);
        let anywhere: Vec<u64> = (0..100).map(|_| tables.address(&mut rng)).collect();
        for ea in tables.pages.iter().copied().chain(anywhere) {
            let span = walker.span_at(VirtAddr(ea)).unwrap();
            let naive = tables.walk(ea);
            assert!(span.virt.contains(VirtAddr(ea)));
            assert_eq!(span.phys(VirtAddr(ea)), naive.map(|naive| PhysAddr(naive.phys)), "seed {seed}: {ea:#x}");
            assert_eq!(told.phys(ea), naive.map(|naive| naive.phys), "seed {seed}: {ea:#x} of the survey");
            let Some(naive) = naive else {
                not += 1;
                continue;
            };
            assert_eq!(span.virt.len_minus_one() + 1, 1 << naive.base);
            let (steps, _) = walker.steps(VirtAddr(ea)).unwrap();
            let all = steps.iter().filter(|step| step.says != "no entry for the page");
            let shown = all.fold(Rights::ALL, |all, step| all.and(step.rights));
            assert_eq!(shown.to_string(), rights(naive.rights), "seed {seed}: {ea:#x}: {steps:?}");
            mapped += 1;
            bases[naive.base as usize] += 1;
        }
    }
    // The generator is worth something: both kinds of answers occur, and all page sizes.
    eprintln!("{mapped} mapped, {not} not, {bases:?}");
    assert!(
        mapped > 10_000 && not > 5_000 && bases[12] > 1000 && bases[16] > 1000 && bases[24] > 500 && bases[34] > 20
    );
}

/// What QEMU says of a real kernel's addresses.
#[test]
fn a_real_kernel_translates_as_qemu_says() {
    let text = read("paging/ppc64_hashed_linux.txt");
    let [case] = &walk_cases(&text)[..] else { panic!("one case") };
    let paging = case.paging(&ARCH);
    let (mut walker, told) = (Walker::new(&paging, &case.memory), Told::of(&paging, &case.memory));
    let mut mapped = 0;
    for (ea, said) in &case.walks {
        let phys = walker.translate(VirtAddr(*ea)).unwrap().map(|phys| phys.0);
        let ours = phys.map_or("unmapped".to_owned(), |phys| format!("{phys:#x}"));
        assert_eq!(&ours, said, "{ea:#x}");
        assert_eq!(told.phys(*ea), phys, "{ea:#x} of the survey");
        mapped += u64::from(phys.is_some());
    }
    assert!(mapped == 99 && case.walks.len() > 150, "{mapped} of {}", case.walks.len());
}

/// Page by page through segments of 256 MiB: the survey tells what the naive walker finds, and nothing else.
#[test]
fn a_survey_tells_all_and_nothing_else() {
    for seed in 0..6 {
        let tables = Tables::random(seed % 2 == 1, &mut Random(seed));
        let (paging, memory) = set(&tables);
        let told = Told::of(&paging, &memory);
        for (esid, _) in tables.slb.iter().filter(|(_, slbe)| slbe >> 62 == 0) {
            let first = esid >> 28 << 28;
            for ea in (first..first + (1 << 28)).step_by(4096) {
                assert_eq!(told.phys(ea), tables.walk(ea).map(|naive| naive.phys), "seed {seed}: {ea:#x}");
            }
        }
    }
}

/// From 0 to the top where segments are few and pages large: no gap, no overlap.
#[test]
fn spans_follow_each_other() {
    let mut tables = Tables::random(false, &mut Random(3));
    tables.slb = vec![(0x3800_0000, 0x1_2345_6c00 | 0x100), (0xc000_0000_0800_0000, 0x4000_0001_2300_0500)];
    let (paging, memory) = set(&tables);
    let mut walker = Walker::new(&paging, &memory);
    let (mut next, mut spans) = (Some(VirtAddr(0)), 0);
    while let Some(virt) = next {
        let span = walker.span_at(virt).unwrap();
        assert_eq!(span.virt.first(), virt);
        assert_eq!(walker.span_at(span.virt.last()).unwrap(), span);
        next = span.virt.next();
        spans += 1;
    }
    // 16 pages of 256 MiB, 65536 of 1 TiB, and what is around them.
    assert_eq!(spans, 16 + 65536 + 3);
}

fn hole(registers: &[(String, u128)], memory: &TestMemory, ea: u64) -> (VirtRange, Hole) {
    let paging = paging(registers);
    let span = Walker::new(&paging, memory).span_at(VirtAddr(ea)).unwrap();
    let Target::Hole(hole) = span.target else { panic!("{span:?}") };
    assert_eq!(Told::of(&paging, memory).phys(ea), None);
    (span.virt, hole)
}

#[test]
fn holes_say_why() {
    let range = |first, last| VirtRange::new(VirtAddr(first), VirtAddr(last)).unwrap();
    let registers = |slb: u128, sdr1: u128| {
        vec![("msr".to_owned(), 0x8000_0000_0000_1033), ("slb3".to_owned(), slb), ("sdr1".to_owned(), sdr1)]
    };
    let segment: u128 = 0x1000_0000_0800_0003 << 64 | 0x5_0000;
    let (mut memory, inside) = (TestMemory::default(), 0x1000_0000_0000_5123);
    let page = range(0x1000_0000_0000_5000, 0x1000_0000_0000_5fff);
    let whole = range(0x1000_0000_0000_0000, 0x1000_0000_0fff_ffff);
    // Group (0x50 ^ 5) of the table.
    let absent = Hole::TableAbsent { level: 1, table: PhysAddr(0x40_0000 + 0x55 * 128) };
    assert_eq!(hole(&registers(segment, 0x40_0000), &memory, inside), (page, absent));
    memory.put(0x40_0000, &vec![0; 0x4_0000]);
    let none = Hole::NotPresent { level: 1, index: 0x55, raw: 0 };
    assert_eq!(hole(&registers(segment, 0x40_0000), &memory, inside), (page, none));
    assert_eq!(hole(&registers(segment, 0x40_0000), &memory, 0x123), (range(0, 0x0fff_ffff_ffff_ffff), Hole::NoRoot));
    let unknown_size = Hole::Invalid { level: 0, index: 3, raw: 0x5_0020 };
    assert_eq!(hole(&registers(segment | 0x20, 0x40_0000), &memory, inside), (whole, unknown_size));
    let too_large = Hole::Invalid { level: 0, index: 0, raw: 0x40_001d };
    assert_eq!(hole(&registers(segment, 0x40_001d), &memory, inside), (whole, too_large));
    // V is not set.
    let (_, not_valid) = hole(&registers(0x1000_0000_0000_0003 << 64 | 0x5_0000, 0x40_0000), &memory, inside);
    assert_eq!(not_valid, Hole::NoRoot);
}

#[test]
fn steps_name_segment_groups_and_entry() {
    let mut tables = Tables::random(false, &mut Random(1));
    tables.words.clear();
    tables.slb = vec![(0x1000_0000_0800_0000, 0x5_0000)];
    let (paging, memory) = set(&tables);
    let (steps, _) = Walker::new(&paging, &memory).steps(VirtAddr(0x1000_0000_0000_5123)).unwrap();
    let said: Vec<_> = steps.iter().map(|step| (step.name, step.says.as_str())).collect();
    let segment = "segment of 0x10000000 bytes, pages of 0x1000 bytes";
    let none = "no entry for the page";
    assert_eq!(said, [("SLB", segment), ("primary group", none), ("secondary group", none)]);
}

/// Mappings; parts of the table that are not there.
#[derive(Default)]
struct Count(u64, u64);

impl Visitor for Count {
    fn mapping(&mut self, _: Mapping) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }

    fn shared(&mut self, shared: Shared) {
        panic!("{shared:?}");
    }

    fn absent(&mut self, _: VirtRange, _: PhysAddr, _: u8) {
        self.1 += 1;
    }

    fn unreadable(&mut self, virt: VirtRange, error: &WalkError) {
        panic!("{virt}: {error}");
    }
}

/// 131072 pages of 4 KiB: the table is read once, and two groups for each entry; a second vCPU with the same segments
/// costs nothing. A table that claims 2^46 bytes of which there are few costs those.
#[test]
fn the_work_is_that_of_the_table() {
    const PAGES: u64 = 131_072;
    let mut memory = TestMemory::default();
    // Two segments whose 65536 pages each fill half of 4 MiB.
    let slb: [u128; 2] = [0x0800_0000 << 64 | 0x10_0000_0000, 0x1800_0001 << 64 | 0x20_0000_0000];
    memory.put(0x40_0000, &vec![0; 0x40_0000]);
    for (segment, page) in (0..2).flat_map(|segment| (0..PAGES / 2).map(move |page| (segment, page))) {
        let vsid = (segment + 1) << 24;
        let group = (vsid ^ page) % 0x8000;
        let slot = segment * 4 + page / 0x8000;
        let at = 0x40_0000 + group * 128 + slot * 16;
        memory.put_int(at, 8, Endian::Big, (vsid << 5 | page >> 11) << 7 | 1);
        memory.put_int(at + 8, 8, Endian::Big, (page ^ 0x5555) << 12 | 0x192);
    }
    let registers = |sdr1| {
        let slb = slb.iter().zip(0..).map(|(value, n)| (format!("slb{n}"), *value));
        slb.chain([("msr".to_owned(), 0x8000_0000_0000_1033), ("sdr1".to_owned(), sdr1)]).collect::<Vec<_>>()
    };
    let paging = paging(&registers(0x40_0004));
    let (mut count, mut survey) = (Count::default(), Survey::new(Limits::default()));
    survey.visit(&paging, &memory, &mut count).unwrap();
    let table = 0x40_0000 / 16;
    assert_eq!((count.0, survey.tables_held()), (PAGES, 2));
    assert_eq!(survey.entries_read(), table + PAGES * 2 * 8);
    survey.visit(&paging, &memory, &mut count).unwrap();
    assert_eq!((count.0, survey.entries_read()), (PAGES, table + PAGES * 2 * 8));
    let huge = self::paging(&registers(28));
    let mut survey = Survey::new(Limits::default());
    let mut count = Count::default();
    survey.visit(&huge, &memory, &mut count).unwrap();
    // Below the 4 MiB that are there, and above.
    assert_eq!(count.1, 2);
    assert!(survey.pieces_read() < 2000, "{}", survey.pieces_read());
    let few = Limits { pieces: 3, ..Limits::default() };
    let bound = Survey::new(few).visit(&paging, &memory, &mut Count::default()).unwrap_err().to_string();
    assert!(bound.starts_with("more than 3 pieces of page tables: stopped before 0x"), "{bound}");
}

#[test]
fn what_is_missing_is_named() {
    let error = |values: &[(&str, u64)]| ARCH.paging(&vcpu(values)).unwrap_err().to_string();
    let (on, hypervisor, hashed) = (("msr", 0x8000_0000_0000_1033), ("msr", 0x9000_0000_0000_1033), ("lpcr", 0x3_f008));
    let names = |register| {
        format!("ppc64: register {register} of vCPU 0 is not known, and a hashed page table (LPCR.HR is 0) needs it")
    };
    assert_eq!(error(&[on, hashed]), names("slb0"));
    assert_eq!(error(&[on, hashed, ("sdr1", 0)]), names("slb0"));
    assert_eq!(error(&[on, ("sdr1", 0)]), names("slb0"));
    assert_eq!(error(&[on, hashed, ("slb7", 0)]), names("sdr1"));
    assert_eq!(error(&[on, hashed, ("slb7", 0), ("ptcr", 0x1000)]), names("sdr1"));
    assert!(ARCH.paging(&vcpu(&[hypervisor, hashed, ("slb7", 0), ("ptcr", 0x1000)])).is_ok());
    assert_eq!(
        error(&[on, ("lpcr", 0x43_f008), ("slb7", 0), ("sdr1", 0)]),
        "ppc64: vCPU 0: segment tables of hashed translation are not walked (LPCR.UPRT in lpcr 0x43f008)"
    );
}
