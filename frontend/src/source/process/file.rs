//! A file that another process has mapped: finding it again. It is read as any RAM file is (`source/raw.rs`).
//!
//! The file is found by what `/proc` has of it, never by its path alone: the process may see another file system than
//! we do. `pread` allocates nothing where the file has holes (tmpfs, hugetlbfs, disk); SEEK_HOLE tells them beforehand,
//! but on hugetlbfs, where all of a file counts as data.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::fs::{major, minor};

use super::maps::Mapping;
use crate::source::raw::FileBacking;

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

/// The `len_bytes` bytes of a file from `start` on; `None` if it has not so many.
pub(super) fn window(file: File, start: u64, len_bytes: u64) -> Option<FileBacking> {
    let end = start.checked_add(len_bytes)?;
    (file.metadata().ok()?.len() >= end).then(|| FileBacking::new(file, start, len_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_that_part_has_no_window() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x3000).unwrap();
        assert!(window(file.try_clone().unwrap(), 0x1000, 0x2000).is_some());
        assert!(window(file.try_clone().unwrap(), 0x1000, 0x2001).is_none());
        assert!(window(file, u64::MAX, 1).is_none());
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
