//! A second walker of radix trees: the figures of the Power ISA (3.0B, book III, "Process Table" and "Radix Tree
//! Translation") as plain ifs.
//!
//! It shares nothing with guestdump's own: no geometry, no decoding, no memory. Reserved bits are ignored. A directory
//! of fewer than 32 entries, or one that would leave less than 12 bits for the page, leaves nothing to follow: invalid.

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

/// Where trees are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// In a process table of so many entries.
    ProcessTable { table: u64, entries: u64, pid: u64 },
    /// The kernel's alone: a root directory of 8192 entries.
    Root(u64),
}

fn answer(text: String, size: u64) -> Answer {
    Answer { text, size }
}

/// Eight bytes, the first the most significant.
fn load(ram: &Ram, at: u64) -> Option<u64> {
    let page = ram.get(&(at / 4096 * 4096))?;
    Some((0..8).fold(0, |value, i| value * 256 + u64::from(page[(at % 4096 + i) as usize])))
}

/// What an address of 64 bits translates to.
pub fn walk(ram: &Ram, from: From, virt: u64) -> Answer {
    let in_quadrant = virt % (1 << 62);
    let process = match (virt / (1 << 62), from) {
        (0 | 3, _) if in_quadrant >= 1 << 52 => None,
        (0, From::ProcessTable { pid, .. }) => Some(pid),
        (3, _) => Some(0),
        _ => None,
    };
    match (process, from) {
        (None, _) => answer("no root".to_owned(), 0),
        (Some(_), From::Root(root)) => tree(ram, root, 13, virt),
        (Some(pid), From::ProcessTable { table, entries, .. }) => process_entry(ram, table, entries, pid, virt),
    }
}

/// Figure "Process Table Entry, Radix", first doubleword: RTS1 1:2, RPDB 4:55, RTS2 56:58, RPDS 59:63.
fn process_entry(ram: &Ram, table: u64, entries: u64, pid: u64, virt: u64) -> Answer {
    let whole = 1 << 52;
    if pid >= entries {
        return answer("outside of table at process table[0]".to_owned(), whole);
    }
    let at = table + 16 * pid;
    let Some(raw) = load(ram, at) else { return answer(format!("no RAM for process table at {at:#x}"), whole) };
    if raw == 0 {
        return answer("not present at process table[0] = 0x0".to_owned(), whole);
    }
    let rts = (raw & 0x6000_0000_0000_0000) / 0x1000_0000_0000_0000 * 4 + (raw & 0xe0) / 0x20;
    let rpds = raw & 0x1f;
    if rts + 31 != 52 || !(5..=40).contains(&rpds) {
        return answer(format!("invalid at process table[0] = {raw:#x}"), whole);
    }
    tree(ram, raw & 0x0fff_ffff_ffff_ff00, rpds, virt)
}

/// Figures "Page Directory Entry" (V 0, L 1, NLB 4:55, NLS 59:63) and "Page Table Entry" (RPN 7:51).
fn tree(ram: &Ram, root: u64, root_bits: u64, virt: u64) -> Answer {
    let (mut directory, mut bits, mut left) = (root, root_bits, 52);
    for level in 1.. {
        left -= bits;
        let index = (virt >> left) % (1 << bits);
        let size = 1 << left;
        let Some(raw) = load(ram, directory + index * 8) else {
            return answer(format!("no RAM for level {level} at {directory:#x}"), size);
        };
        if raw < 0x8000_0000_0000_0000 {
            return answer(format!("not present at level {level}[{index}] = {raw:#x}"), size);
        }
        if raw & 0x4000_0000_0000_0000 != 0 {
            let page = (raw & 0x01ff_ffff_ffff_f000) / size * size;
            return answer(format!("{:#x}", page + virt % size), size);
        }
        bits = raw % 32;
        if bits < 5 || left < bits + 12 {
            return answer(format!("invalid at level {level}[{index}] = {raw:#x}"), size);
        }
        directory = raw & 0x0fff_ffff_ffff_ff00;
    }
    unreachable!("each level takes at least five bits of 52")
}
