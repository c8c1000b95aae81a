//! Reading ELF core files: QEMU's of every version, makedumpfile's, ours. Everything is found through `e_phoff` and
//! `e_shoff`; `e_ehsize` is not believed (QEMU 7.2 to 10.0 store 8).

use std::sync::Arc;

use guestdump_arch::{Class, Endian, PhysAddr, PhysRange};
use object::Endianness;
use object::elf::{self as raw, FileHeader32, FileHeader64, ProgramHeader32, ProgramHeader64};
use object::pod::{Pod, from_bytes, slice_from_bytes};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use crate::block::{Backing, BlockMemory};
use crate::format::read::{Dump, FilePart, arch_of_notes, split_notes, take_vmcoreinfo};
use crate::format::{Container, DumpFile, ReadError, read_part};

/// More segments than this are not read: a paging dump of a 4 TiB guest in 2 MiB pages has as many.
const MAX_SEGMENTS: usize = 1 << 22;

/// More notes than this are not read: those of 4096 vCPUs with all their vector registers fit.
const MAX_NOTE_BYTES: u64 = 64 << 20;

/// A program header of either class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// `p_type`.
    pub kind: u32,
    /// `p_offset`.
    pub offset: u64,
    /// `p_vaddr`.
    pub virt: u64,
    /// `p_paddr`.
    pub phys: u64,
    /// `p_filesz`.
    pub file_len: u64,
    /// `p_memsz`.
    pub mem_len: u64,
}

/// What the headers say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Headers {
    /// Class.
    pub class: Class,
    /// Byte order.
    pub endian: Endian,
    /// `e_machine`.
    pub machine: u16,
    /// `e_type`.
    pub kind: u16,
    /// `e_flags`.
    pub flags: u32,
    /// `e_phoff`.
    pub phoff: u64,
    /// All program headers, in order.
    pub segments: Vec<Segment>,
}

/// Reads the headers of an ELF file.
///
/// # Errors
/// [`ReadError`] for what is no ELF file, or whose tables lie outside of it.
pub fn headers(file: &dyn DumpFile) -> Result<Headers, ReadError> {
    let ident = read_part(file, "ELF identification", 0, 16)?;
    match ident.get(4) {
        Some(1) => of_class::<FileHeader32<Endianness>, ProgramHeader32<Endianness>>(file, Class::Elf32),
        Some(2) => of_class::<FileHeader64<Endianness>, ProgramHeader64<Endianness>>(file, Class::Elf64),
        class => {
            let value = class.map_or(0, |class| u64::from(*class));
            Err(ReadError::Field { what: "ELF class", value, why: "neither ELFCLASS32 nor ELFCLASS64" })
        }
    }
}

fn of_class<H, P>(file: &dyn DumpFile, class: Class) -> Result<Headers, ReadError>
where
    H: FileHeader<Endian = Endianness, ProgramHeader = P> + Pod,
    P: ProgramHeader<Endian = Endianness> + Pod,
{
    let bytes = read_part(file, "ELF header", 0, size_of::<H>() as u64)?;
    let bad = |what, value, why| ReadError::Field { what, value, why };
    let (header, _) = from_bytes::<H>(&bytes).map_err(|()| bad("ELF header", 0, "cut"))?;
    let order = header.endian().map_err(|_| bad("ELF byte order", 0, "neither ELFDATA2LSB nor ELFDATA2MSB"))?;
    let endian = if order == Endianness::Little { Endian::Little } else { Endian::Big };
    let entry = u64::from(header.e_phentsize(order));
    if entry != size_of::<P>() as u64 {
        return Err(bad("e_phentsize", entry, "not the size of a program header"));
    }
    let count = count::<H>(file, header, order)?;
    if count > MAX_SEGMENTS as u64 {
        return Err(ReadError::TooMany { what: "program headers", limit: MAX_SEGMENTS });
    }
    let phoff: u64 = header.e_phoff(order).into();
    let table = read_part(file, "program headers", phoff, count.saturating_mul(entry))?;
    let count = usize::try_from(count).unwrap_or(0);
    let (list, _) = slice_from_bytes::<P>(&table, count).map_err(|()| bad("program headers", 0, "cut"))?;
    Ok(Headers {
        class,
        endian,
        machine: header.e_machine(order).0,
        kind: header.e_type(order).0,
        flags: header.e_flags(order).0,
        phoff,
        segments: list.iter().map(|header| segment(header, order)).collect(),
    })
}

fn segment<P: ProgramHeader<Endian = Endianness>>(header: &P, order: Endianness) -> Segment {
    Segment {
        kind: header.p_type(order).0,
        offset: header.p_offset(order).into(),
        virt: header.p_vaddr(order).into(),
        phys: header.p_paddr(order).into(),
        file_len: header.p_filesz(order).into(),
        mem_len: header.p_memsz(order).into(),
    }
}

/// Number of program headers; PN_XNUM means that section header 0 says it.
fn count<H: FileHeader<Endian = Endianness>>(
    file: &dyn DumpFile,
    header: &H,
    order: Endianness,
) -> Result<u64, ReadError> {
    let count = header.e_phnum(order);
    if count != raw::PN_XNUM {
        return Ok(u64::from(count));
    }
    let offset: u64 = header.e_shoff(order).into();
    let len = size_of::<H::SectionHeader>() as u64;
    let bytes = read_part(file, "section header 0, which counts the program headers,", offset, len)?;
    let cut = |()| ReadError::Field { what: "section header 0", value: offset, why: "cut" };
    let (section, _) = from_bytes::<H::SectionHeader>(&bytes).map_err(cut)?;
    Ok(u64::from(section.sh_info(order)))
}

/// Opens an ELF core file.
///
/// # Errors
/// [`ReadError`].
pub fn open(file: Arc<dyn DumpFile>) -> Result<Dump, ReadError> {
    let headers = headers(file.as_ref())?;
    if headers.kind != raw::ET_CORE.0 {
        return Err(ReadError::Field { what: "e_type", value: u64::from(headers.kind), why: "not ET_CORE" });
    }
    let mut warnings = Vec::new();
    let mut notes = Vec::new();
    let mut note_bytes = 0_u64;
    for part in headers.segments.iter().filter(|segment| segment.kind == raw::PT_NOTE.0) {
        // Many segments may name the same bytes: what counts is what would be held.
        note_bytes = note_bytes.saturating_add(part.file_len);
        let most = MAX_NOTE_BYTES.min(file.len());
        if note_bytes > most {
            let limit = usize::try_from(most).unwrap_or(usize::MAX);
            return Err(ReadError::TooMany { what: "bytes of notes", limit });
        }
        let bytes = read_part(file.as_ref(), "notes", part.offset, part.file_len)?;
        let (list, whole) = split_notes(&bytes, headers.endian);
        notes.extend(list);
        if !whole {
            warnings.push(format!("the note area at {:#x} ends inside a note", part.offset));
        }
    }
    if headers.flags & super::write::INCOMPLETE != 0 {
        warnings.push("e_flags says that the dump is not finished".to_owned());
    }
    let (ranges, memory) = memory(&file, &headers, &mut warnings);
    let arch = crate::arch::by_elf_machine(headers.machine);
    let vmcoreinfo = take_vmcoreinfo(&mut notes);
    let arch = arch.or_else(|| arch_of_notes(&notes, headers.endian));
    Ok(Dump {
        container: Container::Elf,
        flattened: false,
        endian: headers.endian,
        class: headers.class,
        arch,
        ranges,
        memory: Arc::new(memory),
        notes,
        vmcoreinfo,
        page_size: None,
        fields: fields(&headers),
        stored: Vec::new(),
        warnings,
    })
}

fn fields(headers: &Headers) -> Vec<(&'static str, String)> {
    let loads = headers.segments.iter().filter(|segment| segment.kind == raw::PT_LOAD.0);
    vec![
        ("e_machine", headers.machine.to_string()),
        ("e_phoff", format!("{:#x}", headers.phoff)),
        ("e_flags", format!("{:#x}", headers.flags)),
        ("PT_LOAD segments", loads.count().to_string()),
    ]
}

/// Physical memory of the PT_LOADs. Several may show the same bytes (a paging dump): the first one that has them counts.
fn memory(file: &Arc<dyn DumpFile>, headers: &Headers, warnings: &mut Vec<String>) -> (Vec<PhysRange>, BlockMemory) {
    let mut loads: Vec<&Segment> =
        headers.segments.iter().filter(|part| part.kind == raw::PT_LOAD.0 && part.mem_len > 0).collect();
    loads.sort_by_key(|load| (load.phys, u64::MAX - load.file_len));
    let mut ranges: Vec<PhysRange> = Vec::new();
    let mut blocks: Vec<(PhysRange, Box<dyn Backing>)> = Vec::new();
    let (mut end, mut cut) = (0_u64, 0_u64);
    for load in loads {
        let Some(range) = PhysRange::new(PhysAddr(load.phys), load.mem_len) else { continue };
        let rest = PhysRange::between(PhysAddr(range.start().0.max(end)), range.end());
        // -1 is QEMU's "not in this file".
        let absent = load.offset == u64::MAX || (headers.class == Class::Elf32 && load.offset == u64::from(u32::MAX));
        if rest.is_empty() || (absent && load.file_len == 0) {
            continue;
        }
        let skipped = rest.start().0 - range.start().0;
        let stored = load.file_len.min(file.len().saturating_sub(load.offset));
        cut = cut.saturating_add(load.file_len - stored);
        let part = FilePart {
            file: Arc::clone(file),
            offset: load.offset.saturating_add(skipped),
            len: load.file_len.saturating_sub(skipped),
        };
        blocks.push((rest, Box::new(part)));
        end = rest.end().0;
        match ranges.last_mut() {
            Some(last) if last.end() == rest.start() => *last = PhysRange::between(last.start(), rest.end()),
            _ => ranges.push(rest),
        }
    }
    if cut > 0 {
        warnings.push(format!("{cut} bytes of memory lie behind the end of the file: it was cut"));
    }
    (ranges, BlockMemory::new(blocks))
}
