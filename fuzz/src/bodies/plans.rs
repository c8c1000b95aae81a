//! Plans of guests with blocks of any size anywhere, with any options; small ones are written and read again.

use std::io;
use std::sync::Arc;

use guestdump_core::arch::{self, PhysAddr, PhysRange, Registers, Vcpu};
use guestdump_core::block::{self, Backing, Block, BlockKind, BlockMemory, Bytes, ShortRead, Zeros};
use guestdump_core::format;
use guestdump_core::guest::{Guest, Past};
use guestdump_core::plan::PlanOptions;
use guestdump_core::plan::mapped::Wanted;
use guestdump_core::vmcoreinfo::{Origin, Vmcoreinfo};

use super::feed::Feed;
use super::writing::rewrite;

/// Memory that cannot be read from some byte on.
#[derive(Debug)]
struct Broken {
    from: u64,
}

impl Backing for Broken {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        let good = usize::try_from(self.from.saturating_sub(offset)).unwrap_or(usize::MAX);
        if good < buf.len() {
            return Err(ShortRead { done: good, cause: io::Error::other("broken") });
        }
        buf.fill(7);
        Ok(())
    }
}

/// Options, vCPUs, blocks; what is left is VMCOREINFO.
pub fn plan(data: &[u8]) {
    let feed = &mut Feed(data);
    let options = options(feed);
    let arch = feed.pick(arch::ALL);
    let endian = feed.pick(&[None, arch.identity().endians.first().copied(), arch.identity().endians.last().copied()]);
    let vcpu = |id| Vcpu { id, registers: Registers::unknown(arch.registers()) };
    let vcpus = (0..u32::from(feed.u8() % 4)).map(vcpu).collect();
    let (blocks, backed) = blocks(feed);
    // Sources refuse what this refuses.
    let Ok(blocks) = block::sorted(blocks) else { return };
    let vmcoreinfo = (!feed.is_empty()).then(|| Vmcoreinfo::new(feed.0.to_vec(), Origin::Given));
    let (machine_page_size, notes, banner, remarks) = (None, None, None, Vec::new());
    let memory = Arc::new(BlockMemory::new(backed));
    let past = Past::default();
    let guest =
        Guest { arch, endian, machine_page_size, blocks, memory, vcpus, notes, vmcoreinfo, banner, remarks, past };
    rewrite(&guest, &options);
}

fn options(feed: &mut Feed<'_>) -> PlanOptions {
    let format = &format::ALL[usize::from(feed.u8()) % format::ALL.len()];
    let choices = feed.u8();
    let page_size = 1 << (feed.u8() % 32);
    let range = PhysRange::new(PhysAddr(feed.scaled()), feed.scaled());
    PlanOptions {
        format,
        range: range.filter(|_| choices & 1 != 0),
        dump_level: choices >> 1 & 3,
        device_memory: choices & 8 != 0,
        page_size: Some(page_size).filter(|_| choices & 16 != 0),
        paging: (choices & 32 != 0)
            .then_some(Wanted { max_segments: u32::from(choices) * 3, vcpu: choices.checked_sub(0xfc).map(u32::from) }),
    }
}

type Backed = Vec<(PhysRange, Box<dyn Backing>)>;

fn blocks(feed: &mut Feed<'_>) -> (Vec<Block>, Backed) {
    let (mut blocks, mut backed): (Vec<Block>, Backed) = (Vec::new(), Vec::new());
    for number in 0..feed.u8() % 8 {
        let (kind, start, len) = (feed.u8(), feed.scaled(), feed.scaled());
        let Some(range) = PhysRange::new(PhysAddr(start), len) else { continue };
        let backing: Box<dyn Backing> = match kind % 4 {
            0 => Box::new(Zeros),
            1 => Box::new(Broken { from: u64::from(kind) << 6 }),
            _ => Box::new(Bytes((0..20_000_u32).map(|at| (at / 13 * u32::from(kind)) as u8).collect())),
        };
        let kind = if kind & 0x80 == 0 { BlockKind::Ram } else { BlockKind::Device };
        blocks.push(Block { range, kind, name: format!("block {number}") });
        backed.push((range, backing));
    }
    (blocks, backed)
}
