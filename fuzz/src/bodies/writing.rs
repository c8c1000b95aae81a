//! Writing a guest and reading it again: what every plan must say, and that nothing is lost on the way.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Arc;

use guestdump_core::arch::PhysRange;
use guestdump_core::format::elf::layout::ElfLayout;
use guestdump_core::format::flattened::Flattened;
use guestdump_core::format::read::{self, Dump};
use guestdump_core::format::{Container, Format};
use guestdump_core::guest::{Guest, Note};
use guestdump_core::plan::{Body, Plan, PlanOptions};
use guestdump_core::run::{RunOptions, Summary, Unobserved, run};
use guestdump_core::sink::Seekable;
use guestdump_core::vmcoreinfo::NOTE_NAME;

use super::memory_use::bounded;

/// Guests with more memory than this are planned only.
const MAX_MEMORY: u64 = 128 << 10;
/// So are dumps that may get longer than this.
const MAX_DUMP: u64 = 320 << 10;
/// What a run may hold beside what it writes: a batch of 1 MiB, there and as output, and what its encoder needs.
const FIXED: usize = 8 << 20;
/// Segments of a dump with virtual addresses.
pub const MOST_SEGMENTS: u32 = 1000;
/// Compared at once.
const PIECE: u64 = 4096;

/// Everything in that format.
pub fn options(format: &'static Format) -> PlanOptions {
    PlanOptions { format, range: None, dump_level: 1, device_memory: true, page_size: None, paging: None }
}

/// Plans a dump of a guest, and if it is small writes it, opens it and compares.
pub fn rewrite(guest: &Guest, options: &PlanOptions) {
    let plan = match Plan::new(guest, options) {
        Ok(plan) => plan,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    check_plan(&plan);
    if plan.memory_bytes() + plan.excluded_bytes() > MAX_MEMORY || plan.file_len() > MAX_DUMP {
        return;
    }
    let (bytes, summary) = bounded(MAX_DUMP as usize, 1, FIXED, || write(guest, &plan));
    let dump = read::open(Arc::new(bytes)).expect("our own dump");
    // Memory that is left out takes no room, and may be without bounds.
    if plan.memory_bytes().saturating_add(plan.excluded_bytes()) <= 8 * MAX_MEMORY {
        compare(guest, &plan, &dump, &summary);
    }
}

fn write(guest: &Guest, plan: &Plan) -> (Vec<u8>, Summary) {
    let mut out = Vec::new();
    // Without threads an input takes the same path each time.
    let threads = RunOptions::new(1);
    let summary = if plan.format.flattened {
        run(plan, guest, &mut Flattened::new(&mut out), threads, &Unobserved)
    } else {
        run(plan, guest, &mut Seekable::new(Cursor::new(&mut out)), threads, &Unobserved)
    };
    let summary = summary.expect("memory takes everything");
    assert!(plan.format.flattened || summary.file_len == out.len() as u64);
    assert!(summary.file_len <= plan.file_len(), "{} bytes, planned {}", summary.file_len, plan.file_len());
    (out, summary)
}

fn check_plan(plan: &Plan) {
    let ranges = &plan.ranges;
    assert!(!ranges.is_empty() && ranges.iter().all(|range| !range.is_empty()));
    assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.end() <= b.start()));
    let (mut at, mut phys) = (0, 0);
    match &plan.body {
        Body::Elf(layout) => {
            assert!(layout.notes_offset + layout.notes_len <= layout.file_len);
            for (range, offset) in &layout.data {
                assert!(*offset >= at && *offset >= layout.notes_offset + layout.notes_len);
                assert!(range.start().0 >= phys && !range.is_empty());
                (at, phys) = (offset + range.len(), range.end().0);
            }
            assert!(at == layout.file_len || layout.data.is_empty());
            let stored: u64 = layout.data.iter().map(|data| data.0.len()).sum();
            assert_eq!(stored, plan.memory_bytes(), "the file holds all memory once");
            let inside = |data: &(PhysRange, u64)| ranges.iter().any(|range| range.intersect(data.0) == data.0);
            assert!(layout.data.iter().all(inside), "and no other");
            check_segments(plan, layout);
        }
        Body::Kdump(layout) => {
            let size = u64::from(layout.page_size);
            assert!(layout.runs.iter().all(|run| run.count > 0));
            assert!(layout.runs.iter().zip(layout.runs.iter().skip(1)).all(|(a, b)| a.end() < b.first));
            assert_eq!(layout.runs.iter().map(|run| run.count).sum::<u64>(), layout.pages);
            assert!(ranges.iter().all(|range| range.end().0.div_ceil(size) <= layout.max_mapnr));
            assert!(layout.bitmap_len.saturating_mul(8) >= layout.max_mapnr);
            assert!(layout.notes_offset + plan.notes.bytes.len() as u64 <= layout.bitmap_offset);
        }
    }
}

/// Segments show memory where it lies in the file, and all of it; without virtual addresses each byte once.
fn check_segments(plan: &Plan, layout: &ElfLayout) {
    let mut shown: Vec<PhysRange> = Vec::new();
    for segment in &layout.segments {
        assert!(segment.mem_len >= segment.phys.len() && segment.mem_len > 0);
        // Nothing but memory that is left out.
        if segment.phys.is_empty() {
            continue;
        }
        let inside = |data: &&(PhysRange, u64)| data.0.intersect(segment.phys) == segment.phys;
        let (range, offset) = layout.data.iter().find(inside).expect("a segment in no range");
        assert_eq!(segment.offset, offset + (segment.phys.start().0 - range.start().0));
        assert!(segment.virt.checked_add(segment.phys.len() - 1).is_some(), "{segment:?} passes 2^64");
        shown.push(segment.phys);
    }
    assert!(shown.is_sorted_by_key(|phys| phys.start()));
    let mut end = 0;
    let mut seen = 0;
    for phys in &shown {
        assert!(plan.mapped.is_some() || phys.start().0 >= end, "{phys} is shown twice");
        seen += phys.end().0.saturating_sub(phys.start().0.max(end));
        end = end.max(phys.end().0);
    }
    assert_eq!(seen, plan.memory_bytes(), "segments show all memory");
    if let Some(mapped) = &plan.mapped {
        assert_eq!(mapped.mapped_bytes + mapped.unmapped_bytes, seen + plan.excluded_bytes());
        assert!(layout.segments.len() <= MOST_SEGMENTS as usize + 1 + plan.excluded.len());
        let unique: BTreeSet<_> = layout.segments.iter().map(|part| (part.virt, part.phys.start())).collect();
        assert_eq!(unique.len(), layout.segments.len(), "a pair twice");
    }
}

/// The dump holds what the guest holds. Pages that could not be read are counted, and are not invented.
fn compare(guest: &Guest, plan: &Plan, dump: &Dump, summary: &Summary) {
    assert_eq!((dump.container, dump.flattened), (plan.format.container, plan.format.flattened));
    assert_eq!(dump.endian, plan.info.endian);
    assert_eq!(dump.vmcoreinfo.as_ref().map(|info| info.bytes()), guest.vmcoreinfo.as_ref().map(|info| info.bytes()));
    let is_vmcoreinfo = |note: &Note| note.name == NOTE_NAME && note.n_type == 0;
    let handed_over = guest.notes.as_ref().filter(|notes| !notes.iter().any(is_vmcoreinfo));
    assert!(handed_over.is_none_or(|notes| *notes == dump.notes), "notes differ");
    let mut missing = 0;
    for piece in plan.ranges.iter().flat_map(|range| pieces(*range)) {
        let (ours, theirs) = (bytes_of(guest, piece), bytes_of_dump(dump, piece));
        match ours {
            None => missing += 1,
            // A page of which another block's part was left out.
            Some(ours) if !plan.excluded.is_empty() && theirs.is_none() => drop(ours),
            Some(_) if summary.lost_pages > 0 && theirs.is_none() => {}
            Some(_) if summary.lost_pages > 0 && plan.format.container == Container::Elf => {}
            Some(ours) => same(piece, &ours, theirs.as_deref()),
        }
    }
    let left_out = !plan.excluded.is_empty();
    assert!(
        missing == 0 || summary.lost_pages > 0 || left_out,
        "{missing} pages are missing, and the summary counts none"
    );
    assert!(missing > 0 || summary.lost_pages == 0, "nothing is missing, and {} pages are lost", summary.lost_pages);
    assert!(summary.lost_pages > 0 || dump.warnings.is_empty(), "{:?}", dump.warnings);
}

fn same(piece: PhysRange, ours: &[u8], theirs: Option<&[u8]>) {
    let theirs = theirs.unwrap_or_default();
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(theirs.len());
    assert!(ours == theirs, "memory {piece} differs from byte {at} on: {:?}, {:?}", ours.get(at), theirs.get(at));
}

/// Pieces of one page each.
fn pieces(range: PhysRange) -> impl Iterator<Item = PhysRange> {
    let first = range.start().0 / PIECE;
    (first..range.end().0.div_ceil(PIECE)).filter_map(move |number| {
        let page = PhysRange::new(guestdump_core::arch::PhysAddr(number * PIECE), PIECE)?;
        Some(page.intersect(range)).filter(|piece| !piece.is_empty())
    })
}

fn bytes_of(guest: &Guest, piece: PhysRange) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(piece.len()).unwrap_or(0)];
    guest.memory.read(piece.start(), &mut bytes).unwrap_or(false).then_some(bytes)
}

fn bytes_of_dump(dump: &Dump, piece: PhysRange) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(piece.len()).unwrap_or(0)];
    dump.memory.read(piece.start(), &mut bytes).expect("our own page").then_some(bytes)
}
