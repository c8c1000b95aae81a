//! The head of an ELF dump as QEMU writes it: headers, memory blocks and notes, read from the first bytes of a file that
//! is not there as a whole.
//!
//! Nothing is assumed about where the parts lie: QEMU 7.2 to 10.0 have section headers first, older ones program headers
//! first, with the one section header behind them where there are 65535 program headers or more (e_phnum PN_XNUM). All
//! of them write the memory last. Byte order and class are the guest's.

use guestdump_arch::{Endian, PhysAddr};
use guestdump_core::guest::Note;
use object::elf::{ET_CORE, FileHeader32, FileHeader64, PN_XNUM, PT_LOAD, PT_NOTE};
use object::endian::Endianness;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use thiserror::Error;

/// Longest head that is read, in bytes: a million program headers, or 512 vCPUs with the widest SVE registers, are less.
pub const MAX_HEAD_BYTES: u64 = 64 << 20;
/// Most notes that are kept: 8192 vCPUs of s390x have 81920.
const MAX_NOTES: usize = 1 << 17;

/// Why a head is none.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum HeadError {
    /// Not ELF, or a byte order, class or version that ELF does not have.
    #[error("not an ELF file: it starts with \"{0}\"")]
    NotElf(String),
    /// An ELF file of another kind.
    #[error("e_type is {0}, not ET_CORE")]
    NotCore(u16),
    /// A part ends beyond any reason.
    #[error("{part} ends at file offset {end:#x}, beyond {MAX_HEAD_BYTES:#x}")]
    TooFar {
        /// Which part.
        part: &'static str,
        /// Its end, 2^64 - 1 if that overflows.
        end: u64,
    },
    /// Numbers that contradict each other.
    #[error("{part}: {why}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// In the words of the ELF reader.
        why: String,
    },
    /// More notes than any guest has.
    #[error("more than {MAX_NOTES} notes, or {MAX_HEAD_BYTES} bytes of them")]
    TooManyNotes,
}

/// A block of guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// p_paddr.
    pub start: PhysAddr,
    /// p_memsz, in bytes.
    pub len_bytes: u64,
    /// p_offset.
    pub file_offset: u64,
    /// p_filesz, in bytes.
    pub file_bytes: u64,
}

/// What the head says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Byte order of the dump, which is the guest's.
    pub endian: Endian,
    /// e_machine.
    pub machine: u16,
    /// Blocks of memory, in file order; none is empty.
    pub loads: Vec<Load>,
    /// All notes, in file order.
    pub notes: Vec<Note>,
}

impl Head {
    /// The block whose bytes come first in the file.
    #[must_use]
    pub fn first_memory(&self) -> Option<Load> {
        self.loads.iter().filter(|load| load.file_bytes > 0).min_by_key(|load| load.file_offset).copied()
    }
}

/// How far the reading got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// So many bytes from the start of the file are needed to go on.
    More(usize),
    /// All there is.
    Whole(Head),
}

/// Reads the head from the first bytes of a dump.
///
/// # Errors
/// [`HeadError`] if these bytes are no head, however they go on.
pub fn parse(data: &[u8]) -> Result<Parsed, HeadError> {
    const EI_CLASS: usize = 4;
    match data.get(EI_CLASS) {
        None => Ok(Parsed::More(size_of::<FileHeader32<Endianness>>())),
        Some(2) => parse_as::<FileHeader64<Endianness>>(data),
        Some(_) => parse_as::<FileHeader32<Endianness>>(data),
    }
}

fn parse_as<Elf: FileHeader<Endian = Endianness>>(data: &[u8]) -> Result<Parsed, HeadError> {
    if data.len() < size_of::<Elf>() {
        return Ok(Parsed::More(size_of::<Elf>()));
    }
    let not_elf = |_| HeadError::NotElf(super::wire::excerpt(data.get(..16).unwrap_or(data)));
    let header = Elf::parse(data).map_err(not_elf)?;
    let endian = header.endian().map_err(not_elf)?;
    let e_type = header.e_type(endian);
    if e_type != ET_CORE {
        return Err(HeadError::NotCore(e_type.0));
    }
    let segments = match segments::<Elf>(header, endian, data)? {
        Ok(segments) => segments,
        Err(more) => return Ok(Parsed::More(more)),
    };
    let notes = match notes::<Elf>(segments, endian, data)? {
        Ok(notes) => notes,
        Err(more) => return Ok(Parsed::More(more)),
    };
    let loads = segments.iter().filter_map(|segment| load(segment, endian)).collect();
    let order = if endian == Endianness::Big { Endian::Big } else { Endian::Little };
    Ok(Parsed::Whole(Head { endian: order, machine: header.e_machine(endian).0, loads, notes }))
}

/// Something, or how many bytes are needed to have it.
type OrMore<T> = Result<T, usize>;

fn segments<'d, Elf: FileHeader<Endian = Endianness>>(
    header: &'d Elf,
    endian: Endianness,
    data: &'d [u8],
) -> Result<OrMore<&'d [Elf::ProgramHeader]>, HeadError> {
    if header.e_phnum(endian) == PN_XNUM {
        let size = size_of::<Elf::SectionHeader>() as u64;
        if let Some(more) = missing(data, "section header 0", header.e_shoff(endian).into(), size)? {
            return Ok(Err(more));
        }
    }
    let part = "program headers";
    let size = u64::from(phnum(header, endian, data)?) * size_of::<Elf::ProgramHeader>() as u64;
    if let Some(more) = missing(data, part, header.e_phoff(endian).into(), size)? {
        return Ok(Err(more));
    }
    Ok(Ok(header.program_headers(endian, data).map_err(malformed(part))?))
}

fn phnum<Elf: FileHeader<Endian = Endianness>>(
    header: &Elf,
    endian: Endianness,
    data: &[u8],
) -> Result<u32, HeadError> {
    if header.e_phnum(endian) != PN_XNUM {
        return Ok(header.e_phnum(endian).into());
    }
    let section = header.section_0(endian, data).map_err(malformed("section header 0"))?;
    let why = || "is PN_XNUM, and there is no section header".to_owned();
    section.map(|section| section.sh_info(endian)).ok_or_else(|| HeadError::Malformed { part: "e_phnum", why: why() })
}

fn load<Segment: ProgramHeader<Endian = Endianness>>(segment: &Segment, endian: Endianness) -> Option<Load> {
    let (file_offset, file_bytes) = segment.file_range(endian);
    let start = PhysAddr(segment.p_paddr(endian).into());
    let load = Load { start, len_bytes: segment.p_memsz(endian).into(), file_offset, file_bytes };
    (segment.p_type(endian) == PT_LOAD && load.len_bytes > 0).then_some(load)
}

fn notes<Elf: FileHeader<Endian = Endianness>>(
    segments: &[Elf::ProgramHeader],
    endian: Endianness,
    data: &[u8],
) -> Result<OrMore<Vec<Note>>, HeadError> {
    let of_notes = || segments.iter().filter(|segment| segment.p_type(endian) == PT_NOTE);
    let mut more = None;
    for segment in of_notes() {
        let (offset, size) = segment.file_range(endian);
        more = more.max(missing(data, "PT_NOTE", offset, size)?);
    }
    if let Some(more) = more {
        return Ok(Err(more));
    }
    let mut notes = Vec::new();
    let mut room = MAX_HEAD_BYTES;
    for segment in of_notes() {
        collect_notes::<Elf>(segment, endian, data, &mut notes, &mut room)?;
    }
    Ok(Ok(notes))
}

fn collect_notes<Elf: FileHeader<Endian = Endianness>>(
    segment: &Elf::ProgramHeader,
    endian: Endianness,
    data: &[u8],
    notes: &mut Vec<Note>,
    room: &mut u64,
) -> Result<(), HeadError> {
    let Some(mut found) = segment.notes(endian, data).map_err(malformed("notes"))? else { return Ok(()) };
    while let Some(note) = found.next().map_err(malformed("notes"))? {
        // QEMU reserves room for the widest SVE note of each vCPU; what a narrower one leaves is zero.
        if note.n_namesz(endian) == 0 && note.n_descsz(endian) == 0 {
            continue;
        }
        let size = u64::from(note.n_namesz(endian)) + u64::from(note.n_descsz(endian));
        // Segments may overlap, so that what they hold is no bound for what is kept.
        *room = room.checked_sub(size).filter(|_| notes.len() < MAX_NOTES).ok_or(HeadError::TooManyNotes)?;
        notes.push(Note { name: note.name().to_vec(), n_type: note.n_type(endian).0, desc: note.desc().to_vec() });
    }
    Ok(())
}

/// How many bytes are needed for a part, if they are not there.
fn missing(data: &[u8], part: &'static str, offset: u64, len: u64) -> Result<Option<usize>, HeadError> {
    let end = offset.saturating_add(len);
    if end > MAX_HEAD_BYTES {
        return Err(HeadError::TooFar { part, end });
    }
    let end = usize::try_from(end).map_err(|_| HeadError::TooFar { part, end })?;
    Ok((data.len() < end).then_some(end))
}

fn malformed(part: &'static str) -> impl Fn(object::read::Error) -> HeadError {
    move |error| HeadError::Malformed { part, why: error.to_string() }
}
