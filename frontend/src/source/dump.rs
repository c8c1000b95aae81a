//! An existing dump as a source: converted, clipped, compressed anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use guestdump_core::arch::Arch;
use guestdump_core::format::DumpFile;
use guestdump_core::format::read::{self, Dump};
use guestdump_core::guest::Guest;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::SourceError;

/// A file of the host.
#[derive(Debug)]
struct HostFile {
    file: File,
    len: u64,
}

impl DumpFile for HostFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn zeros_at(&self, offset: u64) -> u64 {
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data.saturating_sub(offset),
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => self.len.saturating_sub(offset),
            Err(_) => 0,
        }
    }

    fn data_at(&self, offset: u64) -> u64 {
        match rustix::fs::seek(&self.file, SeekFrom::Hole(offset)) {
            Ok(hole) => hole.saturating_sub(offset),
            Err(_) => self.len.saturating_sub(offset),
        }
    }
}

/// Opens a file that may be a dump.
///
/// # Errors
/// [`SourceError::Open`].
pub fn file(path: &Path) -> Result<Arc<dyn DumpFile>, SourceError> {
    let open = |source| SourceError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(open)?;
    let metadata = file.metadata().map_err(open)?;
    if !metadata.is_file() {
        return Err(open(io::Error::other("not a regular file")));
    }
    Ok(Arc::new(HostFile { file, len: metadata.len() }))
}

/// Opens a dump to look at it.
///
/// # Errors
/// [`SourceError::Open`], [`SourceError::Dump`].
pub fn read(path: &Path) -> Result<Dump, SourceError> {
    read::open(file(path)?).map_err(|source| SourceError::Dump { path: path.to_owned(), source })
}

/// Makes a guest of a dump: one file, or those of a split set.
///
/// # Errors
/// [`SourceError::Dump`].
pub fn open(path: &Path, files: Vec<Arc<dyn DumpFile>>, arch: Option<&'static dyn Arch>) -> Result<Guest, SourceError> {
    let unreadable = |source| SourceError::Dump { path: path.to_owned(), source };
    let dump = read::open_set(files).map_err(unreadable)?;
    // What the dump says counts; --arch helps where it says nothing.
    let arch = dump.arch.or(arch);
    dump.into_guest(arch).map_err(unreadable)
}
