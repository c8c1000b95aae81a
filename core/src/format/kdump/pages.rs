//! The pages of a kdump-compressed file: descriptors and data, found through the bitmaps.
//!
//! A page is found through the second bitmap: the number of bits before its own is the number of its descriptor. Counts
//! are kept for pieces of the bitmap that have bits only, so that memory stays small whatever the header claims: 16 bytes
//! for 4096 bytes of the file. What lies behind the end of a file reads as if no page were there.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use guestdump_arch::{Endian, MemoryError, PhysAddr, Presence};

use super::bitmap::{Bits, PIECE, PIECE_BITS, clear_outside, count, has};
use super::layout::DESC_LEN;
use super::read::Headers;
use super::window::Window;
use crate::compress::{self, Decoder};
use crate::filter::zero::is_zero;
use crate::format::{DumpFile, ReadError, read_there};

/// More kinds of page flags than this are no dump.
const MAX_FLAGS: usize = 64;
/// Bitmaps of more bytes than this are refused: 2 PiB of address space in 4 KiB pages.
const MAX_BITMAP: u64 = 1 << 36;

/// A page descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Desc {
    pub offset: u64,
    pub size: u32,
    pub flags: u32,
}

type Tools = Mutex<Vec<(u32, Box<dyn Decoder>)>>;

/// The pages of one file.
pub(super) struct Pages {
    pub file: Arc<dyn DumpFile>,
    endian: Endian,
    pub page_size: u64,
    pub max_mapnr: u64,
    pub bitmap1: u64,
    pub bitmap2: u64,
    pub bitmap_len: u64,
    pub desc_offset: u64,
    /// Frames whose descriptors are in this file.
    pub window: Range<u64>,
    /// Pieces of the second bitmap that have bits in the window: their numbers, and how many bits there are before each.
    before: Vec<(u64, u64)>,
    /// Bits of the second bitmap in the window.
    dumped: u64,
    /// Whether a page without a bit was left out on purpose: so says the dump's level.
    pub filtered: bool,
    decoders: Tools,
    /// One for each thread that reads, in turn.
    windows: Mutex<Vec<Window>>,
}

impl core::fmt::Debug for Pages {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pages({} of {} bytes)", self.dumped, self.page_size)
    }
}

impl Pages {
    pub fn new(file: Arc<dyn DumpFile>, headers: &Headers, warnings: &mut Vec<String>) -> Result<Self, ReadError> {
        let page_size = headers.page_size;
        let max_mapnr = headers.max_mapnr()?;
        let bitmap1 = page_size.saturating_mul(headers.main("sub_hdr_size")?.saturating_add(1));
        let bitmap_len = max_mapnr.div_ceil(8).next_multiple_of(page_size);
        let all = headers.main("bitmap_blocks")?.saturating_mul(page_size);
        if bitmap_len > MAX_BITMAP {
            return Err(ReadError::Field { what: "max_mapnr", value: max_mapnr, why: "its bitmap is over 64 GiB" });
        }
        if bitmap_len > all {
            let (offset, len) = (bitmap1, bitmap_len);
            return Err(ReadError::Outside { what: "bitmaps", offset, len, file_len: file.len() });
        }
        // Very old files have one bitmap only.
        let bitmap2 = if all >= bitmap_len.saturating_mul(2) { bitmap1.saturating_add(all / 2) } else { bitmap1 };
        let mut this = Self {
            file,
            endian: headers.abi.endian,
            page_size,
            max_mapnr,
            bitmap1,
            bitmap2,
            bitmap_len,
            desc_offset: bitmap1.saturating_add(all),
            window: headers.window()?,
            before: Vec::new(),
            dumped: 0,
            // Levels 0 and 1 leave no page out.
            filtered: headers.dump_level()? > 1,
            decoders: Mutex::new(Vec::new()),
            windows: Mutex::new(Vec::new()),
        };
        this.count()?;
        this.check_length(warnings);
        Ok(this)
    }

    /// Numbers of the pieces that the file has of a bitmap, but for those in its holes.
    pub fn pieces(&self, bitmap: u64) -> impl Iterator<Item = u64> + use<> {
        let end = self.bitmap_len.min(self.file.len().saturating_sub(bitmap)).div_ceil(PIECE);
        let file = Arc::clone(&self.file);
        let mut next = 0;
        core::iter::from_fn(move || {
            next += file.zeros_at(bitmap.saturating_add(next * PIECE)) / PIECE;
            let number = (next < end).then_some(next)?;
            next += 1;
            Some(number)
        })
    }

    fn check_length(&self, warnings: &mut Vec<String>) {
        let len = self.file.len();
        if self.bitmap2.saturating_add(self.bitmap_len) > len {
            let end = self.bitmap2.saturating_add(self.bitmap_len);
            warnings.push(format!("the bitmaps end at {end:#x}, behind the end of the file: it was cut"));
        }
        let end = self.desc_offset.saturating_add(self.dumped.saturating_mul(DESC_LEN));
        if end > len {
            let lost = self.dumped.min((end - len).div_ceil(DESC_LEN));
            warnings.push(format!("{lost} page descriptors lie behind the end of the file: it was cut"));
        }
    }

    /// A piece of a bitmap, without frames that are not in the dump.
    pub fn piece(&self, bitmap: u64, number: u64) -> Result<Bits, ReadError> {
        let mut bits = read_there(self.file.as_ref(), bitmap.saturating_add(number.saturating_mul(PIECE)), PIECE)?;
        bits.resize(PIECE as usize, 0);
        clear_outside(&mut bits, number, &(0..self.max_mapnr));
        Ok(bits.into_boxed_slice())
    }

    /// A piece of the second bitmap, without frames whose descriptors are in other files.
    pub fn own(&self, number: u64) -> Result<Bits, ReadError> {
        let mut bits = self.piece(self.bitmap2, number)?;
        clear_outside(&mut bits, number, &self.window);
        Ok(bits)
    }

    fn count(&mut self) -> Result<(), ReadError> {
        for number in self.pieces(self.bitmap2) {
            let bits = count(&self.own(number)?);
            if bits > 0 {
                self.before.push((number, self.dumped));
            }
            self.dumped += bits;
        }
        Ok(())
    }

    /// How pages are stored: number of descriptors by flags; and pages whose data is not in the file.
    pub fn stored(&self, counts: &mut Vec<(u32, u64)>) -> Result<u64, ReadError> {
        let (mut at, mut lost) = (0, 0);
        while at < self.dumped {
            let wanted = (self.dumped - at).min(4096);
            let bytes = read_there(self.file.as_ref(), self.desc_at(at), wanted * DESC_LEN)?;
            for desc in bytes.chunks_exact(DESC_LEN as usize) {
                let Desc { offset, size, flags } = self.decode(desc);
                let there = offset != 0 && offset.saturating_add(u64::from(size)) <= self.file.len();
                lost += u64::from(!there);
                match counts.iter_mut().find(|count| count.0 == flags) {
                    Some(count) => count.1 += 1,
                    None => counts.push((flags, 1)),
                }
                if counts.len() > MAX_FLAGS {
                    return Err(ReadError::TooMany { what: "kinds of page flags", limit: MAX_FLAGS });
                }
            }
            if (bytes.len() as u64) < wanted * DESC_LEN {
                break;
            }
            at += wanted;
        }
        Ok(lost)
    }

    pub const fn desc_at(&self, number: u64) -> u64 {
        self.desc_offset.saturating_add(number.saturating_mul(DESC_LEN))
    }

    pub fn decode(&self, bytes: &[u8]) -> Desc {
        let get = |range: Range<usize>| self.endian.get(bytes.get(range).unwrap_or_default());
        Desc { offset: get(0..8), size: get(8..12) as u32, flags: get(12..16) as u32 }
    }

    /// A window, the one that is at `pfn` if there is one.
    fn window(&self, pfn: u64) -> Window {
        let number = pfn / PIECE_BITS;
        let pooled = self.windows.lock().ok().and_then(|mut pool| {
            let at = pool.iter().position(|window| window.holds(number)).or(pool.len().checked_sub(1))?;
            Some(pool.swap_remove(at))
        });
        pooled.unwrap_or_else(Window::new)
    }

    /// The descriptor of a page, or `None` if the page is not in the file.
    fn desc(&self, window: &mut Window, pfn: u64) -> Result<Option<Desc>, ReadError> {
        let number = pfn / PIECE_BITS;
        if !window.holds(number) {
            window.go_to(number, self.own(number)?);
        }
        let Some(rank) = window.rank(pfn % PIECE_BITS) else { return Ok(None) };
        let index = self.before.binary_search_by_key(&number, |piece| piece.0).unwrap_or(usize::MAX);
        let before = self.before.get(index).map_or(0, |piece| piece.1);
        let number = before.saturating_add(rank);
        let bytes = window.desc(self.file.as_ref(), self.desc_offset, number, self.dumped)?;
        Ok(Some(self.decode(bytes)))
    }

    /// Puts the descriptors of `pfns` into `planned`, up to a page that is not there; whether all are.
    fn plan(&self, window: &mut Window, pfns: Range<u64>, planned: &mut Vec<Desc>) -> Result<bool, ReadError> {
        for pfn in pfns {
            let Some(desc) = self.desc(window, pfn)?.filter(|desc| desc.offset != 0) else { return Ok(false) };
            if u64::from(desc.size) > self.page_size {
                let value = u64::from(desc.size);
                return Err(ReadError::Field { what: "size of a page", value, why: "larger than a page" });
            }
            planned.push(desc);
        }
        Ok(true)
    }

    /// Fills `page` with page `pfn`, the first of `planned`.
    fn page(&self, window: &mut Window, pfn: u64, planned: &[Desc], page: &mut [u8]) -> Result<(), ReadError> {
        let Some(desc) = planned.first().copied() else { return Ok(()) };
        if window.zeros == Some(desc) {
            page.fill(0);
            return Ok(());
        }
        let data = window.data.of_first(self.file.as_ref(), planned, window.zeros)?;
        if desc.flags != 0 {
            self.decompress(pfn, desc, data, page)?;
        } else if data.len() == page.len() {
            page.copy_from_slice(data);
        } else {
            let value = u64::from(desc.size);
            return Err(ReadError::Field { what: "size of a plain page", value, why: "not the page size" });
        }
        if is_zero(page) {
            window.zeros = Some(desc);
        }
        Ok(())
    }

    fn decompress(&self, pfn: u64, desc: Desc, data: &[u8], page: &mut [u8]) -> Result<(), ReadError> {
        let mut decoder = self.decoder(desc.flags)?;
        let result = decoder.decompress(data, page);
        if let Ok(mut pool) = self.decoders.lock() {
            pool.push((desc.flags, decoder));
        }
        result.map_err(|source| ReadError::Page { pfn, offset: desc.offset, size: desc.size, source })
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

    /// What is known of frame `pfn`, and for how many frames from it on, inside of its piece and up to `limit`, that holds.
    pub fn run(&self, pfn: u64, limit: u64) -> Result<(Presence, u64), ReadError> {
        let number = pfn / PIECE_BITS;
        let (memory, all) = (self.piece(self.bitmap1, number)?, self.piece(self.bitmap2, number)?);
        let own = self.own(number)?;
        let state = |bit: u64| match (has(&own, bit), has(&memory, bit), has(&all, bit)) {
            (true, ..) => Presence::Data,
            (false, true, false) if self.filtered => Presence::Excluded,
            _ => Presence::Absent,
        };
        let first = state(pfn % PIECE_BITS);
        let end = (pfn % PIECE_BITS).saturating_add(limit).min(PIECE_BITS);
        let same = (pfn % PIECE_BITS..end).take_while(|bit| state(*bit) == first).count() as u64;
        Ok((first, same))
    }

    pub fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        if buf.is_empty() {
            return Ok(true);
        }
        let mut window = self.window(addr.0 / self.page_size);
        let read = self.read_by(&mut window, addr, buf);
        if let Ok(mut pool) = self.windows.lock() {
            pool.push(window);
        }
        read
    }

    fn read_by(&self, window: &mut Window, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        let wanted = buf.len();
        let size = usize::try_from(self.page_size).unwrap_or(usize::MAX);
        let end = addr.0.saturating_add(wanted as u64).div_ceil(self.page_size);
        let mut planned = Vec::new();
        let all = self.plan(window, addr.0 / self.page_size..end, &mut planned);
        let mut part_of_page = Vec::new();
        let (mut at, mut rest, mut done) = (addr.0, buf, 0);
        let unreadable =
            |done, error: ReadError| MemoryError::Unreadable { addr, done, wanted, cause: io::Error::other(error) };
        for number in 0..planned.len() {
            let skip = usize::try_from(at % self.page_size).unwrap_or(0);
            let (now, later) = rest.split_at_mut(size.saturating_sub(skip).min(rest.len()));
            let whole = now.len() == size;
            part_of_page.resize(if whole { 0 } else { size }, 0);
            let page = if whole { &mut *now } else { part_of_page.as_mut_slice() };
            let pages = planned.get(number..).unwrap_or_default();
            self.page(window, at / self.page_size, pages, page).map_err(|error| unreadable(done, error))?;
            if !whole {
                let part = part_of_page.get(skip..).and_then(|part| part.get(..now.len())).unwrap_or_default();
                now.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            }
            done += now.len();
            at = at.saturating_add(now.len() as u64);
            rest = later;
        }
        all.map_err(|error| unreadable(done, error))
    }
}
