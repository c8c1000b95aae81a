//! The head of an ELF dump as QEMU writes it: headers, memory blocks and notes, read from the first bytes of a file that
//! is not there as a whole.
//!
//! Nothing is assumed about where the parts lie: QEMU 7.2 to 10.0 have section headers first, older ones program headers
//! first, with the one section header behind them where there are 65535 program headers or more (e_phnum PN_XNUM). All
//! of them write the memory last. Byte order and class are the guest's.

use std::collections::BTreeMap;

use guestdump_arch::{Endian, PhysAddr};
use guestdump_core::guest::Note;
use object::elf::{ET_CORE, FileHeader32, FileHeader64, PN_XNUM, PT_LOAD, PT_NOTE};
use object::endian::Endianness;
use object::read::ReadRef as _;
use object::read::elf::{FileHeader, NoteHeader as _, ProgramHeader, SectionHeader};
use thiserror::Error;

/// Longest head that is read, in bytes: a million program headers, or 512 vCPUs with the widest SVE registers, are less.
pub const MAX_HEAD_BYTES: u64 = 64 << 20;
/// Most notes that are kept: 8192 vCPUs of s390x have 81920.
const MAX_NOTES: usize = 1 << 17;
/// Names and descriptors are padded to this, in bytes, in both classes.
const NOTE_ALIGN: u64 = 4;

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
    #[error("{part}: end at file offset {end:#x} is beyond {MAX_HEAD_BYTES:#x}")]
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
    /// Where its bytes are: p_offset, moved by as much as the notes before it end elsewhere than PT_NOTE does.
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
    let loads = segments.iter().filter_map(|segment| load(segment, endian)).collect();
    let order = if endian == Endianness::Big { Endian::Big } else { Endian::Little };
    let mut head = Head { endian: order, machine: header.e_machine(endian).0, loads, notes: Vec::new() };
    Ok(match add_notes::<Elf>(&mut head, segments, endian, data)? {
        Ok(()) => Parsed::Whole(head),
        Err(more) => Parsed::More(more),
    })
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

/// Adds the notes to `head`, and puts the memory behind them where it is.
fn add_notes<Elf: FileHeader<Endian = Endianness>>(
    head: &mut Head,
    segments: &[Elf::ProgramHeader],
    endian: Endianness,
    data: &[u8],
) -> Result<OrMore<()>, HeadError> {
    let mut room = MAX_HEAD_BYTES;
    for segment in segments.iter().filter(|segment| segment.p_type(endian) == PT_NOTE) {
        let (offset, size) = segment.file_range(endian);
        if let Some(more) = missing(data, "PT_NOTE", offset, size)? {
            return Ok(Err(more));
        }
        let (notes, end) = match walk_notes::<Elf>(offset, size, endian, data)? {
            Ok(walked) => walked,
            Err(more) => return Ok(Err(more)),
        };
        let said = offset.saturating_add(size);
        for load in head.loads.iter_mut().filter(|load| load.file_offset >= said) {
            load.file_offset = (load.file_offset - said).saturating_add(end);
        }
        // One without name and descriptor is padding.
        for note in notes.iter().filter(|note| !note.name.is_empty() || !note.desc.is_empty()) {
            // Segments may overlap, so that what they hold is no bound for what is kept.
            let size = (note.name.len() + note.desc.len()) as u64;
            room = room.checked_sub(size).filter(|_| head.notes.len() < MAX_NOTES).ok_or(HeadError::TooManyNotes)?;
            let name = note.name.strip_suffix(&[0]).unwrap_or(note.name).to_vec();
            head.notes.push(Note { name, n_type: note.n_type, desc: note.desc.to_vec() });
        }
    }
    Ok(Ok(()))
}

/// A note where it lies in the file.
struct RawNote<'d> {
    /// With its NUL.
    name: &'d [u8],
    n_type: u32,
    desc: &'d [u8],
    /// With header and padding, in bytes.
    size: u64,
}

/// Sizes of notes by name and type: of the first one of each kind.
type Sizes<'d> = BTreeMap<(&'d [u8], u32), u64>;

/// The notes from `offset` on, and the file offset of their end, which may lie before or behind that of PT_NOTE.
///
/// QEMU has room for as many bytes per vCPU as the first one's notes take, but writes what each one's take, and memory
/// right behind: with vCPUs of different vector lengths, PT_NOTE is too short or too long. Observed with 10.0.2. So each
/// note is counted with the size of the first of its kind, until they are as many bytes as PT_NOTE has.
fn walk_notes<Elf: FileHeader<Endian = Endianness>>(
    offset: u64,
    size: u64,
    endian: Endianness,
    data: &[u8],
) -> Result<OrMore<(Vec<RawNote<'_>>, u64)>, HeadError> {
    let (mut notes, mut first) = (Vec::new(), Sizes::new());
    let (mut end, mut left) = (offset, size);
    while left > 0 {
        let note = match raw_note::<Elf>(end, left, &first, endian, data)? {
            Ok(note) => note,
            Err(more) => return Ok(Err(more)),
        };
        let counted = *first.entry((note.name, note.n_type)).or_insert(note.size);
        // The last may lack its padding.
        let padding = counted.saturating_sub(left);
        if padding >= NOTE_ALIGN {
            return Err(too_long(end, counted, left));
        }
        end = end.saturating_add(note.size).saturating_sub(padding);
        left = left.saturating_sub(counted);
        notes.push(note);
        if notes.len() > MAX_NOTES {
            return Err(HeadError::TooManyNotes);
        }
    }
    Ok(Ok((notes, end)))
}

/// The note at `at`. Its name fits into what is left of PT_NOTE, and if it is the first of its kind, all of it does.
fn raw_note<'d, Elf: FileHeader<Endian = Endianness>>(
    at: u64,
    left: u64,
    first: &Sizes<'d>,
    endian: Endianness,
    data: &'d [u8],
) -> Result<OrMore<RawNote<'d>>, HeadError> {
    const PART: &str = "notes";
    let header_bytes = size_of::<Elf::NoteHeader>() as u64;
    if let Some(more) = missing(data, PART, at, header_bytes)? {
        return Ok(Err(more));
    }
    let unread = |()| HeadError::Malformed { part: PART, why: format!("no note at file offset {at:#x}") };
    let header = data.read_at::<Elf::NoteHeader>(at).map_err(unread)?;
    let (namesz, descsz) = (u64::from(header.n_namesz(endian)), u64::from(header.n_descsz(endian)));
    let to_desc = header_bytes + namesz.next_multiple_of(NOTE_ALIGN);
    if header_bytes + namesz > left {
        return Err(too_long(at, header_bytes + namesz, left));
    }
    if let Some(more) = missing(data, PART, at, header_bytes + namesz)? {
        return Ok(Err(more));
    }
    let name = data.read_bytes_at(at.saturating_add(header_bytes), namesz).map_err(unread)?;
    let n_type = header.n_type(endian).0;
    if !first.contains_key(&(name, n_type)) && to_desc.saturating_add(descsz) > left.next_multiple_of(NOTE_ALIGN) {
        return Err(too_long(at, to_desc.saturating_add(descsz), left));
    }
    if let Some(more) = missing(data, PART, at, to_desc.saturating_add(descsz))? {
        return Ok(Err(more));
    }
    let desc = data.read_bytes_at(at.saturating_add(to_desc), descsz).map_err(unread)?;
    Ok(Ok(RawNote { name, n_type, desc, size: to_desc + descsz.next_multiple_of(NOTE_ALIGN) }))
}

fn too_long(at: u64, size: u64, left: u64) -> HeadError {
    let why = format!("at least {size} bytes at file offset {at:#x}, where PT_NOTE has {left} left");
    HeadError::Malformed { part: "notes", why }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A dump's head with everything at odd places, written by field and not by struct.
    struct Layout {
        endian: Endian,
        wide: bool,
        phoff: usize,
        phnum: u64,
        /// Where section header 0 is, whose sh_info then holds the number of program headers.
        shoff: Option<usize>,
        notes_at: usize,
    }

    const NOTES: [(&[u8], u32, &[u8]); 3] = [(b"CORE\0", 1, &[7; 10]), (b"", 0, &[]), (b"VMCOREINFO\0", 0, b"A=1\n")];

    impl Layout {
        fn build(&self) -> Vec<u8> {
            let (mut file, order) = (vec![0_u8; self.notes_at], self.endian);
            let mut put = |at: usize, size: usize, value: u64| order.put(value, &mut file[at..at + size]);
            let word = if self.wide { 8 } else { 4 };
            let (ph, sh) = if self.wide { (56, 64) } else { (32, 40) };
            for (at, byte) in b"\x7fELF".iter().enumerate() {
                put(at, 1, u64::from(*byte));
            }
            put(4, 1, if self.wide { 2 } else { 1 });
            put(5, 1, if order == Endian::Big { 2 } else { 1 });
            put(6, 1, 1);
            put(16, 2, 4);
            put(18, 2, 22);
            put(20, 4, 1);
            put(24 + word, word, self.phoff as u64);
            put(24 + 2 * word, word, self.shoff.unwrap_or(0) as u64);
            let tail = 24 + 3 * word + 4;
            for (i, value) in [8, ph, self.phnum.min(0xffff), sh, 1].into_iter().enumerate() {
                put(tail + 2 * i, 2, value);
            }
            let (offset, paddr, filesz) = (if self.wide { 8 } else { 4 }, if self.wide { 24 } else { 12 }, 4 * word);
            let notes = self.notes();
            for i in 0..self.phnum {
                let at = self.phoff + usize::try_from(i * ph).unwrap();
                let (kind, start, len) = if i == 0 { (4, 0, notes.len() as u64) } else { (1, i << 12, 0x1000) };
                put(at, 4, kind);
                put(at + offset, word, self.notes_at as u64 + if i == 0 { 0 } else { notes.len() as u64 + (i << 12) });
                put(at + paddr, word, start);
                put(at + filesz, word, len);
                put(at + filesz + word, word, len);
            }
            if let Some(at) = self.shoff {
                put(at + if self.wide { 44 } else { 28 }, 4, self.phnum);
            }
            file.extend(notes);
            file
        }

        fn notes(&self) -> Vec<u8> {
            let mut area = Vec::new();
            for (name, n_type, desc) in NOTES {
                for value in [name.len() as u64, desc.len() as u64, u64::from(n_type)] {
                    let mut word = [0; 4];
                    self.endian.put(value, &mut word);
                    area.extend(word);
                }
                for part in [name, desc] {
                    area.extend(part);
                    area.resize(area.len().next_multiple_of(4), 0);
                }
            }
            area
        }
    }

    /// As QEMU 10 writes it, as QEMU 2 did, and with more program headers than e_phnum holds.
    fn layouts() -> [Layout; 4] {
        let big = Endian::Big;
        let new = Layout { endian: big, wide: true, phoff: 192, phnum: 3, shoff: None, notes_at: 192 + 3 * 56 };
        let old = Layout { endian: Endian::Little, wide: false, phoff: 52, phnum: 2, shoff: None, notes_at: 52 + 64 };
        let (phnum, end) = (70_001, 192 + 70_001 * 56);
        let many = Layout { endian: Endian::Little, wide: true, phoff: 192, phnum, shoff: Some(64), notes_at: end };
        let (notes_at, shoff) = (52 + 65_535 * 32 + 40, Some(52 + 65_535 * 32));
        let old_many = Layout { endian: big, wide: false, phoff: 52, phnum: 65_535, shoff, notes_at };
        [new, old, many, old_many]
    }

    #[test]
    fn heads_of_every_layout_are_read() {
        for layout in layouts() {
            let file = layout.build();
            let Parsed::Whole(head) = parse(&file).unwrap() else { panic!("{} bytes are not enough", file.len()) };
            assert_eq!((head.endian, head.machine), (layout.endian, 22));
            assert_eq!(head.loads.len() as u64, layout.phnum - 1);
            let first = head.first_memory().unwrap();
            assert_eq!((first.start, first.len_bytes), (PhysAddr(0x1000), 0x1000));
            let notes: Vec<_> = head.notes.iter().map(|note| (&note.name[..], note.n_type, &note.desc[..])).collect();
            assert_eq!(notes, [(&b"CORE"[..], 1, &[7; 10][..]), (b"VMCOREINFO", 0, b"A=1\n")]);
        }
    }

    #[test]
    fn each_step_asks_for_more_than_there_is() {
        for layout in layouts() {
            let file = layout.build();
            let mut have = 0;
            let steps = (1..)
                .find(|_| match parse(&file[..have]).unwrap() {
                    Parsed::More(wanted) => {
                        assert!(wanted > have && wanted <= file.len(), "{have} -> {wanted}");
                        have = wanted;
                        false
                    }
                    Parsed::Whole(_) => true,
                })
                .unwrap();
            assert!(steps <= 6, "{steps}");
        }
    }

    /// A head of two vCPUs whose second note is of another size, as QEMU 10.0.2 writes it: PT_NOTE has twice the first one's
    /// size, the notes their own, and memory, which looks like one more vCPU, is right behind.
    fn of_two_sizes(sizes: [u8; 2]) -> (Vec<u8>, usize) {
        let note = |size: u8| {
            let head = [[6, 0, 0, 0], [size, 0, 0, 0], [5, 4, 0, 0]];
            let name: [&[u8]; 3] = [b"LINUX\0\0\0", &vec![size; size.into()], b""];
            [head.concat(), name.concat()].concat()
        };
        let layout =
            Layout { endian: Endian::Little, wide: true, phoff: 64, phnum: 2, shoff: None, notes_at: 64 + 112 };
        let mut file = layout.build();
        file.truncate(layout.notes_at);
        let said = 2 * note(sizes[0]).len() as u64;
        for at in [64 + 32, 64 + 40] {
            file[at..at + 8].copy_from_slice(&said.to_le_bytes());
        }
        file[64 + 56 + 8..][..8].copy_from_slice(&(layout.notes_at as u64 + said).to_le_bytes());
        sizes.iter().for_each(|size| file.extend(note(*size)));
        let memory_at = file.len();
        file.extend(note(8).repeat(100));
        (file, memory_at)
    }

    #[test]
    fn notes_end_where_the_last_vcpu_does_whatever_pt_note_says() {
        for sizes in [[16, 64], [64, 16], [16, 16]] {
            let (file, memory_at) = of_two_sizes(sizes);
            let Parsed::Whole(head) = parse(&file).unwrap() else { panic!("{} bytes are not enough", file.len()) };
            let descs: Vec<_> = head.notes.iter().map(|note| note.desc.clone()).collect();
            assert_eq!(descs, sizes.map(|size| vec![size; size.into()]));
            assert_eq!(head.first_memory().unwrap().file_offset, memory_at as u64);
            for cut in 0..memory_at {
                let Ok(Parsed::More(wanted)) = parse(&file[..cut]) else { panic!("{cut} of {memory_at} are a head") };
                assert!(wanted > cut && wanted <= file.len(), "{cut} -> {wanted}");
            }
        }
    }

    #[test]
    fn what_is_no_head_is_named() {
        let error = |file: &[u8]| parse(file).unwrap_err().to_string();
        assert_eq!(error(&[b'x'; 52]), "not an ELF file: it starts with \"xxxxxxxxxxxxxxxx\"");
        let mut file = layouts()[0].build();
        file[17] = 2;
        assert_eq!(error(&file), "e_type is 2, not ET_CORE");
        let mut file = layouts()[0].build();
        file[33] = 1;
        assert_eq!(error(&file), "program headers: end at file offset 0x1000000000168 is beyond 0x4000000");
        let mut file = layouts()[2].build();
        file[40..48].fill(0);
        assert_eq!(error(&file), "e_phnum: is PN_XNUM, and there is no section header");
        let mut file = layouts()[0].build();
        let at = layouts()[0].notes_at;
        file[at] = 1;
        let why = "at least 16777233 bytes at file offset 0x168, where PT_NOTE has 72 left";
        assert_eq!(error(&file), format!("notes: {why}"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(which in 0_usize..2, cut in 0_usize..500, edits in proptest::collection::vec((0_usize..500, any::<u8>()), 0..8)) {
            let mut file = layouts()[which].build();
            file.truncate(cut);
            for (at, byte) in edits {
                if let Some(place) = file.get_mut(at) {
                    *place = byte;
                }
            }
            if let Ok(Parsed::More(wanted)) = parse(&file) {
                prop_assert!(wanted > file.len());
            }
        }
    }
}
