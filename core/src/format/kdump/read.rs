//! Reading kdump-compressed files of either byte order and any C ABI, with every codec of this build.
//!
//! A page is found through the second bitmap: the number of bits before its own is the number of its descriptor. Counts
//! are kept for pieces of the bitmap only, so that memory stays small whatever the header claims.

use std::io;
use std::sync::{Arc, Mutex};

use guestdump_arch::abi::{CStruct, NoMember};
use guestdump_arch::{CAbi, Class, Endian, Extent, MemoryError, PhysAddr, PhysMemory, PhysRange, Presence};

use super::layout::{DESC_LEN, HEADER, STATUS_INCOMPLETE, SUB_HEADER};
use crate::compress::{self, Decoder, MAX_PAGE_SIZE};
use crate::format::read::{Dump, arch_of_notes, split_notes, take_vmcoreinfo};
use crate::format::{Container, DumpFile, ReadError, read_part};
use crate::kernel::UTS_FIELDS;

/// Bytes of bitmap that share a count.
const PIECE: u64 = 4096;
/// More runs of memory than this are not listed.
const MAX_RUNS: usize = 1 << 20;

/// More kinds of page flags than this are no dump.
const MAX_FLAGS: usize = 64;
/// Bitmaps of more bytes than this are refused: 2 PiB of address space in 4 KiB pages.
const MAX_BITMAP: u64 = 1 << 36;

/// The three ABIs that such files are known in.
const ABIS: [(u8, u8); 3] = [(8, 8), (4, 4), (4, 8)];

impl From<NoMember> for ReadError {
    fn from(error: NoMember) -> Self {
        Self::Field { what: error.0, value: 0, why: "no such member" }
    }
}

/// The headers of a file.
#[derive(Debug)]
struct Headers {
    abi: CAbi,
    main: CStruct,
    main_bytes: Vec<u8>,
    sub: CStruct,
    sub_bytes: Vec<u8>,
    page_size: u64,
}

impl Headers {
    fn main(&self, name: &'static str) -> Result<u64, ReadError> {
        Ok(self.main.get(&self.main_bytes, name)?)
    }

    fn sub(&self, name: &'static str) -> Result<u64, ReadError> {
        Ok(self.sub.get(&self.sub_bytes, name)?)
    }

    fn text(&self, name: &'static str) -> Result<String, ReadError> {
        let bytes = self.main.chars(&self.main_bytes, name)?;
        Ok(String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned())
    }

    /// Since version 6 the full number is in the sub-header.
    fn max_mapnr(&self) -> Result<u64, ReadError> {
        let full = if self.main("header_version")? >= 6 { self.sub("max_mapnr_64")? } else { 0 };
        if full == 0 { self.main("max_mapnr") } else { Ok(full) }
    }
}

/// Finds the ABI and byte order by which the header makes sense.
fn headers(file: &dyn DumpFile) -> Result<Headers, ReadError> {
    let bytes = read_part(file, "main header", 0, file.len().min(464))?;
    let orders = [Endian::Little, Endian::Big];
    let abis =
        || orders.iter().flat_map(|endian| ABIS.map(|(word, u64_align)| CAbi { word, u64_align, endian: *endian }));
    // max_mapnr of a 32-bit header is where a 64-bit one has block_size: a header with bitmaps makes more sense than one
    // without.
    for empty in [false, true] {
        for abi in abis() {
            let main = abi.place(HEADER);
            if plausible(&main, &bytes, empty) {
                let found = with_abi(file, abi, main, &bytes)?;
                if abi.u64_align == 8 || !padded(&found)? {
                    return Ok(found);
                }
            }
        }
    }
    let value = Endian::Little.get(bytes.get(428..432).unwrap_or_default());
    Err(ReadError::Field { what: "block_size", value, why: "the header makes sense in no known layout" })
}

/// 32-bit ARM and ppc align 64-bit members to eight bytes, i386 to four; only the machine's name tells.
fn padded(headers: &Headers) -> Result<bool, ReadError> {
    let machine = headers.text("machine")?;
    Ok(headers.abi.word == 4 && (machine.starts_with("arm") || machine == "ppc"))
}

fn plausible(main: &CStruct, bytes: &[u8], empty: bool) -> bool {
    let get = |name| main.get(bytes, name).unwrap_or(u64::MAX);
    let size = get("block_size");
    let bitmap = get("bitmap_blocks").saturating_mul(size).saturating_mul(4);
    let version = get("header_version");
    (1..=6).contains(&version)
        && size.is_power_of_two()
        && (4096..=MAX_PAGE_SIZE as u64).contains(&size)
        && (empty || get("bitmap_blocks") > 0)
        && (get("max_mapnr") == u64::from(u32::MAX) || bitmap >= get("max_mapnr"))
}

fn with_abi(file: &dyn DumpFile, abi: CAbi, main: CStruct, bytes: &[u8]) -> Result<Headers, ReadError> {
    let page_size = main.get(bytes, "block_size")?;
    let sub = abi.place(SUB_HEADER);
    let sub_bytes = read_part(file, "sub-header", page_size, sub.size() as u64)?;
    Ok(Headers { abi, main, main_bytes: bytes.to_vec(), sub, sub_bytes, page_size })
}

/// Opens a kdump-compressed file.
///
/// # Errors
/// [`ReadError`].
pub fn open(file: Arc<dyn DumpFile>) -> Result<Dump, ReadError> {
    let headers = headers(file.as_ref())?;
    let mut warnings = Vec::new();
    if headers.main("status")? & STATUS_INCOMPLETE != 0 {
        warnings.push("the header's status says that the dump is not finished".to_owned());
    }
    let mut notes = notes(file.as_ref(), &headers, &mut warnings)?;
    let pages = Pages::new(Arc::clone(&file), &headers)?;
    let (ranges, missing) = pages.ranges(&headers)?;
    if missing > 0 {
        warnings.push(format!("{missing} pages of memory are not in the file"));
    }
    let endian = headers.abi.endian;
    let vmcoreinfo = take_vmcoreinfo(&mut notes);
    let named = crate::arch::by_name(&headers.text("machine")?).map(|found| found.0);
    let stored = pages.stored()?;
    Ok(Dump {
        container: Container::Kdump,
        flattened: false,
        endian,
        class: if headers.abi.word == 8 { Class::Elf64 } else { Class::Elf32 },
        arch: named.or_else(|| arch_of_notes(&notes, endian)),
        ranges,
        memory: Arc::new(pages),
        notes,
        vmcoreinfo,
        page_size: u32::try_from(headers.page_size).ok(),
        fields: fields(&headers)?,
        stored,
        warnings,
    })
}

fn notes(
    file: &dyn DumpFile,
    headers: &Headers,
    warnings: &mut Vec<String>,
) -> Result<Vec<crate::guest::Note>, ReadError> {
    if headers.main("header_version")? < 4 || headers.sub("offset_note")? == 0 {
        return Ok(Vec::new());
    }
    let bytes = read_part(file, "notes", headers.sub("offset_note")?, headers.sub("size_note")?)?;
    let (list, whole) = split_notes(&bytes, headers.abi.endian);
    if !whole {
        warnings.push("the note area ends inside a note".to_owned());
    }
    Ok(list)
}

fn fields(headers: &Headers) -> Result<Vec<(&'static str, String)>, ReadError> {
    let mut out = Vec::new();
    for name in UTS_FIELDS {
        out.push((name, headers.text(name)?));
    }
    for name in ["header_version", "status", "block_size", "sub_hdr_size", "bitmap_blocks", "max_mapnr", "nr_cpus"] {
        out.push((name, headers.main(name)?.to_string()));
    }
    let base = headers.sub("phys_base")?;
    let base = if headers.abi.word == 8 { base.cast_signed() } else { i64::from(base as u32 as i32) };
    out.push(("phys_base", base.to_string()));
    for name in ["dump_level", "split", "max_mapnr_64"] {
        out.push((name, headers.sub(name)?.to_string()));
    }
    Ok(out)
}

/// A page descriptor.
#[derive(Clone, Copy, Debug)]
struct Desc {
    offset: u64,
    size: u32,
    flags: u32,
}

type Tools = Mutex<Vec<(u32, Box<dyn Decoder>)>>;

/// The pages of a file.
struct Pages {
    file: Arc<dyn DumpFile>,
    endian: Endian,
    page_size: u64,
    max_mapnr: u64,
    bitmap1: u64,
    bitmap2: u64,
    bitmap_len: u64,
    desc_offset: u64,
    /// Pieces of the second bitmap that have bits: their numbers, and how many bits there are before each.
    before: Vec<(u64, u64)>,
    /// Bits of the second bitmap.
    dumped: u64,
    decoders: Tools,
}

impl core::fmt::Debug for Pages {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pages({} of {} bytes)", self.dumped, self.page_size)
    }
}

impl Pages {
    fn new(file: Arc<dyn DumpFile>, headers: &Headers) -> Result<Self, ReadError> {
        let page_size = headers.page_size;
        let max_mapnr = headers.max_mapnr()?;
        let bitmap1 = page_size.saturating_mul(headers.main("sub_hdr_size")?.saturating_add(1));
        let bitmap_len = max_mapnr.div_ceil(8).next_multiple_of(page_size);
        let all = headers.main("bitmap_blocks")?.saturating_mul(page_size);
        if bitmap_len > MAX_BITMAP {
            return Err(ReadError::Field { what: "max_mapnr", value: max_mapnr, why: "its bitmap is over 64 GiB" });
        }
        // Very old files have one bitmap only.
        let bitmap2 = if all >= bitmap_len.saturating_mul(2) { bitmap1.saturating_add(all / 2) } else { bitmap1 };
        let desc_offset = bitmap1.saturating_add(all);
        if desc_offset > file.len() || bitmap_len > all {
            let (offset, len) = (bitmap1, all.max(bitmap_len));
            return Err(ReadError::Outside { what: "bitmaps", offset, len, file_len: file.len() });
        }
        let mut this = Self {
            file,
            endian: headers.abi.endian,
            page_size,
            max_mapnr,
            bitmap1,
            bitmap2,
            bitmap_len,
            desc_offset,
            before: Vec::new(),
            dumped: 0,
            decoders: Mutex::new(Vec::new()),
        };
        this.count()?;
        Ok(this)
    }

    fn count(&mut self) -> Result<(), ReadError> {
        let mut sum = 0_u64;
        let mut piece = vec![0; PIECE as usize];
        let mut at = 0;
        while at < self.bitmap_len {
            self.file.read_at(self.bitmap2 + at, &mut piece)?;
            let bits = piece.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
            if bits > 0 {
                self.before.push((at / PIECE, sum));
            }
            sum += bits;
            at += PIECE;
        }
        self.dumped = sum;
        let end = self.desc_offset.saturating_add(sum.saturating_mul(DESC_LEN));
        if end > self.file.len() {
            let (offset, len, file_len) = (self.desc_offset, sum.saturating_mul(DESC_LEN), self.file.len());
            return Err(ReadError::Outside { what: "page descriptors", offset, len, file_len });
        }
        Ok(())
    }

    /// Runs of memory by the first bitmap, and how many of its pages the second one lacks.
    fn ranges(&self, headers: &Headers) -> Result<(Vec<PhysRange>, u64), ReadError> {
        let mut runs: Vec<PhysRange> = Vec::new();
        let mut piece = vec![0; PIECE as usize];
        let (mut at, mut memory) = (0_u64, 0_u64);
        while at < self.bitmap_len {
            self.file.read_at(self.bitmap1 + at, &mut piece)?;
            for (byte, first) in piece.iter().zip((at * 8..).step_by(8)) {
                for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
                    let start = PhysAddr((first + bit).saturating_mul(self.page_size));
                    memory += 1;
                    let end = PhysAddr(start.0.saturating_add(self.page_size));
                    match runs.last_mut() {
                        Some(last) if last.end() == start => *last = PhysRange::between(last.start(), end),
                        _ => runs.push(PhysRange::between(start, end)),
                    }
                }
            }
            if runs.len() > MAX_RUNS {
                return Err(ReadError::TooMany { what: "runs of memory", limit: MAX_RUNS });
            }
            at += PIECE;
        }
        // In one file of a split set the second bitmap speaks of the others too.
        let split = headers.sub("split")? != 0;
        let dumped = self.dumped;
        Ok((runs, if split { 0 } else { memory.saturating_sub(dumped) }))
    }

    /// How pages are stored: number of descriptors by codec.
    fn stored(&self) -> Result<Vec<(String, u64)>, ReadError> {
        let total = self.dumped;
        let mut counts: Vec<(u32, u64)> = Vec::new();
        let mut piece = vec![0; 4096 * DESC_LEN as usize];
        let mut at = 0;
        while at < total {
            let count = (total - at).min(4096);
            let len = usize::try_from(count * DESC_LEN).unwrap_or(0);
            let bytes = piece.get_mut(..len).unwrap_or_default();
            self.file.read_at(self.desc_offset + at * DESC_LEN, bytes)?;
            for desc in bytes.chunks(DESC_LEN as usize) {
                let flags = self.decode(desc).flags;
                match counts.iter_mut().find(|count| count.0 == flags) {
                    Some(count) => count.1 += 1,
                    None => counts.push((flags, 1)),
                }
                if counts.len() > MAX_FLAGS {
                    return Err(ReadError::TooMany { what: "kinds of page flags", limit: MAX_FLAGS });
                }
            }
            at += count;
        }
        let name =
            |flags| compress::by_flag(flags).map_or(format!("flags {flags:#x}"), |codec| codec.name().to_owned());
        Ok(counts.into_iter().map(|(flags, count)| (name(flags), count)).collect())
    }

    fn decode(&self, bytes: &[u8]) -> Desc {
        let get = |range: core::ops::Range<usize>| self.endian.get(bytes.get(range).unwrap_or_default());
        Desc { offset: get(0..8), size: get(8..12) as u32, flags: get(12..16) as u32 }
    }

    /// The descriptor of a page, or `None` if the page is not in the file.
    fn desc(&self, pfn: u64) -> Result<Option<Desc>, ReadError> {
        if pfn >= self.max_mapnr {
            return Ok(None);
        }
        let (number, bit) = (pfn / (PIECE * 8), pfn % (PIECE * 8));
        let mut piece = [0; PIECE as usize];
        self.file.read_at(self.bitmap2 + number * PIECE, &mut piece)?;
        let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let own = piece.get(at).copied().unwrap_or(0);
        if own >> (bit % 8) & 1 == 0 {
            return Ok(None);
        }
        let whole = piece.iter().take(at).map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        let below = u64::from((own & ((1 << (bit % 8)) - 1)).count_ones());
        let index = self.before.binary_search_by_key(&number, |piece| piece.0).unwrap_or(usize::MAX);
        let before = self.before.get(index).map_or(0, |piece| piece.1);
        let mut bytes = [0; DESC_LEN as usize];
        self.file.read_at(self.desc_offset + (before + whole + below) * DESC_LEN, &mut bytes)?;
        Ok(Some(self.decode(&bytes)))
    }

    /// Fills `page` with page `pfn`, or says that it is not there.
    fn page(&self, pfn: u64, page: &mut [u8]) -> Result<bool, ReadError> {
        let Some(desc) = self.desc(pfn)?.filter(|desc| desc.offset != 0) else { return Ok(false) };
        if u64::from(desc.size) > self.page_size {
            let value = u64::from(desc.size);
            return Err(ReadError::Field { what: "size of a page", value, why: "larger than a page" });
        }
        let data = read_part(self.file.as_ref(), "page data", desc.offset, u64::from(desc.size))?;
        let fail = |source| ReadError::Page { pfn, offset: desc.offset, size: desc.size, source };
        if desc.flags == 0 {
            if data.len() != page.len() {
                let value = u64::from(desc.size);
                return Err(ReadError::Field { what: "size of a plain page", value, why: "not the page size" });
            }
            page.copy_from_slice(&data);
            return Ok(true);
        }
        let mut decoder = self.decoder(desc.flags)?;
        let result = decoder.decompress(&data, page);
        if let Ok(mut pool) = self.decoders.lock() {
            pool.push((desc.flags, decoder));
        }
        result.map_err(fail)?;
        Ok(true)
    }

    fn decoder(&self, flags: u32) -> Result<Box<dyn Decoder>, ReadError> {
        let pooled = self.decoders.lock().ok().and_then(|mut pool| {
            let at = pool.iter().position(|tool| tool.0 == flags)?;
            Some(pool.swap_remove(at).1)
        });
        if let Some(decoder) = pooled {
            return Ok(decoder);
        }
        let unknown = ReadError::Field { what: "flags of a page", value: u64::from(flags), why: "no known codec" };
        let codec = compress::by_flag(flags).ok_or(unknown)?;
        let size = usize::try_from(self.page_size).unwrap_or(usize::MAX);
        codec.decoder(size).map_err(|source| ReadError::Page { pfn: 0, offset: 0, size: 0, source })
    }
}

impl PhysMemory for Pages {
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        let wanted = buf.len();
        let mut page = vec![0; usize::try_from(self.page_size).unwrap_or(0)];
        let (mut at, mut rest, mut done) = (addr.0, buf, 0);
        while !rest.is_empty() {
            let skip = usize::try_from(at % self.page_size).unwrap_or(0);
            let unreadable =
                |error: ReadError| MemoryError::Unreadable { addr, done, wanted, cause: io::Error::other(error) };
            if !self.page(at / self.page_size, &mut page).map_err(unreadable)? {
                return Ok(false);
            }
            let part = page.get(skip..).unwrap_or_default();
            let (now, later) = rest.split_at_mut(part.len().min(rest.len()));
            now.copy_from_slice(part.get(..now.len()).unwrap_or_default());
            done += now.len();
            at = at.saturating_add(now.len() as u64);
            rest = later;
        }
        Ok(true)
    }

    fn extent(&self, addr: PhysAddr, _limit_bytes: u64) -> Extent {
        let there = matches!(self.desc(addr.0 / self.page_size), Ok(Some(desc)) if desc.offset != 0);
        let presence = if there { Presence::Data } else { Presence::Absent };
        Extent { presence, len_bytes: self.page_size - addr.0 % self.page_size }
    }
}
