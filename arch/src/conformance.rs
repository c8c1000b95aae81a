//! The suite that every architecture runs, and memory for tests. Feature `testing`.
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

use std::collections::{BTreeMap, BTreeSet};

use crate::abi::{Class, Endian};
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::{Arch, DumpInfo, GuestFacts};
use crate::memory::{Extent, MemoryError, PhysMemory, Presence};
use crate::note::{Content, LayoutFor};
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
        for (i, byte) in buf.iter_mut().enumerate() {
            let at = addr.0 + i as u64;
            match self.pages.get(&(at / PAGE)) {
                Some(page) => *byte = page[(at % PAGE) as usize],
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn extent(&self, addr: PhysAddr, _limit_bytes: u64) -> Extent {
        let presence = if self.pages.contains_key(&(addr.0 / PAGE)) { Presence::Data } else { Presence::Absent };
        Extent { presence, len_bytes: PAGE - addr.0 % PAGE }
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
