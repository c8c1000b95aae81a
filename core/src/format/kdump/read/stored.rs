//! The page descriptors of a file, one by one, for those who check the file and not the memory in it.

use std::sync::Arc;

use super::{DESC_LEN, Desc, PIECE, Pages, headers};
use crate::format::{DumpFile, ReadError};

/// How a page is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its page frame number.
    pub pfn: u64,
    /// Where its bytes are; 0 if they were never written.
    pub offset: u64,
    /// How many they are.
    pub size: u32,
    /// Flag of its codec, 0 for none.
    pub flags: u32,
}

/// What a file's header says of all its pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredHead {
    /// `status`.
    pub status: u64,
    /// Where the descriptors end.
    pub data_start: u64,
}

/// Shows the descriptor of every page, in order of their numbers, and the page size in bytes; nothing of them is checked.
///
/// # Errors
/// [`ReadError`] if the headers make no sense or the file cannot be read.
pub fn each_stored(file: &Arc<dyn DumpFile>, visit: &mut dyn FnMut(Stored, u64)) -> Result<StoredHead, ReadError> {
    let headers = headers(file.as_ref())?;
    let pages = Pages::new(Arc::clone(file), &headers)?;
    let mut bitmap = vec![0; PIECE as usize];
    let (mut at, mut number) = (0, 0);
    while at < pages.bitmap_len {
        file.read_at(pages.bitmap2 + at, &mut bitmap)?;
        let bits = (0..PIECE * 8).filter(|bit| {
            let byte = usize::try_from(bit / 8).ok().and_then(|index| bitmap.get(index)).copied().unwrap_or(0);
            byte >> (bit % 8) & 1 == 1
        });
        let pfns: Vec<u64> = bits.map(|bit| at * 8 + bit).collect();
        let mut descs = vec![0; pfns.len() * DESC_LEN as usize];
        file.read_at(pages.desc_offset + number * DESC_LEN, &mut descs)?;
        for (pfn, desc) in pfns.iter().zip(descs.chunks(DESC_LEN as usize)) {
            let Desc { offset, size, flags } = pages.decode(desc);
            visit(Stored { pfn: *pfn, offset, size, flags }, pages.page_size);
        }
        number += pfns.len() as u64;
        at += PIECE;
    }
    Ok(StoredHead { status: headers.main("status")?, data_start: pages.desc_offset + number * DESC_LEN })
}
