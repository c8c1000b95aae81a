//! Guest memory in a file: a RAM image, a memory backend's file, a block device.
//!
//! Which part of which file is which block is the business of the source (a manifest, QEMU). Bytes are read by `pread`,
//! which needs no common file offset. Holes are found by `lseek`, which moves that offset: nobody here uses it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use guestdump_core::block::{Backing, ShortRead};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Part of a file that holds the bytes of one block.
#[derive(Debug)]
pub struct FileBacking {
    file: Arc<File>,
    part: Range<u64>,
    /// The run of data found last. The kernel finds its end by looking at every page of it (tmpfs), so that asking anew
    /// for each piece of a long run would take forever. Only data is remembered, never holes: they may fill up.
    data: Mutex<Range<u64>>,
}

impl FileBacking {
    /// The `len_bytes` bytes of `file` from byte `offset` on. Whether the file has that many is for the caller to check
    /// (see [`file_len`]); bytes that it lacks cannot be read.
    #[must_use]
    pub fn new(file: impl Into<Arc<File>>, offset: u64, len_bytes: u64) -> Self {
        let part = offset..offset.saturating_add(len_bytes);
        Self { file: file.into(), part, data: Mutex::new(0..0) }
    }
}

/// Length of a file or block device in bytes. Moves its file offset.
///
/// # Errors
/// What the host says, for a pipe for example.
pub fn file_len(file: &File) -> io::Result<u64> {
    Ok(seek(file, SeekFrom::End(0))?)
}

impl Backing for FileBacking {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = self.part.start.saturating_add(offset).saturating_add(done as u64);
            match self.file.read_at(rest, at) {
                // A file that was cut after it was opened.
                Ok(0) => return Err(ShortRead { done, cause: io::ErrorKind::UnexpectedEof.into() }),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(ShortRead { done, cause }),
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, _limit_bytes: u64) -> (bool, u64) {
        let at = self.part.start.saturating_add(offset);
        let mut known = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&at) {
            return (true, known.end - at);
        }
        let (is_data, end) = run_at(&self.file, at, self.part.end);
        if is_data {
            *known = at..end;
        }
        (is_data, end.saturating_sub(at))
    }
}

/// Whether the bytes of a file from `at` on are data, and where that ends, at `end` at the latest. Where the file system
/// does not say, and where the file has no bytes, all are data: reading them gives them, or says why not.
fn run_at(file: &File, at: u64, end: u64) -> (bool, u64) {
    match seek(file, SeekFrom::Data(at)) {
        Ok(next) if next > at => (false, next.min(end)),
        Ok(_) => (true, seek(file, SeekFrom::Hole(at)).unwrap_or(end).min(end).max(at.saturating_add(1))),
        // No data from here on: a hole up to the end of the file, but not beyond it.
        Err(Errno::NXIO) => match seek(file, SeekFrom::End(0)) {
            Ok(len) if len > at => (false, len.min(end)),
            Ok(_) | Err(_) => (true, end),
        },
        Err(_) => (true, end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 KiB of hole, 64 KiB of data, 64 KiB of hole.
    fn sparse() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(192 << 10).unwrap();
        file.write_all_at(&vec![7; 64 << 10], 64 << 10).unwrap();
        file
    }

    #[test]
    fn holes_are_zero_extents() {
        let backing = FileBacking::new(sparse(), 4096, 188 << 10);
        let runs: Vec<(bool, u64)> =
            [0, 60 << 10, 100 << 10, 124 << 10, 187 << 10].map(|at| backing.extent_at(at, 1)).to_vec();
        assert_eq!(runs, [(false, 60 << 10), (true, 64 << 10), (true, 24 << 10), (false, 64 << 10), (false, 1 << 10)]);
        let mut buf = [1; 4];
        backing.read_at((60 << 10) - 2, &mut buf).unwrap();
        assert_eq!(buf, [0, 0, 7, 7]);
    }

    #[test]
    fn a_file_that_shrinks_cannot_be_read_and_is_no_hole() {
        let file = sparse();
        let backing = FileBacking::new(file.try_clone().unwrap(), 0, 192 << 10);
        file.set_len((64 << 10) + 10).unwrap();
        assert_eq!(backing.extent_at(0, 1 << 20), (false, 64 << 10));
        assert_eq!(backing.extent_at((64 << 10) + 10, 4096), (true, (128 << 10) - 10));
        let short = backing.read_at(64 << 10, &mut [0; 100]).unwrap_err();
        assert_eq!((short.done, short.cause.kind()), (10, io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn a_file_that_ends_in_a_hole_and_shrinks_has_no_zeros_behind_its_end() {
        let file = sparse();
        let backing = FileBacking::new(file.try_clone().unwrap(), 0, 192 << 10);
        file.set_len(160 << 10).unwrap();
        assert_eq!(backing.extent_at(128 << 10, 1), (false, 32 << 10));
        assert_eq!(backing.extent_at(160 << 10, 1), (true, 32 << 10));
    }
}
