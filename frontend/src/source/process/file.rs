//! A file that another process has mapped: finding it again, and reading it past the process.
//!
//! The file is found by what `/proc` has of it, never by its path alone: the process may see another file system than
//! we do. `pread` allocates nothing where the file has holes (tmpfs, hugetlbfs, disk); SEEK_HOLE tells them beforehand,
//! but on hugetlbfs, where all of a file counts as data.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

use guestdump_core::block::{Backing, ShortRead};
use rustix::fs::{SeekFrom, major, minor};
use rustix::io::Errno;

use super::maps::Mapping;

/// Opens the file behind a mapping of a process, if we may, and says by which path.
pub(super) fn find(pid: u32, mapping: &Mapping) -> Option<(File, String)> {
    let same_device = |file: &Metadata| (major(file.dev()), minor(file.dev())) == mapping.device;
    // A link to the mapped file itself, which only needs the host's leave (CAP_CHECKPOINT_RESTORE, or root). Its device
    // is not compared: file systems over others (btrfs, overlayfs) give another number to stat than to the mapping.
    let link = PathBuf::from(format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end));
    let shown = mapping.path.as_ref().map_or_else(|| format!("{}", link.display()), |path| path.display().to_string());
    if let Some(file) = open(&link, mapping, |_| true) {
        return Some((file, shown));
    }
    if let Some(file) = mapping.path.as_ref().and_then(|path| open(path, mapping, same_device)) {
        return Some((file, shown));
    }
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    fds.flatten().find_map(|fd| {
        let file = open(&fd.path(), mapping, same_device)?;
        Some((file, fd.path().display().to_string()))
    })
}

/// Opens a regular file with the mapping's inode number. It is looked at before it is opened: opening a device or a FIFO
/// may do things.
fn open(path: &PathBuf, mapping: &Mapping, check: impl Fn(&Metadata) -> bool) -> Option<File> {
    let is_it = |file: &Metadata| file.is_file() && file.ino() == mapping.inode && check(file);
    fs::metadata(path).ok().filter(&is_it)?;
    let file = File::open(path).ok()?;
    file.metadata().ok().filter(is_it)?;
    Some(file)
}

/// A part of a file.
#[derive(Debug)]
pub struct FileWindow {
    file: File,
    start: u64,
    len_bytes: u64,
}

impl FileWindow {
    /// The `len_bytes` bytes of a file from `start` on; `None` if it has not so many.
    #[must_use]
    pub fn new(file: File, start: u64, len_bytes: u64) -> Option<Self> {
        let end = start.checked_add(len_bytes)?;
        (file.metadata().ok()?.len() >= end).then_some(Self { file, start, len_bytes })
    }

    /// The next place from `from` on where data or a hole starts; the end of the file if there is none.
    fn seek(&self, to: SeekFrom) -> Result<Option<u64>, Errno> {
        match rustix::fs::seek(&self.file, to) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Backing for FileWindow {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = self.start.saturating_add(offset).saturating_add(done as u64);
            match self.file.read_at(rest, at) {
                Ok(0) => return Err(ShortRead { done, cause: io::Error::from(ErrorKind::UnexpectedEof) }),
                Ok(read) => done += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(ShortRead { done, cause }),
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, limit_bytes: u64) -> (bool, u64) {
        let left = self.len_bytes.saturating_sub(offset).max(1);
        let at = self.start.saturating_add(offset);
        let run_to = |end: Option<u64>| end.map_or(left, |end| end.saturating_sub(at).clamp(1, left));
        match self.seek(SeekFrom::Data(at)) {
            Ok(Some(data)) if data <= at => match self.seek(SeekFrom::Hole(at)) {
                Ok(hole) => (true, run_to(hole)),
                Err(_) => (true, limit_bytes.min(left)),
            },
            Ok(data) => (false, run_to(data)),
            // No holes on this file system.
            Err(_) => (true, limit_bytes.min(left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse() -> FileWindow {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[7; 4096], 4 << 20).unwrap();
        FileWindow::new(file, 1 << 20, 8 << 20).unwrap()
    }

    #[test]
    fn holes_are_zeros_and_data_is_read() {
        let window = sparse();
        assert_eq!(window.extent_at(0, 4096), (false, 3 << 20));
        assert_eq!(window.extent_at(3 << 20, 1 << 20), (true, 4096));
        assert_eq!(window.extent_at((3 << 20) + 4096, 1), (false, (5 << 20) - 4096));
        let mut buf = [1; 8192];
        window.read_at((3 << 20) - 4096, &mut buf).unwrap();
        assert_eq!((buf[4095], buf[4096]), (0, 7));
    }

    #[test]
    fn a_file_that_shrinks_is_read_as_far_as_it_goes() {
        let window = sparse();
        window.file.set_len((1 << 20) + 4096).unwrap();
        let short = window.read_at(0, &mut [0; 8192]).unwrap_err();
        assert_eq!((short.done, short.cause.kind()), (4096, ErrorKind::UnexpectedEof));
        assert!(FileWindow::new(window.file, 0, 1 << 30).is_none());
    }

    #[test]
    fn our_own_mapping_is_found_by_inode_and_device() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let file = named.as_file().metadata().unwrap();
        let device = (major(file.dev()), minor(file.dev()));
        let path = Some(named.path().to_owned());
        let (start, end, offset) = (0x1000, 0x2000, 0);
        let mapping = Mapping { start, end, readable: true, shared: true, offset, device, inode: file.ino(), path };
        let pid = std::process::id();
        assert_eq!(find(pid, &mapping).unwrap().1, named.path().display().to_string());
        let deleted = Mapping { path: None, ..mapping.clone() };
        assert!(find(pid, &deleted).unwrap().1.starts_with(&format!("/proc/{pid}/fd/")));
        assert!(find(pid, &Mapping { inode: u64::MAX, ..mapping }).is_none());
    }
}
