//! Random page tables of all granules, small enough that entries collide and point into each other.

use std::fmt::Write as _;

use guestdump_arch::conformance::{Random, TestMemory, vcpu};
use guestdump_arch::{Arch, Paging};

use super::naive::{self, Answer, Ram, Regime};

/// Which granule: of both halves, or each half another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granule {
    K4,
    K16,
    K64,
    Mixed,
}

/// A kind of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    pub granule: Granule,
    /// Addresses of 52 bits: LPA with 64 KiB, else LPA2.
    pub wide: bool,
    pub big: bool,
}

impl Scheme {
    pub const fn of(granule: Granule, wide: bool, big: bool) -> Self {
        Self { granule, wide, big }
    }

    /// TG1 and TG0, sizes, EPD1 and EPD0, IPS and DS.
    fn tcr(self, rng: &mut Random) -> u64 {
        let (tg0, tg1) = match self.granule {
            Granule::K4 => (0, 2),
            Granule::K16 => (2, 1),
            Granule::K64 => (1, 3),
            Granule::Mixed => (rng.below(4), rng.below(4)),
        };
        let size = |rng: &mut Random| match rng.below(4) {
            0 => rng.below(64),
            1 => rng.pick(&[25, 28]),
            _ => rng.pick(&[12, 16, 17, 22]),
        };
        let ips = if self.wide { 6 } else { rng.pick(&[2, 5, 5, 5]) };
        let ds = self.wide && self.granule != Granule::K64;
        let sizes = size(rng) | size(rng) << 16;
        let off = u64::from(rng.one_in(12)) << 7 | u64::from(rng.one_in(12)) << 23;
        sizes | off | tg0 << 14 | tg1 << 30 | ips << 32 | u64::from(ds) << 59
    }
}

/// Tables and the registers that point to them.
#[derive(Debug, Clone)]
pub struct Tables {
    pub regime: Regime,
    wide: bool,
    /// Bits that addresses in entries may have.
    room: u64,
    pub ram: Ram,
    /// Indices at which tables have entries.
    pub indices: Vec<u64>,
}

impl Tables {
    /// A few tables; most entries lead to another of them.
    pub fn random(scheme: Scheme, rng: &mut Random) -> Self {
        let room = if scheme.wide { 0x000f_ffff_ffff_ffff } else { 0xffff_ffff_ffff };
        let mut tables = Self::random_below(scheme, room, rng);
        tables.regime.tcr |= rng.below(4) << 37;
        tables
    }

    /// The same, of addresses that have only bits of `room`.
    pub fn random_below(scheme: Scheme, room: u64, rng: &mut Random) -> Self {
        let tcr = scheme.tcr(rng);
        let indices = pool(rng);
        // Tables of the largest granule in use, so that each half can use them.
        let shift = naive::page_bits(tcr, false).max(naive::page_bits(tcr, true));
        let above = |rng: &mut Random| rng.below(16) << 48 & room;
        let tables: Vec<u64> = (0..3 + rng.below(5)).map(|_| ((1 + rng.below(12)) << shift) | above(rng)).collect();
        let ttbr = |at: u64, rng: &mut Random| {
            (at & 0xffff_ffff_ffff) | if scheme.wide { at >> 48 << 2 } else { 0 } | rng.below(2) | rng.bits() << 48
        };
        let (ttbr0, ttbr1) = (ttbr(tables[0], rng), ttbr(tables[1], rng));
        let regime = Regime { tcr, ttbr0, ttbr1, big: scheme.big };
        let wild = rng.pick(&[5, 15, 40]);
        let mut out = Self { regime, wide: scheme.wide, room, ram: Ram::new(), indices };
        let large = rng.pick(&[4, 30]);
        for table in &tables {
            for index in out.indices.clone() {
                if !rng.one_in(wild) {
                    let entry = out.entry(&tables, wild, large, rng);
                    out.put(table + index % (1 << (shift - 3)) * 8, entry);
                }
            }
        }
        out
    }

    /// An entry of any attributes: but for one in `wild` it is valid and leads to one of `tables`.
    fn entry(&self, tables: &[u64], wild: u64, large: u64, rng: &mut Random) -> u64 {
        let at = match rng.below(wild) {
            0 => rng.below(16) << 16,
            1 => rng.bits() >> rng.below(40) & self.room & !0xffff,
            _ => rng.pick(tables),
        };
        let valid = u64::from(!rng.one_in(wild));
        let table = if rng.one_in(large) { 0 } else { 2 };
        // Attributes: bits 63:52, and 11:2 less those of an address.
        let attributes = rng.bits() & if rng.one_in(2) { 0xfff0_0000_0000_0cfc } else { 0x0010_0000_0000_0400 };
        self.descriptor(at) | attributes | valid | table
    }

    /// An address at its places in a descriptor, for either granule: of 64 KiB bits 15:12, else bits 9:8.
    fn descriptor(&self, at: u64) -> u64 {
        let high = at >> 48 & 0xf;
        let k64 = [false, true].map(|half| naive::page_bits(self.regime.tcr, half) == 16);
        let low = at & 0xffff_ffff_ffff;
        match (self.wide, k64) {
            (false, _) => low,
            (true, [true, true]) => low | high << 12,
            (true, _) => low | (high & 3) << 48 | (high >> 2) << 8,
        }
    }

    /// Makes RAM of the page that holds `at`.
    pub fn touch(&mut self, at: u64) {
        self.ram.entry(at & !0xfff).or_insert_with(|| vec![0; 4096]);
    }

    /// Puts an entry.
    pub fn put(&mut self, at: u64, entry: u64) {
        self.touch(at);
        let bytes = if self.regime.big { entry.to_be_bytes() } else { entry.to_le_bytes() };
        let start = (at & 0xfff) as usize;
        self.ram.get_mut(&(at & !0xfff)).unwrap()[start..start + 8].copy_from_slice(&bytes);
    }

    /// An address that most likely meets entries; sometimes any number at all.
    pub fn address(&self, rng: &mut Random) -> u64 {
        if rng.one_in(10) {
            return rng.bits() >> rng.below(64);
        }
        let high = rng.one_in(2);
        let page = naive::page_bits(self.regime.tcr, high);
        let mut virt = rng.below(1 << page);
        for level in 0..5 {
            let shift = page + level * (page - 3);
            if shift < 60 {
                virt |= (rng.pick(&self.indices) % (1 << (page - 3))) << shift;
            }
        }
        let inside = (1 << naive::ia_size(self.regime.tcr, high)) - 1;
        let plain = if high { virt | !inside } else { virt & inside };
        // A tag, which may count or not.
        if rng.one_in(8) { plain ^ rng.bits() << 56 } else { plain }
    }

    /// What the naive walker says.
    pub fn naive(&self, virt: u64) -> Answer {
        naive::walk(&self.ram, &self.regime, virt)
    }

    fn registers(&self) -> [(&'static str, u64); 4] {
        let sctlr = 0x30d0_0801 | u64::from(self.regime.big) << 25;
        let Regime { tcr, ttbr0, ttbr1, .. } = self.regime;
        [("sctlr_el1", sctlr), ("tcr_el1", tcr), ("ttbr0_el1", ttbr0), ("ttbr1_el1", ttbr1)]
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

    /// The same as a case of a fixture: to ask an oracle, or to show what failed.
    pub fn fixture(&self, name: &str, walks: &[u64]) -> String {
        let order = if self.regime.big { "big" } else { "little" };
        let mut text = format!("form aarch64\nentries 8 {order}\n[{name}]\n");
        for (register, value) in self.registers() {
            writeln!(text, "{register} {value:#x}").unwrap();
        }
        for (at, page) in &self.ram {
            writeln!(text, "@{at:#x} ram").unwrap();
            for (index, entry) in page.chunks(8).enumerate().filter(|(_, entry)| entry.iter().any(|b| *b != 0)) {
                let bytes = entry.try_into().unwrap();
                let value = if self.regime.big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) };
                writeln!(text, "@{at:#x} [{index:#x}] {value:#x}").unwrap();
            }
        }
        walks.iter().for_each(|virt| writeln!(text, "{virt:#x} -> ?").unwrap());
        text
    }
}

/// A handful of indices for all tables, so that paths exist: the low ones are those of small first tables.
fn pool(rng: &mut Random) -> Vec<u64> {
    let mut pool = vec![0, 1, 3, 15, 511, 8191];
    pool.extend((0..6).map(|_| rng.below(8192)));
    pool
}
