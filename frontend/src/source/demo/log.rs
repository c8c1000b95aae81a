//! The kernel log of a sample: printk's ring buffer, and what VMCOREINFO says of it.
//!
//! Members and their order are those that VMCOREINFO of Linux 6.1 names (linux
//! `Documentation/admin-guide/kdump/vmcoreinfo.rst`); between them are a descriptor ring's last member and a record's facility,
//! flags and level, which it does not name.

use std::fmt::Write;

use guestdump_arch::abi::{CField, CStruct, CType};
use guestdump_arch::{CAbi, Endian};
use guestdump_core::block::BlockKind;

use super::Demo;
use super::build::banner;

/// Bytes of the log, from its pointer on.
pub(super) const LEN: usize = TEXT + (1 << SIZE_BITS);
const RING: usize = 0x40;
const DESCS: usize = 0x400;
const INFOS: usize = 0x800;
const TEXT: usize = 0x1000;
const COUNT_BITS: u32 = 4;
const SIZE_BITS: u32 = 11;

const DESC_RING: &[CField] = &[
    ("count_bits", CType::Int),
    ("descs", CType::Long),
    ("infos", CType::Long),
    ("head_id", CType::Long),
    ("tail_id", CType::Long),
    ("last_finalized_id", CType::Long),
];
const DATA_RING: &[CField] =
    &[("size_bits", CType::Int), ("data", CType::Long), ("head_lpos", CType::Long), ("tail_lpos", CType::Long)];
/// `struct prb_desc`, with the two members of its `text_blk_lpos`.
const DESC: &[CField] = &[("state_var", CType::Long), ("begin", CType::Long), ("next", CType::Long)];
/// `struct printk_info`, with the two members of its `dev_info`.
const INFO: &[CField] = &[
    ("seq", CType::U64),
    ("ts_nsec", CType::U64),
    ("text_len", CType::Chars(2)),
    ("facility", CType::Chars(1)),
    ("flags_level", CType::Chars(1)),
    ("caller_id", CType::Int),
    ("subsystem", CType::Chars(16)),
    ("device", CType::Chars(48)),
];

/// A record.
struct Record {
    level: u64,
    text: String,
    /// SUBSYSTEM and DEVICE.
    device: [&'static str; 2],
}

/// What the kernel says: nothing but the truth about the sample.
fn records(demo: &Demo) -> Vec<Record> {
    const WARNING: u64 = 4;
    const NOTICE: u64 = 5;
    const INFO: u64 = 6;
    let record = |level, text| Record { level, text, device: ["", ""] };
    let mut out = vec![
        record(NOTICE, banner()),
        record(WARNING, "This kernel never ran: guestdump has made it and all memory around it".to_owned()),
        record(INFO, format!("Machine: demo:{}\n{}", demo.name, demo.summary)),
    ];
    for (start, len, kind, name) in demo.blocks {
        let kind = if *kind == BlockKind::Ram { "RAM" } else { "device memory" };
        out.push(record(INFO, format!("{kind}: [mem {start:#018x}-{:#018x}] {name}", start + len - 1)));
    }
    let device = ["platform", "+platform:demo"];
    out.push(Record { level: INFO, text: "demo: a record that names its device".to_owned(), device });
    out
}

/// The structures as a C compiler of the sample places them.
struct Layout {
    abi: CAbi,
    desc_ring: CStruct,
    data_ring: CStruct,
    desc: CStruct,
    info: CStruct,
}

impl Layout {
    fn of(abi: CAbi) -> Self {
        let [desc_ring, data_ring, desc, info] = [DESC_RING, DATA_RING, DESC, INFO].map(|fields| abi.place(fields));
        Self { abi, desc_ring, data_ring, desc, info }
    }
}

/// Puts members of a structure at `at`.
fn put(bytes: &mut [u8], layout: &CStruct, at: usize, members: &[(&'static str, u64)]) {
    let part = bytes.get_mut(at..at + layout.size()).unwrap_or_default();
    for (name, value) in members {
        let done = layout.put(part, name, *value);
        debug_assert!(done.is_ok(), "{done:?}");
    }
}

/// The log's bytes. It lies at `virt`, where its pointer `prb` is, too.
pub(super) fn bytes(demo: &Demo, abi: CAbi, virt: u64) -> Vec<u8> {
    let (layout, records) = (Layout::of(abi), records(demo));
    let mut out = vec![0; LEN];
    let at = |offset: usize| virt + offset as u64;
    put(&mut out, &abi.place(&[("prb", CType::Long)]), 0, &[("prb", at(RING))]);
    let mut lpos = 0;
    for (id, record) in (0..).zip(&records) {
        lpos = layout.record(&mut out, id, lpos, record);
    }
    let head = records.len().saturating_sub(1) as u64;
    let ring = [
        ("count_bits", u64::from(COUNT_BITS)),
        ("descs", at(DESCS)),
        ("infos", at(INFOS)),
        ("head_id", head),
        ("last_finalized_id", head),
    ];
    put(&mut out, &layout.desc_ring, RING, &ring);
    let data = [("size_bits", u64::from(SIZE_BITS)), ("data", at(TEXT)), ("head_lpos", lpos)];
    put(&mut out, &layout.data_ring, RING + layout.desc_ring.size(), &data);
    out
}

impl Layout {
    /// Puts a record whose text starts at `begin` of the ring of texts; the next one's starts at the result.
    fn record(&self, out: &mut [u8], id: u64, begin: u64, record: &Record) -> u64 {
        const FINALIZED: u64 = 2;
        let word = u64::from(self.abi.word);
        let index = usize::try_from(id).unwrap_or(0) % (1 << COUNT_BITS);
        let text_len = record.text.len() as u64;
        let next = (begin + word + text_len).next_multiple_of(word);
        let state = FINALIZED << (8 * word - 2) | id;
        put(
            out,
            &self.desc,
            DESCS + index * self.desc.size(),
            &[("state_var", state), ("begin", begin), ("next", next)],
        );
        // Five bits of flags, then three of the level: compilers for big-endian machines start at the top.
        let level = if self.abi.endian == Endian::Big { record.level } else { record.level << 5 };
        let at = INFOS + index * self.info.size();
        let info = [("seq", id), ("ts_nsec", id * 1_000_000), ("text_len", text_len), ("flags_level", level)];
        put(out, &self.info, at, &info);
        let own = out.get_mut(at..at + self.info.size()).unwrap_or_default();
        for (name, text) in ["subsystem", "device"].into_iter().zip(record.device) {
            let done = self.info.put_chars(own, name, text.as_bytes());
            debug_assert!(done.is_ok(), "{done:?}");
        }
        let block = TEXT + usize::try_from(begin).unwrap_or(0);
        put(out, &self.abi.place(&[("id", CType::Long)]), block, &[("id", id)]);
        let text = block + usize::from(self.abi.word);
        debug_assert!(text + record.text.len() <= out.len(), "the log is full");
        out.iter_mut().skip(text).zip(record.text.bytes()).for_each(|(to, from)| *to = from);
        next
    }
}

/// What VMCOREINFO says of the log at `virt`.
pub(super) fn vmcoreinfo(abi: CAbi, virt: u64) -> String {
    let layout = Layout::of(abi);
    let rings = layout.desc_ring.size() + layout.data_ring.size();
    let mut out = format!("SYMBOL(prb)={virt:x}\n");
    let mut say = |what: &str, name: &str, value: usize| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{what}({name})={value}");
    };
    say("SIZE", "printk_ringbuffer", rings + usize::from(abi.word));
    say("OFFSET", "printk_ringbuffer.desc_ring", 0);
    say("OFFSET", "printk_ringbuffer.text_data_ring", layout.desc_ring.size());
    say("OFFSET", "printk_ringbuffer.fail", rings);
    let structs = [
        ("prb_desc_ring", &layout.desc_ring),
        ("prb_data_ring", &layout.data_ring),
        ("prb_desc", &layout.desc),
        ("printk_info", &layout.info),
    ];
    let offset = |layout: &CStruct, name| layout.field(name).map_or(0, |field| field.offset);
    for (name, layout) in structs {
        say("SIZE", name, layout.size());
        for field in layout.fields() {
            match field.name {
                "begin" => say("OFFSET", "prb_desc.text_blk_lpos", field.offset),
                "subsystem" => say("OFFSET", "printk_info.dev_info", field.offset),
                "next" | "device" | "last_finalized_id" | "facility" | "flags_level" => {}
                member => say("OFFSET", &format!("{name}.{member}"), field.offset),
            }
        }
    }
    say("SIZE", "prb_data_blk_lpos", 2 * usize::from(abi.word));
    say("OFFSET", "prb_data_blk_lpos.begin", 0);
    say("OFFSET", "prb_data_blk_lpos.next", offset(&layout.desc, "next") - offset(&layout.desc, "begin"));
    say("SIZE", "dev_printk_info", 64);
    say("OFFSET", "dev_printk_info.subsystem", 0);
    say("LENGTH", "printk_info_subsystem", 16);
    say("OFFSET", "dev_printk_info.device", offset(&layout.info, "device") - offset(&layout.info, "subsystem"));
    say("LENGTH", "printk_info_device", 48);
    say("SIZE", "atomic_long_t", usize::from(abi.word));
    say("OFFSET", "atomic_long_t.counter", 0);
    out
}
