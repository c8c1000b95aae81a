//! Headers and notes of an ELF core file. Memory itself is moved by `run.rs`.

use guestdump_arch::{Class, Endian};
use object::elf;
use object::write::elf::{Encoder, FileHeader, FileHeaderLayout, ProgramHeader};

use super::layout::{ElfLayout, header_sizes};
use crate::plan::Plan;
use crate::plan::segments::Segment;
use crate::run::RunError;

/// `e_flags` of a dump that is not finished: makedumpfile's DUMP_ELF_INCOMPLETE.
pub const INCOMPLETE: u32 = 1;

/// Everything before the memory: ELF header, program headers, section header, notes.
///
/// # Errors
/// [`RunError::Header`] if the encoder refuses.
pub fn head(plan: &Plan, layout: &ElfLayout, incomplete: bool) -> Result<Vec<u8>, RunError> {
    let endian = match plan.info.endian {
        Endian::Little => object::Endianness::Little,
        Endian::Big => object::Endianness::Big,
    };
    let machine = elf::Machine(plan.info.machine);
    let encoder = Encoder::new(endian, layout.class == Class::Elf64, machine);
    let mut out: Vec<u8> = Vec::new();
    let header = FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_CORE,
        e_machine: machine,
        e_entry: 0,
        e_flags: elf::FileFlags(if incomplete { INCOMPLETE } else { 0 }),
    };
    let places = file_layout(layout);
    encoder.file_header(&mut out, &header, &places).map_err(|error| RunError::Header(error.to_string()))?;
    encoder.program_header(&mut out, &note_header(layout));
    for segment in &layout.segments {
        encoder.program_header(&mut out, &load_header(segment));
    }
    if layout.section_headers != 0 {
        out.resize(usize::try_from(layout.section_headers).unwrap_or(out.len()), 0);
        encoder.null_section_header(&mut out, &places);
    }
    out.extend_from_slice(&plan.notes.bytes);
    Ok(out)
}

fn file_layout(layout: &ElfLayout) -> FileHeaderLayout {
    let (e_phoff, ..) = header_sizes(layout.class);
    FileHeaderLayout {
        e_phoff,
        segment_num: u32::try_from(layout.segments.len().saturating_add(1)).unwrap_or(u32::MAX),
        e_shoff: layout.section_headers,
        section_num: u32::from(layout.section_headers != 0),
        shstrtab_index: 0,
    }
}

const fn note_header(layout: &ElfLayout) -> ProgramHeader {
    ProgramHeader {
        p_type: elf::PT_NOTE,
        p_flags: elf::ProgramFlags(0),
        p_offset: layout.notes_offset,
        p_vaddr: 0,
        p_paddr: 0,
        p_filesz: layout.notes_len,
        p_memsz: layout.notes_len,
        p_align: 0,
    }
}

/// `p_align` is 0: crash takes an aligned first segment for another kind of file otherwise.
const fn load_header(segment: &Segment) -> ProgramHeader {
    ProgramHeader {
        p_type: elf::PT_LOAD,
        p_flags: elf::ProgramFlags(0),
        p_offset: segment.offset,
        p_vaddr: segment.virt,
        p_paddr: segment.phys.start().0,
        p_filesz: segment.phys.len(),
        p_memsz: segment.mem_len,
        p_align: 0,
    }
}
