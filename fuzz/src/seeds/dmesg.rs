//! Seeds of kernel logs: small rings and buffers of an architecture whose kernel addresses need no tables, whole and hostile.

use guestdump_core::arch::{self, Endian};

use super::Seed;
use super::input::{Input, shrink};

/// Where this kernel's memory is mapped.
const BASE: u64 = 0xc000_0000_0000_0000;
const RING: &str = "\
OFFSET(printk_ringbuffer.desc_ring)=0\nOFFSET(printk_ringbuffer.text_data_ring)=48\nOFFSET(prb_desc_ring.count_bits)=0\n\
OFFSET(prb_desc_ring.descs)=8\nOFFSET(prb_desc_ring.infos)=16\nOFFSET(prb_desc_ring.head_id)=24\nOFFSET(prb_desc_ring.tail_id)=32\n\
OFFSET(prb_data_ring.size_bits)=0\nOFFSET(prb_data_ring.data)=8\nOFFSET(atomic_long_t.counter)=0\nSIZE(prb_desc)=24\n\
OFFSET(prb_desc.state_var)=0\nOFFSET(prb_desc.text_blk_lpos)=8\nOFFSET(prb_data_blk_lpos.begin)=0\nOFFSET(prb_data_blk_lpos.next)=8\n\
SIZE(printk_info)=88\nOFFSET(printk_info.seq)=0\nOFFSET(printk_info.ts_nsec)=8\nOFFSET(printk_info.text_len)=16\n\
OFFSET(printk_info.caller_id)=20\nOFFSET(printk_info.dev_info)=24\nOFFSET(dev_printk_info.subsystem)=0\nLENGTH(printk_info_subsystem)=16\n\
OFFSET(dev_printk_info.device)=16\nLENGTH(printk_info_device)=48\nSYMBOL(prb)=c000000000000000\n";
const LOG_BUF: &str = "\
SIZE(printk_log)=16\nOFFSET(printk_log.ts_nsec)=0\nOFFSET(printk_log.len)=8\nOFFSET(printk_log.text_len)=10\n\
OFFSET(printk_log.dict_len)=12\nSYMBOL(log_buf)=c000000000000000\nSYMBOL(log_buf_len)=c000000000000008\n\
SYMBOL(log_first_idx)=c00000000000000c\nSYMBOL(log_next_idx)=c000000000000010\n";

/// RAM in one byte order.
struct Image(Endian, Vec<u8>);

impl Image {
    fn put(&mut self, at: usize, width: usize, value: u64) -> &mut Self {
        if self.1.len() < at + width {
            self.1.resize(at + width, 0);
        }
        self.0.put(value, &mut self.1[at..at + width]);
        self
    }

    fn text(&mut self, at: usize, text: &str) -> &mut Self {
        self.1.resize(self.1.len().max(at + text.len()), 0);
        self.1[at..at + text.len()].copy_from_slice(text.as_bytes());
        self
    }
}

/// Four descriptors, of which two hold a record each, and 128 bytes of text.
fn ring(endian: Endian) -> Image {
    let mut image = Image(endian, Vec::new());
    image.put(0, 8, BASE + 0x40);
    image.put(0x40, 4, 2).put(0x48, 8, BASE + 0x100).put(0x50, 8, BASE + 0x200);
    image.put(0x58, 8, 9).put(0x60, 8, 7).put(0x70, 4, 7).put(0x78, 8, BASE + 0x400);
    for (id, state, begin, next, text) in
        [(7, 3, 0, 0, ""), (8, 2, 0x80, 0xa0, "a device"), (9, 1, 0xf0, 0x120, "line\nline")]
    {
        let desc = 0x100 + id as usize % 4 * 24;
        image.put(desc, 8, state << 62 | id).put(desc + 8, 8, begin).put(desc + 16, 8, next);
        let info = 0x200 + id as usize % 4 * 88;
        image.put(info, 8, id).put(info + 8, 8, id * 1000).put(info + 16, 2, text.len() as u64).put(info + 19, 1, 0xc6);
        image.text(info + 24, "pci").text(info + 40, "+pci:0000:00:01.0");
        let block = 0x400 + if begin == 0xf0 { 0 } else { begin as usize % 128 };
        if state != 3 {
            image.put(block, 8, id).text(block + 8, text);
        }
    }
    image.put(0x4f8, 8, 0);
    image
}

/// A buffer of 128 bytes whose last record is at its start.
fn log_buf(endian: Endian) -> Image {
    let mut image = Image(endian, Vec::new());
    image.put(0, 8, BASE + 0x40).put(8, 4, 128).put(12, 4, 64).put(16, 4, 32);
    image.put(0x80, 8, 1000).put(0x88, 2, 40).put(0x8a, 2, 4).put(0x8c, 2, 14).text(0x90, "textSUBSYSTEM=pci\0");
    image.put(0xa8, 8, 0).put(0xb8, 8, 0);
    image.put(0x40, 8, 2000).put(0x48, 2, 32).put(0x4a, 2, 3).text(0x50, "end");
    image
}

/// Numbers that break each kind: what, where, how wide, the number.
const HOSTILE_RING: [(&str, usize, usize, u64); 7] = [
    ("count", 0x40, 4, 26),
    ("size", 0x70, 4, 31),
    ("ids", 0x58, 8, u64::MAX),
    ("descs-of-descs", 0x48, 8, BASE),
    ("infos-high", 0x50, 8, u64::MAX - 7),
    ("text-in-itself", 0x78, 8, BASE + 0x100),
    ("long-text", 0x210, 2, 0xffff),
];
const HOSTILE_LOG: [(&str, usize, usize, u64); 4] =
    [("length", 8, 4, 0x8000_0000), ("loop", 0x48, 2, 0), ("long-record", 0x88, 2, 0xffff), ("next", 16, 4, 128)];

/// Both kinds, both byte orders, whole and hostile.
pub fn all(seeds: &mut Vec<Seed>) {
    let Some(number) = arch::ALL.iter().position(|arch| arch.identity().name == "ppc64") else { return };
    let endians = arch::ALL[number].identity().endians;
    let mut seed = |name: String, order: usize, text: &str, image: &Image| {
        let mut input = Input::default();
        input.u16(text.len() as u16).bytes(text.as_bytes()).u8(number as u8).u8(order as u8).u8(0);
        seeds.push(("dmesg", name, input.bytes(&shrink(&image.1)).0.clone()));
    };
    for (order, endian) in endians.iter().enumerate() {
        seed(format!("ring-{}", endian.name()), order, RING, &ring(*endian));
        seed(format!("log-buf-{}", endian.name()), order, LOG_BUF, &log_buf(*endian));
    }
    for (name, at, width, value) in HOSTILE_RING {
        let mut image = ring(endians[0]);
        image.put(at, width, value);
        seed(format!("ring-{name}"), 0, RING, &image);
    }
    for (name, at, width, value) in HOSTILE_LOG {
        let mut image = log_buf(endians[0]);
        image.put(at, width, value);
        seed(format!("log-buf-{name}"), 0, LOG_BUF, &image);
    }
}
