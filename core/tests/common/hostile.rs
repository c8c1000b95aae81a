//! Guests of every form of page tables whose tables lead to themselves, or to each other at all addresses that there are.
#![allow(dead_code, missing_docs, reason = "tests and benches use their parts")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

use guestdump_core::arch::{self, Endian, Registers, Vcpu};
use guestdump_core::block::{BlockKind, Bytes};
use guestdump_core::guest::Guest;

/// RAM from 0 on.
const RAM: usize = 4 << 20;
/// Where the first table is.
const ROOT: u64 = 0x10_0000;
/// The vCPU that has them.
pub const VCPU: u32 = 7;

/// A form.
pub struct Case {
    pub name: &'static str,
    /// Name of the architecture, and byte order of its tables.
    arch: &'static str,
    endian: Endian,
    /// Entries of a table of each level, from the root down.
    pub entries: &'static [u64],
    registers: fn() -> Vec<(String, Vec<u8>)>,
    fill: fn(&mut Ram),
}

/// Memory, and how tables are in it.
pub struct Ram {
    bytes: Vec<u8>,
    endian: Endian,
}

impl Ram {
    fn put(&mut self, at: u64, width: usize, raw: u64) {
        let bytes = &mut self.bytes[usize::try_from(at).unwrap()..][..width];
        match self.endian {
            Endian::Little => bytes.copy_from_slice(&raw.to_le_bytes()[..width]),
            Endian::Big => bytes.copy_from_slice(&raw.to_be_bytes()[8 - width..]),
        }
    }

    /// A table of eight-byte entries.
    fn table(&mut self, at: u64, count: u64, raw: impl Fn(u64) -> u64) {
        (0..count).for_each(|index| self.put(at + index * 8, 8, raw(index)));
    }
}

impl Case {
    pub fn guest(&self) -> Guest {
        let mut ram = Ram { bytes: vec![0; RAM], endian: self.endian };
        (self.fill)(&mut ram);
        let arch = arch::by_name(self.arch).unwrap().0;
        let mut registers = Registers::unknown(arch.registers());
        (self.registers)().iter().for_each(|(name, value)| registers.set_named(name, value).unwrap());
        let parts = vec![(0, BlockKind::Ram, RAM as u64, Box::new(Bytes(ram.bytes)) as Box<_>)];
        let mut guest = super::common::guest(arch, arch.identity().endians[0], parts);
        guest.vcpus = vec![Vcpu { id: VCPU, registers }];
        guest
    }
}

fn words(values: &[(&str, u64)]) -> Vec<(String, Vec<u8>)> {
    values.iter().map(|(name, value)| ((*name).to_owned(), value.to_le_bytes().to_vec())).collect()
}

fn x86(cr4: u64, efer: u64) -> Vec<(String, Vec<u8>)> {
    words(&[("cr0", 0x8000_0001), ("cr3", ROOT), ("cr4", cr4), ("efer", efer)])
}

fn i386(cr4: u64) -> Vec<(String, Vec<u8>)> {
    words(&[("cr0", 0x8000_0001), ("cr3", ROOT), ("cr4", cr4)])
}

/// The low half alone.
fn aarch64(tcr: u64, big: u64) -> Vec<(String, Vec<u8>)> {
    words(&[("sctlr_el1", 1 | big << 25), ("tcr_el1", tcr | 1 << 23), ("ttbr0_el1", ROOT)])
}

fn s390x(asce: u64) -> Vec<(String, Vec<u8>)> {
    words(&[("pswm", 0x0400_c001_8000_0000), ("cr0", 1 << 23), ("cr13", asce), ("prefix", 0)])
}

/// Tables from level `first` on (0: region-first), each of which leads to the next with all entries: an entry has the type of
/// its table, so that none can be its own, but for the page table, which is the segment table.
fn s390x_tables(ram: &mut Ram, first: u64) {
    let at = |level: u64| ROOT + (level - first) * 0x4000;
    for level in first..3 {
        ram.table(at(level), 2048, |_| at(level + 1) | (3 - level) << 2 | 3);
    }
    ram.table(at(3), 2048, |_| at(3));
}

fn riscv64(mode: u64) -> Vec<(String, Vec<u8>)> {
    words(&[("satp", mode << 60 | ROOT >> 12)])
}

/// Every other entry is the table, the others map as much from 0 on as their level does: what leads to a table at the last level
/// maps nothing.
fn riscv64_table(ram: &mut Ram) {
    ram.table(ROOT, 512, |index| if index % 2 == 0 { ROOT >> 2 | 1 } else { 0xcf });
}

const PROCESS_TABLE: u64 = 0x8_0000;

fn ppc64_radix() -> Vec<(String, Vec<u8>)> {
    words(&[("msr", 0x8000_0000_0000_1033), ("prtbl", PROCESS_TABLE), ("pidr", 0)])
}

fn ppc64_table(ram: &mut Ram) {
    ram.put(PROCESS_TABLE, 8, 0x4000_0000_0000_00a0 | ROOT | 13);
    let entry = |index| if index % 2 == 0 { 0x8000_0000_0000_0009 | ROOT } else { 0xc000_0000_0000_0187 };
    ram.table(ROOT, 8192, entry);
}

/// Segments of 256 MiB, as many as there are slots, all with one VSID.
fn ppc64_hashed() -> Vec<(String, Vec<u8>)> {
    let mut all = words(&[("msr", 0x8000_0000_0000_1033), ("lpcr", 0x3_f008), ("sdr1", ROOT)]);
    for slot in 0..SLOTS {
        let [low, high] = [VSID << 12, slot << 28 | 1 << 27 | slot];
        all.push((format!("slb{slot}"), [low.to_le_bytes(), high.to_le_bytes()].concat()));
    }
    all
}

pub const SLOTS: u64 = 32;
const VSID: u64 = 5;
/// The smallest table: so many entries, in groups of eight.
pub const HASHED: u64 = 16_384;

/// Every entry maps a page of every segment, in its primary group: page `i` is in group `VSID ^ i`.
fn ppc64_hash_table(ram: &mut Ram) {
    for page in 0..HASHED {
        let (group, slot) = ((VSID ^ page) % (HASHED / 8), page / (HASHED / 8));
        let at = ROOT + group * 128 + slot * 16;
        ram.put(at, 8, (VSID << 5 | page >> 11) << 7 | 1);
        ram.put(at + 8, 8, (page % 1024) << 12 | 0x190);
    }
}

/// Pages of tables that lead to themselves, but for hashed ones.
pub const CASES: &[Case] = &[
    Case {
        name: "x86 32-bit",
        arch: "i386",
        endian: Endian::Little,
        entries: &[1024, 1024],
        registers: || i386(0x10),
        fill: |ram| (0..1024).for_each(|index| ram.put(ROOT + index * 4, 4, ROOT | 7)),
    },
    Case {
        name: "x86 PAE",
        arch: "i386",
        endian: Endian::Little,
        entries: &[4, 512, 512],
        registers: || i386(0x20),
        fill: |ram| {
            ram.table(ROOT, 4, |_| (ROOT + 0x1000) | 1);
            ram.table(ROOT + 0x1000, 512, |_| (ROOT + 0x1000) | 7);
        },
    },
    Case {
        name: "x86 4-level",
        arch: "x86_64",
        endian: Endian::Little,
        entries: &[512; 4],
        registers: || x86(0x20, 0x500),
        fill: |ram| ram.table(ROOT, 512, |_| ROOT | 7),
    },
    Case {
        name: "x86 5-level",
        arch: "x86_64",
        endian: Endian::Little,
        entries: &[512; 5],
        registers: || x86(0x1020, 0x500),
        fill: |ram| ram.table(ROOT, 512, |_| ROOT | 7),
    },
    Case {
        name: "aarch64 4K",
        arch: "aarch64",
        endian: Endian::Little,
        entries: &[512; 4],
        registers: || aarch64(16 | 5 << 32, 0),
        fill: |ram| ram.table(ROOT, 512, |_| ROOT | 0x703),
    },
    Case {
        name: "aarch64 4K, big-endian",
        arch: "aarch64",
        endian: Endian::Big,
        entries: &[512; 4],
        registers: || aarch64(16 | 5 << 32, 1),
        fill: |ram| ram.table(ROOT, 512, |_| ROOT | 0x703),
    },
    Case {
        name: "aarch64 16K",
        arch: "aarch64",
        endian: Endian::Little,
        entries: &[2, 2048, 2048, 2048],
        registers: || aarch64(16 | 2 << 14 | 5 << 32, 0),
        fill: |ram| ram.table(ROOT, 2048, |_| ROOT | 0x703),
    },
    Case {
        name: "aarch64 64K",
        arch: "aarch64",
        endian: Endian::Little,
        entries: &[64, 8192, 8192],
        registers: || aarch64(16 | 1 << 14 | 5 << 32, 0),
        fill: |ram| ram.table(ROOT, 8192, |_| ROOT | 0x703),
    },
    Case {
        name: "aarch64 64K, 52 bits",
        arch: "aarch64",
        endian: Endian::Little,
        entries: &[1024, 8192, 8192],
        registers: || aarch64(12 | 1 << 14 | 6 << 32, 0),
        fill: |ram| ram.table(ROOT, 8192, |_| ROOT | 0x703),
    },
    Case {
        name: "aarch64 4K, LPA2",
        arch: "aarch64",
        endian: Endian::Little,
        entries: &[16, 512, 512, 512, 512],
        registers: || aarch64(12 | 6 << 32 | 1 << 59, 0),
        fill: |ram| ram.table(ROOT, 512, |_| ROOT | 0x403),
    },
    Case {
        name: "aarch64 16K, LPA2",
        arch: "aarch64",
        endian: Endian::Little,
        entries: &[32, 2048, 2048, 2048],
        registers: || aarch64(12 | 2 << 14 | 6 << 32 | 1 << 59, 0),
        fill: |ram| ram.table(ROOT, 2048, |_| ROOT | 0x403),
    },
    Case {
        name: "s390x region-first",
        arch: "s390x",
        endian: Endian::Big,
        entries: &[2048, 2048, 2048, 2048, 256],
        registers: || s390x(ROOT | 0xf),
        fill: |ram| s390x_tables(ram, 0),
    },
    Case {
        name: "s390x region-second",
        arch: "s390x",
        endian: Endian::Big,
        entries: &[2048, 2048, 2048, 256],
        registers: || s390x(ROOT | 0xb),
        fill: |ram| s390x_tables(ram, 1),
    },
    Case {
        name: "s390x region-third",
        arch: "s390x",
        endian: Endian::Big,
        entries: &[2048, 2048, 256],
        registers: || s390x(ROOT | 0x7),
        fill: |ram| s390x_tables(ram, 2),
    },
    Case {
        name: "s390x segment table",
        arch: "s390x",
        endian: Endian::Big,
        entries: &[2048, 256],
        registers: || s390x(ROOT | 0x3),
        fill: |ram| s390x_tables(ram, 3),
    },
    Case {
        name: "ppc64 radix",
        arch: "ppc64",
        endian: Endian::Big,
        // As deep as address bits are left for; and once for each quadrant, which have the same process here.
        entries: &[2 * 8192, 2 * 512, 2 * 512, 2 * 512],
        registers: ppc64_radix,
        fill: ppc64_table,
    },
    Case {
        name: "ppc64 hashed",
        arch: "ppc64",
        endian: Endian::Big,
        // The table; and for each page in it, two groups in which it may be.
        entries: &[HASHED + SLOTS * HASHED * 2 * 8],
        registers: ppc64_hashed,
        fill: ppc64_hash_table,
    },
    Case {
        name: "riscv64 Sv39",
        arch: "riscv64",
        endian: Endian::Little,
        entries: &[512; 3],
        registers: || riscv64(8),
        fill: riscv64_table,
    },
    Case {
        name: "riscv64 Sv48",
        arch: "riscv64",
        endian: Endian::Little,
        entries: &[512; 4],
        registers: || riscv64(9),
        fill: riscv64_table,
    },
    Case {
        name: "riscv64 Sv57",
        arch: "riscv64",
        endian: Endian::Little,
        entries: &[512; 5],
        registers: || riscv64(10),
        fill: riscv64_table,
    },
];
