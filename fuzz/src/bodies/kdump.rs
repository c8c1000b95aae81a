//! kdump-compressed files: as bytes, and put together from fields so that every byte of the input counts.

use guestdump_core::arch::abi::{CField, CStruct, CType};
use guestdump_core::arch::{CAbi, Endian};
use guestdump_core::compress;
use guestdump_core::format::kdump::layout::{DESC_LEN, HEADER, SIGNATURE, SUB_HEADER};

use super::dumps::explore;
use super::feed::{Feed, expand};

/// The layouts that such files are known in: `word`, `u64_align`.
const ABIS: [(u8, u8); 3] = [(8, 8), (4, 4), (4, 8)];
/// Names that say something about the layout, or nothing.
const MACHINES: [&str; 6] = ["x86_64", "i686", "armv7l", "ppc", "s390x", ""];
/// Flags of page descriptors that an input can name by number: those of all codecs, and wrong ones.
pub const FLAGS: [u32; 7] = [0, 1, 2, 4, 0x20, 3, 0x40];

/// Files with the right signature; runs of zeros are short.
pub fn kdump_read(data: &[u8]) {
    let mut file = expand(data);
    let len = file.len().min(SIGNATURE.len());
    file[..len].copy_from_slice(&SIGNATURE[..len]);
    explore(file);
}

/// Files in which everything is where the headers say, but for what the input changes.
pub fn kdump_fields(data: &[u8]) {
    explore(build(data));
}

/// A file under construction.
struct File {
    bytes: Vec<u8>,
    endian: Endian,
    block: usize,
    header: CStruct,
    sub_header: CStruct,
}

/// The file that an input stands for: layout and page size; notes; the two bitmaps; page descriptors; fields to change;
/// data of pages.
pub fn build(data: &[u8]) -> Vec<u8> {
    let feed = &mut Feed(data);
    let endian = feed.pick(&[Endian::Little, Endian::Big]);
    let (word, u64_align) = feed.pick(&ABIS);
    let abi = CAbi { word, u64_align, endian };
    let block = 4096 << (feed.u8() % 5);
    let (header, sub_header) = (abi.place(HEADER), abi.place(SUB_HEADER));
    let mut file = File { bytes: vec![0; 5 * block], endian, block, header, sub_header };
    file.defaults(feed.pick(&MACHINES));
    file.notes(feed);
    let max_mapnr = u64::from(feed.u8()) * 8;
    file.set("max_mapnr", max_mapnr);
    file.set("max_mapnr_64", max_mapnr);
    for bitmap in [3, 4] {
        let len = usize::from(feed.u8());
        file.put(bitmap * block, feed.bytes(len));
    }
    file.descriptors(feed);
    file.fields(feed);
    file.bytes.extend_from_slice(feed.0);
    file.bytes
}

impl File {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Sets a field of either header; nothing happens where there is no such integer.
    fn set(&mut self, name: &'static str, value: u64) {
        let (main, sub) = self.bytes.split_at_mut(self.block);
        let _ = self.header.put(main, name, value).or_else(|_| self.sub_header.put(sub, name, value));
    }

    fn defaults(&mut self, machine: &str) {
        self.put(0, SIGNATURE);
        for (name, text) in [("machine", machine), ("sysname", "Linux"), ("release", "6"), ("version", "#1")] {
            let field = self.header.field(name).expect("a field of the header");
            self.put(field.offset, text.as_bytes());
        }
        let block = self.block as u64;
        for (name, value) in [("header_version", 6), ("block_size", block), ("sub_hdr_size", 1), ("bitmap_blocks", 2)] {
            self.set(name, value);
        }
    }

    /// Notes behind the sub-header.
    fn notes(&mut self, feed: &mut Feed<'_>) {
        let len = usize::from(feed.u16()) % 2048;
        let notes = feed.bytes(len);
        let at = self.block + self.sub_header.size();
        self.put(at, notes);
        self.set("offset_note", at as u64);
        self.set("size_note", notes.len() as u64);
    }

    /// Descriptors whose offsets count from the end of the descriptors, but for a few.
    fn descriptors(&mut self, feed: &mut Feed<'_>) {
        let count = usize::from(feed.u8() % 64);
        let data = (self.bytes.len() + count * DESC_LEN as usize) as u64;
        for _ in 0..count {
            let kind = feed.u8();
            let flags = FLAGS[usize::from(kind & 7) % FLAGS.len()];
            let offset = if kind & 0x80 == 0 { data + u64::from(feed.u16()) } else { feed.u64() };
            let size = if kind & 0x40 == 0 { u32::from(feed.u16()) } else { self.block as u32 };
            let mut desc = [0; DESC_LEN as usize];
            self.endian.put(offset, &mut desc[..8]);
            self.endian.put(size.into(), &mut desc[8..12]);
            self.endian.put(flags.into(), &mut desc[12..16]);
            self.bytes.extend_from_slice(&desc);
        }
    }

    /// Fields with values that may be anything.
    fn fields(&mut self, feed: &mut Feed<'_>) {
        let is_integer = |field: &&CField| !matches!(field.1, CType::Chars(_));
        let names: Vec<&str> = HEADER.iter().chain(SUB_HEADER).filter(is_integer).map(|field| field.0).collect();
        for _ in 0..feed.u8() % 16 {
            let name = feed.pick(&names);
            let value = if feed.u8().is_multiple_of(2) { feed.scaled() } else { feed.u64() };
            self.set(name, value);
        }
    }
}

/// Whether every codec has a flag that descriptors here may have.
pub fn knows_all_flags() -> bool {
    compress::ALL.iter().all(|codec| FLAGS.contains(&codec.flag()))
}
