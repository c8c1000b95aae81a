//! A second walker of AArch64's stage 1 tables: the formulas of the Arm ARM (D8.2, D8.3; names as in its pseudocode
//! `AArch64.S1Walk`), with no table of levels and nothing of guestdump's.

use std::collections::BTreeMap;

/// Pages of 4096 bytes.
pub type Ram = BTreeMap<u64, Vec<u8>>;

/// What an address maps to, in the words of the fixtures, and how many addresses around it have that from the same
/// entry (0: not from an entry).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub size: u64,
}

/// The registers of a translation regime with two halves.
#[derive(Debug, Clone, Copy)]
pub struct Regime {
    pub tcr: u64,
    pub ttbr0: u64,
    pub ttbr1: u64,
    pub big: bool,
}

/// Bits `high:low` of a number.
fn field(value: u64, high: u64, low: u64) -> u64 {
    (value >> low) % (1 << (high - low + 1))
}

fn load(ram: &Ram, at: u64, big: bool) -> Option<u64> {
    let page = ram.get(&(at / 4096 * 4096))?;
    let start = (at % 4096) as usize;
    let bytes = page[start..start + 8].try_into().unwrap();
    Some(if big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
}

/// TG0 and TG1 as log2 of the granule's size.
pub fn page_bits(tcr: u64, high: bool) -> u64 {
    match (high, field(tcr, 15, 14), field(tcr, 31, 30)) {
        (false, 1, _) | (true, _, 3) => 16,
        (false, 2, _) | (true, _, 1) => 14,
        _ => 12,
    }
}

/// 64 - TxSZ within what the granule allows.
pub fn ia_size(tcr: u64, high: bool) -> u64 {
    let txsz = if high { field(tcr, 21, 16) } else { field(tcr, 5, 0) };
    let k64 = page_bits(tcr, high) == 16;
    let longest = if k64 || field(tcr, 59, 59) == 1 { 52 } else { 48 };
    (64 - txsz).min(longest).max(if k64 { 17 } else { 16 })
}

/// `virt` with bit 55 in the place of a tag, where TBI0 (bit 37) or TBI1 (bit 38) says that it has one.
pub fn untagged(tcr: u64, virt: u64) -> u64 {
    match (field(virt, 55, 55), field(tcr, 37, 37), field(tcr, 38, 38)) {
        (0, 1, _) => field(virt, 55, 0),
        (1, _, 1) => virt | 0xff00_0000_0000_0000,
        _ => virt,
    }
}

/// What `virt` translates to.
pub fn walk(ram: &Ram, regime: &Regime, virt: u64) -> Answer {
    let tcr = regime.tcr;
    let virt = untagged(tcr, virt);
    let high = field(virt, 55, 55) == 1;
    let (page, iasize) = (page_bits(tcr, high), ia_size(tcr, high));
    let off = field(tcr, if high { 23 } else { 7 }, if high { 23 } else { 7 }) == 1;
    let above = virt >> iasize;
    if off || above != if high { u64::MAX >> iasize } else { 0 } {
        return Answer { text: "no root".to_owned(), size: 0 };
    }
    let (ds, lpa) = (field(tcr, 59, 59) == 1, field(tcr, 34, 32) == 6);
    let wide = if page == 16 { lpa } else { ds };
    let stride = page - 3;
    // startlevel = 4 - ceil((iasize - page) / stride)
    let mut level = 4 - (iasize - page).div_ceil(stride) as i64;
    let ttbr = if high { regime.ttbr1 } else { regime.ttbr0 };
    let first_bits = iasize - (page + stride * (3 - level) as u64);
    let low = if wide { (first_bits + 3).max(6) } else { first_bits + 3 };
    let mut base = field(ttbr, 47, low) << low;
    if wide {
        base += field(ttbr, 5, 2) << 48;
    }
    let mut bits = first_bits;
    loop {
        let lsb = page + stride * (3 - level) as u64;
        let index = field(virt, lsb + bits - 1, lsb);
        // guestdump takes a first table of the high half as the end of one that is as wide as its level can be.
        let most = stride.min(52 - lsb);
        let missing = if high && bits < most { (1 << most) - (1 << bits) } else { 0 };
        let shown = index + missing;
        let size = 1_u64 << lsb;
        let Some(raw) = load(ram, base + index * 8, regime.big) else {
            let table = base.wrapping_sub(missing * 8);
            return Answer { text: format!("no RAM for level {level} at {table:#x}"), size };
        };
        let entry = format!("at level {level}[{shown}] = {raw:#x}");
        match descriptor(raw, page, level, ds, lpa, field(tcr, 34, 32)) {
            Descriptor::NotPresent => return Answer { text: format!("not present {entry}"), size },
            Descriptor::Invalid => return Answer { text: format!("invalid {entry}"), size },
            Descriptor::Output(at) => return Answer { text: format!("{:#x}", at / size * size + virt % size), size },
            Descriptor::Table(at) => base = at,
        }
        level += 1;
        bits = stride;
    }
}

enum Descriptor {
    NotPresent,
    Invalid,
    Output(u64),
    Table(u64),
}

fn descriptor(raw: u64, page: u64, level: i64, ds: bool, lpa: bool, ips: u64) -> Descriptor {
    let block = match (page, level) {
        (_, 3) => false,
        (12, 1 | 2) | (14 | 16, 2) => true,
        (12, 0) | (14, 1) => ds,
        (16, 1) => lpa,
        _ => false,
    };
    let address = match page {
        16 if lpa => (field(raw, 47, 16) << 16) + (field(raw, 15, 12) << 48),
        12 | 14 if ds => (field(raw, 49, page) << page) + (field(raw, 9, 8) << 50),
        _ => field(raw, 47, page) << page,
    };
    let widest = if (page == 16 && lpa) || (page != 16 && ds) { 52 } else { 48 };
    let oasize = [32, 36, 40, 42, 44, 48, 52, 52][ips as usize].min(widest);
    match (raw & 3, level) {
        (0 | 2, _) => Descriptor::NotPresent,
        _ if address >> oasize != 0 => Descriptor::Invalid,
        (1, _) if block => Descriptor::Output(address),
        (1, _) => Descriptor::Invalid,
        (_, 3) => Descriptor::Output(address),
        _ => Descriptor::Table(address),
    }
}
