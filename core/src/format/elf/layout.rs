//! Where everything lies in an ELF core file.
//!
//! ELF header, program headers (PT_NOTE first, then PT_LOAD by address), one section header if there are 65535 program
//! headers or more (PN_XNUM, System V ABI), notes, memory. Program headers stand straight behind the ELF header, where
//! makedumpfile looks for them whatever `e_phoff` says; there are no other section headers.

use guestdump_arch::{Class, PhysRange};

use crate::plan::PlanError;
use crate::plan::excluded::without;
use crate::plan::notes::NoteArea;
use crate::plan::segments::{self, Load, Segment};

/// Sizes of the ELF header, a program header and a section header, in bytes (System V ABI).
#[must_use]
pub const fn header_sizes(class: Class) -> (u64, u64, u64) {
    match class {
        Class::Elf32 => (52, 32, 40),
        Class::Elf64 => (64, 56, 64),
    }
}

/// From this number of program headers on, `e_phnum` cannot say it.
pub const PN_XNUM: u64 = 0xffff;

/// No file is longer: offsets of files are signed (POSIX `off_t`).
const MAX_FILE: u64 = i64::MAX as u64;

/// The layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElfLayout {
    /// Class that all offsets fit in.
    pub class: Class,
    /// PT_LOAD segments. Several may show the same memory.
    pub segments: Vec<Segment>,
    /// The memory in the file, and at which offset: ascending, disjoint.
    pub data: Vec<(PhysRange, u64)>,
    /// Offset of the section header table; 0 without one.
    pub section_headers: u64,
    /// Offset of the note area.
    pub notes_offset: u64,
    /// Length of the note area.
    pub notes_len: u64,
    /// Length of the file.
    pub file_len: u64,
}

impl ElfLayout {
    /// Lays out a file with the memory of `ranges`, of which the `excluded` is left out (both ascending, disjoint), and
    /// segments for `loads`, which are parts of it.
    ///
    /// # Errors
    /// [`PlanError::TooLarge`] for more segments than `sh_info` can count.
    pub fn new(
        (ranges, excluded): (&[PhysRange], &[PhysRange]),
        notes: &NoteArea,
        class: Class,
        loads: &[Load],
    ) -> Result<Self, PlanError> {
        let stored: Vec<PhysRange> = ranges.iter().flat_map(|range| without(*range, excluded)).collect();
        let segments = segments::cut(loads, excluded);
        let layout = Self::of_class(&stored, notes, class, segments)?;
        match segments::class(class, &layout.segments) {
            same if same == class => Ok(layout),
            wider => Self::of_class(&stored, notes, wider, layout.segments),
        }
    }

    fn of_class(
        stored: &[PhysRange],
        notes: &NoteArea,
        class: Class,
        mut segments: Vec<Segment>,
    ) -> Result<Self, PlanError> {
        let (ehdr, phdr, shdr) = header_sizes(class);
        let count = segments.len() as u64 + 1;
        if count > u64::from(u32::MAX) {
            return Err(PlanError::TooLarge { what: "number of segments", value: count, limit: u64::from(u32::MAX) });
        }
        let headers_end = ehdr + count * phdr;
        let (section_headers, notes_offset) = if count >= PN_XNUM {
            let aligned = headers_end.next_multiple_of(8);
            (aligned, aligned + shdr)
        } else {
            (0, headers_end)
        };
        let notes_len = notes.bytes.len() as u64;
        let data = segments::data(stored, notes_offset + notes_len);
        let data_end = data.last().map(|(range, offset)| offset.saturating_add(range.len()));
        let file_len = data_end.unwrap_or(notes_offset + notes_len);
        if file_len > MAX_FILE {
            return Err(PlanError::TooLarge { what: "length of the file", value: file_len, limit: MAX_FILE });
        }
        segments::place(&mut segments, &data);
        Ok(Self { class, segments, data, section_headers, notes_offset, notes_len, file_len })
    }
}
