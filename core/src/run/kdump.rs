//! Writing a kdump-compressed file: pages to descriptors and data.

use guestdump_arch::{Endian, Pfn, PhysMemory, PhysRange};

use super::dedup::{Mark, Marker, Place, Table};
use super::pipeline::{self, Work};
use super::stretch::{Stretch, batches, stretches};
use super::{Batch, Lost, Observer, PageState, Progress, RunError, RunOptions, Summary};
use crate::compress::{Codec, Encoder};
use crate::filter::zero::is_zero;
use crate::format::kdump::layout::{DESC_LEN, KdumpLayout};
use crate::format::kdump::write;
use crate::guest::Guest;
use crate::plan::Plan;
use crate::plan::pages::PfnRun;
use crate::sink::Sink;

/// Descriptors that are collected for a sink that can go back, in bytes.
const DESC_BUFFER: usize = 1 << 16;
/// And for one that cannot: descriptors follow soon on the data of their pages, which are lost without them if it is cut.
const DESC_BUFFER_ONE_WAY: usize = 1 << 12;

/// How a page of a batch is stored.
#[derive(Clone, Copy, Debug)]
enum Stored {
    /// It is the page of zeros that all share; whether it had to be read to know that.
    Zero { untouched: bool },
    /// The next `size` bytes of the batch's output, with the codec's flag or 0.
    Data { size: u32, flag: u32 },
    /// It could not be read.
    Lost,
}

/// A batch on its way to the writer.
#[derive(Debug, Default)]
struct Output {
    input: Batch,
    stored: Vec<Stored>,
    data: Vec<u8>,
    /// One for each page that has data, if equal pages are to share it.
    marks: Vec<Mark>,
}

/// Frames to store: a batch, or a long run of frames that all are the page of zeros.
#[derive(Clone, Copy, Debug)]
struct Frames {
    run: PfnRun,
    untouched: bool,
}

struct Pages<'a> {
    memory: &'a dyn PhysMemory,
    ranges: &'a [PhysRange],
    page_size: u32,
    codec: &'static dyn Codec,
    level: Option<i32>,
    share_zeros: bool,
    marker: Option<Marker>,
}

impl Work for Pages<'_> {
    type Job = Frames;
    type Tool = Box<dyn Encoder>;
    type Buffer = Output;

    fn tool(&self) -> Result<Self::Tool, RunError> {
        Ok(self.codec.encoder_at(usize::try_from(self.page_size).unwrap_or(usize::MAX), self.level)?)
    }

    fn work(&self, job: &Frames, encoder: &mut Self::Tool, out: &mut Output) -> Result<(), RunError> {
        out.stored.clear();
        out.marks.clear();
        if job.untouched {
            return Ok(());
        }
        let area = job.run.addresses(self.page_size);
        out.input.read(self.memory, area, self.ranges, self.page_size);
        out.input.blank(self.page_size);
        // As long as the input: pages that do not shrink are stored as they are.
        let room = out.input.bytes.len();
        if out.data.len() < room {
            out.data.resize(room, 0);
        }
        let mut used = 0;
        for (state, page) in out.input.pages(area, self.page_size) {
            let free = out.data.get_mut(used..).unwrap_or_default();
            let (stored, len) = self.store(state, page, encoder.as_mut(), free)?;
            if let (Stored::Data { .. }, Some(marker)) = (stored, &self.marker) {
                out.marks.push(marker.mark(page));
            }
            out.stored.push(stored);
            used += len;
        }
        Ok(())
    }
}

impl Pages<'_> {
    /// Stores a page at the head of `free` and says how, and how many bytes it took.
    fn store(
        &self,
        state: PageState,
        page: &[u8],
        encoder: &mut dyn Encoder,
        free: &mut [u8],
    ) -> Result<(Stored, usize), RunError> {
        if state == PageState::Lost {
            return Ok((Stored::Lost, 0));
        }
        let untouched = state == PageState::Untouched;
        if self.share_zeros && (untouched || is_zero(page)) {
            return Ok((Stored::Zero { untouched }, 0));
        }
        let (len, flag) = match encoder.compress(page, free)? {
            Some(len) => (len, self.codec.flag()),
            None => {
                free.get_mut(..page.len()).unwrap_or_default().copy_from_slice(page);
                (page.len(), 0)
            }
        };
        Ok((Stored::Data { size: u32::try_from(len).unwrap_or(u32::MAX), flag }, len))
    }
}

/// The writer's side.
struct Writer<'a> {
    sink: &'a mut dyn Sink,
    endian: Endian,
    page_size: u32,
    zero_page: u64,
    descs: Vec<u8>,
    descs_at: u64,
    /// Descriptors are written when this many bytes of them have come together.
    flush_at: usize,
    data_at: u64,
    lost: Lost,
    summary: Summary,
    shared: Option<Table>,
    /// The data of a batch without the pages that are shared.
    kept: Vec<u8>,
}

impl Writer<'_> {
    fn commit(&mut self, job: &Frames, out: &Output) -> Result<(), RunError> {
        if job.untouched {
            return self.untouched(job.run.count);
        }
        let (mut from, mut marks) = (0_usize, out.marks.iter());
        self.kept.clear();
        let mut data = self.data_at;
        for (stored, number) in out.stored.iter().zip(job.run.first.0..) {
            match *stored {
                Stored::Zero { untouched } => {
                    self.summary.zero_pages += 1;
                    self.summary.untouched_pages += u64::from(untouched);
                    write::push_desc(&mut self.descs, self.endian, self.zero_page, self.page_size, 0);
                }
                Stored::Data { size, flag } => {
                    let len = usize::try_from(size).unwrap_or(usize::MAX);
                    let bytes = out.data.get(from..from.saturating_add(len)).unwrap_or_default();
                    from = from.saturating_add(len);
                    data = self.page(Place { offset: data, size, flag }, marks.next(), bytes);
                }
                Stored::Lost => {
                    let at = PfnRun { first: Pfn(number), count: 1 }.addresses(self.page_size).start();
                    self.summary.lose(at, out.input.cause.as_deref().unwrap_or_default());
                    self.lost.push(Pfn(number));
                }
            }
        }
        let bytes = if self.shared.is_some() { &self.kept } else { out.data.get(..from).unwrap_or_default() };
        if !bytes.is_empty() {
            self.sink.write_at(self.data_at, bytes).map_err(RunError::Sink)?;
        }
        self.data_at = data;
        if self.descs.len() >= self.flush_at { self.flush() } else { Ok(()) }
    }

    /// The descriptor of a page that is stored at `place`, unless an equal one was before. Gives the place for the next.
    fn page(&mut self, place: Place, mark: Option<&Mark>, bytes: &[u8]) -> u64 {
        let equal = self.shared.as_mut().zip(mark).and_then(|(table, mark)| table.find_or_put(*mark, place));
        let Place { offset, size, flag } = equal.unwrap_or(place);
        write::push_desc(&mut self.descs, self.endian, offset, size, flag);
        if equal.is_some() {
            self.summary.shared_pages += 1;
            return place.offset;
        }
        if self.shared.is_some() {
            self.kept.extend_from_slice(bytes);
        }
        self.summary.compressed_pages += u64::from(flag != 0);
        self.summary.plain_pages += u64::from(flag == 0);
        place.offset.saturating_add(u64::from(size))
    }

    /// Descriptors of pages that all are the page of zeros.
    fn untouched(&mut self, count: u64) -> Result<(), RunError> {
        self.summary.zero_pages += count;
        self.summary.untouched_pages += count;
        let mut left = count;
        while left > 0 {
            let room = (DESC_BUFFER.saturating_sub(self.descs.len()) as u64 / DESC_LEN).clamp(1, left);
            for _ in 0..room {
                write::push_desc(&mut self.descs, self.endian, self.zero_page, self.page_size, 0);
            }
            left -= room;
            if left > 0 {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RunError> {
        if !self.descs.is_empty() {
            self.sink.write_at(self.descs_at, &self.descs).map_err(RunError::Sink)?;
        }
        self.descs_at = self.descs_at.saturating_add(self.descs.len() as u64);
        self.descs.clear();
        Ok(())
    }

    fn progress(&self, total: u64, written: u64) -> Progress {
        let size = u64::from(self.page_size);
        let done = self.summary.pages * size;
        Progress { done: done.min(total), total, zero: self.summary.zero_pages * size, written }
    }
}

/// Everything but pages. A sink that can go back gets a header that says "incomplete" first; one that cannot is marked
/// by what its format has at the end. Bitmaps come before pages, so that a dump that was cut has those it got to.
fn put_head(plan: &Plan, layout: &KdumpLayout, guest: &Guest, sink: &mut dyn Sink) -> Result<(), RunError> {
    let again = sink.rewritable();
    put_header(plan, layout, guest, sink, again)?;
    let sub = write::sub_header(plan, layout)?;
    sink.write_at(u64::from(layout.page_size), &sub).map_err(RunError::Sink)?;
    write::bitmaps(sink, layout).map_err(RunError::Sink)
}

fn put_header(
    plan: &Plan,
    layout: &KdumpLayout,
    guest: &Guest,
    sink: &mut dyn Sink,
    incomplete: bool,
) -> Result<(), RunError> {
    let kernel = guest.vmcoreinfo.as_ref().map(|info| info as &dyn guestdump_arch::KernelFacts);
    let header = write::header(plan, layout, write::crash_time(kernel), incomplete)?;
    sink.write_at(0, &header).map_err(RunError::Sink)
}

/// The frames of a layout in batches. Where zeros are not shared, every page has to be made.
fn jobs<'a>(
    layout: &KdumpLayout,
    memory: &'a dyn PhysMemory,
    share_zeros: bool,
) -> impl Iterator<Item = Frames> + Send + use<'a> {
    let page_size = layout.page_size;
    let frames = move |part: Stretch| {
        let first = Pfn(part.area.start().0 / u64::from(page_size));
        let run = PfnRun { first, count: part.area.len().div_ceil(u64::from(page_size)) };
        Frames { run, untouched: part.untouched }
    };
    let split = move |run: PfnRun| {
        if share_zeros {
            stretches(memory, run.addresses(page_size))
        } else {
            batches(memory, run.addresses(page_size))
        }
    };
    layout.runs.clone().into_iter().flat_map(split).map(frames)
}

/// Writes the dump.
pub fn run(
    plan: &Plan,
    layout: &KdumpLayout,
    guest: &Guest,
    sink: &mut super::Counted<'_>,
    options: RunOptions,
    observer: &dyn Observer,
) -> Result<Summary, RunError> {
    let Some(codec) = plan.format.codec() else { return Err(RunError::NeedsSeek { format: plan.format.name }) };
    let (page_size, share_zeros) = (layout.page_size, plan.dump_level & 1 != 0);
    put_head(plan, layout, guest, sink)?;
    let zeros = vec![0; usize::try_from(page_size).unwrap_or(0)];
    if share_zeros && is_zero(&zeros) {
        sink.write_at(layout.data_offset, &zeros).map_err(RunError::Sink)?;
    }
    let flush_at = if sink.rewritable() { DESC_BUFFER } else { DESC_BUFFER_ONE_WAY };
    let mut writer = Writer {
        sink,
        endian: plan.info.endian,
        page_size,
        zero_page: layout.data_offset,
        descs: Vec::with_capacity(2 * DESC_BUFFER),
        descs_at: layout.desc_offset,
        flush_at,
        data_at: layout.data_offset + if share_zeros { u64::from(page_size) } else { 0 },
        lost: Lost::new(),
        summary: Summary::default(),
        shared: options.dedup.then(Table::new),
        kept: Vec::new(),
    };
    let (level, marker) = (options.level, options.dedup.then(Marker::default));
    let (memory, ranges) = (guest.memory.as_ref(), plan.ranges.as_slice());
    let work = Pages { memory, ranges, page_size, codec, level, share_zeros, marker };
    let total = plan.memory_bytes();
    pipeline::run(&work, jobs(layout, work.memory, share_zeros), options.threads, observer, |job, out| {
        writer.commit(job, out)?;
        writer.summary.pages += job.run.count;
        observer.progress(writer.progress(total, writer.data_at - layout.data_offset));
        Ok(())
    })?;
    writer.flush()?;
    let Writer { sink, lost, mut summary, data_at, descs_at, .. } = writer;
    debug_assert_eq!(descs_at + lost.len() as u64 * DESC_LEN, layout.data_offset);
    if !lost.is_empty() {
        write::second_bitmap(sink, layout, &lost).map_err(RunError::Sink)?;
    }
    if sink.rewritable() {
        put_header(plan, layout, guest, sink, false)?;
    }
    sink.finish(data_at).map_err(RunError::Sink)?;
    summary.file_len = data_at;
    Ok(summary)
}
