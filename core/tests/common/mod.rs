//! Sample guests of any architecture, for tests of the engine.
#![allow(dead_code, missing_docs, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

pub mod kdump;

use std::io;
use std::sync::Arc;

use guestdump_core::arch::{Arch, Endian, PhysAddr, PhysRange, Reg, Registers, Vcpu};
use guestdump_core::block::{Backing, Block, BlockKind, BlockMemory, Bytes, ShortRead, Zeros};
use guestdump_core::format::read::Dump;
use guestdump_core::guest::{Guest, Past};
use guestdump_core::vmcoreinfo::{Origin, Vmcoreinfo};

pub fn range(start: u64, len: u64) -> PhysRange {
    PhysRange::new(PhysAddr(start), len).unwrap()
}

/// Bytes that differ everywhere, with pages of zeros, text and noise among them.
pub fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = vec![0; len];
    for (number, page) in out.chunks_mut(4096).enumerate() {
        match number % 4 {
            0 => {}
            1 => page.iter_mut().enumerate().for_each(|(i, byte)| *byte = b"guest page "[i % 11] ^ (seed as u8)),
            2 => page.iter_mut().for_each(|byte| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state as u8;
            }),
            _ => {
                let last = page.len() - 1;
                page[last] = number as u8 | 1;
            }
        }
    }
    out
}

/// Memory that can be read but for one page.
#[derive(Debug)]
pub struct Broken {
    pub bytes: Bytes,
    pub page: u64,
}

impl Backing for Broken {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        let end = offset + buf.len() as u64;
        let bad = self.page * 4096..(self.page + 1) * 4096;
        if offset < bad.end && end > bad.start {
            let done = bad.start.saturating_sub(offset) as usize;
            return Err(ShortRead { done, cause: io::Error::other("poisoned") });
        }
        self.bytes.read_at(offset, buf)
    }
}

pub fn vcpus(arch: &'static dyn Arch, count: u32) -> Vec<Vcpu> {
    (0..count)
        .map(|id| {
            let mut registers = Registers::unknown(arch.registers());
            for (i, def) in arch.registers().iter().enumerate() {
                let bytes: Vec<u8> = (0..def.width).map(|at| (i as u16 * 3 + at + id as u16 * 64 + 1) as u8).collect();
                registers.set_part(Reg(i as u16), 0, &bytes);
            }
            Vcpu { id, registers }
        })
        .collect()
}

pub fn guest(arch: &'static dyn Arch, endian: Endian, parts: Vec<(u64, BlockKind, u64, Box<dyn Backing>)>) -> Guest {
    let blocks =
        parts.iter().map(|(start, kind, len, _)| Block { range: range(*start, *len), kind: *kind, name: "m".into() });
    let blocks = guestdump_core::block::sorted(blocks.collect()).unwrap();
    let backed = parts.into_iter().map(|(start, _, len, backing)| (range(start, len), backing));
    let text = b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\nNUMBER(phys_base)=-35651584\n".to_vec();
    Guest {
        arch,
        endian: Some(endian),
        machine_page_size: None,
        blocks,
        memory: Arc::new(BlockMemory::new(backed.collect())),
        vcpus: vcpus(arch, 2),
        notes: None,
        vmcoreinfo: Some(Vmcoreinfo::new(text, Origin::Given)),
        banner: None,
        remarks: Vec::new(),
        past: Past::default(),
    }
}

/// Blocks that are not page aligned, two that share a page, an untouched one, one behind a gap, and a device's.
pub fn sample(arch: &'static dyn Arch, endian: Endian) -> Guest {
    let bytes = |len: usize, seed| Box::new(Bytes(content(len, seed))) as Box<dyn Backing>;
    guest(
        arch,
        endian,
        vec![
            (0, BlockKind::Ram, 0x0021_0800, bytes(0x0021_0800, 1)),
            (0x0021_0900, BlockKind::Ram, 0x1f00, bytes(0x1f00, 2)),
            (0x0080_0000, BlockKind::Ram, 0x0040_0000, Box::new(Zeros)),
            (0x0300_0123, BlockKind::Ram, 0x5001, bytes(0x5001, 3)),
            (0x0400_0000, BlockKind::Device, 0x2000, bytes(0x2000, 4)),
        ],
    )
}

/// Every page of memory, read from the dump by physical address, is the guest's.
pub fn holds_all(guest: &Guest, dump: &Dump) {
    let mut covered = 0;
    for range in &dump.ranges {
        let len = usize::try_from(range.len()).unwrap();
        let (mut ours, mut theirs) = (vec![0; len], vec![1; len]);
        assert!(guest.memory.read(range.start(), &mut ours).unwrap());
        assert!(dump.memory.read(range.start(), &mut theirs).unwrap());
        assert!(ours == theirs, "memory {range} differs");
        covered += range.len();
    }
    assert_eq!(covered, guest.blocks.iter().map(|block| block.range.len()).sum::<u64>());
}
