//! Bytes of raw kdump files with pages of 4096 bytes: offsets are numbers of their own here (64-bit layout, little-endian), not
//! those of the code.

use std::sync::Arc;

use guestdump_core::arch::{self, Endian};
use guestdump_core::block::{Backing, BlockKind, Bytes};
use guestdump_core::format::DumpFile;
use guestdump_core::guest::Guest;

use super::{content, guest};

pub fn le(file: &[u8], at: usize, len: usize) -> u64 {
    file[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

pub fn put(file: &mut [u8], at: usize, value: u64, len: usize) {
    file[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

/// Parts of a kdump file as makedumpfile --split makes them: headers and both bitmaps in full, descriptors and data of some
/// frames.
pub fn split(file: &[u8], windows: &[(u64, u64)]) -> Vec<Arc<dyn DumpFile>> {
    let bitmaps = 4096 * (1 + le(file, 432, 4) as usize);
    let descs = bitmaps + 4096 * le(file, 436, 4) as usize;
    let second = (bitmaps + descs) / 2;
    let has = |pfn: u64| file[second + pfn as usize / 8] >> (pfn % 8) & 1 == 1;
    let end = (descs - second) as u64 * 8;
    let numbers: Vec<u64> = (0..end).filter(|pfn| has(*pfn)).collect();
    let part = |&(first, last): &(u64, u64)| {
        let mut out = file[..descs].to_vec();
        put(&mut out, 4096 + 12, 1, 4);
        put(&mut out, 4096 + 80, first, 8);
        put(&mut out, 4096 + 88, last, 8);
        let own: Vec<usize> = (0..numbers.len()).filter(|at| (first..last).contains(&numbers[*at])).collect();
        let (mut data, data_at) = (Vec::new(), descs + 24 * own.len());
        for number in own {
            let mut desc = file[descs + 24 * number..][..24].to_vec();
            let (from, len) = (le(&desc, 0, 8) as usize, le(&desc, 8, 4) as usize);
            put(&mut desc, 0, (data_at + data.len()) as u64, 8);
            data.extend_from_slice(&file[from..from + len]);
            out.extend(desc);
        }
        out.extend(data);
        Arc::new(out) as Arc<dyn DumpFile>
    };
    windows.iter().map(part).collect()
}

pub fn small() -> Guest {
    let parts: Vec<(u64, BlockKind, u64, Box<dyn Backing>)> =
        vec![(0, BlockKind::Ram, 0x20_0000, Box::new(Bytes(content(0x20_0000, 3))))];
    // 64-bit headers, little-endian.
    guest(arch::by_name("riscv64").unwrap().0, Endian::Little, parts)
}
