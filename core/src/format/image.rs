//! Memory images: ranges of physical memory and nothing else; no architecture, no registers, no notes. LiME and AVML.
//!
//! Both are a row of records: a header of 32 bytes (u32 magic, u32 version, u64 first address, u64 last address, eight
//! reserved bytes), then the range's bytes. LiME's magic is 0x4C694D45, version 1, the bytes are plain; AVML's is
//! 0x4C4D5641, version 2, the bytes are a snappy frame stream and behind it its length as a u64. AVML's version 1 is LiME.
//! Sources: LiME's `doc/README.md` ("LiME Memory Range Header Version 1 Specification"), AVML's README ("Snappy"); the snappy
//! framing format description. Integers have the byte order of the machine that wrote them; the magic tells.
//!
//! AVML cuts memory in blocks of 16 MiB, counted from the start of each range of RAM, and leaves out those that are all zeros, in
//! LiME files too (observed: avml 0.21.0).

use std::io::{self, Read};
use std::sync::Arc;

use guestdump_arch::{Endian, PhysAddr, PhysRange};

use super::{DumpFile, ReadError, read_part, read_there};
use crate::block::{Backing, BlockMemory, ShortRead};
use crate::format::read::FilePart;

/// Bytes of a record's header.
const HEADER_LEN: u64 = 32;
/// More records than this are not read: one for every 64 MiB of 256 TiB.
const MAX_RECORDS: usize = 1 << 22;
/// The chunk with which a snappy frame stream starts: type 0xff, length 6, "sNaPpY" (framing format, 4.1).
const STREAM_START: &[u8; 10] = b"\xff\x06\0\0sNaPpY";
/// A chunk holds at most this many bytes when decompressed (framing format, 4.2 and 4.3).
const CHUNK_MAX: usize = 65536;
/// What AVML reads at once, and leaves out if it is zeros.
const AVML_BLOCK: u64 = 16 << 20;
/// Bytes of a chunk's checksum.
const CHECKSUM_LEN: u64 = 4;

/// One kind of image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// What it is called.
    pub name: &'static str,
    magic: u32,
    version: u64,
    compressed: bool,
}

/// Every kind.
static KINDS: [Kind; 2] = [
    Kind { name: "LiME", magic: 0x4c69_4d45, version: 1, compressed: false },
    Kind { name: "AVML", magic: 0x4c4d_5641, version: 2, compressed: true },
];

/// An image that was opened.
#[derive(Debug)]
pub struct Image {
    /// What it is.
    pub kind: &'static Kind,
    /// Byte order of its headers: that of the machine that wrote it.
    pub endian: Endian,
    /// Memory that it holds, ascending and disjoint.
    pub ranges: Vec<PhysRange>,
    /// That memory.
    pub memory: Arc<BlockMemory>,
    /// Bytes of it that no record has, and that are taken as zeros: the writer left them out between two others.
    pub zero_bytes: u64,
    /// What is damaged in it or missing.
    pub warnings: Vec<String>,
}

/// The kind and byte order of a file, by its first bytes; `None` for a file that is no image.
///
/// # Errors
/// [`ReadError::Io`].
pub fn recognise(file: &dyn DumpFile) -> Result<Option<(&'static Kind, Endian)>, ReadError> {
    let start = read_there(file, 0, 4)?;
    let orders = [Endian::Little, Endian::Big];
    let mut known = KINDS.iter().flat_map(|kind| orders.map(|order| (kind, order)));
    Ok(known.find(|(kind, order)| start.len() == 4 && order.get(&start) == u64::from(kind.magic)))
}

/// Opens an image; `None` for a file that is none. A record that makes no sense ends it, as its end does.
///
/// # Errors
/// [`ReadError`]: a version that is not known, overlapping records, or a first record that makes no sense.
pub fn open(file: Arc<dyn DumpFile>) -> Result<Option<Image>, ReadError> {
    let Some((kind, endian)) = recognise(file.as_ref())? else { return Ok(None) };
    let mut records = Records { file, kind, endian, at: 0, count: 0, warnings: Vec::new() };
    let mut blocks: Vec<Part> = Vec::new();
    loop {
        match records.next() {
            Ok(Some(block)) => blocks.push(block),
            Ok(None) => break,
            Err(error) if blocks.is_empty() => return Err(error),
            Err(error) => {
                records.warnings.push(format!("record {}, at {:#x}: {error}", records.count, records.at));
                break;
            }
        }
    }
    blocks.sort_by_key(|block| block.0.start());
    let pairs = || blocks.iter().zip(blocks.iter().skip(1)).map(|(low, high)| (low.0, high.0));
    if let Some((_, high)) = pairs().find(|(low, high)| low.end() > high.start()) {
        return Err(ReadError::Field { what: "first address", value: high.start().0, why: "two records have it" });
    }
    let zeros: Vec<PhysRange> = pairs().filter_map(|(low, high)| left_out(low, high)).collect();
    let zero_bytes = zeros.iter().map(|range| range.len()).sum();
    let part = |range| -> Part { (range, Box::new(FilePart { file: Arc::clone(&records.file), offset: 0, len: 0 })) };
    blocks.extend(zeros.into_iter().map(part));
    blocks.sort_by_key(|block| block.0.start());
    let ranges: Vec<PhysRange> = blocks.iter().map(|block| block.0).collect();
    let memory = Arc::new(BlockMemory::new(blocks));
    Ok(Some(Image { kind, endian, ranges, memory, zero_bytes, warnings: records.warnings }))
}

/// What lies between two records, if it can only be blocks of zeros that were left out: the first record is a whole block, so
/// that its range may go on, and whole blocks fill the gap. Holes of machines are no such gaps: RAM of a PC starts at 1 MiB and
/// again at 4 GiB, which is no multiple of a block from there.
fn left_out(low: PhysRange, high: PhysRange) -> Option<PhysRange> {
    let gap = PhysRange::between(low.end(), high.start());
    (low.len() == AVML_BLOCK && !gap.is_empty() && gap.len().is_multiple_of(AVML_BLOCK)).then_some(gap)
}

/// A range of memory and its bytes.
type Part = (PhysRange, Box<dyn Backing>);

/// The records of a file, one after the other.
struct Records {
    file: Arc<dyn DumpFile>,
    kind: &'static Kind,
    endian: Endian,
    at: u64,
    count: usize,
    warnings: Vec<String>,
}

impl Records {
    fn next(&mut self) -> Result<Option<Part>, ReadError> {
        if self.at >= self.file.len() {
            return Ok(None);
        }
        if self.count >= MAX_RECORDS {
            return Err(ReadError::TooMany { what: "records", limit: MAX_RECORDS });
        }
        let header = read_part(self.file.as_ref(), "record header", self.at, HEADER_LEN)?;
        let range = self.range(&header)?;
        let data = self.at.saturating_add(HEADER_LEN);
        let backing: Box<dyn Backing> = if self.kind.compressed {
            let frames = Frames::index(Arc::clone(&self.file), data, range.len())?;
            // Behind the stream is its length; where the stream is damaged nobody knows where the next record is.
            self.at = frames.end.map_or(u64::MAX, |end| end.saturating_add(8));
            self.missing(range, frames.covered);
            Box::new(frames)
        } else {
            self.missing(range, range.len().min(self.file.len().saturating_sub(data)));
            self.at = data.saturating_add(range.len());
            Box::new(FilePart { file: Arc::clone(&self.file), offset: data, len: range.len() })
        };
        self.count += 1;
        Ok(Some((range, backing)))
    }

    fn range(&self, header: &[u8]) -> Result<PhysRange, ReadError> {
        let get = |at: usize, len: usize| self.endian.get(header.get(at..at + len).unwrap_or_default());
        let bad = |what, value, why| Err(ReadError::Field { what, value, why });
        let (magic, version, first, last) = (get(0, 4), get(4, 4), get(8, 8), get(16, 8));
        if magic != u64::from(self.kind.magic) {
            return bad("magic of a record", magic, "not that of the first record");
        }
        if version != self.kind.version {
            return bad("version of a record", version, "no known version of such a file");
        }
        let len = last.checked_sub(first).and_then(|len| len.checked_add(1));
        match len.and_then(|len| PhysRange::new(PhysAddr(first), len)) {
            Some(range) => Ok(range),
            None => bad("last address of a record", last, "before the first one, or the end of all addresses"),
        }
    }

    fn missing(&mut self, range: PhysRange, there: u64) {
        if there < range.len() {
            let missing = range.len() - there;
            self.warnings.push(format!("{missing} bytes of memory {range} are not in the file, or damaged"));
        }
    }
}

/// A chunk of a snappy frame stream.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    /// Where its bytes belong.
    start: u64,
    /// Where it is in the file, header and all.
    at: u64,
    /// Bytes behind its header of four.
    len: u32,
}

/// A snappy frame stream that can be read from anywhere: the index holds 24 bytes for each chunk, which is at most three
/// times the file, and 24 bytes in 64 KiB of memory for what real programs write.
#[derive(Debug)]
struct Frames {
    file: Arc<dyn DumpFile>,
    chunks: Vec<Chunk>,
    /// Bytes of memory in the chunks.
    covered: u64,
    /// Where the stream ends, if it could be followed so far.
    end: Option<u64>,
}

impl Frames {
    /// Follows the stream at `at` until it has given `len` bytes, or makes no sense any more.
    fn index(file: Arc<dyn DumpFile>, at: u64, len: u64) -> Result<Self, ReadError> {
        let mut this = Self { file, chunks: Vec::new(), covered: 0, end: None };
        let mut at = at;
        while this.covered < len {
            let head = read_there(this.file.as_ref(), at, 4)?;
            let [kind, a, b, c] = *head.as_slice() else { return Ok(this) };
            let body = u32::from_le_bytes([a, b, c, 0]);
            let next = at.saturating_add(4).saturating_add(u64::from(body));
            if next > this.file.len() {
                return Ok(this);
            }
            match this.bytes_of(kind, at, body)? {
                Some(0) => {}
                Some(bytes) if this.covered.saturating_add(bytes) <= len => {
                    this.chunks.push(Chunk { start: this.covered, at, len: body });
                    this.covered += bytes;
                }
                _ => return Ok(this),
            }
            at = next;
        }
        this.end = Some(at);
        Ok(this)
    }

    /// How many bytes a chunk gives; `None` for one that makes no sense.
    fn bytes_of(&self, kind: u8, at: u64, body: u32) -> Result<Option<u64>, ReadError> {
        let data = u64::from(body).checked_sub(CHECKSUM_LEN);
        let fits = |bytes: &u64| (1..=CHUNK_MAX as u64).contains(bytes);
        Ok(match kind {
            // The length is a varint of at most five bytes in front.
            0 => {
                let front =
                    read_there(self.file.as_ref(), at.saturating_add(4 + CHECKSUM_LEN), data.unwrap_or(0).min(5))?;
                snap::raw::decompress_len(&front).ok().map(|len| len as u64).filter(fits)
            }
            1 => data.filter(fits),
            0xff => (read_there(self.file.as_ref(), at, 10)?.as_slice() == STREAM_START).then_some(0),
            0x80..=0xfe => Some(0),
            // Reserved chunks that must not be skipped (framing format, 4.5).
            _ => None,
        })
    }

    /// The bytes of a chunk; its checksum is looked at.
    fn decompress(&self, chunk: Chunk) -> io::Result<Vec<u8>> {
        let len = u64::from(chunk.len).saturating_add(4);
        let bytes = read_part(self.file.as_ref(), "snappy chunk", chunk.at, len).map_err(io::Error::other)?;
        let mut out = Vec::with_capacity(CHUNK_MAX);
        let stream = STREAM_START.chain(bytes.as_slice());
        snap::read::FrameDecoder::new(stream).take(CHUNK_MAX as u64 + 1).read_to_end(&mut out)?;
        Ok(out)
    }
}

impl Backing for Frames {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        let (mut at, mut rest, mut done) = (offset, buf, 0);
        while !rest.is_empty() {
            let index = self.chunks.partition_point(|chunk| chunk.start <= at);
            let short = |cause| ShortRead { done, cause };
            let missing = || short(io::Error::other("the snappy stream does not hold it"));
            let chunk = index.checked_sub(1).and_then(|index| self.chunks.get(index)).ok_or_else(missing)?;
            let bytes = self.decompress(*chunk).map_err(short)?;
            let skip = usize::try_from(at - chunk.start).unwrap_or(usize::MAX);
            let part = bytes.get(skip..).filter(|part| !part.is_empty()).ok_or_else(missing)?;
            let (now, later) = rest.split_at_mut(part.len().min(rest.len()));
            now.copy_from_slice(part.get(..now.len()).unwrap_or_default());
            done += now.len();
            at = at.saturating_add(now.len() as u64);
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "image/tests.rs"]
mod tests;
