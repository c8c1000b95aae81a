//! Kernel logs in hostile memory.

use std::sync::Arc;

use guestdump_core::arch::{self, PhysAddr, PhysRange, Vcpu};
use guestdump_core::block::{Backing, Block, BlockKind, BlockMemory};
use guestdump_core::guest::{Guest, Past};
use guestdump_core::kernel;
use guestdump_core::vmcoreinfo::{Origin, Vmcoreinfo};

use super::feed::{Feed, expand};
use super::machine::{Ram, registers};
use super::memory_use::bounded;

/// Records that are looked at: no memory of an input's size has more, unless its tables show it many times.
const RECORDS: usize = 1 << 16;

/// The log of a kernel: VMCOREINFO, architecture, registers and RAM are the input's. It ends, takes little memory, and holds
/// no more text than its own size.
pub fn dmesg(data: &[u8]) {
    let guest = guest(&mut Feed(data));
    let limit = data.len();
    bounded(limit, 8, 4 << 20, || {
        let mut log = match kernel::dmesg::open(&guest) {
            Ok(log) => log,
            Err(error) => return assert!(error.to_string().len() < 1000),
        };
        let mut text = 0;
        for record in log.by_ref().take(RECORDS) {
            assert!(record.text.len() <= 0xffff && record.level.is_none_or(|level| level < 8));
            text += record.text.len() as u64;
        }
        assert!(text <= log.text_bytes(), "{text} bytes of text in a log of {}", log.text_bytes());
        assert_eq!(log.damage().records == 0, log.damage().first.is_none());
    });
}

fn guest(feed: &mut Feed<'_>) -> Guest {
    let len = usize::from(feed.u16());
    let text = feed.bytes(len).to_vec();
    let arch = feed.pick(arch::ALL);
    let endian = feed.pick(arch.identity().endians);
    let vcpu = Vcpu { id: 0, registers: registers(feed, arch) };
    let mut ram = expand(feed.0);
    ram.push(0);
    let range = PhysRange::new(PhysAddr(0), ram.len() as u64).expect("a short range");
    let backed: Vec<(PhysRange, Box<dyn Backing>)> = vec![(range, Box::new(Ram(ram)))];
    Guest {
        arch,
        endian: Some(endian),
        machine_page_size: None,
        blocks: vec![Block { range, kind: BlockKind::Ram, name: "ram".to_owned() }],
        memory: Arc::new(BlockMemory::new(backed)),
        vcpus: vec![vcpu],
        notes: None,
        vmcoreinfo: Some(Vmcoreinfo::new(text, Origin::Given)),
        banner: None,
        remarks: Vec::new(),
        past: Past::default(),
    }
}
