//! Readers of dumps: what they make of any file, and that what they read can be written and read again.

use std::sync::Arc;

use guestdump_core::arch::{self, PhysAddr, PhysMemory, PhysRange};
use guestdump_core::format::flattened::{HEADER_LEN, SIGNATURE};
use guestdump_core::format::read::{self, Dump};
use guestdump_core::format::{self, Container, DumpFile, Format, ReadError, image};
use guestdump_core::guest::Guest;
use guestdump_core::verify;

use super::feed::{Feed, expand};
use super::memory_use::bounded;
use super::writing::{options, rewrite};

/// A reader holds a note of 20 bytes as a vCPU with all its registers, which is about this factor, and its lists
/// double.
const TIMES: usize = 160;
/// Pieces of bitmaps and descriptors, decoders.
const FIXED: usize = 2 << 20;
/// Ranges of a dump that are looked at.
const RANGES: usize = 32;
/// Ranges of at most this many bytes are read as a whole.
const PIECE: u64 = 8192;

/// Flattened files behind their header; runs of zeros are short.
pub fn flattened_read(data: &[u8]) {
    explore(flattened(&expand(data)));
}

/// Records with the header of a flattened file.
pub fn flattened(records: &[u8]) -> Vec<u8> {
    let mut file = SIGNATURE.to_vec();
    file.extend_from_slice(&1_i64.to_be_bytes());
    file.extend_from_slice(&1_i64.to_be_bytes());
    file.resize(HEADER_LEN, 0);
    file.extend_from_slice(records);
    file
}

/// Opens a file; if it is a dump, looks at all of it, and writes it again.
pub fn explore(file: Vec<u8>) {
    let len = file.len();
    let file = Arc::new(file);
    explore_with(len, &|| read::open(file.clone()));
}

/// The same of what `open` opens, which are `len` bytes in all.
fn explore_with(len: usize, open: &dyn Fn() -> Result<Dump, ReadError>) {
    let Some(dump) = glance_with(len, open) else { return };
    let known = dump.arch;
    for arch in arch::ALL.iter().filter(|arch| known.is_none_or(|known| known.identity().name == arch.identity().name))
    {
        let dump = open().expect("it was opened before");
        let container = dump.container;
        let guest = bounded(len, TIMES, FIXED, || dump.into_guest(Some(*arch))).expect("the architecture is given");
        check_absence(container, &guest);
        rewrite(&guest, &options(format_for(len)));
    }
}

/// Opens a file; if it is a dump, looks at its memory.
pub fn glance(file: Vec<u8>) {
    let len = file.len();
    let file = Arc::new(file);
    glance_with(len, &|| read::open(file.clone()));
}

fn glance_with(len: usize, open: &dyn Fn() -> Result<Dump, ReadError>) -> Option<Dump> {
    match bounded(len, TIMES, FIXED, open) {
        Ok(dump) => {
            check(&dump);
            Some(dump)
        }
        Err(error) => {
            assert!(error.to_string().len() < 1000);
            None
        }
    }
}

/// The files of a split set: up to four of them, each with its length in front.
pub fn set_read(data: &[u8]) {
    let feed = &mut Feed(data);
    let count = feed.u8() % 4 + 1;
    let file = |_| {
        let len = usize::from(feed.u16());
        expand(feed.bytes(len))
    };
    explore_set((0..count).map(file).collect());
}

/// Opens files as one dump, and does with it what [`explore`] does.
pub fn explore_set(files: Vec<Vec<u8>>) {
    let (len, files) = shared(files);
    audited(len, &files);
    explore_with(len, &|| read::open_set(files.clone()));
}

/// Opens files as one dump, and does with it what [`glance`] does.
pub fn glance_set(files: Vec<Vec<u8>>) {
    let (len, files) = shared(files);
    audited(len, &files);
    glance_with(len, &|| read::open_set(files.clone()));
}

/// Looks at files as a set: what is said of each of the four and of all of them is bounded.
fn audited(len: usize, files: &[Arc<dyn DumpFile>]) {
    if let Ok(audit) = bounded(len, TIMES, FIXED, || verify::audit_set(files)) {
        assert!(audit.problems.len() < 100 && audit.problems.iter().all(|problem| problem.len() < 1000));
        assert!(audit.copies.len() <= 8 * files.len());
    }
}

/// How long files are in all, and the files.
fn shared(files: Vec<Vec<u8>>) -> (usize, Vec<Arc<dyn DumpFile>>) {
    let len = files.iter().map(Vec::len).sum();
    (len, files.into_iter().map(|file| Arc::new(file) as Arc<dyn DumpFile>).collect())
}

/// Images of memory (LiME, AVML); runs of zeros are short.
pub fn image_read(data: &[u8]) {
    look_at_image(expand(data));
}

/// Opens a file; if it is an image, looks at its memory.
pub fn look_at_image(file: Vec<u8>) {
    let len = file.len();
    let file = Arc::new(file);
    let image = match bounded(len, TIMES, FIXED, || image::open(file)) {
        Ok(Some(image)) => image,
        Ok(None) => return,
        Err(error) => return assert!(error.to_string().len() < 1000),
    };
    check_ranges(&image.ranges);
    for range in image.ranges.iter().take(RANGES) {
        assert!(look_at(image.memory.as_ref(), *range), "{range} is memory and absent");
    }
}

/// ELF for every second length, else the kdump formats in turn.
fn format_for(len: usize) -> &'static Format {
    let wanted = if len.is_multiple_of(2) { Container::Elf } else { Container::Kdump };
    let formats: Vec<_> = format::ALL.iter().filter(|format| format.container == wanted).collect();
    formats[len / 2 % formats.len()]
}

fn check_ranges(ranges: &[PhysRange]) {
    assert!(ranges.iter().all(|range| !range.is_empty()), "an empty range");
    assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.end() <= b.start()), "ranges overlap: {ranges:?}");
}

fn check(dump: &Dump) {
    check_ranges(&dump.ranges);
    for range in dump.ranges.iter().take(RANGES) {
        let readable = look_at(dump.memory.as_ref(), *range);
        let excuse = dump.container == Container::Kdump || dump.filtered;
        assert!(readable || excuse, "{range} is memory and absent");
    }
    let stored: u64 = dump.stored.iter().map(|kind| kind.1).sum();
    assert!(stored > 0 || dump.stored.is_empty());
}

/// Reads the ends of a range, and all of a short one; whether all of it was there.
fn look_at(memory: &dyn PhysMemory, range: PhysRange) -> bool {
    let (start, last) = (range.start(), PhysAddr(range.end().0 - 1));
    let extent = memory.extent(start, range.len());
    assert!(extent.len_bytes > 0 && start.checked_add(extent.len_bytes).is_some(), "{start}: {extent:?}");
    let mut byte = [0];
    let mut bytes = vec![0; usize::try_from(range.len().min(PIECE)).unwrap_or(0)];
    let found = [memory.read(start, &mut byte), memory.read(last, &mut byte), memory.read(start, &mut bytes)];
    // An error is a page that the file has and that is damaged.
    found.into_iter().all(|found| found.unwrap_or(true))
}

/// What no block holds is not there. A kdump file may have more pages than its first bitmap counts as memory.
fn check_absence(container: Container, guest: &Guest) {
    for (block, next) in guest.blocks.iter().zip(guest.blocks.iter().skip(1).map(Some).chain([None])).take(RANGES) {
        let end = block.range.end();
        let adjacent = next.is_some_and(|next| next.range.start() == end);
        if container == Container::Elf && !adjacent && end.0 < u64::MAX {
            assert!(!guest.memory.read(end, &mut [0]).expect("absence is no error"), "{end} is no memory");
        }
    }
}
