//! printk's ring buffer, since Linux 5.10: a ring of descriptors, a ring of what is said of each record beside its text, and
//! a ring of texts.
//!
//! Beyond vmcoreinfo.rst, as observed in rings of 6.1 kernels of six architectures: the upper two bits of
//! `prb_desc.state_var` are the record's state (0 being written, 1 written, 2 final, 3 may be used again), the lower ones its
//! id, of which the lowest `count_bits` are its index in both rings of descriptors; a text lies behind an `unsigned long`
//! with that id; positions in the ring of texts count on beyond its size, and a block that would cross its end starts at 0;
//! an odd position means that there is no text.

use guestdump_arch::VirtAddr;

use super::{Damage, DmesgError, Reader, Record, c_text, plus, priority};

/// `log_buf_len=` of the kernel's command line is at most 2 GiB, and a descriptor stands for 32 bytes of text.
const MAX_SIZE_BITS: u64 = 31;
const MAX_COUNT_BITS: u64 = 26;
/// As many descriptors in a row that are not what their place says are no ring.
const MAX_STRANGE: u64 = 4096;

const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;

/// The members that a record is read with.
#[derive(Debug)]
struct Layout {
    desc_size: u64,
    state: u64,
    begin: u64,
    next: u64,
    info_size: usize,
    seq: usize,
    ts_nsec: usize,
    text_len: usize,
    caller: Option<usize>,
    subsystem: Option<(usize, usize)>,
    device: Option<(usize, usize)>,
}

/// Records of a ring, oldest first.
#[derive(Debug)]
pub struct Records<'a> {
    kernel: Reader<'a>,
    layout: Layout,
    descs: VirtAddr,
    infos: VirtAddr,
    text: VirtAddr,
    count_bits: u32,
    size_bits: u32,
    /// Next id, and how many are left.
    id: u64,
    left: u64,
    /// Bytes of text that may still follow: a ring holds no more than its size.
    room: u64,
    strange: u64,
    pub(super) damage: Damage,
}

fn narrow(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl Layout {
    fn of(kernel: &Reader<'_>) -> Result<Self, DmesgError> {
        let block = kernel.offset("prb_desc.text_blk_lpos")?;
        let counter = kernel.offset("atomic_long_t.counter")?;
        let caller = kernel.offset("printk_info.caller_id").ok().map(narrow);
        let inner = |member: &str, length: &str| {
            let at = kernel.info.offset("printk_info.dev_info")?.checked_add(kernel.info.offset(member)?)?;
            Some((narrow(at), narrow(kernel.info.length(length)?)))
        };
        let sum = |a: u64, b: u64| a.saturating_add(b);
        let layout = Self {
            desc_size: kernel.size("prb_desc")?,
            state: sum(kernel.offset("prb_desc.state_var")?, counter),
            begin: sum(block, kernel.offset("prb_data_blk_lpos.begin")?),
            next: sum(block, kernel.offset("prb_data_blk_lpos.next")?),
            info_size: narrow(kernel.size("printk_info")?),
            seq: narrow(kernel.offset("printk_info.seq")?),
            ts_nsec: narrow(kernel.offset("printk_info.ts_nsec")?),
            text_len: narrow(kernel.offset("printk_info.text_len")?),
            caller,
            subsystem: inner("dev_printk_info.subsystem", "printk_info_subsystem"),
            device: inner("dev_printk_info.device", "printk_info_device"),
        };
        let sizes = [("SIZE(printk_info)", layout.info_size as u64), ("SIZE(prb_desc)", layout.desc_size)];
        for (what, value) in sizes {
            if !(8..=4096).contains(&value) {
                return Err(DmesgError::Field { what, value, why: "no such structure has that size" });
            }
        }
        Ok(layout)
    }
}

impl<'a> Records<'a> {
    pub(super) fn open(kernel: Reader<'a>) -> Result<Self, DmesgError> {
        let layout = Layout::of(&kernel)?;
        let rb = VirtAddr(kernel.word("prb", kernel.symbol("prb")?)?);
        let ring = plus(rb, kernel.offset("printk_ringbuffer.desc_ring")?);
        let data = plus(rb, kernel.offset("printk_ringbuffer.text_data_ring")?);
        let counter = kernel.offset("atomic_long_t.counter")?;
        let word = |what, base, member: &str| kernel.word(what, plus(base, kernel.offset(member)?));
        let atomic = |what, base, member: &str| kernel.word(what, plus(plus(base, kernel.offset(member)?), counter));
        let count_bits = kernel.int("count_bits", plus(ring, kernel.offset("prb_desc_ring.count_bits")?))?;
        let size_bits = kernel.int("size_bits", plus(data, kernel.offset("prb_data_ring.size_bits")?))?;
        for (what, value, most) in [("count_bits", count_bits, MAX_COUNT_BITS), ("size_bits", size_bits, MAX_SIZE_BITS)]
        {
            if value == 0 || value > most {
                return Err(DmesgError::Field { what, value, why: "no ring has that size" });
            }
        }
        let id_mask = u64::MAX >> (64 - 8 * u32::from(kernel.abi.word) + 2);
        let head = atomic("head_id", ring, "prb_desc_ring.head_id")? & id_mask;
        let tail = atomic("tail_id", ring, "prb_desc_ring.tail_id")? & id_mask;
        let left = (head.wrapping_sub(tail) & id_mask).saturating_add(1);
        if left > 1 << count_bits {
            return Err(DmesgError::Field {
                what: "head_id",
                value: head,
                why: "farther from tail_id than the ring has room",
            });
        }
        Ok(Self {
            descs: VirtAddr(word("descs", ring, "prb_desc_ring.descs")?),
            infos: VirtAddr(word("infos", ring, "prb_desc_ring.infos")?),
            text: VirtAddr(word("data", data, "prb_data_ring.data")?),
            layout,
            count_bits: u32::try_from(count_bits).unwrap_or(0),
            size_bits: u32::try_from(size_bits).unwrap_or(0),
            id: tail,
            left,
            room: 1 << size_bits,
            strange: 0,
            damage: Damage::default(),
            kernel,
        })
    }

    pub(super) const fn text_bytes(&self) -> u64 {
        1 << self.size_bits
    }

    const fn word_bits(&self) -> u32 {
        8 * self.kernel.abi.word as u32
    }

    /// The record of descriptor `id`; `None` if it holds none.
    fn record(&mut self, id: u64) -> Result<Option<Record>, &'static str> {
        let index = id & ((1 << self.count_bits) - 1);
        let desc = plus(self.descs, index.saturating_mul(self.layout.desc_size));
        let word = |offset| self.kernel.memory.word(self.kernel.abi, plus(desc, offset));
        let state = word(self.layout.state).map_err(|_| "a descriptor is not in memory")?;
        let id_bits = self.word_bits() - 2;
        if state & ((1 << id_bits) - 1) != id {
            // The record before a ring's first round, and one that is being made while we look.
            self.strange += 1;
            return if self.strange > MAX_STRANGE { Err("descriptors do not have their ids") } else { Ok(None) };
        }
        if !matches!(state >> id_bits, COMMITTED | FINALIZED) {
            return Ok(None);
        }
        let (begin, next) = (word(self.layout.begin), word(self.layout.next));
        let (Ok(begin), Ok(next)) = (begin, next) else { return Err("a descriptor is not in memory") };
        let (mut record, text_len) = self.info(index)?;
        record.text = self.text(id, begin, next, text_len)?;
        Ok(Some(record))
    }

    /// All of a record but its text, and that text's length in bytes.
    fn info(&self, index: u64) -> Result<(Record, u64), &'static str> {
        let layout = &self.layout;
        let mut bytes = vec![0; layout.info_size];
        let at = plus(self.infos, index.saturating_mul(layout.info_size as u64));
        self.kernel.memory.read(at, &mut bytes).map_err(|_| "a printk_info is not in memory")?;
        let part = |at: usize, len: usize| at.checked_add(len).and_then(|end| bytes.get(at..end));
        let get = |at, len| part(at, len).map(|bytes| self.kernel.abi.endian.get(bytes)).ok_or("a printk_info is cut");
        let mut record =
            Record { seq: Some(get(layout.seq, 8)?), ts_nsec: get(layout.ts_nsec, 8)?, ..Record::default() };
        if let Some(at) = layout.caller {
            record.caller = u32::try_from(get(at, 4)?).ok();
            let between = layout.text_len.saturating_add(2);
            // Two bytes without a name of their own in VMCOREINFO: where the members around them are as ever, so are they.
            if let (Some(2), Some(&[facility, flags])) = (at.checked_sub(between), part(between, 2)) {
                let (facility, level) = priority(self.kernel.abi, [facility, flags]);
                (record.facility, record.level) = (Some(facility), Some(level));
            }
        }
        for (name, place) in [("SUBSYSTEM", layout.subsystem), ("DEVICE", layout.device)] {
            let text = place.and_then(|(at, len)| part(at, len)).map(c_text).unwrap_or_default();
            if !text.is_empty() {
                record.dict.push((name.to_owned(), text));
            }
        }
        Ok((record, get(layout.text_len, 2)?))
    }

    fn text(&mut self, id: u64, begin: u64, next: u64, text_len: u64) -> Result<Vec<u8>, &'static str> {
        if begin & 1 == 1 && next & 1 == 1 {
            return Ok(Vec::new());
        }
        let size = 1_u64 << self.size_bits;
        let word = u64::from(self.kernel.abi.word);
        let (first, end) = (begin & (size - 1), next & (size - 1));
        let (start, end) = match (next >> self.size_bits).wrapping_sub(begin >> self.size_bits) {
            0 => (first, end),
            // Up to the ring's end exactly, or from its start because there was no room behind `first`.
            1 if end == 0 => (first, size),
            1 => (0, end),
            _ => return Err("a text goes around its ring"),
        };
        let block = end.checked_sub(start).filter(|len| *len >= word).ok_or("a text ends before it starts")?;
        let owner = self.kernel.memory.word(self.kernel.abi, plus(self.text, start));
        if owner.map_err(|_| "a text is not in memory")? != id {
            return Err("a text is that of another record");
        }
        let len = text_len.min(block - word);
        self.room = self.room.checked_sub(len).ok_or("texts are longer than their ring")?;
        let mut text = vec![0; narrow(len)];
        self.kernel.memory.read(plus(self.text, start + word), &mut text).map_err(|_| "a text is not in memory")?;
        Ok(text)
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while self.left > 0 {
            let id = self.id;
            self.left -= 1;
            self.id = id.wrapping_add(1) & ((1 << (self.word_bits() - 2)) - 1);
            match self.record(id) {
                Ok(Some(record)) => {
                    self.strange = 0;
                    return Some(record);
                }
                Ok(None) => {}
                Err(why) => self.damage.add(why),
            }
            if self.strange > MAX_STRANGE || self.damage.records > MAX_STRANGE {
                self.left = 0;
            }
        }
        None
    }
}
