//! Running a plan: the only place with bulk I/O.
//!
//! N workers read, test for zeros and compress batches of memory; one of them at a time puts the batches down, in their order
//! ([`pipeline`]). Memory is bounded by the number of buffers. What is written does not
//! depend on the number of workers.

mod dedup;
mod elf;
mod kdump;
mod pipeline;
mod stretch;

use std::io;

use guestdump_arch::abi::NoMember;
use guestdump_arch::{Pfn, PhysAddr, PhysMemory, PhysRange, Presence};
use thiserror::Error;

use crate::compress::CodecError;
use crate::guest::Guest;
use crate::plan::{Body, Plan};
use crate::sink::Sink;

/// Why a dump was not finished.
#[derive(Debug, Error)]
pub enum RunError {
    /// The output does not take it.
    #[error("cannot write the dump: {0}")]
    Sink(#[source] io::Error),
    /// The output cannot go back, and the format must.
    #[error("format {format} goes back in its output, and this output cannot")]
    NeedsSeek {
        /// Name of the format.
        format: &'static str,
    },
    /// The user or a signal ended it.
    #[error("cancelled")]
    Cancelled,
    /// A header cannot be encoded.
    #[error("cannot encode a header: {0}")]
    Header(String),
    /// A codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A worker died.
    #[error("a worker thread ended early")]
    Worker,
}

impl From<NoMember> for RunError {
    fn from(error: NoMember) -> Self {
        Self::Header(error.to_string())
    }
}

/// How far a dump is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Bytes of guest memory done.
    pub done: u64,
    /// Bytes of guest memory in all.
    pub total: u64,
    /// Bytes of guest memory done that are zero.
    pub zero: u64,
    /// Bytes written.
    pub written: u64,
}

/// Who looks on.
pub trait Observer: Sync {
    /// Called by the writer after each batch.
    fn progress(&self, progress: Progress) {
        let _ = progress;
    }

    /// Whether to stop. Asked before each batch.
    fn cancelled(&self) -> bool {
        false
    }
}

/// An observer that does nothing.
#[derive(Debug)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// What a dump holds in the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Bytes of guest memory.
    pub memory_bytes: u64,
    /// Pages of the dump.
    pub pages: u64,
    /// Pages of zeros.
    pub zero_pages: u64,
    /// Of those, pages that were known to be zero without being read.
    pub untouched_pages: u64,
    /// Pages stored compressed.
    pub compressed_pages: u64,
    /// Pages stored as they are.
    pub plain_pages: u64,
    /// Pages that have their bytes from an equal page before them.
    pub shared_pages: u64,
    /// Pages that could not be read: addresses of the first of them. They are missing from the dump.
    pub lost_pages: u64,
    /// Where the first lost pages are.
    pub first_lost: Vec<PhysAddr>,
    /// Why the first page could not be read.
    pub first_cause: Option<String>,
    /// Bytes of guest memory that the source had left out on purpose, and that the dump leaves out too.
    pub excluded_bytes: u64,
    /// Bytes given to the output.
    pub written_bytes: u64,
    /// Length of the dump.
    pub file_len: u64,
}

/// Addresses of lost pages that a summary names.
const NAMED_LOST: usize = 16;

impl Summary {
    fn lose(&mut self, addr: PhysAddr, cause: &str) {
        self.lost_pages = self.lost_pages.saturating_add(1);
        if self.first_lost.len() < NAMED_LOST {
            self.first_lost.push(addr);
        }
        self.first_cause.get_or_insert_with(|| cause.to_owned());
    }
}

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Number of workers, at least 1. A single one is the calling thread: no other is started.
    pub threads: usize,
    /// Level of the codec, if it is not to choose by itself.
    pub level: Option<i32>,
    /// Whether equal pages of a kdump file share their bytes, as far as a table of bounded size remembers them.
    pub dedup: bool,
}

impl RunOptions {
    /// So many workers, and all else as a dump is made unless somebody wants it otherwise.
    #[must_use]
    pub const fn new(threads: usize) -> Self {
        Self { threads, level: None, dedup: false }
    }
}

/// Writes the dump that `plan` describes.
///
/// # Errors
/// [`RunError`]; the output is then of no use. Memory that cannot be read is no error but counted in the summary.
pub fn run(
    plan: &Plan,
    guest: &Guest,
    sink: &mut dyn Sink,
    options: RunOptions,
    observer: &dyn Observer,
) -> Result<Summary, RunError> {
    if plan.format.needs_seek() && !sink.rewritable() {
        return Err(RunError::NeedsSeek { format: plan.format.name });
    }
    let mut sink = Counted { sink, written: 0 };
    let mut summary = match &plan.body {
        Body::Elf(layout) => elf::run(plan, layout, guest, &mut sink, options, observer)?,
        Body::Kdump(layout) => kdump::run(plan, layout, guest, &mut sink, options, observer)?,
    };
    summary.memory_bytes = plan.memory_bytes();
    summary.excluded_bytes = plan.excluded_bytes();
    summary.written_bytes = sink.written;
    Ok(summary)
}

/// A sink that counts.
struct Counted<'a> {
    sink: &'a mut dyn Sink,
    written: u64,
}

impl Sink for Counted<'_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.written = self.written.saturating_add(bytes.len() as u64);
        self.sink.write_at(offset, bytes)
    }

    fn zeros_at(&mut self, offset: u64, len_bytes: u64) -> io::Result<()> {
        let written = if self.sparse() { 0 } else { len_bytes };
        self.written = self.written.saturating_add(written);
        self.sink.zeros_at(offset, len_bytes)
    }

    fn rewritable(&self) -> bool {
        self.sink.rewritable()
    }

    fn sparse(&self) -> bool {
        self.sink.sparse()
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        self.sink.finish(len_bytes)
    }
}

/// Guest memory that a batch holds at most, in bytes.
const BATCH: u64 = 1 << 18;

/// What is known of one page of a batch after reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PageState {
    /// Read: content is in the buffer.
    Read,
    /// Not read: it is known to be zero.
    Untouched,
    /// Could not be read.
    Lost,
}

/// A piece of memory with a state for each of its pages.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    states: Vec<PageState>,
    cause: Option<String>,
}

impl Batch {
    /// Reads `area` as pages of `page_size`, counted from its start. Bytes outside of `ranges` are zero.
    fn read(&mut self, memory: &dyn PhysMemory, area: PhysRange, ranges: &[PhysRange], page_size: u32) {
        let size = u64::from(page_size);
        let len = usize::try_from(area.len()).unwrap_or(0);
        let pages = usize::try_from(area.len().div_ceil(size)).unwrap_or(0);
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        self.states.clear();
        self.states.resize(pages, PageState::Untouched);
        self.cause = None;
        let from = ranges.partition_point(|range| range.end() <= area.start());
        for range in ranges.iter().skip(from).take_while(|range| range.start() < area.end()) {
            self.read_range(memory, area, range.intersect(area), size);
        }
    }

    fn read_range(&mut self, memory: &dyn PhysMemory, area: PhysRange, range: PhysRange, size: u64) {
        let mut at = range.start();
        while at < range.end() {
            let extent = memory.extent(at, range.end().0 - at.0);
            let end = PhysAddr(at.0.saturating_add(extent.len_bytes).min(range.end().0));
            let piece = PhysRange::between(at, end);
            match extent.presence {
                Presence::Data => {
                    self.touch(area, piece, size);
                    if let Err(error) = read_exact(memory, at, self.part(area, piece)) {
                        self.cause.get_or_insert(error);
                        self.read_by_page(memory, area, piece, size);
                    }
                }
                // A page that a filtered dump leaves out is not a page of zeros.
                Presence::Absent => self.lose(area, piece, size),
                Presence::Zero | Presence::Excluded => {}
            }
            at = end;
        }
    }

    /// Zeroes the pages that are read only in part, and counts them as read.
    fn touch(&mut self, area: PhysRange, piece: PhysRange, size: u64) {
        let (first, last) = (page_of(area, piece.start(), size), page_of(area, PhysAddr(piece.end().0 - 1), size));
        for page in first..=last {
            if self.states.get(page) != Some(&PageState::Untouched) {
                continue;
            }
            let whole = page_range(area, page, size);
            if whole.intersect(piece) != whole {
                self.part(area, whole).fill(0);
            }
            if let Some(state) = self.states.get_mut(page) {
                *state = PageState::Read;
            }
        }
    }

    /// The pages of a piece are in the guest's map, but their content is not to be had.
    fn lose(&mut self, area: PhysRange, piece: PhysRange, size: u64) {
        self.cause.get_or_insert_with(|| format!("guest memory {}: the source does not hold it", piece.start()));
        let (first, last) = (page_of(area, piece.start(), size), page_of(area, PhysAddr(piece.end().0 - 1), size));
        for state in self.states.iter_mut().take(last.saturating_add(1)).skip(first) {
            *state = PageState::Lost;
        }
    }

    /// Saves what can be read of a piece that cannot be read as a whole.
    fn read_by_page(&mut self, memory: &dyn PhysMemory, area: PhysRange, piece: PhysRange, size: u64) {
        let (first, last) = (page_of(area, piece.start(), size), page_of(area, PhysAddr(piece.end().0 - 1), size));
        for page in first..=last {
            let part = page_range(area, page, size).intersect(piece);
            if read_exact(memory, part.start(), self.part(area, part)).is_err()
                && let Some(state) = self.states.get_mut(page)
            {
                *state = PageState::Lost;
            }
        }
    }

    /// Zeroes the pages that were not read: their part of the buffer holds whatever was there before.
    fn blank(&mut self, page_size: u32) {
        let pages = self.bytes.chunks_mut(usize::try_from(page_size).unwrap_or(usize::MAX));
        pages.zip(&self.states).filter(|page| *page.1 != PageState::Read).for_each(|page| page.0.fill(0));
    }

    fn part(&mut self, area: PhysRange, piece: PhysRange) -> &mut [u8] {
        let index = |addr: PhysAddr| usize::try_from(addr.0.saturating_sub(area.start().0)).unwrap_or(usize::MAX);
        self.bytes.get_mut(index(piece.start())..index(piece.end())).unwrap_or_default()
    }

    /// State and bytes of each page; the last one may be short.
    fn pages(&self, area: PhysRange, page_size: u32) -> impl Iterator<Item = (PageState, &[u8])> {
        let len = usize::try_from(area.len()).unwrap_or(0);
        let bytes = self.bytes.get(..len).unwrap_or_default();
        self.states.iter().copied().zip(bytes.chunks(usize::try_from(page_size).unwrap_or(usize::MAX)))
    }
}

fn page_of(area: PhysRange, addr: PhysAddr, size: u64) -> usize {
    usize::try_from(addr.0.saturating_sub(area.start().0) / size).unwrap_or(usize::MAX)
}

fn page_range(area: PhysRange, page: usize, size: u64) -> PhysRange {
    let start = area.start().0.saturating_add(size.saturating_mul(page as u64));
    PhysRange::between(PhysAddr(start), PhysAddr(start.saturating_add(size))).intersect(area)
}

/// Reads memory that the plan says is there.
fn read_exact(memory: &dyn PhysMemory, at: PhysAddr, buf: &mut [u8]) -> Result<(), String> {
    match memory.read(at, buf) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("guest memory {at}: no memory where the plan has some")),
        Err(error) => Err(error.to_string()),
    }
}

/// The frames of lost pages, kept in order; one each, so that their number is bounded by that of pages.
type Lost = Vec<Pfn>;
