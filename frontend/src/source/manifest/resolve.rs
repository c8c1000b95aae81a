//! From a manifest to a guest: opens the files that it names and checks them against it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guestdump_arch::{PhysAddr, PhysRange};
use guestdump_core::block::{Backing, Block, BlockMemory, Zeros};
use guestdump_core::guest::{Guest, Past};
use guestdump_core::vmcoreinfo::{MAX_LEN as MAX_VMCOREINFO, Origin, Vmcoreinfo};

use super::error::{ManifestError, Problem};
use super::note;
use super::parse::{Content, Manifest, MemoryEntry, VmcoreinfoFrom};
use super::table::{At, Fault, line_column};
use crate::source::raw::{FileBacking, file_len};

/// A guest, and what the manifest says about finding its VMCOREINFO.
#[derive(Debug)]
pub struct ManifestGuest {
    /// The guest.
    pub guest: Guest,
    /// Whether its memory may be searched for VMCOREINFO where `guest.vmcoreinfo` is `None`.
    pub search_vmcoreinfo: bool,
}

/// What something that is not a file is, for messages.
pub(super) fn kind_name(kind: FileType) -> &'static str {
    let kinds = [
        (kind.is_dir(), "folder"),
        (kind.is_fifo(), "pipe"),
        (kind.is_socket(), "socket"),
        (kind.is_char_device(), "character device"),
        (kind.is_block_device(), "block device"),
    ];
    kinds.into_iter().find(|kind| kind.0).map_or("special file", |kind| kind.1)
}

/// Files by path, each opened once.
struct Files<'a> {
    dir: &'a Path,
    open: HashMap<PathBuf, (Arc<File>, u64)>,
}

impl Files<'_> {
    /// A file and its length in bytes. Its kind is looked at before it is opened: opening a pipe would wait for a
    /// writer.
    fn get(&mut self, path: &str) -> Result<(PathBuf, Arc<File>, u64), Problem> {
        let path = self.dir.join(path);
        let (file, len) = match self.open.entry(path.clone()) {
            Entry::Occupied(open) => open.get().clone(),
            Entry::Vacant(vacant) => {
                let cause = |cause| Problem::File { path: path.clone(), cause };
                let kind = fs::metadata(&path).map_err(cause)?.file_type();
                if !kind.is_file() && !kind.is_block_device() {
                    return Err(Problem::FileKind { path, what: kind_name(kind) });
                }
                let file = File::open(&path).map_err(cause)?;
                let len = file_len(&file).map_err(cause)?;
                vacant.insert((Arc::new(file), len)).clone()
            }
        };
        Ok((path, file, len))
    }
}

type Backed = (PhysRange, Box<dyn Backing>);

impl Manifest {
    /// Opens the files of the manifest, whose paths start at `dir`.
    ///
    /// # Errors
    /// [`ManifestError::Invalid`], at the key that names a file that is missing, too short or no file, and where
    /// blocks overlap.
    pub fn resolve(&self, dir: &Path) -> Result<ManifestGuest, ManifestError> {
        self.guest(dir).map_err(|fault| fault.in_file(&self.text, &self.file))
    }

    fn guest(&self, dir: &Path) -> Result<ManifestGuest, Fault> {
        let mut files = Files { dir, open: HashMap::new() };
        let backed = self.memory.iter().enumerate().map(|(index, entry)| backed(index, entry, &mut files));
        let backed: Vec<Backed> = backed.collect::<Result<_, _>>()?;
        self.check_overlaps(&backed)?;
        let block = |(entry, backed): (&MemoryEntry, &Backed)| Block {
            range: backed.0,
            kind: entry.kind,
            name: entry.name.clone(),
        };
        let mut blocks: Vec<Block> = self.memory.iter().zip(&backed).map(block).collect();
        blocks.sort_by_key(|block| block.range.start());
        let memory = Arc::new(BlockMemory::new(backed));
        let vmcoreinfo = self.vmcoreinfo(&memory, &mut files)?;
        let guest = Guest {
            arch: self.arch,
            endian: self.endian,
            machine_page_size: self.page_size,
            blocks,
            memory,
            vcpus: self.cpus.clone(),
            notes: None,
            vmcoreinfo,
            banner: None,
            remarks: vec![format!("described by {}", self.file.display())],
            past: Past::default(),
        };
        Ok(ManifestGuest { guest, search_vmcoreinfo: self.vmcoreinfo != VmcoreinfoFrom::Nowhere })
    }

    /// Names both blocks, at the one that stands further down.
    fn check_overlaps(&self, backed: &[Backed]) -> Result<(), Fault> {
        let mut sorted: Vec<(PhysRange, usize, usize)> =
            backed.iter().zip(&self.memory).enumerate().map(|(index, (b, entry))| (b.0, index, entry.at)).collect();
        sorted.sort_by_key(|block| (block.0.start(), block.1));
        let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
        let Some((a, b)) = pairs.find(|(low, high)| !low.0.intersect(high.0).is_empty()) else { return Ok(()) };
        let (first, second) = if a.1 < b.1 { (a, b) } else { (b, a) };
        let other_line = line_column(&self.text, first.2).0;
        let problem = Problem::Overlap { range: second.0, other: first.1, other_range: first.0, other_line };
        Err(Fault { key: format!("memory[{}]", second.1), at: second.2, problem })
    }

    fn vmcoreinfo(&self, memory: &BlockMemory, files: &mut Files<'_>) -> Result<Option<Vmcoreinfo>, Fault> {
        let fault = |key: &str, at, problem| Fault { key: format!("vmcoreinfo.{key}"), at, problem };
        match &self.vmcoreinfo {
            VmcoreinfoFrom::Search | VmcoreinfoFrom::Nowhere => Ok(None),
            VmcoreinfoFrom::Memory { note: At { value, at }, size } => {
                let text = note::read(memory, PhysAddr(*value), *size).map_err(|problem| fault("at", *at, problem))?;
                Ok(Some(Vmcoreinfo::new(text, Origin::Pointer(PhysAddr(*value)))))
            }
            VmcoreinfoFrom::File(path) => {
                let text = text_file(files, &path.value).map_err(|problem| fault("file", path.at, problem))?;
                Ok(Some(Vmcoreinfo::new(text, Origin::Given)))
            }
        }
    }
}

/// The addresses and the bytes of a block.
fn backed(index: usize, entry: &MemoryEntry, files: &mut Files<'_>) -> Result<Backed, Fault> {
    let start = PhysAddr(entry.start.value);
    let fault = |key: &str, at, problem| Fault { key: format!("memory[{index}].{key}"), at, problem };
    let (len_bytes, backing): (u64, Box<dyn Backing>) = match (&entry.content, &entry.length) {
        (Content::Zeros, length) => (length.as_ref().map_or(0, |length| length.value), Box::new(Zeros)),
        (Content::File { path, offset }, length) => {
            let (full_path, file, file_len) =
                files.get(&path.value).map_err(|problem| fault("file", path.at, problem))?;
            let wanted = length.as_ref().map(|length| length.value);
            let len_bytes = part_len(full_path, file_len, *offset, wanted).map_err(|problem| match length {
                Some(length) => fault("length", length.at, problem),
                None => fault("file", path.at, problem),
            })?;
            (len_bytes, Box::new(FileBacking::new(file, *offset, len_bytes)))
        }
    };
    let range = PhysRange::new(start, len_bytes);
    let range = range.ok_or_else(|| fault("start", entry.start.at, Problem::BeyondAddresses { start, len_bytes }))?;
    Ok((range, backing))
}

/// How many bytes of a file a block has.
fn part_len(path: PathBuf, file_len: u64, offset: u64, wanted: Option<u64>) -> Result<u64, Problem> {
    let left = file_len.checked_sub(offset).filter(|left| *left > 0);
    match (wanted, left) {
        (None, Some(left)) => Ok(left),
        (None, None) => Err(Problem::FileUsedUp { path, file_len, offset }),
        (Some(wanted), Some(left)) if wanted <= left => Ok(wanted),
        (Some(len_bytes), _) => Err(Problem::FileShort { path, file_len, offset, len_bytes }),
    }
}

/// A VMCOREINFO text.
fn text_file(files: &mut Files<'_>, path: &str) -> Result<Vec<u8>, Problem> {
    let (path, file, _) = files.get(path)?;
    let mut text = Vec::new();
    let mut file: &File = &file;
    let read = io::Seek::rewind(&mut file).and_then(|()| file.take(MAX_VMCOREINFO as u64 + 1).read_to_end(&mut text));
    match read {
        Err(cause) => Err(Problem::File { path, cause }),
        Ok(len) if len > MAX_VMCOREINFO => Err(Problem::TextTooLong { path, limit: MAX_VMCOREINFO }),
        Ok(_) if !text.split(|byte| *byte == b'\n').any(is_key_value) => Err(Problem::NoKeyValue { path }),
        Ok(_) => Ok(text),
    }
}

fn is_key_value(line: &[u8]) -> bool {
    line.iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0)
}
