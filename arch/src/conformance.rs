//! The suite that every architecture runs, memory for tests, and readers of the text fixtures in `testdata/notes` and
//! `testdata/paging`. Feature `testing`.
//!
//! It checks what must hold whatever the architecture: it knows none of their layouts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "code of tests"
)]

pub mod judges;
pub mod tables;

use std::collections::{BTreeMap, BTreeSet};

use crate::abi::{Class, Endian};
use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::arch::{Arch, DumpInfo, GuestFacts};
use crate::memory::{Extent, MemoryError, PhysMemory, Presence};
use crate::note::{Content, LayoutFor, NoteKind};
use crate::paging::walk::Walker;
use crate::paging::{Hole, Paging, Span, Target};
use crate::register::{Reg, Registers, Vcpu};

/// Runs the conformance suite over an architecture.
#[macro_export]
macro_rules! conformance {
    ($arch:expr) => {
        #[test]
        fn names_are_unique_and_lower_case() {
            $crate::conformance::names(&$arch);
        }
        #[test]
        fn registers_are_unique_and_have_a_width() {
            $crate::conformance::registers(&$arch);
        }
        #[test]
        fn dump_info_is_consistent() {
            $crate::conformance::dump_info(&$arch);
        }
        #[test]
        fn notes_name_real_registers() {
            $crate::conformance::note_rows(&$arch);
        }
        #[test]
        fn notes_survive_the_way_there_and_back() {
            $crate::conformance::note_round_trip(&$arch);
        }
        #[test]
        fn unknown_registers_are_refused_or_off_but_never_guessed() {
            $crate::conformance::paging_without_registers(&$arch);
        }
    };
}

/// A vCPU with these registers and no others.
pub fn vcpu(arch: &dyn Arch, id: u32, values: &[(&str, u64)]) -> Vcpu {
    let mut registers = Registers::unknown(arch.registers());
    for (name, value) in values {
        registers.set_named(name, &value.to_le_bytes()).unwrap();
    }
    Vcpu { id, registers }
}

/// Sparse memory for tests: pages of 4096 bytes.
#[derive(Debug, Default, Clone)]
pub struct TestMemory {
    pages: BTreeMap<u64, Box<[u8]>>,
}

const PAGE: u64 = 4096;

impl TestMemory {
    /// Writes `bytes` at `addr`, making RAM of every page that they touch.
    pub fn put(&mut self, addr: u64, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            let at = addr + i as u64;
            let page = self.pages.entry(at / PAGE).or_insert_with(|| vec![0; PAGE as usize].into());
            page[(at % PAGE) as usize] = *byte;
        }
    }

    /// Writes an integer of `width` bytes.
    pub fn put_int(&mut self, addr: u64, width: usize, endian: Endian, value: u64) {
        let mut bytes = vec![0; width];
        endian.put(value, &mut bytes);
        self.put(addr, &bytes);
    }
}

impl PhysMemory for TestMemory {
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        let mut done = 0;
        while done < buf.len() {
            let at = addr.0 + done as u64;
            let Some(page) = self.pages.get(&(at / PAGE)) else { return Ok(false) };
            let there = &page[(at % PAGE) as usize..];
            let len = there.len().min(buf.len() - done);
            buf[done..done + len].copy_from_slice(&there[..len]);
            done += len;
        }
        Ok(true)
    }

    fn extent(&self, addr: PhysAddr, _limit_bytes: u64) -> Extent {
        let page = addr.0 / PAGE;
        if self.pages.contains_key(&page) {
            return Extent { presence: Presence::Data, len_bytes: PAGE - addr.0 % PAGE };
        }
        let next = self.pages.range(page..).next().map_or(u64::MAX, |(page, _)| page * PAGE);
        Extent { presence: Presence::Absent, len_bytes: next - addr.0 }
    }
}

pub fn names(arch: &dyn Arch) {
    let id = arch.identity();
    let mut seen = BTreeSet::new();
    for name in id.aliases.iter().map(|alias| alias.0).chain([id.name]) {
        assert!(seen.insert(name), "{name} twice");
        assert_eq!(name, name.to_lowercase());
    }
    assert!(!id.endians.is_empty() && !id.qemu_targets.is_empty());
}

pub fn registers(arch: &dyn Arch) {
    let mut seen = BTreeSet::new();
    for def in arch.registers() {
        assert!(def.width > 0, "{} has no width", def.name);
        for name in def.aliases.iter().chain([&def.name]) {
            assert!(seen.insert(*name), "register name {name} twice");
        }
    }
    assert!(arch.registers().len() <= usize::from(u16::MAX));
}

/// Dump infos of one-vCPU guests of every byte order, with all registers 0 and with all bits set.
fn infos(arch: &dyn Arch) -> Vec<(DumpInfo, Vcpu)> {
    let mut out = Vec::new();
    for &endian in arch.identity().endians {
        for fill in [0_u8, 0xff] {
            let mut vcpu = Vcpu { id: 0, registers: Registers::unknown(arch.registers()) };
            for (i, def) in arch.registers().iter().enumerate() {
                vcpu.registers.set_part(Reg(i as u16), 0, &vec![fill; usize::from(def.width)]);
            }
            let vcpus = [vcpu.clone()];
            let ram = [PhysRange::new(PhysAddr(0), 1 << 20).unwrap()];
            let facts =
                GuestFacts { vcpus: &vcpus, ram: &ram, endian: Some(endian), machine_page_size: None, kernel: None };
            out.push((arch.dump_info(&facts).unwrap(), vcpu));
        }
    }
    out
}

pub fn dump_info(arch: &dyn Arch) {
    for (info, _) in infos(arch) {
        assert!(info.page_size.is_power_of_two() && info.page_size >= 4096);
        assert_eq!(info.abi.endian, info.endian);
        assert!(arch.identity().endians.contains(&info.endian));
        assert!(!info.uts_machine.is_empty() && info.uts_machine.len() < 65);
        assert!(info.class == Class::Elf64 || info.abi.word == 4);
    }
    // A guest of which nothing is known is described all the same.
    let facts = GuestFacts { vcpus: &[], ram: &[], endian: None, machine_page_size: None, kernel: None };
    arch.dump_info(&facts).unwrap();
}

pub fn note_rows(arch: &dyn Arch) {
    for (info, vcpu) in infos(arch) {
        let kinds = arch.notes(&info);
        assert!(kinds.iter().any(|kind| kind.name == "CORE" && kind.n_type == 1 && kind.always), "NT_PRSTATUS");
        for kind in kinds {
            let Some(layout) = (kind.layout)(LayoutFor::Registers(&vcpu.registers)) else { continue };
            for row in layout.rows() {
                if let Content::Registers { first, from_byte } = row.content {
                    for i in 0..row.count {
                        let def = &arch.registers()[usize::from(first.0 + i)];
                        assert!(from_byte < def.width, "{} has no byte {from_byte}", def.name);
                    }
                }
            }
        }
    }
}

/// Fills every register with bytes of its own.
fn pattern(arch: &dyn Arch, like: &Registers) -> Registers {
    let mut regs = like.clone();
    for (i, def) in arch.registers().iter().enumerate() {
        let bytes: Vec<u8> = (0..def.width).map(|byte| (i as u16 * 31 + byte * 7 + 1) as u8).collect();
        regs.set_part(Reg(i as u16), 0, &bytes);
    }
    regs
}

pub fn note_round_trip(arch: &dyn Arch) {
    for (info, vcpu) in infos(arch) {
        let regs = pattern(arch, &vcpu.registers);
        for kind in arch.notes(&info) {
            let Some(desc) = kind.encode(6, &regs, info.endian) else { continue };
            let layout = (kind.layout)(LayoutFor::Descriptor(&desc, info.endian)).expect("its own note");
            assert_eq!(layout.size(), desc.len());
            let mut back = Registers::unknown(arch.registers());
            if let Some(pid) = layout.decode(&desc, &mut back, info.endian) {
                assert_eq!(pid, 7);
            }
            assert_eq!(layout.encode(6, &back, info.endian), desc, "{} {:#x}", kind.name, kind.n_type);
        }
    }
}

pub fn paging_without_registers(arch: &dyn Arch) {
    let vcpu = Vcpu { id: 3, registers: Registers::unknown(arch.registers()) };
    let error = arch.paging(&vcpu).expect_err("nothing is known");
    assert!(error.to_string().contains("vCPU 3"), "{error}");
}

/// A number of a fixture: decimal, or hexadecimal with 0x.
fn number(text: &str) -> u64 {
    wide_number(text).try_into().unwrap_or_else(|_| panic!("too large: {text:?}"))
}

fn wide_number(text: &str) -> u128 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("not a number: {text:?}"))
}

/// Lines of a fixture without comments; no empty ones.
fn content(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty())
}

/// One note of a fixture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteText {
    pub name: String,
    pub n_type: u32,
    pub desc: Vec<u8>,
}

/// The notes of a dump, as `testdata/notes/from_capture.py` writes them.
#[derive(Debug, Clone)]
pub struct NoteFixture {
    pub class: Class,
    pub endian: Endian,
    pub machine: u16,
    pub notes: Vec<NoteText>,
}

impl NoteFixture {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut fixture = Self { class: Class::Elf64, endian: Endian::Little, machine: 0, notes: Vec::new() };
        for line in content(text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words[0] == "elf" {
                words[1..].iter().for_each(|word| fixture.header(word));
            } else if let Some(at) = words[0].strip_suffix(':') {
                let at = usize::from_str_radix(at, 16).unwrap();
                let note = fixture.notes.last_mut().expect("bytes of a note");
                for (to, word) in note.desc[at..].iter_mut().zip(&words[1..]) {
                    *to = u8::from_str_radix(word, 16).unwrap();
                }
            } else {
                let (n_type, len) = (number(words[1]) as u32, number(words[2]) as usize);
                fixture.notes.push(NoteText { name: words[0].into(), n_type, desc: vec![0; len] });
            }
        }
        fixture
    }

    fn header(&mut self, word: &str) {
        match word.split_once('=').expect("key=value") {
            ("class", "32") => self.class = Class::Elf32,
            ("endian", "big") => self.endian = Endian::Big,
            ("machine", machine) => self.machine = machine.parse().unwrap(),
            _ => {}
        }
    }

    /// The descriptors of one kind: the first is vCPU 0's.
    pub fn of_kind<'a>(&'a self, kind: &NoteKind) -> impl Iterator<Item = &'a [u8]> {
        let (name, n_type) = (kind.name, kind.n_type);
        self.notes.iter().filter(move |note| note.name == name && note.n_type == n_type).map(|note| &note.desc[..])
    }

    /// The vCPUs with what their notes say, and the dump's facts that follow from them.
    #[must_use]
    pub fn vcpus(&self, arch: &dyn Arch) -> (DumpInfo, Vec<Vcpu>) {
        let mut vcpus: Vec<Vcpu> = Vec::new();
        for kind in arch.notes(&self.info(arch, &[])) {
            for (id, desc) in self.of_kind(kind).enumerate() {
                if id == vcpus.len() {
                    vcpus.push(Vcpu { id: id as u32, registers: Registers::unknown(arch.registers()) });
                }
                let layout = (kind.layout)(LayoutFor::Descriptor(desc, self.endian)).expect("a layout for this note");
                assert_eq!(layout.size(), desc.len(), "{} {:#x}", kind.name, kind.n_type);
                let pid = layout.decode(desc, &mut vcpus[id].registers, self.endian);
                assert!(pid.is_none_or(|pid| pid as usize == id + 1), "pid {pid:?} of vCPU {id}");
            }
        }
        (self.info(arch, &vcpus), vcpus)
    }

    fn info(&self, arch: &dyn Arch, vcpus: &[Vcpu]) -> DumpInfo {
        let facts = GuestFacts { vcpus, ram: &[], endian: Some(self.endian), machine_page_size: None, kernel: None };
        arch.dump_info(&facts).unwrap()
    }
}

/// The notes of some vCPUs in file order: those of group 0 of every vCPU, then those of group 1.
#[must_use]
pub fn note_stream(arch: &dyn Arch, info: &DumpInfo, vcpus: &[Vcpu]) -> Vec<NoteText> {
    let mut stream = Vec::new();
    for group in 0..2 {
        for vcpu in vcpus {
            for kind in arch.notes(info).iter().filter(|kind| kind.group == group) {
                let desc = kind.encode(vcpu.id, &vcpu.registers, info.endian);
                let name = kind.name.to_owned();
                stream.extend(desc.map(|desc| NoteText { name, n_type: kind.n_type, desc }));
            }
        }
    }
    stream
}

/// Every note that somebody else wrote is the same after decoding and encoding: alone, and as part of the whole stream.
pub fn golden_notes(arch: &dyn Arch, fixture: &NoteFixture) {
    let (info, vcpus) = fixture.vcpus(arch);
    assert!(!vcpus.is_empty(), "no vCPU");
    assert_eq!((info.machine, info.endian), (fixture.machine, fixture.endian));
    for kind in arch.notes(&info) {
        for (id, desc) in fixture.of_kind(kind).enumerate() {
            let mut alone = Registers::unknown(arch.registers());
            let layout = (kind.layout)(LayoutFor::Descriptor(desc, info.endian)).unwrap();
            layout.decode(desc, &mut alone, info.endian);
            let again = kind.encode(id as u32, &alone, info.endian);
            assert_eq!(again.as_deref(), Some(desc), "{} {:#x} of vCPU {id}", kind.name, kind.n_type);
        }
    }
    let theirs: Vec<_> = fixture.notes.iter().filter(|note| note.name != "VMCOREINFO").cloned().collect();
    assert_eq!(note_stream(arch, &info, &vcpus), theirs);
}

/// One case of a fixture in `testdata/paging`: registers, tables, and what addresses must translate to.
#[derive(Debug, Default)]
pub struct WalkCase {
    pub name: String,
    pub registers: Vec<(String, u128)>,
    pub memory: TestMemory,
    pub walks: Vec<(u64, String)>,
}

/// The cases of a fixture. Its form is told in `testdata/paging/README.md`.
#[must_use]
pub fn walk_cases(text: &str) -> Vec<WalkCase> {
    let (mut cases, mut width, mut endian) = (Vec::<WalkCase>::new(), 8, Endian::Little);
    for line in content(text) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some((virt, expected)) = line.split_once(" -> ") {
            cases.last_mut().unwrap().walks.push((number(virt), expected.to_owned()));
        } else if let Some(name) = line.strip_prefix('[') {
            cases.push(WalkCase { name: name.trim_end_matches(']').to_owned(), ..WalkCase::default() });
        } else if let Some(table) = words[0].strip_prefix('@') {
            let memory = &mut cases.last_mut().unwrap().memory;
            match words[1].strip_prefix('[').map(|index| number(index.trim_end_matches(']'))) {
                Some(index) => memory.put_int(number(table) + index * width, width as usize, endian, number(words[2])),
                None => memory.put(number(table), &[0; PAGE as usize]),
            }
        } else if words[0] == "entries" {
            width = number(words[1]);
            endian = if words[2] == "big" { Endian::Big } else { Endian::Little };
        } else if words[0] != "form" {
            cases.last_mut().unwrap().registers.push((words[0].to_owned(), wide_number(words[1])));
        }
    }
    cases
}

impl WalkCase {
    /// How a vCPU with the registers of this case translates.
    #[must_use]
    pub fn paging(&self, arch: &dyn Arch) -> Paging {
        let mut vcpu = Vcpu { id: 0, registers: Registers::unknown(arch.registers()) };
        for (name, value) in &self.registers {
            vcpu.registers.set_named(name, &value.to_le_bytes()).unwrap();
        }
        arch.paging(&vcpu).unwrap()
    }
}

/// What a span says of an address of it, in the words of the fixtures.
#[must_use]
pub fn describe(paging: &Paging, span: &Span, virt: u64) -> String {
    let name = |level: u8| paging.radix().map_or("", |radix| radix.form.levels[usize::from(level)].name);
    match span.target {
        Target::Phys(_) => format!("{:#x}", span.phys(VirtAddr(virt)).expect("an address of the span").0),
        Target::Hole(Hole::NoRoot) => "no root".to_owned(),
        Target::Hole(Hole::NotPresent { level, index, raw }) => {
            format!("not present at {}[{index}] = {raw:#x}", name(level))
        }
        Target::Hole(Hole::OutOfTable { level, index }) => format!("outside of table at {}[{index}]", name(level)),
        Target::Hole(Hole::Invalid { level, index, raw }) => format!("invalid at {}[{index}] = {raw:#x}", name(level)),
        Target::Hole(Hole::TableAbsent { level, table }) => format!("no RAM for {} at {table}", name(level)),
    }
}

/// Every address of a fixture translates as it says. A fixture may leave out the raw entry.
pub fn check_walks(arch: &dyn Arch, text: &str) {
    let cases = walk_cases(text);
    assert!(!cases.is_empty(), "no cases");
    for case in &cases {
        let paging = case.paging(arch);
        let mut walker = Walker::new(&paging, &case.memory);
        for (virt, expected) in &case.walks {
            let span = walker.span_at(VirtAddr(*virt)).unwrap();
            let found = describe(&paging, &span, *virt);
            let same = found == *expected || found.split(" = ").next() == Some(expected);
            assert!(same, "[{}] {virt:#x} -> {found}, not {expected}", case.name);
            assert!(span.virt.contains(VirtAddr(*virt)), "[{}] {virt:#x} is not in {}", case.name, span.virt);
        }
    }
}

/// Random numbers for tests that must run the same everywhere: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
