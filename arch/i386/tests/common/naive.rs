//! A second walker of x86 page tables: the tables of the Intel SDM (volume 3A, chapter 5) written down as plain ifs.
//!
//! It shares nothing with guestdump's own: no geometry, no decoding, no memory. Where the SDM says "reserved (must be
//! 0)" of bits that lie below a large page's size or above the address, a CPU would fault and a dumper need not: they
//! are masked here too, so that a table that a kernel spoiled can still be followed. PS where no page of that size
//! exists leaves nothing to follow: invalid.

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

/// PS in an entry that cannot map a page: invalid, or ignored as libkdumpfile does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservedPs {
    Invalid,
    Ignored,
}

const KIB_4: u64 = 0x1000;
const MIB_2: u64 = 0x20_0000;
const MIB_4: u64 = 0x40_0000;
const GIB_1: u64 = 0x4000_0000;
const GIB_512: u64 = 0x80_0000_0000;
const TIB_256: u64 = 0x1_0000_0000_0000;

fn load(ram: &Ram, at: u64, bytes: u64) -> Option<u64> {
    let page = ram.get(&(at / 4096 * 4096))?;
    let mut value = 0;
    for i in (0..bytes).rev() {
        value = value * 256 + u64::from(page[(at % 4096 + i) as usize]);
    }
    Some(value)
}

fn hole(text: String, size: u64) -> Answer {
    Answer { text, size }
}

fn absent(what: &str, table: u64, size: u64) -> Answer {
    hole(format!("no RAM for {what} at {table:#x}"), size)
}

fn not_present(what: &str, index: u64, raw: u64, size: u64) -> Answer {
    hole(format!("not present at {what}[{index}] = {raw:#x}"), size)
}

fn invalid(what: &str, index: u64, raw: u64, size: u64) -> Answer {
    hole(format!("invalid at {what}[{index}] = {raw:#x}"), size)
}

fn page(address: u64, virt: u64, size: u64) -> Answer {
    Answer { text: format!("{:#x}", address + virt % size), size }
}

fn no_root() -> Answer {
    hole("no root".to_owned(), 0)
}

/// Tables 5-3 to 5-6.
pub fn paging_32_bit(ram: &Ram, cr3: u64, pse: bool, virt: u64) -> Answer {
    if virt > 0xffff_ffff {
        return no_root();
    }
    let directory = cr3 & 0xffff_f000;
    let index = (virt & 0xffc0_0000) >> 22;
    let Some(pde) = load(ram, directory + index * 4, 4) else { return absent("page directory", directory, MIB_4) };
    if pde & 1 == 0 {
        return not_present("page directory", index, pde, MIB_4);
    }
    if pse && pde & 0x80 != 0 {
        // Table 5-4 with M = 40: bits 31:22 are 31:22, bits 20:13 are 39:32.
        let address = (pde & 0xffc0_0000) + ((pde & 0x001f_e000) >> 13) * 0x1_0000_0000;
        return page(address, virt, MIB_4);
    }
    let table = pde & 0xffff_f000;
    let index = (virt & 0x003f_f000) >> 12;
    let Some(pte) = load(ram, table + index * 4, 4) else { return absent("page table", table, KIB_4) };
    if pte & 1 == 0 {
        return not_present("page table", index, pte, KIB_4);
    }
    page(pte & 0xffff_f000, virt, KIB_4)
}

/// Tables 5-7 to 5-11.
pub fn paging_pae(ram: &Ram, cr3: u64, reserved: ReservedPs, virt: u64) -> Answer {
    if virt > 0xffff_ffff {
        return no_root();
    }
    let pdpt = cr3 & 0xffff_ffe0;
    let index = virt / GIB_1;
    let Some(pdpte) = load(ram, pdpt + index * 8, 8) else { return absent("PDPT", pdpt, GIB_1) };
    if pdpte & 1 == 0 {
        return not_present("PDPT", index, pdpte, GIB_1);
    }
    if pdpte & 0x80 != 0 && reserved == ReservedPs::Invalid {
        return invalid("PDPT", index, pdpte, GIB_1);
    }
    page_directory(ram, pdpte, virt)
}

/// Tables 5-9 to 5-11 without long mode, 5-18 to 5-20 with it: the same bits of an entry count.
fn page_directory(ram: &Ram, pdpte: u64, virt: u64) -> Answer {
    let directory = pdpte & 0x000f_ffff_ffff_f000;
    let index = virt / MIB_2 % 512;
    let Some(pde) = load(ram, directory + index * 8, 8) else { return absent("page directory", directory, MIB_2) };
    if pde & 1 == 0 {
        return not_present("page directory", index, pde, MIB_2);
    }
    if pde & 0x80 != 0 {
        return page(pde & 0x000f_ffff_ffe0_0000, virt, MIB_2);
    }
    let table = pde & 0x000f_ffff_ffff_f000;
    let index = virt / KIB_4 % 512;
    let Some(pte) = load(ram, table + index * 8, 8) else { return absent("page table", table, KIB_4) };
    if pte & 1 == 0 {
        return not_present("page table", index, pte, KIB_4);
    }
    page(pte & 0x000f_ffff_ffff_f000, virt, KIB_4)
}

/// Tables 5-12, 5-14 and what follows.
pub fn paging_5_level(ram: &Ram, cr3: u64, reserved: ReservedPs, virt: u64) -> Answer {
    let above = virt >> 56;
    if above != 0 && above != 0xff {
        return no_root();
    }
    let pml5 = cr3 & 0x000f_ffff_ffff_f000;
    let index = virt / TIB_256 % 512;
    let Some(pml5e) = load(ram, pml5 + index * 8, 8) else { return absent("PML5", pml5, TIB_256) };
    if pml5e & 1 == 0 {
        return not_present("PML5", index, pml5e, TIB_256);
    }
    if pml5e & 0x80 != 0 && reserved == ReservedPs::Invalid {
        return invalid("PML5", index, pml5e, TIB_256);
    }
    pml4(ram, pml5e & 0x000f_ffff_ffff_f000, reserved, virt)
}

/// Tables 5-12, 5-15 and what follows.
pub fn paging_4_level(ram: &Ram, cr3: u64, reserved: ReservedPs, virt: u64) -> Answer {
    let above = virt >> 47;
    if above != 0 && above != 0x1_ffff {
        return no_root();
    }
    pml4(ram, cr3 & 0x000f_ffff_ffff_f000, reserved, virt)
}

/// Tables 5-15 to 5-17.
fn pml4(ram: &Ram, pml4: u64, reserved: ReservedPs, virt: u64) -> Answer {
    let index = virt / GIB_512 % 512;
    let Some(pml4e) = load(ram, pml4 + index * 8, 8) else { return absent("PML4", pml4, GIB_512) };
    if pml4e & 1 == 0 {
        return not_present("PML4", index, pml4e, GIB_512);
    }
    if pml4e & 0x80 != 0 && reserved == ReservedPs::Invalid {
        return invalid("PML4", index, pml4e, GIB_512);
    }
    let pdpt = pml4e & 0x000f_ffff_ffff_f000;
    let index = virt / GIB_1 % 512;
    let Some(pdpte) = load(ram, pdpt + index * 8, 8) else { return absent("PDPT", pdpt, GIB_1) };
    if pdpte & 1 == 0 {
        return not_present("PDPT", index, pdpte, GIB_1);
    }
    if pdpte & 0x80 != 0 {
        return page(pdpte & 0x000f_ffff_c000_0000, virt, GIB_1);
    }
    page_directory(ram, pdpte, virt)
}
