//! A second walker of RISC-V page tables: the steps of "Virtual Address Translation Process" (Privileged Architecture
//! 20211203, 4.3.2) in their order, in arithmetic instead of masks.
//!
//! It shares nothing with guestdump's own: no geometry, no decoding, no memory. As there, access rights are not looked at,
//! and neither are bits 62:54 and U, A and D of a pointer.

use std::collections::BTreeMap;

/// Pages of 4096 bytes.
pub type Ram = BTreeMap<u64, Vec<u8>>;

/// What an address maps to, in the words of the fixtures, and how many addresses around it have that from the same entry
/// (0: not from an entry).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub size: u64,
}

fn load(ram: &Ram, at: u64, big: bool) -> Option<u64> {
    let page = ram.get(&(at / 4096 * 4096))?;
    let start = (at % 4096) as usize;
    let bytes: [u8; 8] = page[start..start + 8].try_into().unwrap();
    Some(if big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
}

fn bit(pte: u64, number: u32) -> bool {
    pte / 2_u64.pow(number) % 2 == 1
}

/// The translation of `virt` by tables of `levels` levels whose root is page `ppn`.
pub fn translate(ram: &Ram, levels: u32, ppn: u64, big: bool, virt: u64) -> Answer {
    let width = 12 + 9 * levels;
    let sign_extended = (virt << (64 - width)).cast_signed() >> (64 - width);
    if sign_extended.cast_unsigned() != virt {
        return Answer { text: "no root".to_owned(), size: 0 };
    }
    let vpn = |i: u32| virt / 4096 / 512_u64.pow(i) % 512;
    // Step 1.
    let mut a = ppn * 4096;
    let mut i = levels - 1;
    loop {
        // Step 2.
        let size = 4096 * 512_u64.pow(i);
        let index = vpn(i);
        let Some(pte) = load(ram, a + index * 8, big) else {
            return Answer { text: format!("no RAM for level {i} at {a:#x}"), size };
        };
        let fault = |why: &str| Answer { text: format!("{why} at level {i}[{index}] = {pte:#x}"), size };
        let (v, r, w, x, n) = (bit(pte, 0), bit(pte, 1), bit(pte, 2), bit(pte, 3), bit(pte, 63));
        let pte_ppn = pte / 1024 % 2_u64.pow(44);
        // Step 3.
        if !v {
            return fault("not present");
        }
        if w && !r {
            return fault("invalid");
        }
        // Step 4.
        if !r && !x {
            if n || i == 0 {
                return fault("invalid");
            }
            i -= 1;
            a = pte_ppn * 4096;
            continue;
        }
        // Svnapot: the low four bits of the PPN come from the address.
        if n {
            if i != 0 || pte_ppn % 16 != 8 {
                return fault("invalid");
            }
            let page = pte_ppn - 8 + virt / 4096 % 16;
            return Answer { text: format!("{:#x}", page * 4096 + virt % 4096), size };
        }
        // Step 6.
        if !pte_ppn.is_multiple_of(512_u64.pow(i)) {
            return fault("invalid");
        }
        // Step 8.
        return Answer { text: format!("{:#x}", pte_ppn * 4096 + virt % size), size };
    }
}
