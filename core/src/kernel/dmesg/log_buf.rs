//! The log of Linux 3.5 to 5.9: records one behind the other in `log_buf`, each a header, its text and a dictionary.
//!
//! Beyond vmcoreinfo.rst: records lie from `log_first_idx` to `log_next_idx`; one of length 0 says that the next is at the
//! buffer's start (linux `Documentation/ABI/testing/dev-kmsg` describes what they hold; struct printk_log was struct log
//! before 3.11). Kernels before 3.5 have a buffer of bare text, of which VMCOREINFO says too little: refused.

use guestdump_arch::VirtAddr;

use super::{Damage, DmesgError, Reader, Record, plus, priority};

/// `log_buf_len=` takes at most 2 GiB.
const MAX_LEN: u64 = 1 << 31;

/// The members that a record is read with.
#[derive(Debug)]
struct Layout {
    size: u64,
    ts_nsec: usize,
    len: usize,
    text_len: usize,
    dict_len: Option<usize>,
}

/// Records of a buffer, oldest first.
#[derive(Debug)]
pub struct Records<'a> {
    kernel: Reader<'a>,
    layout: Layout,
    buffer: VirtAddr,
    len: u64,
    at: u64,
    end: u64,
    wrapped: bool,
    done: bool,
    pub(super) damage: Damage,
}

impl Layout {
    fn of(kernel: &Reader<'_>) -> Result<Self, DmesgError> {
        let name = if kernel.info.size("log").is_some() { "log" } else { "printk_log" };
        let offset = |member: &str| {
            let offset = kernel.offset(&format!("{name}.{member}"))?;
            usize::try_from(offset).map_err(|_| DmesgError::Field { what: "OFFSET", value: offset, why: "too far" })
        };
        let size = kernel.size(name)?;
        if !(8..=4096).contains(&size) {
            return Err(DmesgError::Field {
                what: "SIZE(printk_log)",
                value: size,
                why: "no record's header has that size",
            });
        }
        Ok(Self {
            size,
            ts_nsec: offset("ts_nsec")?,
            len: offset("len")?,
            text_len: offset("text_len")?,
            dict_len: offset("dict_len").ok(),
        })
    }
}

/// A record's header.
struct Header {
    len: u64,
    text_len: u64,
    dict_len: u64,
    record: Record,
}

impl<'a> Records<'a> {
    pub(super) fn open(kernel: Reader<'a>) -> Result<Self, DmesgError> {
        let layout = Layout::of(&kernel)?;
        let int = |name: &'static str| kernel.int(name, kernel.symbol(name)?);
        let len = int("log_buf_len")?;
        if len == 0 || len > MAX_LEN {
            return Err(DmesgError::Field { what: "log_buf_len", value: len, why: "no log has that size" });
        }
        let (at, end) = (int("log_first_idx")?, int("log_next_idx")?);
        for (what, value) in [("log_first_idx", at), ("log_next_idx", end)] {
            if value > len {
                return Err(DmesgError::Field { what, value, why: "behind the end of log_buf" });
            }
        }
        let buffer = VirtAddr(kernel.word("log_buf", kernel.symbol("log_buf")?)?);
        let damage = Damage::default();
        Ok(Self { kernel, layout, buffer, len, at, end, wrapped: at < end, done: at == end, damage })
    }

    pub(super) const fn text_bytes(&self) -> u64 {
        self.len
    }

    fn header(&self) -> Result<Header, &'static str> {
        let mut bytes = vec![0; usize::try_from(self.layout.size).unwrap_or(0)];
        self.kernel.memory.read(plus(self.buffer, self.at), &mut bytes).map_err(|_| "a header is not in memory")?;
        let part = |at: usize, len: usize| at.checked_add(len).and_then(|end| bytes.get(at..end));
        let get = |at, len| part(at, len).map(|bytes| self.kernel.abi.endian.get(bytes)).ok_or("a header is cut");
        let mut record = Record { ts_nsec: get(self.layout.ts_nsec, 8)?, ..Record::default() };
        let dict_len = self.layout.dict_len.map_or(Ok(0), |at| get(at, 2))?;
        // Facility, flags and level follow dict_len and have no name of their own in VMCOREINFO.
        if let Some(&[facility, flags]) = self.layout.dict_len.and_then(|at| part(at.saturating_add(2), 2)) {
            let (facility, level) = priority(self.kernel.abi, [facility, flags]);
            (record.facility, record.level) = (Some(facility), Some(level));
        }
        Ok(Header { len: get(self.layout.len, 2)?, text_len: get(self.layout.text_len, 2)?, dict_len, record })
    }

    /// The record at `at`, and the step to the next one; `None` for the mark that the buffer goes on at its start.
    fn record(&self) -> Result<Option<(Record, u64)>, &'static str> {
        // No record goes around the buffer's end, nor over the first one.
        let end = if self.wrapped { self.end } else { self.len };
        if self.at.saturating_add(self.layout.size) > end {
            return Ok(None);
        }
        let Header { len, text_len, dict_len, mut record } = self.header()?;
        if len == 0 {
            return Ok(None);
        }
        let used = self.layout.size + text_len + dict_len;
        if used > len || self.at + len > end {
            return Err("a record is longer than its place");
        }
        let mut text = vec![0; usize::try_from(text_len + dict_len).unwrap_or(0)];
        let at = plus(self.buffer, self.at + self.layout.size);
        self.kernel.memory.read(at, &mut text).map_err(|_| "a text is not in memory")?;
        let dict = text.split_off(usize::try_from(text_len).unwrap_or(0).min(text.len()));
        record.text = text;
        record.dict = dict.split(|byte| *byte == 0).filter_map(pair).collect();
        Ok(Some((record, len)))
    }
}

/// `KEY=value` of a dictionary.
fn pair(bytes: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while !self.done {
            match self.record() {
                Ok(Some((record, len))) => {
                    self.at += len;
                    self.done = self.wrapped && self.at >= self.end;
                    return Some(record);
                }
                Ok(None) if !self.wrapped => {
                    (self.at, self.wrapped) = (0, true);
                    self.done = self.end == 0;
                }
                // Where the next one starts is only known from this one.
                Ok(None) => self.fail("the records end before log_next_idx"),
                Err(why) => self.fail(why),
            }
        }
        None
    }
}

impl Records<'_> {
    fn fail(&mut self, why: &'static str) {
        self.damage.add(why);
        self.done = true;
    }
}
