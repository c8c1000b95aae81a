//! How every page of a kdump-compressed file is stored, as its descriptors say, unchecked: for an audit of the file.

use std::sync::Arc;

use super::bitmap::PIECE;
use super::layout::DESC_LEN;
use super::pages::Pages;
use super::read::headers;
use crate::format::{DumpFile, ReadError, read_there};

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

/// Shows the descriptor of every page that the file has one of, in order of their numbers, and the page size in bytes;
/// nothing of them is checked.
///
/// # Errors
/// [`ReadError`] if the headers make no sense or the file cannot be read.
pub fn each_stored(file: &Arc<dyn DumpFile>, visit: &mut dyn FnMut(Stored, u64)) -> Result<StoredHead, ReadError> {
    let headers = headers(file.as_ref())?;
    let pages = Pages::new(Arc::clone(file), &headers, &mut Vec::new())?;
    let mut number = 0;
    for piece in pages.pieces(pages.bitmap2) {
        let bits = pages.own(piece)?;
        let first = piece * PIECE * 8;
        let set = (first..)
            .step_by(8)
            .zip(bits.iter())
            .flat_map(|(first, byte)| (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| first + bit));
        let pfns: Vec<u64> = set.collect();
        let descs = read_there(file.as_ref(), pages.desc_at(number), pfns.len() as u64 * DESC_LEN)?;
        for (pfn, desc) in pfns.iter().zip(descs.chunks_exact(DESC_LEN as usize)) {
            let desc = pages.decode(desc);
            visit(Stored { pfn: *pfn, offset: desc.offset, size: desc.size, flags: desc.flags }, pages.page_size);
        }
        number += pfns.len() as u64;
    }
    Ok(StoredHead { status: headers.main("status")?, data_start: pages.desc_at(number) })
}
