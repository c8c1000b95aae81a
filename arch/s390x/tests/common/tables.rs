//! Random tables of each designation type, small enough that paths meet entries and entries meet limits.

use std::fmt::Write as _;

use guestdump_arch::conformance::{Random, TestMemory, vcpu};
use guestdump_arch::{Arch, Endian, Paging};
use guestdump_s390x::ARCH;

use super::naive::{self, Answer, Ram, Space};

/// PSW with DAT on, home space, 64-bit addressing.
pub const HOME: u64 = 0x0400_c001_8000_0000;

/// Lowest address bit of each table's index from the top, by table type 3 to 0, then the page table's.
const SHIFTS: [u32; 5] = [53, 42, 31, 20, 12];

/// What a generator makes of tables.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Designation type, 0 to 3.
    pub first: u64,
    /// CR0 bit 40.
    pub edat: bool,
    pub prefix: u64,
    /// Whether everything occurs, or only what addrxlat 0.5.1 models: whole tables, no common segments, no page-table
    /// entries with bit 52.
    pub everything: bool,
}

/// Tables and the registers that point to them.
#[derive(Debug, Clone)]
pub struct Tables {
    pub shape: Shape,
    pub asce: u64,
    pub ram: Ram,
    /// Indices at which tables have entries.
    indices: Vec<u64>,
}

/// Where a table may be: on any page, so that tables of four pages overlap, or, in `order`, where none does.
fn somewhere(shape: Shape, order: u64, rng: &mut Random) -> u64 {
    if shape.everything { (16 + rng.below(240)) << 12 } else { (16 + 4 * order) << 12 }
}

impl Tables {
    pub fn random(shape: Shape, rng: &mut Random) -> Self {
        let mut indices = vec![0, 511, 512, 1535, 2047];
        indices.extend((0..4).map(|_| rng.below(2048)));
        let origin = |order, rng: &mut Random| somewhere(shape, order, rng);
        let tables: Vec<Vec<u64>> =
            (0..=shape.first + 1).map(|i| vec![origin(2 * i, rng), origin(2 * i + 1, rng)]).collect();
        let wild = rng.pick(&[6, 15, 40]);
        let length = if shape.everything { 3 - rng.below(8).saturating_sub(4) } else { 3 };
        let flags = if shape.everything { rng.pick(&[0, 0x100, 0x3c0]) } else { 0x2c0 };
        let asce = tables[shape.first as usize + 1][0] | flags | shape.first << 2 | length;
        let mut out = Self { shape, asce, ram: Ram::new(), indices };
        // From the last tables up: where two overlap, the upper ones win.
        for (type_plus_one, origins) in (0_u64..).zip(&tables) {
            for origin in origins {
                out.table(*origin, type_plus_one, &tables, wild, rng);
            }
        }
        out
    }

    /// A table of type `type_plus_one - 1`; 0 is a page table.
    fn table(&mut self, origin: u64, type_plus_one: u64, tables: &[Vec<u64>], wild: u64, rng: &mut Random) {
        let count: u64 = if type_plus_one == 0 { 256 } else { 2048 };
        for page in 0..(count * 8).div_ceil(4096) {
            if !rng.one_in(10 * wild) {
                self.touch(origin + page * 4096);
            }
        }
        for index in 0..count {
            let known = self.indices.iter().any(|known| known % count == index);
            if known || rng.one_in(64) {
                let entry = match type_plus_one.checked_sub(1) {
                    None => self.page_entry(wild, rng),
                    Some(table_type) => self.entry(table_type, &tables[table_type as usize], wild, rng),
                };
                self.put(origin + index * 8, entry);
            }
        }
    }

    fn page_entry(&self, wild: u64, rng: &mut Random) -> u64 {
        let frame = match rng.below(3) {
            0 => self.near_prefix(rng),
            1 => rng.below(1 << 20) << 12,
            _ => rng.bits() & !0xfff,
        };
        let invalid = if rng.one_in(wild) { 0x400 } else { 0 };
        let zero = if self.shape.everything && rng.one_in(wild) { 0x800 } else { 0 };
        frame | invalid | zero | rng.bits() & 0x3ff
    }

    /// A frame at one end of what prefixing swaps.
    fn near_prefix(&self, rng: &mut Random) -> u64 {
        (rng.pick(&[0, self.shape.prefix]) + rng.below(4) * 4096).saturating_sub(4096)
    }

    fn entry(&self, table_type: u64, below: &[u64], wild: u64, rng: &mut Random) -> u64 {
        let part = match rng.below(3) {
            0 if self.shape.everything => (rng.below(4) << 6) | rng.below(4),
            _ => 3,
        };
        let kind = if rng.one_in(wild) { rng.below(4) } else { table_type };
        let invalid = if rng.one_in(wild) { 0x20 } else { 0 };
        let common = if self.shape.everything && rng.one_in(wild) { 0x10 } else { 0 };
        let flags = rng.bits() & 0x300 | invalid | common | kind << 2;
        match table_type {
            0 | 1 if rng.one_in(4) => (rng.bits() >> rng.below(40)) & !0xfff | 0x400 | flags | part,
            0 => (rng.pick(below) + rng.pick(&[0, 0x800])) | flags | part,
            _ => rng.pick(below) | flags | part,
        }
    }

    /// Makes RAM of the page that holds `at`.
    pub fn touch(&mut self, at: u64) {
        self.ram.entry(at & !0xfff).or_insert_with(|| vec![0; 4096]);
    }

    /// Puts an entry.
    pub fn put(&mut self, at: u64, entry: u64) {
        self.touch(at);
        let start = (at & 0xfff) as usize;
        self.ram.get_mut(&(at & !0xfff)).unwrap()[start..start + 8].copy_from_slice(&entry.to_be_bytes());
    }

    /// An address that most likely meets entries; sometimes any number at all.
    pub fn address(&self, rng: &mut Random) -> u64 {
        if rng.one_in(10) {
            return rng.bits() >> rng.below(64);
        }
        let levels = &SHIFTS[3 - self.shape.first as usize..];
        let mut virt = rng.below(4096);
        for shift in levels {
            let index = if rng.one_in(25) { rng.below(2048) } else { rng.pick(&self.indices) };
            virt |= if *shift == 12 { index % 256 } else { index } << shift;
        }
        virt
    }

    /// What the naive walker says.
    pub fn naive(&self, virt: u64) -> Answer {
        naive::translate(&self.ram, Space { asce: self.asce, edat: self.shape.edat }, virt)
    }

    fn registers(&self) -> [(&'static str, u64); 4] {
        let cr0 = if self.shape.edat { 1 << 23 } else { 0 };
        [("pswm", HOME), ("cr0", cr0), ("cr13", self.asce), ("prefix", self.shape.prefix)]
    }

    /// What guestdump takes a vCPU with these tables to do.
    pub fn paging(&self) -> Paging {
        ARCH.paging(&vcpu(&ARCH, 0, &self.registers())).unwrap()
    }

    /// The same memory for guestdump's walker.
    pub fn memory(&self) -> TestMemory {
        let mut memory = TestMemory::default();
        self.ram.iter().for_each(|(at, page)| memory.put(*at, page));
        memory
    }

    /// The same as a case of a fixture: to ask an oracle, or to show what failed.
    pub fn fixture(&self, name: &str, walks: &[u64]) -> String {
        let mut text = format!("form s390x\nentries 8 big\n[{name}]\n");
        for (register, value) in self.registers() {
            writeln!(text, "{register} {value:#x}").unwrap();
        }
        for (at, page) in &self.ram {
            writeln!(text, "@{at:#x} ram").unwrap();
            let entries = page.chunks(8).map(|bytes| Endian::Big.get(bytes)).enumerate();
            entries
                .filter(|entry| entry.1 != 0)
                .for_each(|(i, raw)| writeln!(text, "@{at:#x} [{i:#x}] {raw:#x}").unwrap());
        }
        walks.iter().for_each(|virt| writeln!(text, "{virt:#x} -> ?").unwrap());
        text
    }
}
