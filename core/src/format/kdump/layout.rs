//! The structs of a kdump-compressed file, and where everything lies in it.
//!
//! Each struct is declared once, in C's terms; the guest's ABI places it (32-bit x86, 32-bit ARM and 64-bit guests have
//! three different sub-headers). Names and order of members: the format as makedumpfile 1.7.2 and QEMU 10.0.2 write it,
//! header version 6, checked against gcc's `offsetof` and against files of both.

use guestdump_arch::abi::{CField, CType};
use guestdump_arch::{DumpInfo, PhysRange};

use crate::plan::PlanError;
use crate::plan::notes::NoteArea;
use crate::plan::pages::{self, PfnRun};

/// First bytes of the file.
pub const SIGNATURE: &[u8; 8] = b"KDUMP   ";
/// The version that has all fields; everybody has written it since 2013.
pub const VERSION: u64 = 6;
/// Bit of `status`: the dump is not finished.
pub const STATUS_INCOMPLETE: u64 = 8;
/// Bytes of a page descriptor: `u64 offset, u32 size, u32 flags, u64 page_flags`.
pub const DESC_LEN: u64 = 24;

/// `struct disk_dump_header`.
pub const HEADER: &[CField] = &[
    ("signature", CType::Chars(8)),
    ("header_version", CType::Int),
    ("sysname", CType::Chars(65)),
    ("nodename", CType::Chars(65)),
    ("release", CType::Chars(65)),
    ("version", CType::Chars(65)),
    ("machine", CType::Chars(65)),
    ("domainname", CType::Chars(65)),
    ("tv_sec", CType::Long),
    ("tv_usec", CType::Long),
    ("status", CType::Int),
    ("block_size", CType::Int),
    ("sub_hdr_size", CType::Int),
    ("bitmap_blocks", CType::Int),
    ("max_mapnr", CType::Int),
    ("total_ram_blocks", CType::Int),
    ("device_blocks", CType::Int),
    ("written_blocks", CType::Int),
    ("current_cpu", CType::Int),
    ("nr_cpus", CType::Int),
];

/// `struct kdump_sub_header`.
pub const SUB_HEADER: &[CField] = &[
    ("phys_base", CType::Long),
    ("dump_level", CType::Int),
    ("split", CType::Int),
    ("start_pfn", CType::Long),
    ("end_pfn", CType::Long),
    ("offset_vmcoreinfo", CType::U64),
    ("size_vmcoreinfo", CType::Long),
    ("offset_note", CType::U64),
    ("size_note", CType::Long),
    ("offset_eraseinfo", CType::U64),
    ("size_eraseinfo", CType::Long),
    ("start_pfn_64", CType::U64),
    ("end_pfn_64", CType::U64),
    ("max_mapnr_64", CType::U64),
];

/// The layout: all of it but how long the page data is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KdumpLayout {
    /// `block_size`: bytes of a page, and the unit of the header's parts.
    pub page_size: u32,
    /// Page frames of memory: those with a bit in the first bitmap.
    pub memory: Vec<PfnRun>,
    /// Page frames in the dump: those with a bit in the second one.
    pub runs: Vec<PfnRun>,
    /// Number of frames in `runs`: descriptors in the file.
    pub pages: u64,
    /// One past the last frame of memory.
    pub max_mapnr: u64,
    /// Blocks of the sub-header with the notes.
    pub sub_hdr_size: u64,
    /// Offset of the notes.
    pub notes_offset: u64,
    /// Offset of the first bitmap.
    pub bitmap_offset: u64,
    /// Bytes of each of the two bitmaps.
    pub bitmap_len: u64,
    /// Offset of the page descriptors.
    pub desc_offset: u64,
    /// Offset of the page data.
    pub data_offset: u64,
}

impl KdumpLayout {
    /// Lays a file out for memory, of which some ranges are stored.
    ///
    /// # Errors
    /// [`PlanError::TooLarge`] if the header cannot count its blocks.
    pub fn new(
        (ranges, stored): (&[PhysRange], &[PhysRange]),
        notes: &NoteArea,
        info: &DumpInfo,
    ) -> Result<Self, PlanError> {
        let block = u64::from(info.page_size);
        let memory = pages::runs(ranges, info.page_size);
        let runs = pages::runs(stored, info.page_size);
        let pages = pages::count(&runs);
        let max_mapnr = memory.last().map_or(0, |run| run.end().0);
        let sub_header = info.abi.place(SUB_HEADER).size() as u64;
        let sub_hdr_size = (sub_header + notes.bytes.len() as u64).div_ceil(block);
        let bitmap_len = max_mapnr.div_ceil(8).next_multiple_of(block);
        let blocks = 2 * (bitmap_len / block);
        if blocks > i32::MAX as u64 {
            return Err(PlanError::TooLarge { what: "bitmap_blocks", value: blocks, limit: i32::MAX as u64 });
        }
        let bitmap_offset = (1 + sub_hdr_size) * block;
        let desc_offset = bitmap_offset + 2 * bitmap_len;
        let data_offset = desc_offset.saturating_add(pages.saturating_mul(DESC_LEN));
        let notes_offset = block + sub_header;
        let page_size = info.page_size;
        Ok(Self {
            page_size,
            memory,
            runs,
            pages,
            max_mapnr,
            sub_hdr_size,
            notes_offset,
            bitmap_offset,
            bitmap_len,
            desc_offset,
            data_offset,
        })
    }

    /// Length of the file if no page shrinks and none is zero.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.data_offset.saturating_add(self.pages.saturating_add(1).saturating_mul(u64::from(self.page_size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestdump_arch::{CAbi, Endian};

    fn placed(word: u8, u64_align: u8, fields: &[CField]) -> (Vec<usize>, usize) {
        let placed = CAbi { word, u64_align, endian: Endian::Little }.place(fields);
        (placed.fields().iter().map(|field| field.offset).collect(), placed.size())
    }

    // The numbers are offsets seen in files of QEMU 10.0.2 and makedumpfile 1.7.2, and gcc's offsetof.
    #[test]
    fn headers_have_the_known_offsets() {
        let (main, size) = placed(8, 8, HEADER);
        let known = [0, 8, 12, 77, 142, 207, 272, 337, 408, 416, 424, 428, 432, 436, 440, 444, 448, 452, 456, 460];
        assert_eq!((main.as_slice(), size), (&known[..], 464));
        let (main, size) = placed(4, 4, HEADER);
        let known = [0, 8, 12, 77, 142, 207, 272, 337, 404, 408, 412, 416, 420, 424, 428, 432, 436, 440, 444, 448];
        assert_eq!((main.as_slice(), size), (&known[..], 452));
    }

    #[test]
    fn sub_headers_have_the_known_offsets() {
        let sub = |word, align| placed(word, align, SUB_HEADER);
        assert_eq!(sub(8, 8), (vec![0, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96], 104));
        assert_eq!(sub(4, 4), (vec![0, 4, 8, 12, 16, 20, 28, 32, 40, 44, 52, 56, 64, 72], 80));
        assert_eq!(sub(4, 8), (vec![0, 4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88], 96));
    }
}
