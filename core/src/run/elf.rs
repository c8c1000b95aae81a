//! Writing an ELF core file: memory as it is, zeros as gaps where the output can have them.
//!
//! Every byte's place is known beforehand. Batches are written one at a time all the same: the kernel lets one write at a
//! time into a file, and workers that wait for each other there do nothing else meanwhile.

use guestdump_arch::{PhysAddr, PhysMemory, PhysRange};

use super::pipeline::{self, Work};
use super::stretch::{Stretch, stretches};
use super::{Batch, Observer, PageState, Progress, RunError, RunOptions, Summary};
use crate::filter::zero::is_zero;
use crate::format::elf::layout::ElfLayout;
use crate::format::elf::write;
use crate::guest::Guest;
use crate::plan::Plan;
use crate::sink::Sink;

/// Pages of zeros in a shorter run than this are written: a write costs as much as a few pages do.
const SHORTEST_GAP: usize = 16 << 10;

/// A piece of memory, and where it goes.
#[derive(Clone, Copy, Debug)]
struct Piece {
    stretch: Stretch,
    offset: u64,
}

/// A batch on its way to the writer.
#[derive(Debug, Default)]
struct Output {
    input: Batch,
    /// Parts of the batch to write, as offset in it and length.
    parts: Vec<(usize, usize)>,
    zero_pages: u64,
    untouched_pages: u64,
    lost: Vec<PhysAddr>,
}

struct Memory<'a> {
    memory: &'a dyn PhysMemory,
    ranges: &'a [PhysRange],
    page_size: u32,
    sparse: bool,
}

impl Work for Memory<'_> {
    type Job = Piece;
    type Tool = ();
    type Buffer = Output;

    fn tool(&self) -> Result<(), RunError> {
        Ok(())
    }

    fn work(&self, job: &Piece, (): &mut (), out: &mut Output) -> Result<(), RunError> {
        let area = job.stretch.area;
        (out.zero_pages, out.untouched_pages) = (0, 0);
        out.parts.clear();
        out.lost.clear();
        if job.stretch.untouched {
            out.untouched_pages = area.len().div_ceil(u64::from(self.page_size));
            out.zero_pages = out.untouched_pages;
            return Ok(());
        }
        out.input.read(self.memory, area, self.ranges, self.page_size);
        self.classify(area, out);
        if !self.sparse {
            out.input.blank(self.page_size);
            out.parts.clear();
            out.parts.push((0, usize::try_from(area.len()).unwrap_or(0)));
        }
        Ok(())
    }
}

impl Memory<'_> {
    /// Which pages are to be written.
    fn classify(&self, area: PhysRange, out: &mut Output) {
        let mut at = 0_usize;
        for (number, (state, page)) in out.input.pages(area, self.page_size).enumerate() {
            match state {
                PageState::Lost => {
                    out.lost.push(super::page_range(area, number, u64::from(self.page_size)).start());
                }
                PageState::Untouched => {
                    out.zero_pages += 1;
                    out.untouched_pages += 1;
                }
                PageState::Read if is_zero(page) => out.zero_pages += 1,
                PageState::Read => add_part(&mut out.parts, &out.input.states, at, page.len(), number),
            }
            at += page.len();
        }
    }
}

impl Output {
    /// What is written of a batch at `offset`, with its places.
    fn written(&self, offset: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let part = move |&(start, len): &(usize, usize)| {
            (offset + start as u64, self.input.bytes.get(start..start + len).unwrap_or_default())
        };
        self.parts.iter().map(part)
    }
}

/// Adds page `number`, `len` bytes at `at`, to the part before it if only a few pages of zeros that were read lie between.
fn add_part(parts: &mut Vec<(usize, usize)>, states: &[PageState], at: usize, len: usize, number: usize) {
    let last = parts.last_mut().filter(|(start, size)| {
        let gap = at - (*start + *size);
        let between = states.get(number.saturating_sub(gap.div_ceil(len))..number).unwrap_or_default();
        gap < SHORTEST_GAP && between.iter().all(|state| *state == PageState::Read)
    });
    match last {
        Some((start, size)) => *size = at + len - *start,
        None => parts.push((at, len)),
    }
}

fn jobs<'a>(layout: &ElfLayout, memory: &'a dyn PhysMemory) -> impl Iterator<Item = Piece> + Send + use<'a> {
    layout.data.clone().into_iter().flat_map(move |stored| pieces(stored, memory))
}

fn pieces((phys, offset): (PhysRange, u64), memory: &dyn PhysMemory) -> impl Iterator<Item = Piece> + Send {
    stretches(memory, phys)
        .map(move |stretch| Piece { stretch, offset: offset + (stretch.area.start().0 - phys.start().0) })
}

/// Writes a batch.
fn put(sink: &mut dyn Sink, job: &Piece, out: &Output) -> std::io::Result<()> {
    if job.stretch.untouched {
        return sink.zeros_at(job.offset, job.stretch.area.len());
    }
    out.written(job.offset).try_for_each(|(offset, part)| sink.write_at(offset, part))
}

/// What was done so far.
struct Tally<'a> {
    observer: &'a dyn Observer,
    total: u64,
    done: u64,
    written: u64,
    summary: Summary,
}

impl Tally<'_> {
    fn add(&mut self, job: &Piece, out: &Output, page_size: u32) {
        let summary = &mut self.summary;
        for addr in &out.lost {
            summary.lose(*addr, out.input.cause.as_deref().unwrap_or_default());
        }
        let area = job.stretch.area;
        summary.pages += area.len().div_ceil(u64::from(page_size));
        summary.zero_pages += out.zero_pages;
        summary.untouched_pages += out.untouched_pages;
        self.done += area.len();
        self.written += out.parts.iter().map(|part| part.1 as u64).sum::<u64>();
        let zero = (summary.zero_pages * u64::from(page_size)).min(self.done);
        self.observer.progress(Progress { done: self.done, total: self.total, zero, written: self.written });
    }
}

/// Writes the dump.
pub fn run(
    plan: &Plan,
    layout: &ElfLayout,
    guest: &Guest,
    sink: &mut super::Counted<'_>,
    options: RunOptions,
    observer: &dyn Observer,
) -> Result<Summary, RunError> {
    let again = sink.rewritable();
    sink.write_at(0, &write::head(plan, layout, again)?).map_err(RunError::Sink)?;
    let mut tally = Tally { observer, total: plan.memory_bytes(), done: 0, written: 0, summary: Summary::default() };
    let (memory, page_size) = (guest.memory.as_ref(), plan.info.page_size);
    let sparse = sink.sparse();
    let work = Memory { memory, ranges: &plan.ranges, page_size, sparse };
    pipeline::run(&work, jobs(layout, memory), options.threads, observer, |job, out| {
        put(sink, job, out).map_err(RunError::Sink)?;
        tally.add(job, out, page_size);
        Ok(())
    })?;
    let mut summary = tally.summary;
    summary.plain_pages = summary.pages - summary.zero_pages - summary.lost_pages;
    if again {
        sink.write_at(0, &write::head(plan, layout, false)?).map_err(RunError::Sink)?;
    }
    sink.finish(layout.file_len).map_err(RunError::Sink)?;
    summary.file_len = layout.file_len;
    Ok(summary)
}
