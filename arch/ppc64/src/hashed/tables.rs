//! What the SLB and the table hold: segments, entries, hash values.

use guestdump_arch::paging::form::Rights;
use guestdump_arch::{Endian, PhysAddr, VirtAddr, VirtRange};

/// HTABORG of SDR1, bits 4:45, and of a partition table entry.
pub(super) const ORIGIN: u64 = 0x0fff_ffff_fffc_0000;
/// HTABSIZE, bits 59:63: the table has `1 << (18 + n)` bytes.
const SIZE: u64 = 0x1f;
/// The largest HTABSIZE.
const LARGEST: u64 = 28;
/// Bytes of a group of eight entries, as a power of two.
pub(super) const GROUP_SHIFT: u32 = 7;
pub(super) const GROUP: usize = 1 << GROUP_SHIFT;
/// Bytes of an entry.
pub(super) const ENTRY: usize = 16;
/// Bits of a hash value.
const HASH: u64 = (1 << 39) - 1;
/// An abbreviated virtual page number has no address bits below.
pub(super) const AVPN_SHIFT: u8 = 23;
pub(super) const AVPN: u64 = (1 << 55) - 1;

/// Doubleword 0 of an entry: L, H, V.
const LARGE: u64 = 1 << 2;
pub(super) const SECONDARY: u64 = 1 << 1;
pub(super) const VALID: u64 = 1;

/// A page size as a segment's base size, a page's own, and how LP of an entry says that: the low bits of address bits
/// 19:12, as many as the page leaves free.
const SIZES: [(u8, u8, u64); 6] = [(12, 16, 7), (12, 24, 0x38), (16, 16, 1), (16, 24, 8), (24, 24, 0), (34, 34, 3)];

/// How entries are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// B is in doubleword 0.
    Isa207,
    /// B is in doubleword 1.
    Isa300,
}

/// A table whose place is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) at: u64,
    /// Number of groups less one.
    pub(super) mask: u64,
    pub(super) format: Format,
}

/// A valid entry of the SLB.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    pub(super) slot: u16,
    /// Its first address, and its size as a power of two.
    pub(super) first: u64,
    pub(super) shift: u8,
    pub(super) vsid: u64,
    /// Base page size as a power of two; `None` if L and LP say none that is known.
    pub(super) base: Option<u8>,
    /// Doubleword 1 of the entry.
    pub(super) raw: u64,
}

/// An entry of the table that maps a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it is.
    pub(super) at: u64,
    pub(super) group: u64,
    pub(super) words: [u64; 2],
    /// Size of the page as a power of two.
    pub(super) shift: u8,
}

/// Bits `low` to `high` of a number, both included, counted from the least significant.
pub(super) const fn field(value: u64, low: u32, high: u32) -> u64 {
    (value >> low) & (u64::MAX >> (63 - (high - low)))
}

pub(super) const fn below(shift: u8) -> u64 {
    (1 << shift) - 1
}

impl Table {
    /// `None` if HTABSIZE is larger than it can be.
    pub(super) const fn new(said: u64, format: Format) -> Option<Self> {
        let size = said & SIZE;
        if size > LARGEST {
            return None;
        }
        let mask = (1 << (11 + size)) - 1;
        Some(Self { at: said & ORIGIN & !((mask << GROUP_SHIFT) | (GROUP as u64 - 1)), mask, format })
    }

    pub(super) const fn group(&self, number: u64) -> PhysAddr {
        PhysAddr(self.at + (number << GROUP_SHIFT))
    }

    /// B of an entry: 0 for segments of 256 MiB, 1 for those of 1 TiB.
    pub(super) const fn b(&self, words: [u64; 2]) -> u64 {
        match self.format {
            Format::Isa207 => words[0] >> 62,
            Format::Isa300 => field(words[1], 58, 59),
        }
    }

    /// Where a page of `1 << shift` bytes is.
    pub(super) const fn phys(&self, words: [u64; 2], shift: u8) -> u64 {
        let highest = if matches!(self.format, Format::Isa207) { 59 } else { 56 };
        (field(words[1], 12, highest) << 12) & !below(shift)
    }
}

impl Segment {
    /// Both doublewords as `slbmte` takes them: RB with ESID and V, RS with B, VSID, Ks, Kp, N, L, C and LP.
    pub(super) fn new(slot: u16, esid: u64, raw: u64) -> Option<Self> {
        const V: u64 = 1 << 27;
        let (shift, vsid) = match raw >> 62 {
            0 => (28, field(raw, 12, 61)),
            1 => (40, field(raw, 24, 61)),
            _ => return None,
        };
        let base = match (raw & 0x100 != 0, field(raw, 4, 5)) {
            (false, 0) => Some(12),
            (true, 0) => Some(24),
            (true, 1) => Some(16),
            (true, 2) if shift == 40 => Some(34),
            _ => None,
        };
        (esid & V != 0).then_some(Self { slot, first: esid & !below(shift), shift, vsid, base, raw })
    }

    pub(super) const fn last(&self) -> u64 {
        self.first | below(self.shift)
    }

    pub(super) const fn contains(&self, addr: u64) -> bool {
        self.first <= addr && addr <= self.last()
    }

    pub(super) fn range(&self) -> Option<VirtRange> {
        VirtRange::new(VirtAddr(self.first), VirtAddr(self.last()))
    }

    pub(super) const fn b(&self) -> u64 {
        self.raw >> 62
    }

    /// What of a hash value does not come from the page.
    pub(super) const fn hash(&self) -> u64 {
        (if self.shift == 28 { self.vsid } else { self.vsid ^ (self.vsid << 25) }) & HASH
    }

    /// The abbreviated page number that an entry for `addr` has.
    pub(super) const fn avpn(&self, addr: u64, base: u8) -> u64 {
        let offset = (addr & below(self.shift)) & !below(base);
        (self.vsid << (self.shift - AVPN_SHIFT)) | (offset >> AVPN_SHIFT)
    }

    /// The page whose entry is in a group: what the number leaves out is in the hash value.
    pub(super) const fn page_of(&self, avpn: u64, group: u64, secondary: bool, base: u8) -> u64 {
        let offset = (avpn << AVPN_SHIFT) & below(self.shift);
        let hash = (if secondary { !group } else { group }) ^ self.hash();
        let low = (hash << base) & below(AVPN_SHIFT) & !below(base);
        self.first | offset | if base < AVPN_SHIFT { low } else { 0 }
    }

    /// What an entry allows, by the segment's keys. Virtual page class keys (AMR) are not looked at.
    pub(super) fn rights(&self, words: [u64; 2]) -> Rights {
        let pp = (words[1] >> 63 << 2) | (words[1] & 3);
        let with = |key: u64, all: Rights| match (key != 0, pp) {
            (false, 0..=2) | (true, 2) => all,
            (false, 3 | 6) | (true, 1 | 3 | 6) => all.without(Rights::WRITE),
            _ => Rights::NONE,
        };
        let (ks, kp, no_execute) = (self.raw & 0x800, self.raw & 0x400, self.raw & 0x200 != 0);
        // N, and G: guarded memory is not executed.
        with(ks, Rights::KERNEL)
            .or(with(kp, Rights::USER))
            .without_if(no_execute || words[1] & 0xc != 0, Rights::EXECUTE)
    }
}

/// Size of the page of an entry in a segment of base size `base`.
pub(super) fn page_shift(base: u8, words: [u64; 2]) -> Option<u8> {
    if words[0] & LARGE == 0 {
        return (base == 12).then_some(12);
    }
    let fits = |(of, shift, lp): &(u8, u8, u64)| {
        let bits = below((*shift).min(20)) >> 12;
        *of == base && (words[1] >> 12) & bits == *lp
    };
    SIZES.iter().find(|size| fits(size)).map(|size| size.1)
}

pub(super) fn words(bytes: &[u8]) -> [u64; 2] {
    let (high, low) = bytes.split_at_checked(8).unwrap_or((bytes, &[]));
    [Endian::Big.get(high), Endian::Big.get(low)]
}
