//! Reading ELF core files: QEMU's of every version, makedumpfile's, ours. Everything is found through `e_phoff` and
//! `e_shoff`; `e_ehsize` is not believed (QEMU 7.2 to 10.0 store 8).

use std::sync::Arc;

use guestdump_arch::{Class, Endian};
use object::Endianness;
use object::elf::{self as raw, FileHeader32, FileHeader64, ProgramHeader32, ProgramHeader64};
use object::pod::{Pod, from_bytes, slice_from_bytes};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use super::memory::memory;
use crate::format::read::{Dump, UNKNOWN_LEVEL, arch_of_notes, split_notes, take_vmcoreinfo};
use crate::format::{Container, DumpFile, ReadError, read_part, read_there};
use crate::guest::Note;
use crate::vmcoreinfo;

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
    /// Program headers that the file should have and that lie behind its end.
    pub cut_segments: u64,
}

/// Reads the headers of an ELF file.
///
/// # Errors
/// [`ReadError`] for what is no ELF file. Of a table that is cut, what is there is read.
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
    let table = read_there(file, phoff, count.saturating_mul(entry))?;
    let there = table.len() / size_of::<P>();
    let (list, _) = slice_from_bytes::<P>(&table, there).map_err(|()| bad("program headers", 0, "cut"))?;
    Ok(Headers {
        class,
        endian,
        machine: header.e_machine(order).0,
        kind: header.e_type(order).0,
        flags: header.e_flags(order).0,
        phoff,
        segments: list.iter().map(|header| segment(header, order)).collect(),
        cut_segments: count.saturating_sub(there as u64),
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
    if headers.cut_segments > 0 {
        warnings.push(format!("{} program headers lie behind the end of the file", headers.cut_segments));
    }
    let mut notes = notes(file.as_ref(), &headers, &mut warnings)?;
    if let Some(program) = process(&notes) {
        return Err(ReadError::Process { program });
    }
    if headers.flags & super::write::INCOMPLETE != 0 {
        warnings.push("e_flags says that the dump is not finished".to_owned());
    }
    let found = memory(&file, &headers, &mut warnings);
    let arch = crate::arch::by_elf_machine(headers.machine);
    let vmcoreinfo = take_vmcoreinfo(&mut notes);
    let arch = arch.or_else(|| arch_of_notes(&notes, headers.endian));
    Ok(Dump {
        container: Container::Elf,
        flattened: false,
        endian: headers.endian,
        class: headers.class,
        arch,
        ranges: found.ranges,
        memory: Arc::new(found.memory),
        notes,
        vmcoreinfo,
        page_size: None,
        fields: fields(&headers, found.excluded_bytes),
        stored: Vec::new(),
        warnings,
        dump_level: if found.excluded_bytes > 0 { UNKNOWN_LEVEL } else { 0 },
        filtered: found.excluded_bytes > 0,
    })
}

/// NT_PRPSINFO and NT_AUXV (linux `include/uapi/linux/elf.h`).
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;

/// Name of the program whose core this is: only those of processes have an auxiliary vector. In `struct elf_prpsinfo` of every
/// architecture `pr_fname` (16 bytes) and `pr_psargs` (80) come last (linux `include/uapi/linux/elfcore.h`).
fn process(notes: &[Note]) -> Option<String> {
    let of_core = |n_type| notes.iter().find(move |note| note.name == b"CORE" && note.n_type == n_type);
    of_core(NT_AUXV)?;
    if notes.iter().any(|note| note.name == vmcoreinfo::NOTE_NAME || note.name == b"QEMU") {
        return None;
    }
    let name = of_core(NT_PRPSINFO).and_then(|note| {
        let at = note.desc.len().checked_sub(16 + 80)?;
        note.desc.get(at..at + 16)?.split(|byte| *byte == 0).next()
    });
    Some(String::from_utf8_lossy(name.unwrap_or(b"of unknown name")).into_owned())
}

/// The notes of all PT_NOTEs, in order. Of an area that is cut, what is there is read.
fn notes(file: &dyn DumpFile, headers: &Headers, warnings: &mut Vec<String>) -> Result<Vec<Note>, ReadError> {
    let mut notes = Vec::new();
    let mut note_bytes = 0_u64;
    for part in headers.segments.iter().filter(|segment| segment.kind == raw::PT_NOTE.0) {
        // Many segments may name the same bytes: what counts is what would be held.
        note_bytes = note_bytes.saturating_add(part.file_len.min(file.len()));
        let most = MAX_NOTE_BYTES.min(file.len());
        if note_bytes > most {
            let limit = usize::try_from(most).unwrap_or(usize::MAX);
            return Err(ReadError::TooMany { what: "bytes of notes", limit });
        }
        let bytes = read_there(file, part.offset, part.file_len)?;
        if (bytes.len() as u64) < part.file_len {
            let missing = part.file_len - bytes.len() as u64;
            warnings.push(format!("{missing} bytes of the notes at {:#x} lie behind the end of the file", part.offset));
        }
        let (list, whole) = split_notes(&bytes, headers.endian);
        notes.extend(list);
        if !whole {
            warnings.push(format!("the note area at {:#x} ends inside a note", part.offset));
        }
    }
    Ok(notes)
}

fn fields(headers: &Headers, excluded_bytes: u64) -> Vec<(&'static str, String)> {
    let loads = headers.segments.iter().filter(|segment| segment.kind == raw::PT_LOAD.0);
    vec![
        ("e_machine", headers.machine.to_string()),
        ("e_phoff", format!("{:#x}", headers.phoff)),
        ("e_flags", format!("{:#x}", headers.flags)),
        ("PT_LOAD segments", loads.count().to_string()),
        ("bytes left out", excluded_bytes.to_string()),
    ]
}
