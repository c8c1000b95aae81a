//! Random radix trees, small enough that directories are shared and entries collide.

use std::fmt::Write as _;

use guestdump_arch::conformance::{Random, TestMemory};
use guestdump_arch::{Arch, Paging};
use guestdump_ppc64::ARCH;

use super::naive::{self, Answer, From, Ram};
use super::vcpu;

/// Index bits of each level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Linux with pages of 4 KiB.
    Pages4K,
    /// Linux with pages of 64 KiB.
    Pages64K,
    /// Whatever each entry says: few bits, so that paths exist, and sometimes too few or too many.
    Any,
}

impl Shape {
    /// Name in the fixtures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pages4K => "ppc64_radix_4k",
            Self::Pages64K => "ppc64_radix_64k",
            Self::Any => "ppc64_radix",
        }
    }

    /// Index bits from the root down.
    pub const fn bits(self) -> [u64; 4] {
        match self {
            Self::Pages4K => [13, 9, 9, 9],
            Self::Pages64K => [13, 9, 9, 5],
            Self::Any => [5, 5, 5, 5],
        }
    }
}

/// How a vCPU knows its trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Register `prtbl`.
    ProcessTable,
    /// Register `radix_root`.
    Root,
    /// PTCR, of a hypervisor.
    PartitionTable,
}

const PARTITION_TABLE: u64 = 0x70_0000;
const PROCESS_TABLE: u64 = 0x71_0000;
const PID: u64 = 5;

/// Trees and the registers that lead to them.
#[derive(Debug, Clone)]
pub struct Trees {
    pub shape: Shape,
    pub known: Known,
    pub root: u64,
    pub ram: Ram,
    pub pid: u64,
    /// Indices at which directories have entries.
    indices: Vec<u64>,
    /// Directories of each level.
    directories: [Vec<u64>; 4],
}

impl Trees {
    /// Directories of every level, of which most entries lead to the next. `wild`: one in so many entries is spoiled;
    /// 0 for trees as Linux makes them.
    pub fn random(shape: Shape, known: Known, wild: u64, rng: &mut Random) -> Self {
        let mut indices = vec![0, 1, 31];
        indices.extend((0..5).map(|n| rng.below(if n < 3 { 512 } else { 8192 })));
        let mut free = 0x10_0000;
        let mut place = |bits: u64, rng: &mut Random| {
            let at = free + if bits == 5 { rng.below(16) << 8 } else { 0 };
            free += 0x1_0000;
            at
        };
        let directories = shape.bits().map(|bits| (0..=rng.below(3)).map(|_| place(bits, rng)).collect());
        let mut trees = Self { shape, known, root: 0, ram: Ram::new(), pid: PID, indices, directories };
        trees.root = trees.directories[0][0];
        for level in 0..4 {
            for at in trees.directories[level].clone() {
                trees.fill(level, at, wild, rng);
            }
        }
        trees.process_table(wild, rng);
        trees
    }

    fn fill(&mut self, level: usize, at: u64, wild: u64, rng: &mut Random) {
        if wild > 0 && level > 0 && rng.one_in(4 * wild) {
            return;
        }
        let all: Vec<u64> = match self.shape {
            Shape::Any => (0..64).collect(),
            _ => self.indices.iter().map(|index| index % (1 << self.shape.bits()[level])).collect(),
        };
        for index in all {
            let entry = if wild > 0 && rng.one_in(wild) { rng.bits() } else { self.entry(level, wild, rng) };
            self.put(at + index * 8, if rng.one_in(12) { entry & !(1 << 63) } else { entry });
        }
    }

    /// A valid entry of a level: a page, always at the last one, or a directory of the next.
    fn entry(&self, level: usize, wild: u64, rng: &mut Random) -> u64 {
        const SOFTWARE: u64 = 0x3e00_0000_0000_0fff;
        if level == 3 && self.shape != Shape::Any || level > 0 && rng.one_in(4) {
            return 3 << 62 | rng.bits() & (0x01ff_ffff_ffff_f000 | SOFTWARE) & !(1 << 62);
        }
        let next = (level + 1) % 4;
        let bits = match self.shape {
            Shape::Any if rng.one_in(wild.max(2)) => rng.below(32),
            Shape::Any => 5 + rng.below(2),
            _ => self.shape.bits()[next],
        };
        // drgn takes reserved bits for address.
        let reserved = if wild > 0 { rng.bits() & 0x3000_0000_0000_00e0 } else { 0 };
        1 << 63 | rng.pick(&self.directories[next]) | reserved | bits
    }

    /// Entries of process 0 and of [`PID`], and a partition table that leads to them.
    fn process_table(&mut self, wild: u64, rng: &mut Random) {
        self.put(PARTITION_TABLE + 8, 1 << 63 | PROCESS_TABLE | 4);
        for pid in [0, PID] {
            let root = if pid == 0 { self.root } else { rng.pick(&self.directories[0]) };
            let entry = 0x4000_0000_0000_00a0 | root | self.shape.bits()[0];
            let spoiled = [0, entry ^ 0x20, entry & !0x1f, rng.bits()];
            let entry = if wild > 0 && rng.one_in(2 * wild) { rng.pick(&spoiled) } else { entry };
            self.put(PROCESS_TABLE + pid * 16, entry);
        }
        if wild > 0 && rng.one_in(2 * wild) {
            self.pid = rng.pick(&[0, 4095, 4096, 70_000]);
        }
    }

    /// Puts an entry, and makes RAM of its page.
    pub fn put(&mut self, at: u64, entry: u64) {
        let page = self.ram.entry(at & !0xfff).or_insert_with(|| vec![0; 4096]);
        page[(at & 0xfff) as usize..][..8].copy_from_slice(&entry.to_be_bytes());
    }

    /// An address that most likely meets entries; sometimes any number at all.
    pub fn address(&self, rng: &mut Random) -> u64 {
        if rng.one_in(10) {
            return rng.bits() >> rng.below(64);
        }
        let quadrant = if rng.one_in(3) { 0 } else { 3 << 62 };
        if self.shape == Shape::Any {
            return quadrant | rng.bits() >> 12;
        }
        let offset = rng.below(1 << (52 - self.shape.bits().iter().sum::<u64>()));
        quadrant | self.path(rng, offset)
    }

    /// Indices of every level, and an offset.
    fn path(&self, rng: &mut Random, offset: u64) -> u64 {
        let (mut shift, mut virt) = (52, offset);
        for bits in self.shape.bits() {
            shift -= bits;
            let index = if rng.one_in(25) { rng.bits() } else { rng.pick(&self.indices) };
            virt |= (index % (1 << bits)) << shift;
        }
        virt
    }

    /// What the naive walker says.
    pub fn naive(&self, virt: u64) -> Answer {
        let from = match self.known {
            Known::Root => From::Root(self.root),
            _ => From::ProcessTable { table: PROCESS_TABLE, entries: 4096, pid: self.pid },
        };
        naive::walk(&self.ram, from, virt)
    }

    fn registers(&self) -> Vec<(&'static str, u64)> {
        let (hypervisor, radix) = (0x9000_0000_0000_1033, 1 << 20);
        match self.known {
            Known::Root => vec![("msr", 0x8000_0000_0000_1033), ("radix_root", self.root)],
            Known::ProcessTable => {
                vec![("msr", 0x8000_0000_0000_1033), ("prtbl", 1 << 63 | PROCESS_TABLE | 4), ("pidr", self.pid)]
            }
            Known::PartitionTable => {
                vec![("msr", hypervisor), ("lpcr", radix), ("ptcr", PARTITION_TABLE | 4), ("pidr", self.pid)]
            }
        }
    }

    /// What guestdump takes a vCPU with these trees to do.
    pub fn paging(&self) -> Paging {
        ARCH.paging(&vcpu(&self.registers())).unwrap()
    }

    /// The same memory for guestdump's walker.
    pub fn memory(&self) -> TestMemory {
        let mut memory = TestMemory::default();
        self.ram.iter().for_each(|(at, page)| memory.put(*at, page));
        memory
    }

    /// The same as a case of a fixture: to ask an oracle, or to show what failed.
    pub fn fixture(&self, name: &str, walks: &[u64]) -> String {
        let mut text = format!("form {}\nentries 8 big\n[{name}]\n", self.shape.name());
        for (register, value) in self.registers() {
            writeln!(text, "{register} {value:#x}").unwrap();
        }
        for (at, page) in &self.ram {
            writeln!(text, "@{at:#x} ram").unwrap();
            for (index, entry) in page.chunks(8).enumerate().filter(|(_, entry)| entry.iter().any(|byte| *byte != 0)) {
                let value = u64::from_be_bytes(entry.try_into().unwrap());
                writeln!(text, "@{at:#x} [{index:#x}] {value:#x}").unwrap();
            }
        }
        walks.iter().for_each(|virt| writeln!(text, "{virt:#x} -> ?").unwrap());
        text
    }
}
