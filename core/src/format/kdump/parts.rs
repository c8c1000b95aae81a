//! Whether the files of a split set (makedumpfile --split) fit together. Each has the headers and both bitmaps of the whole
//! dump, and descriptors and data of the frames from its `start_pfn` up to its `end_pfn` (observed: makedumpfile 1.7.2).

use core::ops::Range;
use std::sync::Arc;

use super::bitmap::{clear_outside, count};
use super::pages::Pages;
use super::read::{Headers, headers, pointed_at};
use crate::format::{DumpFile, ReadError};

/// Members of the sub-header that all files have in common.
const COMMON: [&str; 5] = ["phys_base", "dump_level", "max_mapnr_64", "size_vmcoreinfo", "size_note"];
/// Notes of more bytes than this are not compared.
const MAX_NOTE_BYTES: u64 = 64 << 20;
/// Gaps and overlaps that are named.
const NAMED: usize = 8;

struct Part {
    headers: Headers,
    pages: Pages,
    file: Arc<dyn DumpFile>,
}

/// What is wrong with a set as a whole, for people; nothing for a dump in one file. The files' own contents are not looked
/// at.
///
/// # Errors
/// [`ReadError`] if the headers of a file make no sense or it cannot be read.
pub fn problems(files: &[Arc<dyn DumpFile>]) -> Result<Vec<String>, ReadError> {
    let mut parts = Vec::with_capacity(files.len());
    for file in files {
        let headers = headers(file.as_ref())?;
        let pages = Pages::new(Arc::clone(file), &headers, &mut Vec::new())?;
        parts.push(Part { headers, pages, file: Arc::clone(file) });
    }
    let Some((first, rest)) = parts.split_first() else { return Ok(Vec::new()) };
    if first.headers.part()?.is_none() {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for (number, part) in (2..).zip(rest) {
        out.extend(sub_headers(first, part)?.into_iter().map(|what| format!("file {number}: {what}")));
        out.extend(bitmaps(first, part)?.into_iter().map(|what| format!("file {number}: {what}")));
    }
    for (number, part) in (1..).zip(&parts) {
        out.extend(borders(part)?.map(|what| format!("file {number}: {what}")));
    }
    let windows: Vec<Range<u64>> = parts.iter().map(|part| part.pages.window.clone()).collect();
    out.extend(overlaps(&windows));
    out.extend(gaps(&first.pages, windows)?);
    Ok(out)
}

/// Members that differ from those of the first file.
fn sub_headers(first: &Part, part: &Part) -> Result<Vec<String>, ReadError> {
    let mut out = Vec::new();
    for name in COMMON {
        let (here, there) = (part.headers.sub(name)?, first.headers.sub(name)?);
        if here != there {
            out.push(format!("{name} is {here:#x}, file 1's is {there:#x}"));
        }
    }
    let notes = |part: &Part| {
        let names = ["offset_note", "size_note"];
        pointed_at(part.file.as_ref(), &part.headers, names, MAX_NOTE_BYTES).map(|found| found.0)
    };
    if out.is_empty() && notes(first)? != notes(part)? {
        out.push("its notes are not those of file 1".to_owned());
    }
    Ok(out)
}

/// Frames whose bits differ from those of the first file.
fn bitmaps(first: &Part, part: &Part) -> Result<Vec<String>, ReadError> {
    let (one, other) = (&first.pages, &part.pages);
    let mut out = Vec::new();
    for (name, at, here) in [("first", one.bitmap1, other.bitmap1), ("second", one.bitmap2, other.bitmap2)] {
        let mut numbers: Vec<u64> = one.pieces(at).chain(other.pieces(here)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let (mut differ, mut at_first) = (0, None);
        for number in numbers {
            let (a, b) = (one.piece(at, number)?, other.piece(here, number)?);
            let bits: Vec<u8> = a.iter().zip(b.iter()).map(|(a, b)| a ^ b).collect();
            differ += count(&bits);
            let byte = bits.iter().position(|byte| *byte != 0);
            let base = number * bits.len() as u64;
            let bit = |at: usize| (base + at as u64) * 8 + u64::from(bits.get(at).map_or(0, |b| b.trailing_zeros()));
            at_first = at_first.or(byte.map(bit));
        }
        if let Some(pfn) = at_first {
            out.push(format!("its {name} bitmap differs from file 1's in {differ} frames, the first is {pfn:#x}"));
        }
    }
    Ok(out)
}

fn borders(part: &Part) -> Result<Option<String>, ReadError> {
    let (end_of_all, borders) = (part.pages.max_mapnr, part.headers.part()?);
    Ok(match borders {
        None => Some("it is not split".to_owned()),
        Some((start, end)) if start > end => Some(format!("start_pfn {start:#x} is behind end_pfn {end:#x}")),
        Some((_, end)) if end > end_of_all => Some(format!("end_pfn {end:#x} is behind max_mapnr {end_of_all:#x}")),
        Some(_) => None,
    })
}

/// Frames that several files have. Files are numbered from 1.
pub(super) fn overlaps(windows: &[Range<u64>]) -> Vec<String> {
    let mut sorted: Vec<(usize, &Range<u64>)> = (1..).zip(windows).filter(|window| !window.1.is_empty()).collect();
    sorted.sort_by_key(|window| window.1.start);
    let mut out = Vec::new();
    // The file that reaches farthest so far.
    let mut last: Option<(usize, &Range<u64>)> = None;
    for (number, window) in sorted {
        if let Some((other, before)) = last.filter(|last| last.1.end > window.start) {
            let end = before.end.min(window.end);
            out.push(format!("frames {:#x}..{end:#x} are in file {other} and in file {number}", window.start));
        }
        if last.is_none_or(|last| last.1.end < window.end) {
            last = Some((number, window));
        }
    }
    let more = out.len().saturating_sub(NAMED);
    out.truncate(NAMED);
    out.extend((more > 0).then(|| format!("{more} more overlaps of files")));
    out
}

/// Frames that were dumped and are in no file.
fn gaps(pages: &Pages, mut windows: Vec<Range<u64>>) -> Result<Vec<String>, ReadError> {
    windows.sort_by_key(|window| window.start);
    let (mut out, mut at, mut more) = (Vec::new(), 0, 0);
    for window in windows.into_iter().chain(Some(pages.max_mapnr..pages.max_mapnr)) {
        let (start, end) = (at, window.start);
        at = window.end.max(at);
        if start >= end {
            continue;
        }
        let lost = dumped(pages, start..end)?;
        match lost {
            0 => {}
            _ if out.len() >= NAMED => more += lost,
            _ => out.push(format!(
                "frames {start:#x}..{end:#x}, {lost} of which were dumped, are in no file: a part of the set is missing"
            )),
        }
    }
    out.extend((more > 0).then(|| format!("{more} more frames are in no file")));
    Ok(out)
}

/// How many of these frames the second bitmap has.
fn dumped(pages: &Pages, frames: Range<u64>) -> Result<u64, ReadError> {
    let mut sum = 0;
    for number in pages.pieces(pages.bitmap2) {
        let mut bits = pages.piece(pages.bitmap2, number)?;
        clear_outside(&mut bits, number, &frames);
        sum += count(&bits);
    }
    Ok(sum)
}
