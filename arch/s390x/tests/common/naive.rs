//! A second walker of z/Architecture tables: "Translation Process" of the Principles of Operation (SA22-7832, chapter 3)
//! written down as plain ifs.
//!
//! It shares nothing with guestdump's own: no geometry, no decoding, no memory.

use std::collections::BTreeMap;

/// Pages of 4096 bytes.
pub type Ram = BTreeMap<u64, Vec<u8>>;

/// What an address maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// A real address.
    pub real: Option<u64>,
    /// The same, or why there is none, in the words of the fixtures.
    pub text: String,
    /// How many addresses around it have that from the same entry (0: not from an entry).
    pub size: u64,
}

/// What is not in the tables.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    pub asce: u64,
    /// CR0 bit 40.
    pub edat: bool,
}

/// A table, of which the quarters `first..=last` exist.
struct Table {
    origin: u64,
    first: u64,
    last: u64,
}

impl Table {
    /// What a region-table entry designates.
    fn next(entry: u64) -> Self {
        Self { origin: entry & 0xffff_ffff_ffff_f000, first: (entry & 0xc0) / 0x40, last: entry & 3 }
    }
}

fn load(ram: &Ram, at: u64) -> Option<u64> {
    let page = ram.get(&(at / 4096 * 4096))?;
    let mut value = 0;
    for i in 0..8 {
        value = value * 256 + u64::from(page[(at % 4096) as usize + i]);
    }
    Some(value)
}

fn hole(text: String, size: u64) -> Answer {
    Answer { real: None, text, size }
}

fn not_present(what: &str, index: u64, raw: u64, size: u64) -> Answer {
    hole(format!("not present at {what}[{index}] = {raw:#x}"), size)
}

fn invalid(what: &str, index: u64, raw: u64, size: u64) -> Answer {
    hole(format!("invalid at {what}[{index}] = {raw:#x}"), size)
}

fn mapped(frame: u64, virt: u64, size: u64) -> Answer {
    let real = frame + virt % size;
    Answer { real: Some(real), text: format!("{real:#x}"), size }
}

fn fetch(ram: &Ram, table: &Table, what: &str, index: u64, size: u64) -> Result<u64, Answer> {
    if index / 512 < table.first || index / 512 > table.last {
        return Err(hole(format!("outside of table at {what}[{index}]"), size));
    }
    let absent = || hole(format!("no RAM for {what} at {:#x}", table.origin), size);
    load(ram, table.origin + index * 8).ok_or_else(absent)
}

/// The whole translation, from the address-space-control element on.
pub fn translate(ram: &Ram, space: Space, virt: u64) -> Answer {
    let first = Table { origin: space.asce & 0xffff_ffff_ffff_f000, first: 0, last: space.asce & 3 };
    let end = match space.asce & 0xc {
        0xc => return region_first(ram, space, &first, virt).unwrap_or_else(|hole| hole),
        0x8 => 0x20_0000_0000_0000,
        0x4 => 0x400_0000_0000,
        _ => 0x8000_0000,
    };
    if virt >= end {
        return hole("no root".to_owned(), 0);
    }
    let answer = match space.asce & 0xc {
        0x8 => region_second(ram, space, &first, virt),
        0x4 => region_third(ram, space, &first, virt),
        _ => segment(ram, space, &first, virt),
    };
    answer.unwrap_or_else(|hole| hole)
}

fn region_first(ram: &Ram, space: Space, table: &Table, virt: u64) -> Result<Answer, Answer> {
    let (what, index, size) = ("region-first table", virt / 0x20_0000_0000_0000, 0x20_0000_0000_0000);
    let entry = fetch(ram, table, what, index, size)?;
    if entry & 0x20 != 0 {
        return Err(not_present(what, index, entry, size));
    }
    if entry & 0xc != 0xc {
        return Err(invalid(what, index, entry, size));
    }
    region_second(ram, space, &Table::next(entry), virt)
}

fn region_second(ram: &Ram, space: Space, table: &Table, virt: u64) -> Result<Answer, Answer> {
    let (what, index, size) = ("region-second table", virt / 0x400_0000_0000 % 2048, 0x400_0000_0000);
    let entry = fetch(ram, table, what, index, size)?;
    if entry & 0x20 != 0 {
        return Err(not_present(what, index, entry, size));
    }
    if entry & 0xc != 0x8 {
        return Err(invalid(what, index, entry, size));
    }
    region_third(ram, space, &Table::next(entry), virt)
}

fn region_third(ram: &Ram, space: Space, table: &Table, virt: u64) -> Result<Answer, Answer> {
    let (what, index, size) = ("region-third table", virt / 0x8000_0000 % 2048, 0x8000_0000);
    let entry = fetch(ram, table, what, index, size)?;
    if entry & 0x20 != 0 {
        return Err(not_present(what, index, entry, size));
    }
    if entry & 0xc != 0x4 {
        return Err(invalid(what, index, entry, size));
    }
    if space.edat {
        // Common region in a private space.
        if entry & 0x10 != 0 && space.asce & 0x100 != 0 {
            return Err(invalid(what, index, entry, size));
        }
        if entry & 0x400 != 0 {
            return Ok(mapped(entry & 0xffff_ffff_8000_0000, virt, size));
        }
    }
    segment(ram, space, &Table::next(entry), virt)
}

fn segment(ram: &Ram, space: Space, table: &Table, virt: u64) -> Result<Answer, Answer> {
    let (what, index, size) = ("segment table", virt / 0x10_0000 % 2048, 0x10_0000);
    let entry = fetch(ram, table, what, index, size)?;
    if entry & 0x20 != 0 {
        return Err(not_present(what, index, entry, size));
    }
    // Common segment in a private space.
    if entry & 0xc != 0 || (entry & 0x10 != 0 && space.asce & 0x100 != 0) {
        return Err(invalid(what, index, entry, size));
    }
    if space.edat && entry & 0x400 != 0 {
        return Ok(mapped(entry & 0xffff_ffff_fff0_0000, virt, size));
    }
    page(ram, entry & 0xffff_ffff_ffff_f800, virt)
}

fn page(ram: &Ram, origin: u64, virt: u64) -> Result<Answer, Answer> {
    let (what, index, size) = ("page table", virt / 0x1000 % 256, 0x1000);
    let whole = Table { origin, first: 0, last: 0 };
    let entry = fetch(ram, &whole, what, index, size)?;
    if entry & 0x400 != 0 {
        return Err(not_present(what, index, entry, size));
    }
    if entry & 0x800 != 0 {
        return Err(invalid(what, index, entry, size));
    }
    Ok(mapped(entry & 0xffff_ffff_ffff_f000, virt, size))
}

/// "Prefixing".
pub fn absolute(real: u64, prefix: u64) -> u64 {
    if real < 0x2000 {
        real + prefix
    } else if real >= prefix && real < prefix + 0x2000 {
        real - prefix
    } else {
        real
    }
}
