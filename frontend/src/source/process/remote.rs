//! Memory of another process, read through the process.

use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use guestdump_core::block::{Backing, ShortRead};

use super::{pagemap, process_memory};
use crate::source::raw::FileBacking;

/// What a process's pagemap says of a mapping. Of shared memory it says nothing: a page that this process has not mapped
/// may have been filled by another, or be swapped out.
#[derive(Debug)]
pub enum PagemapOf {
    /// Private anonymous memory: a page never touched is zero. (Not where somebody waits for the first touch
    /// with userfaultfd: that is incoming migration, which is refused.)
    Anonymous(Arc<File>),
    /// A private mapping of a file: a page never touched is the file's.
    File {
        /// The pagemap.
        pagemap: Arc<File>,
        /// The part of the file that is mapped.
        below: FileBacking,
    },
}

/// A range of another process.
#[derive(Debug)]
pub struct RemoteWindow {
    pid: u32,
    start: u64,
    page_bytes: u64,
    pagemap: Option<PagemapOf>,
    /// The touched run found last, in offsets: whoever reads it asks again for each piece. Only touched pages are
    /// remembered: others may be touched at any time.
    known: Mutex<Range<u64>>,
}

impl RemoteWindow {
    /// The memory of process `pid` from address `start` on.
    #[must_use]
    pub fn new(pid: u32, start: u64, pagemap: Option<PagemapOf>) -> Self {
        Self { pid, start, page_bytes: rustix::param::page_size() as u64, pagemap, known: Mutex::new(0..0) }
    }

    /// How it is read, for people.
    #[must_use]
    pub const fn describe(&self) -> &'static str {
        match self.pagemap {
            Some(PagemapOf::Anonymous(_)) => "process_vm_readv, pages never touched are zeros",
            Some(PagemapOf::File { .. }) => "process_vm_readv, pages never touched are zeros where the file has holes",
            None => "process_vm_readv, all of it: untouched pages are allocated by reading",
        }
    }

    /// Whether the pages from `offset` on were touched, and for how many bytes that holds.
    fn touched(&self, pagemap: &File, offset: u64, limit_bytes: u64) -> (bool, u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&offset) {
            return (true, known.end - offset);
        }
        let addr = self.start.saturating_add(offset);
        let into_page = addr % self.page_bytes;
        let pages = limit_bytes.saturating_add(into_page).div_ceil(self.page_bytes);
        let (touched, pages) = pagemap::run(pagemap, addr / self.page_bytes, pages.max(1));
        let len = pages.saturating_mul(self.page_bytes).saturating_sub(into_page).max(1);
        if touched {
            *known = offset..offset.saturating_add(len);
        }
        (touched, len)
    }

    /// Reads from the process, all of `buf`.
    fn read_process(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = self.start.saturating_add(offset).saturating_add(done as u64);
            match process_memory::read(self.pid, at, rest) {
                Ok(0) => return Err(ShortRead { done, cause: std::io::ErrorKind::UnexpectedEof.into() }),
                Ok(read) => done += read,
                Err(cause) => return Err(ShortRead { done, cause }),
            }
        }
        Ok(())
    }
}

impl Backing for RemoteWindow {
    /// Pages that are known to be zero are not asked for here either: walkers and searches read without asking for
    /// extents first.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(done as u64);
            let (data, len) = self.extent_at(at, rest.len() as u64);
            let len = usize::try_from(len).unwrap_or(usize::MAX).clamp(1, rest.len());
            let Some(run) = rest.get_mut(..len) else { break };
            if data {
                self.read_process(at, run).map_err(|short| ShortRead { done: done + short.done, ..short })?;
            } else {
                run.fill(0);
            }
            done += len;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, limit_bytes: u64) -> (bool, u64) {
        match &self.pagemap {
            None => (true, limit_bytes),
            Some(PagemapOf::Anonymous(pagemap)) => self.touched(pagemap, offset, limit_bytes),
            Some(PagemapOf::File { pagemap, below }) => match self.touched(pagemap, offset, limit_bytes) {
                (true, len) => (true, len),
                (false, len) => {
                    let (data, of_file) = below.extent_at(offset, len);
                    (data, len.min(of_file))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_read_and_what_is_not_mapped_is_counted() {
        let bytes: Vec<u8> = (0..=255).collect();
        let window = RemoteWindow::new(std::process::id(), bytes.as_ptr() as u64, None);
        let mut buf = [0; 100];
        window.read_at(10, &mut buf).unwrap();
        assert_eq!(buf[..], bytes[10..110]);
        let nowhere = RemoteWindow::new(std::process::id(), 0, None);
        let short = nowhere.read_at(0, &mut buf).unwrap_err();
        assert_eq!((short.done, short.cause.raw_os_error()), (0, Some(14)));
        assert_eq!(window.extent_at(0, 12), (true, 12));
    }

    #[test]
    fn pages_never_touched_are_known_without_touching_them() {
        let mut memory: Vec<u8> = Vec::with_capacity(64 << 20);
        memory.extend_from_slice(&[1]);
        let pagemap = Arc::new(File::open("/proc/self/pagemap").unwrap());
        let start = memory.as_ptr() as u64;
        let window = RemoteWindow::new(std::process::id(), start, Some(PagemapOf::Anonymous(pagemap)));
        let (touched, len) = window.extent_at(0, 16 << 20);
        assert!(touched && len >= 1);
        let mut buf = vec![1; 1 << 20];
        window.read_at(8 << 20, &mut buf).unwrap();
        assert!(buf.iter().all(|byte| *byte == 0));
        // Reading has not made them present.
        assert!(!window.extent_at(8 << 20, 16 << 20).0);
    }
}
