//! Writing an ELF core file: memory as it is, zeros as gaps where the output can have them.

use guestdump_arch::{PhysAddr, PhysMemory, PhysRange};

use super::pipeline::{self, Work};
use super::{BATCH, Batch, Observer, PageState, Progress, RunError, RunOptions, Summary, zero};
use crate::format::elf::layout::ElfLayout;
use crate::format::elf::write;
use crate::guest::Guest;
use crate::plan::Plan;
use crate::sink::Sink;

/// Zeros shorter than this are written: one write is cheaper than two with a gap between them.
const SHORTEST_GAP: usize = 64 << 10;

/// A piece of memory, and where it goes.
#[derive(Clone, Copy, Debug)]
struct Piece {
    phys: PhysRange,
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
        out.input.read(self.memory, job.phys, self.ranges, self.page_size);
        (out.zero_pages, out.untouched_pages) = (0, 0);
        out.parts.clear();
        out.lost.clear();
        let mut at = 0_usize;
        let mut blank = Vec::new();
        for (number, (state, page)) in out.input.pages(job.phys, self.page_size).enumerate() {
            let lost = state == PageState::Lost;
            let empty = lost || zero(state, page);
            out.zero_pages += u64::from(empty && !lost);
            out.untouched_pages += u64::from(state == PageState::Untouched);
            if lost {
                out.lost.push(super::page_range(job.phys, number, u64::from(self.page_size)).start());
            }
            if lost || state == PageState::Untouched {
                blank.push((at, page.len()));
            }
            if !empty {
                add_part(&mut out.parts, at, page.len());
            }
            at += page.len();
        }
        // Pages that were not read hold whatever was in the buffer before.
        for (start, len) in blank {
            out.input.bytes.get_mut(start..start + len).unwrap_or_default().fill(0);
        }
        if !self.sparse {
            out.parts.clear();
            out.parts.push((0, at));
        }
        Ok(())
    }
}

fn add_part(parts: &mut Vec<(usize, usize)>, at: usize, len: usize) {
    match parts.last_mut() {
        Some((start, size)) if at - (*start + *size) < SHORTEST_GAP => *size = at + len - *start,
        _ => parts.push((at, len)),
    }
}

fn jobs(layout: &ElfLayout) -> impl Iterator<Item = Piece> + Send + use<> {
    layout.data.clone().into_iter().flat_map(pieces)
}

/// Pieces end at multiples of their size, so that pages are not cut.
fn pieces((phys, offset): (PhysRange, u64)) -> impl Iterator<Item = Piece> + Send {
    let (first, end) = (phys.start().0 / BATCH, phys.end().0.div_ceil(BATCH));
    (first..end).map(move |number| {
        let whole = PhysRange::between(PhysAddr(number * BATCH), PhysAddr((number + 1).saturating_mul(BATCH)));
        let part = whole.intersect(phys);
        Piece { phys: part, offset: offset + (part.start().0 - phys.start().0) }
    })
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
    let page_size = plan.info.page_size;
    let work = Memory { memory: guest.memory.as_ref(), ranges: &plan.ranges, page_size, sparse: sink.sparse() };
    let total = plan.memory_bytes();
    let mut summary = Summary::default();
    let mut done = 0_u64;
    pipeline::run(&work, jobs(layout), options.threads, observer, |job, out| {
        for &(start, len) in &out.parts {
            let part = out.input.bytes.get(start..start + len).unwrap_or_default();
            sink.write_at(job.offset + start as u64, part).map_err(RunError::Sink)?;
        }
        for addr in &out.lost {
            summary.lose(*addr, out.input.cause.as_deref().unwrap_or_default());
        }
        summary.pages += out.input.states.len() as u64;
        summary.zero_pages += out.zero_pages;
        summary.untouched_pages += out.untouched_pages;
        done += job.phys.len();
        let zero = (summary.zero_pages * u64::from(page_size)).min(done);
        observer.progress(Progress { done, total, zero, written: sink.written });
        Ok(())
    })?;
    summary.plain_pages = summary.pages - summary.zero_pages - summary.lost_pages;
    if again {
        sink.write_at(0, &write::head(plan, layout, false)?).map_err(RunError::Sink)?;
    }
    sink.finish(layout.file_len).map_err(RunError::Sink)?;
    summary.file_len = layout.file_len;
    Ok(summary)
}
