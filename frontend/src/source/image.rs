//! Memory without a word about its guest: LiME and AVML images, raw memory (`FILE@ADDR`); and VMCOREINFO from a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use guestdump_core::arch::{Endian, PhysAddr, PhysMemory, PhysRange};
use guestdump_core::block::{self, Backing, Block, BlockKind, BlockMemory};
use guestdump_core::format::{DumpFile, image};
use guestdump_core::guest::{Guest, Past};
use guestdump_core::vmcoreinfo::{MAX_LEN, NOTE_NAME, Origin, Vmcoreinfo};

use super::raw::{FileBacking, file_len};
use super::{Request, SourceError};
use crate::number::parse_bytes;

/// Opens an image; `None` for a file that is none.
///
/// # Errors
/// [`SourceError`].
pub fn open(path: &Path, file: Option<&Arc<dyn DumpFile>>, request: &Request) -> Result<Option<Guest>, SourceError> {
    let Some(file) = file else { return Ok(None) };
    let unreadable = |source| SourceError::Dump { path: path.to_owned(), source };
    let Some(image) = image::open(Arc::clone(file)).map_err(unreadable)? else { return Ok(None) };
    if let Some(more) = request.more.first() {
        return Err(SourceError::Several { name: more.clone() });
    }
    let name = image.kind.name;
    let what = format!("{} (a {name} image)", path.display());
    let blocks = image.ranges.iter().map(|range| block(*range, name)).collect();
    let mut guest = guest(what, blocks, image.memory, request)?;
    guest.past.damage = image.warnings;
    if image.zero_bytes > 0 {
        let bytes = image.zero_bytes;
        guest
            .remarks
            .push(format!("{bytes} bytes between blocks of 16 MiB taken as zeros: avml leaves such blocks out"));
    }
    Ok(Some(guest))
}

fn block(range: PhysRange, name: &str) -> Block {
    Block { range, kind: BlockKind::Ram, name: name.to_owned() }
}

/// A guest of which only the memory is known.
fn guest(
    what: String,
    blocks: Vec<Block>,
    memory: Arc<dyn PhysMemory>,
    request: &Request,
) -> Result<Guest, SourceError> {
    let Some((arch, endian)) = request.arch else { return Err(SourceError::NoArch { what }) };
    let first = arch.identity().endians.first().copied().unwrap_or(Endian::Little);
    Ok(Guest {
        arch,
        endian: Some(endian.unwrap_or(first)),
        machine_page_size: None,
        blocks,
        memory,
        vcpus: Vec::new(),
        notes: None,
        vmcoreinfo: None,
        banner: None,
        remarks: vec![format!("{what}: no registers")],
        past: Past::default(),
    })
}

/// `FILE@ADDR`: the path and the text behind it. A file that has such a name is meant as it is.
fn split_address(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('@').filter(|_| !Path::new(name).exists())
}

/// Raw memory; `None` if the source is not written like that.
///
/// # Errors
/// [`SourceError`].
pub fn raw(request: &Request) -> Result<Option<Guest>, SourceError> {
    if split_address(&request.source).is_none() {
        return Ok(None);
    }
    let mut parts: Vec<(Block, Box<dyn Backing>)> = Vec::new();
    for name in [&request.source].into_iter().chain(&request.more) {
        parts.push(raw_part(name)?);
    }
    let wrong = |why: String| SourceError::Raw { name: request.source.clone(), why };
    let blocks = block::sorted(parts.iter().map(|part| part.0.clone()).collect());
    let blocks = blocks.map_err(|error| wrong(error.to_string()))?;
    let memory = BlockMemory::new(parts.into_iter().map(|(block, backing)| (block.range, backing)).collect());
    guest("raw memory".to_owned(), blocks, Arc::new(memory), request).map(Some)
}

fn raw_part(name: &str) -> Result<(Block, Box<dyn Backing>), SourceError> {
    let Some((path, address)) = split_address(name) else {
        return Err(SourceError::Several { name: name.to_owned() });
    };
    let wrong = |why: String| SourceError::Raw { name: name.to_owned(), why };
    let start = parse_bytes(address).map_err(|error| wrong(error.to_string()))?;
    let open = |source| SourceError::Open { path: path.into(), source };
    let file = File::open(path).map_err(open)?;
    let len = file_len(&file).map_err(open)?;
    let range = PhysRange::new(PhysAddr(start), len).filter(|range| !range.is_empty());
    let range = range.ok_or_else(|| wrong(format!("{len} bytes at {start:#x} are no memory")))?;
    Ok((block(range, path), Box::new(FileBacking::new(file, 0, len))))
}

/// VMCOREINFO from a file: its text, as `/sys/kernel/vmcoreinfo` points at it, alone or with the header of its note.
///
/// # Errors
/// [`SourceError::Open`], [`SourceError::Vmcoreinfo`].
pub fn vmcoreinfo(path: &Path) -> Result<Vmcoreinfo, SourceError> {
    let open = |source| SourceError::Open { path: path.to_owned(), source };
    let wrong = |why: String| SourceError::Vmcoreinfo { path: path.to_owned(), why };
    let mut bytes = Vec::new();
    let limit = MAX_LEN as u64 + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(open)?;
    if bytes.len() > MAX_LEN {
        return Err(wrong(format!("longer than {MAX_LEN} bytes")));
    }
    let text = without_header(&bytes);
    let release = text.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"OSRELEASE="));
    if !release {
        return Err(wrong("it has no line OSRELEASE=".to_owned()));
    }
    Ok(Vmcoreinfo::new(text.to_vec(), Origin::Given))
}

/// The descriptor of a note, in either byte order; bytes that are no note as they are.
fn without_header(bytes: &[u8]) -> &[u8] {
    let header = 12 + NOTE_NAME.len().next_multiple_of(4);
    let named = bytes.get(12..12 + NOTE_NAME.len()) == Some(NOTE_NAME);
    let Some(len) = bytes.get(4..8).filter(|_| named) else { return bytes };
    let rest = bytes.get(header..).unwrap_or_default();
    let lens = [Endian::Little, Endian::Big].map(|order| usize::try_from(order.get(len)).unwrap_or(usize::MAX));
    lens.into_iter().find_map(|len| rest.get(..len)).unwrap_or(rest)
}
