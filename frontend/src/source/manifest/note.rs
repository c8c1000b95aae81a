//! The VMCOREINFO note at an address that the manifest gives.
//!
//! An ELF note as Linux writes it (`vmcoreinfo_note`, `kernel/vmcore_info.c`): namesz, descsz and type of four bytes in
//! the guest's byte order, the name padded to four, the text. Finding it by searching is the business of core.

use guestdump_arch::{Endian, PhysAddr, PhysMemory};
use guestdump_core::vmcoreinfo::{MAX_LEN, NOTE_NAME};

use super::error::Problem;

/// Bytes before the text: three words, "VMCOREINFO" with its NUL, padding.
const HEADER: usize = 12 + 12;

/// The note's text. The note, header included, has at most `size` bytes where that is given.
pub(super) fn read(memory: &dyn PhysMemory, at: PhysAddr, size: Option<u64>) -> Result<Vec<u8>, Problem> {
    let mut header = [0; HEADER];
    if !memory.read(at, &mut header)? {
        return Err(Problem::NoteAbsent { at, wanted: HEADER });
    }
    let endian = byte_order(&header).ok_or_else(|| Problem::NoteOther { at, found: header.to_vec() })?;
    let descsz = endian.get(header.get(4..8).unwrap_or_default());
    let (len_bytes, limit) = (descsz + HEADER as u64, size.unwrap_or((MAX_LEN + HEADER) as u64));
    let text_len = usize::try_from(descsz).ok().filter(|len| *len <= MAX_LEN && len_bytes <= limit);
    let limit = limit.min((MAX_LEN + HEADER) as u64);
    let text_len = text_len.ok_or(Problem::NoteTooLong { at, len_bytes, limit })?;
    let mut text = vec![0; text_len];
    match at.checked_add(HEADER as u64) {
        Some(start) if memory.read(start, &mut text)? => Ok(text),
        Some(_) | None => Err(Problem::NoteAbsent { at, wanted: HEADER + text_len }),
    }
}

/// The byte order in which these bytes are the header of the note, if they are. The source's own word on byte order is
/// not needed: the length of the name is known.
fn byte_order(header: &[u8; HEADER]) -> Option<Endian> {
    let name_len = NOTE_NAME.len() + 1;
    let named = header.get(12..).is_some_and(|name| name.starts_with(NOTE_NAME) && name.ends_with(&[0, 0]));
    let namesz = header.get(..4).unwrap_or_default();
    [Endian::Little, Endian::Big].into_iter().find(|endian| named && endian.get(namesz) == name_len as u64)
}
