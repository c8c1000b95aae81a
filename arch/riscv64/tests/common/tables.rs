//! Random page tables, small enough that entries collide and point into each other.

use std::fmt::Write as _;

use guestdump_arch::conformance::{Random, TestMemory, vcpu};
use guestdump_arch::{Arch, Paging};

use super::naive::{self, Answer, Ram};

/// Tables and what points to them.
#[derive(Debug, Clone)]
pub struct Tables {
    /// 3, 4 or 5: Sv39, Sv48, Sv57.
    pub levels: u32,
    pub big: bool,
    /// Page number of the root.
    pub ppn: u64,
    pub ram: Ram,
    /// Indices at which tables have entries.
    indices: Vec<u64>,
}

impl Tables {
    /// A root of zeros.
    pub fn empty(levels: u32, big: bool, ppn: u64) -> Self {
        let mut tables = Self { levels, big, ppn, ram: Ram::new(), indices: Vec::new() };
        tables.touch(ppn << 12);
        tables
    }

    /// A few pages of tables; most entries lead to another of these pages.
    pub fn random(levels: u32, rng: &mut Random) -> Self {
        let pages: Vec<u64> = (0..3 + rng.below(5)).map(|_| (1 + rng.below(12)) << 12).collect();
        let mut tables = Self::empty(levels, rng.one_in(4), pages[0] >> 12);
        tables.indices = vec![0, 255, 256, 511];
        tables.indices.extend((0..6).map(|_| rng.below(512)));
        // From tables where nearly every path ends at a page to tables where few do.
        let wild = rng.pick(&[5, 15, 40]);
        let children = pages.clone();
        for page in pages {
            // A table that is not in RAM.
            if rng.one_in(10 * wild) {
                continue;
            }
            for index in tables.indices.clone() {
                if !rng.one_in(wild) {
                    let entry = random_entry(&children, wild, rng);
                    tables.put(page + index * 8, entry);
                }
            }
        }
        tables
    }

    /// Makes RAM of the page that holds `at`.
    pub fn touch(&mut self, at: u64) {
        self.ram.entry(at & !0xfff).or_insert_with(|| vec![0; 4096]);
    }

    /// Puts an entry.
    pub fn put(&mut self, at: u64, entry: u64) {
        self.touch(at);
        let bytes = if self.big { entry.to_be_bytes() } else { entry.to_le_bytes() };
        let start = (at & 0xfff) as usize;
        self.ram.get_mut(&(at & !0xfff)).unwrap()[start..start + 8].copy_from_slice(&bytes);
    }

    /// An address that most likely meets entries; sometimes any number at all.
    pub fn address(&self, rng: &mut Random) -> u64 {
        if rng.one_in(10) {
            return rng.bits() >> rng.below(64);
        }
        let mut virt = 0;
        for _ in 0..self.levels {
            let index = if rng.one_in(25) { rng.below(512) } else { rng.pick(&self.indices) };
            virt = virt << 9 | index;
        }
        let unused = 52 - 9 * self.levels;
        (((virt << 12 | rng.below(4096)) << unused).cast_signed() >> unused).cast_unsigned()
    }

    /// What the naive walker says.
    pub fn naive(&self, virt: u64) -> Answer {
        naive::translate(&self.ram, self.levels, self.ppn, self.big, virt)
    }

    fn registers(&self) -> [(&'static str, u64); 3] {
        let mode = u64::from(self.levels) + 5;
        [("priv", 1), ("mstatus", u64::from(self.big) << 36), ("satp", mode << 60 | 0x123 << 44 | self.ppn)]
    }

    /// What guestdump takes a vCPU with these tables to do.
    pub fn paging(&self, arch: &dyn Arch) -> Paging {
        arch.paging(&vcpu(arch, 0, &self.registers())).unwrap()
    }

    /// The same memory for guestdump's walker.
    pub fn memory(&self) -> TestMemory {
        let mut memory = TestMemory::default();
        self.ram.iter().for_each(|(at, page)| memory.put(*at, page));
        memory
    }

    /// The same as a case of a fixture, to show what failed.
    pub fn fixture(&self, name: &str, walks: &[u64]) -> String {
        let order = if self.big { "big" } else { "little" };
        let mut text = format!("form riscv64\nentries 8 {order}\n[{name}]\n");
        for (register, value) in self.registers() {
            writeln!(text, "{register} {value:#x}").unwrap();
        }
        for (at, page) in &self.ram {
            writeln!(text, "@{at:#x} ram").unwrap();
            for (index, entry) in page.chunks(8).enumerate().filter(|(_, entry)| entry.iter().any(|b| *b != 0)) {
                let entry: [u8; 8] = entry.try_into().unwrap();
                let value = if self.big { u64::from_be_bytes(entry) } else { u64::from_le_bytes(entry) };
                writeln!(text, "@{at:#x} [{index:#x}] {value:#x}").unwrap();
            }
        }
        walks.iter().for_each(|virt| writeln!(text, "{virt:#x} -> ?").unwrap());
        text
    }
}

/// An entry of any flags: but for one in `wild` it is valid and points to one of `pages`, or is a leaf that is aligned more
/// or less.
fn random_entry(pages: &[u64], wild: u64, rng: &mut Random) -> u64 {
    let valid = u64::from(!rng.one_in(wild));
    // PBMT, reserved bits, and those for software.
    let ignored = rng.bits() & if rng.one_in(2) { 0 } else { 0x7fc0_0000_0000_0330 };
    if rng.one_in(3) {
        let leaf = rng.pick(&[0x2, 0x2, 0x6, 0x6, 0x8, 0xa, 0xe, 0xce, 0x42, 0x42, 0x4, 0xc]);
        let aligned = rng.bits() << rng.pick(&[12, 21, 30, 39, 48, 48, 48, 48]);
        let napot = rng.one_in(6);
        let address = if napot && !rng.one_in(4) { aligned & !0xf000 | 0x8000 } else { aligned };
        return u64::from(napot) << 63 | ignored | (address & 0x00ff_ffff_ffff_f000) >> 2 | leaf | valid;
    }
    let address = match rng.below(wild) {
        0 => rng.below(16) << 12,
        1 => (rng.bits() >> rng.below(40)) & 0x00ff_ffff_ffff_f000,
        _ => rng.pick(pages),
    };
    let strange = if rng.one_in(wild) { rng.pick(&[1 << 63, 0x4, 0xc]) } else { 0 };
    ignored | strange | address >> 2 | valid
}
