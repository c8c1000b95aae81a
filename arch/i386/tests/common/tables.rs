//! Random page tables of the four x86 forms, small enough that entries collide and point into each other.

use std::fmt::Write as _;

use guestdump_arch::conformance::{Random, TestMemory, vcpu};
use guestdump_arch::{Arch, Paging};

use super::naive::{self, Answer, Ram, ReservedPs};

/// One of the four schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Legacy,
    Pae,
    FourLevel,
    FiveLevel,
}

impl Scheme {
    /// Name in the fixtures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "x86_32",
            Self::Pae => "x86_pae",
            Self::FourLevel => "x86_64_4level",
            Self::FiveLevel => "x86_64_5level",
        }
    }

    pub const fn entry_bytes(self) -> u64 {
        if matches!(self, Self::Legacy) { 4 } else { 8 }
    }

    /// Lowest address bit of each level's index from the top, and the bits of an index.
    const fn shifts(self) -> (&'static [u32], u32) {
        match self {
            Self::Legacy => (&[22, 12], 10),
            Self::Pae => (&[30, 21, 12], 9),
            Self::FourLevel => (&[39, 30, 21, 12], 9),
            Self::FiveLevel => (&[48, 39, 30, 21, 12], 9),
        }
    }
}

/// Tables and the registers that point to them.
#[derive(Debug, Clone)]
pub struct Tables {
    pub scheme: Scheme,
    pub cr3: u64,
    pub pse: bool,
    /// Registers besides those of paging.
    pub more: Vec<(&'static str, u64)>,
    pub ram: Ram,
    /// Indices at which tables have entries.
    pub indices: Vec<u64>,
}

impl Tables {
    /// Without any RAM yet.
    pub fn empty(scheme: Scheme, cr3: u64) -> Self {
        Self { scheme, cr3, pse: true, more: Vec::new(), ram: Ram::new(), indices: Vec::new() }
    }

    /// A few pages of tables; most entries lead to another of these pages.
    pub fn random(scheme: Scheme, rng: &mut Random) -> Self {
        let indices = pool(scheme, rng);
        let pages: Vec<u64> = (0..3 + rng.below(5)).map(|_| (1 + rng.below(12)) << 12).collect();
        let low = if scheme == Scheme::Pae { rng.below(128) * 32 } else { rng.below(4096) };
        // From tables where nearly every path ends at a page to tables where few do.
        let wild = rng.pick(&[5, 15, 40]);
        let mut tables = Self { indices, ..Self::empty(scheme, pages[0] + low) };
        for page in &pages {
            if !rng.one_in(10 * wild) {
                tables.touch(*page);
            }
        }
        if scheme == Scheme::Pae {
            for index in 0..4 {
                let value = random_entry(scheme, &pages, wild, rng);
                tables.put((tables.cr3 & !31) + index * 8, value);
            }
        }
        for page in pages.iter().copied().filter(|page| tables.ram.contains_key(page)).collect::<Vec<_>>() {
            for index in tables.indices.clone() {
                if !rng.one_in(wild) {
                    let value = random_entry(scheme, &pages, wild, rng);
                    tables.put(page + index * scheme.entry_bytes(), value);
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
        let bytes = &entry.to_le_bytes()[..self.scheme.entry_bytes() as usize];
        let start = (at & 0xfff) as usize;
        self.ram.get_mut(&(at & !0xfff)).unwrap()[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// An address that most likely meets entries; sometimes any number at all.
    pub fn address(&self, rng: &mut Random) -> u64 {
        if rng.one_in(10) {
            return rng.bits() >> rng.below(64);
        }
        let (shifts, bits) = self.scheme.shifts();
        let mut virt = rng.below(4096);
        for shift in shifts {
            let index = if rng.one_in(25) { rng.below(1 << bits) } else { rng.pick(&self.indices) };
            virt |= index << shift;
        }
        match self.scheme {
            Scheme::Legacy | Scheme::Pae => virt & 0xffff_ffff,
            Scheme::FourLevel => ((virt << 16).cast_signed() >> 16).cast_unsigned(),
            Scheme::FiveLevel => ((virt << 7).cast_signed() >> 7).cast_unsigned(),
        }
    }

    /// What the naive walker says.
    pub fn naive(&self, reserved: ReservedPs, virt: u64) -> Answer {
        match self.scheme {
            Scheme::Legacy => naive::paging_32_bit(&self.ram, self.cr3, self.pse, virt),
            Scheme::Pae => naive::paging_pae(&self.ram, self.cr3, reserved, virt),
            Scheme::FourLevel => naive::paging_4_level(&self.ram, self.cr3, reserved, virt),
            Scheme::FiveLevel => naive::paging_5_level(&self.ram, self.cr3, reserved, virt),
        }
    }

    fn registers(&self) -> [(&'static str, u64); 4] {
        let (cr4, efer) = match self.scheme {
            Scheme::Legacy => (u64::from(self.pse) << 4, 0),
            Scheme::Pae => (0x20, 0x800),
            Scheme::FourLevel => (0x20, 0xd01),
            Scheme::FiveLevel => (0x1020, 0xd01),
        };
        [("cr0", 0x8005_0033), ("cr3", self.cr3), ("cr4", cr4), ("efer", efer)]
    }

    /// What guestdump takes a vCPU with these tables to do.
    pub fn paging(&self, arch: &dyn Arch) -> Paging {
        let registers: Vec<_> = self.registers().into_iter().chain(self.more.iter().copied()).collect();
        arch.paging(&vcpu(arch, 0, &registers)).unwrap()
    }

    /// The same memory for guestdump's walker.
    pub fn memory(&self) -> TestMemory {
        let mut memory = TestMemory::default();
        self.ram.iter().for_each(|(at, page)| memory.put(*at, page));
        memory
    }

    /// The same as a case of a fixture: to ask an oracle, or to show what failed.
    pub fn fixture(&self, name: &str, walks: &[u64]) -> String {
        let (scheme, bytes) = (self.scheme, self.scheme.entry_bytes() as usize);
        let mut text = format!("form {}\nentries {bytes} little\n[{name}]\n", scheme.name());
        for (register, value) in self.registers() {
            writeln!(text, "{register} {value:#x}").unwrap();
        }
        for (at, page) in &self.ram {
            writeln!(text, "@{at:#x} ram").unwrap();
            for (index, entry) in page.chunks(bytes).enumerate().filter(|(_, entry)| entry.iter().any(|b| *b != 0)) {
                let value = entry.iter().rev().fold(0, |sum, byte| sum * 256 + u64::from(*byte));
                writeln!(text, "@{at:#x} [{index:#x}] {value:#x}").unwrap();
            }
        }
        walks.iter().for_each(|virt| writeln!(text, "{virt:#x} -> ?").unwrap());
        text
    }
}

/// A handful of indices for all tables, so that paths exist.
fn pool(scheme: Scheme, rng: &mut Random) -> Vec<u64> {
    let count = 1 << scheme.shifts().1;
    let mut pool = vec![0, count / 2, count - 1];
    pool.extend((0..6).map(|_| rng.below(count)));
    pool
}

/// An entry of any flags: but for one in `wild` it is present, leads to one of `pages`, and has PS clear.
fn random_entry(scheme: Scheme, pages: &[u64], wild: u64, rng: &mut Random) -> u64 {
    let address = match rng.below(wild) {
        0 => rng.below(16) << 12,
        1 => (rng.bits() >> rng.below(40)) & 0x000f_ffff_ffff_f000,
        _ => rng.pick(pages),
    };
    let present = u64::from(!rng.one_in(wild));
    let large = if rng.one_in(wild) { 0x80 } else { 0 };
    let flags = rng.bits() & if rng.one_in(2) { 0xf7e } else { 0x066 };
    let high = if scheme == Scheme::Legacy || rng.one_in(2) { 0 } else { rng.bits() & 0xfff0_0000_0000_0000 };
    address | high | flags | large | present
}
