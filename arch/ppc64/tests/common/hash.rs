//! A second walker of hashed page tables: the text of the Power ISA 2.07B (book III-S, 5.7.7 to 5.7.9) with virtual
//! addresses of 78 bits as numbers, and bits counted from the left as there. And random tables for it.

use std::collections::BTreeMap;

use guestdump_arch::conformance::{Random, TestMemory};

/// Bits `from` to `to`, both included, of a number of `width` bits.
fn bits(value: u128, width: u32, from: u32, to: u32) -> u128 {
    (value >> (width - 1 - to)) % (1 << (to - from + 1))
}

/// An SLB entry: both doublewords of `slbmte`.
pub type Slbe = (u64, u64);

#[derive(Debug, Clone)]
pub struct Tables {
    pub sdr1: u64,
    /// Entries have B where ISA 3.0 has it.
    pub new_format: bool,
    pub slb: Vec<Slbe>,
    /// Doublewords of the table by address.
    pub words: BTreeMap<u64, u64>,
    /// An address in each page that was meant to be mapped.
    pub pages: Vec<u64>,
}

/// Where an address leads: the segment's entry, and the virtual address.
struct Virtual {
    slbe: u64,
    /// B: whether the segment has 1 TiB.
    large: bool,
    va: u128,
    /// b: the base page size as a power of two.
    b: u32,
}

/// Address and doubleword 1 of the entry, and page size as a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub phys: u64,
    pub base: u32,
    /// (read, write, execute) of privileged and of problem state.
    pub rights: [(bool, bool, bool); 2],
}

impl Tables {
    fn translate(&self, ea: u64) -> Option<Virtual> {
        for (esid, slbe) in &self.slb {
            let (valid, large) = (bits(u128::from(*esid), 64, 36, 36) == 1, bits(u128::from(*slbe), 64, 0, 1) == 1);
            let esid_bits = if large { 24 } else { 36 };
            let same = bits(u128::from(*esid), 64, 0, esid_bits - 1) == bits(u128::from(ea), 64, 0, esid_bits - 1);
            if !valid || !same {
                continue;
            }
            let l_lp = bits(u128::from(*slbe), 64, 55, 55) * 4 + bits(u128::from(*slbe), 64, 58, 59);
            let b = match l_lp {
                0b000 => 12,
                0b101 => 16,
                0b100 => 24,
                _ => return None,
            };
            let vsid = bits(u128::from(*slbe), 64, 2, if large { 39 } else { 51 });
            let inside = bits(u128::from(ea), 64, esid_bits, 63);
            let va = (vsid << (64 - esid_bits)) + inside;
            return Some(Virtual { slbe: *slbe, large, va, b });
        }
        None
    }

    /// Addresses of the primary and of the secondary group.
    fn groups(&self, at: &Virtual) -> [u64; 2] {
        let page = |from| bits(at.va, 78, from, 77 - at.b);
        let hash = if at.large {
            (bits(at.va, 78, 24, 37) << 25) ^ bits(at.va, 78, 0, 37) ^ page(38)
        } else {
            bits(at.va, 78, 11, 49) ^ page(50)
        };
        let used = 11 + u32::try_from(self.sdr1 % 32).unwrap();
        let origin = self.sdr1 & 0x0fff_ffff_fffc_0000;
        [hash, !hash].map(|hash| origin + 128 * u64::try_from(hash % (1 << used)).unwrap())
    }

    /// The page size that an entry says, if it says one for base size `b`.
    fn size(b: u32, high: u64, low: u64) -> Option<u32> {
        let lp = |count: u32| bits(u128::from(low), 64, 52 - count, 51);
        match (bits(u128::from(high), 64, 61, 61), b) {
            (0, 12) => Some(12),
            (1, 12) if lp(4) == 7 => Some(16),
            (1, 12) if lp(8) == 0x38 => Some(24),
            (1, 16) if lp(4) == 1 => Some(16),
            (1, 16) if lp(8) == 8 => Some(24),
            (1, 24) if lp(8) == 0 => Some(24),
            _ => None,
        }
    }

    /// What an address maps to.
    pub fn walk(&self, ea: u64) -> Option<Answer> {
        let at = self.translate(ea)?;
        for (h, group) in (0..).zip(self.groups(&at)) {
            for slot in 0..8 {
                let word = |n: u64| self.words.get(&(group + 16 * slot + 8 * n)).copied().unwrap_or(0);
                let (high, low) = (word(0), word(1));
                let b =
                    if self.new_format { bits(u128::from(low), 64, 4, 5) } else { bits(u128::from(high), 64, 0, 1) };
                // The part of VA[0:54] that is page number.
                let shown = (77 - at.b).min(54);
                let avpn = bits(u128::from(high), 64, 2, 56);
                let same = avpn >> (54 - shown) == bits(at.va, 78, 0, shown) && avpn.trailing_zeros() >= 54 - shown;
                let hit = high % 2 == 1 && bits(u128::from(high), 64, 62, 62) == h && b == u128::from(at.large) && same;
                if let (true, Some(size)) = (hit, Self::size(at.b, high, low)) {
                    let from = if self.new_format { 7 } else { 4 };
                    let frame = bits(u128::from(low), 64, from, 63 - size) << size;
                    let phys = u64::try_from(frame).unwrap() + ea % (1 << size);
                    return Some(Answer { phys, base: at.b, rights: protection(at.slbe, low) });
                }
            }
        }
        None
    }

    /// Adds an entry for the page of `1 << size` bytes at `phys` that holds `ea`, in a free place of a group.
    fn map(&mut self, ea: u64, phys: u64, size: u32, rng: &mut Random) {
        let Some(at) = self.translate(ea) else { return };
        let lp = match (at.b, size) {
            (12, 12) => None,
            (12, 16) => Some(7 << 12),
            (12, 24) => Some(0x38 << 12),
            (16, 16) => Some(1 << 12),
            (16, 24) => Some(8 << 12),
            (24, 24) => Some(0),
            _ => return,
        };
        let secondary = rng.one_in(4);
        let group = self.groups(&at)[usize::from(secondary)];
        let Some(free) = (0..8).map(|slot| group + 16 * slot).find(|place| !self.words.contains_key(place)) else {
            return;
        };
        let shown = (77 - at.b).min(54);
        let avpn = u64::try_from(bits(at.va, 78, 0, shown) << (54 - shown)).unwrap();
        let b = u64::from(at.large);
        let mut high = avpn << 7 | u64::from(lp.is_some()) << 2 | u64::from(secondary) << 1 | 1;
        let widest = if self.new_format { 57 } else { 60 };
        let mut low = ((phys >> size << size) % (1 << widest)) | lp.unwrap_or(0) | (rng.bits() & 0x8000_0000_0000_01ff);
        if self.new_format {
            low |= b << 58
        } else {
            high |= b << 62
        }
        self.words.insert(free, high);
        self.words.insert(free + 8, low);
        self.pages.push(ea);
    }

    /// Segments of both sizes and all page sizes, pages in them, and entries that lead nowhere.
    pub fn random(new_format: bool, rng: &mut Random) -> Self {
        let sdr1 = 0x40_0000 | rng.below(2);
        let mut slb: Vec<Slbe> = vec![(0xc000_0000_0800_0000, 0x4000_0000_0000_0500 | (rng.bits() & 0x3f_ffff) << 24)];
        for n in 0..8_u64 {
            let (first, b) =
                if rng.one_in(3) { ((n + 1) << 40, 1 << 62) } else { ((n + 1) << 36 | rng.below(4) << 28, 0) };
            let size = rng.pick(&[0, 0, 0, 0x100, 0x100, 0x110, 0x110, 0x110, 0x120]);
            let vsid = rng.bits() & 0x3fff_ffff_ffff_f000 & if b == 0 { u64::MAX } else { !0xff_ffff };
            slb.push((first | 0x0800_0000 | n, b | vsid | size | rng.bits() & 0xe00));
        }
        let mut tables = Self { sdr1, new_format, slb, words: BTreeMap::new(), pages: Vec::new() };
        for _ in 0..400 {
            let ea = tables.address(rng);
            let size = rng.pick(&[12, 12, 16, 16, 24]);
            tables.map(ea, rng.bits(), size, rng);
        }
        // The same once more with another page or in the wrong place, and anything at all.
        let known: Vec<(u64, u64)> = tables.words.iter().map(|(at, word)| (*at, *word)).collect();
        for _ in 0..100 {
            let (at, word) = rng.pick(&known);
            let to = 0x40_0000 + (rng.below(0x4000) << 4) + (at & 8);
            tables.words.entry(to).or_insert(if rng.one_in(2) { word } else { rng.bits() | 1 });
        }
        tables
    }

    /// An address in a segment; sometimes any number.
    pub fn address(&self, rng: &mut Random) -> u64 {
        if rng.one_in(10) {
            return rng.bits();
        }
        let (esid, slbe) = rng.pick(&self.slb);
        let size = if slbe >> 62 == 1 { 40 } else { 28 };
        (esid >> size << size) + (rng.bits() >> rng.below(50) & 0xff_ffff_ffff) % (1 << size)
    }

    /// The same memory for guestdump's walker.
    pub fn memory(&self) -> TestMemory {
        let mut memory = TestMemory::default();
        let len = 0x4_0000_usize << (self.sdr1 % 32);
        memory.put(self.sdr1 & 0x0fff_ffff_fffc_0000, &vec![0; len]);
        self.words.iter().for_each(|(at, word)| memory.put(*at, &word.to_be_bytes()));
        memory
    }

    pub fn registers(&self) -> Vec<(String, u128)> {
        let slb = self.slb.iter().enumerate();
        let mut all: Vec<_> =
            slb.map(|(n, (esid, vsid))| (format!("slb{n}"), u128::from(*esid) << 64 | u128::from(*vsid))).collect();
        all.extend([
            ("msr".to_owned(), 0x8000_0000_0000_1033),
            ("lpcr".to_owned(), 0x3_f008),
            ("sdr1".to_owned(), self.sdr1.into()),
        ]);
        all
    }
}

/// 5.7.9.1, figure "PP bit protection states", keyed Ks and Kp; N and G forbid execution.
fn protection(slbe: u64, low: u64) -> [(bool, bool, bool); 2] {
    let bit = |value: u64, number| bits(u128::from(value), 64, number, number) == 1;
    let pp = (bit(low, 0), bit(low, 62), bit(low, 63));
    let execute = !bit(low, 61) && !bit(low, 60) && !bit(slbe, 54);
    [bit(slbe, 52), bit(slbe, 53)].map(|key| {
        let (read, write) = match (key, pp) {
            (false, (false, false, _) | (false, true, false)) => (true, true),
            (false, (false, true, true) | (true, true, false)) => (true, false),
            (true, (false, true, false)) => (true, true),
            (true, (false, false, true) | (false, true, true) | (true, true, false)) => (true, false),
            _ => (false, false),
        };
        (read, write, read && execute)
    })
}
