//! The memory of another process, as a guest's RAM: which of its mappings hold it, and the cheapest way to read each.
//!
//! - A shared mapping of a file is read from the file (`pread`), and what is a hole there is known to be zero.
//! - Everything else is read with `process_vm_readv`. Of private anonymous memory, pages that were never touched are
//!   known to be zero; so are those of a private mapping of a file where the file has a hole.
//!
//! Nothing is mapped, and no page is brought into being where that can be known: reading a hole of shared memory through
//! the process would allocate it. Who the process is, and where in it a guest lies, is the business of the caller.

mod file;
mod maps;
mod pagemap;
mod process_memory;
mod remote;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use guestdump_core::block::Backing;
use thiserror::Error;

use super::raw::FileBacking;

pub use maps::{Mapping, parse_maps_line};
pub use pagemap::never_touched;
pub use process_memory::peer_pid;
pub use remote::{PagemapOf, RemoteWindow};

/// Why a process cannot be read.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// The host does not let us.
    #[error("no permission to read the memory of process {pid} of user {uid} as user {our_uid}: {tried}: {cause}")]
    NoPermission {
        /// The process.
        pid: u32,
        /// Its user.
        uid: u32,
        /// Our user.
        our_uid: u32,
        /// What was tried.
        tried: String,
        /// What the host said.
        cause: io::Error,
    },
    /// It cannot be read for another reason: it has ended, for example.
    #[error("process {pid}: {tried}: {cause}")]
    Unreadable {
        /// The process.
        pid: u32,
        /// What was tried.
        tried: String,
        /// What the host said.
        cause: io::Error,
    },
    /// There is no memory where some should be.
    #[error("process {pid} has no memory at {addr:#x}, where {len_bytes:#x} bytes of the guest should be")]
    NotMapped {
        /// The process.
        pid: u32,
        /// The first address without memory.
        addr: u64,
        /// Bytes that were expected from there.
        len_bytes: u64,
    },
}

impl ProcessError {
    pub(super) fn new(pid: u32, tried: impl Into<String>, cause: io::Error) -> Self {
        let tried = tried.into();
        if cause.kind() != io::ErrorKind::PermissionDenied {
            return Self::Unreadable { pid, tried, cause };
        }
        let uid = fs::metadata(format!("/proc/{pid}")).map_or(u32::MAX, |process| process.uid());
        Self::NoPermission { pid, uid, our_uid: rustix::process::geteuid().as_raw(), tried, cause }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let Self::NoPermission { uid, our_uid, .. } = self else { return None };
        if uid != our_uid {
            return Some("run as root, or as the user of the QEMU process".to_owned());
        }
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
        Some(match scope.trim() {
            "" | "0" => "run as root: the process is not dumpable, or holds more capabilities than we do".to_owned(),
            scope => format!("run as root: kernel.yama.ptrace_scope is {scope}, and 0 would be needed"),
        })
    }
}

/// A part of a range of another process, and how to read it.
#[derive(Debug)]
pub struct Window {
    /// Where it starts in the range, in bytes.
    pub offset: u64,
    /// Its length, in bytes.
    pub len_bytes: u64,
    /// The way to read it.
    pub backing: Box<dyn Backing>,
    /// That way, for people.
    pub how: String,
    /// Whether reading it needs the right to trace the process.
    pub remote: bool,
}

/// A process and what it has mapped.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    mappings: Vec<Mapping>,
    pagemap: Option<Arc<File>>,
}

impl Process {
    /// Looks a process up, and what it has mapped now.
    ///
    /// # Errors
    /// [`ProcessError`] if that is not allowed, or there is no such process.
    pub fn open(pid: u32) -> Result<Self, ProcessError> {
        let path = format!("/proc/{pid}/maps");
        let text = fs::read(&path).map_err(|cause| ProcessError::new(pid, format!("read {path}"), cause))?;
        let mappings = text.split(|byte| *byte == b'\n').filter_map(parse_maps_line).collect();
        let pagemap = File::open(format!("/proc/{pid}/pagemap")).ok().map(Arc::new);
        Ok(Self { pid, mappings, pagemap })
    }

    /// Its number.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// The windows that make up `len_bytes` bytes from address `start` on, ascending and without gaps.
    ///
    /// # Errors
    /// [`ProcessError::NotMapped`] if it has not all of it.
    pub fn windows(&self, start: u64, len_bytes: u64) -> Result<Vec<Window>, ProcessError> {
        let mut windows = Vec::new();
        let mut done = 0;
        while done < len_bytes {
            let (addr, left) = (start.saturating_add(done), len_bytes - done);
            let missing = || ProcessError::NotMapped { pid: self.pid, addr, len_bytes: left };
            let mapping = self.mapping_at(addr).ok_or_else(missing)?;
            let len = left.min(mapping.end - addr);
            windows.push(self.window(mapping, addr, len, done));
            done += len;
        }
        Ok(windows)
    }

    fn mapping_at(&self, addr: u64) -> Option<&Mapping> {
        // The kernel lists them in ascending order.
        let next = self.mappings.partition_point(|mapping| mapping.end <= addr);
        self.mappings.get(next).filter(|mapping| mapping.start <= addr && mapping.readable)
    }

    fn window(&self, mapping: &Mapping, addr: u64, len_bytes: u64, offset: u64) -> Window {
        let found = if mapping.inode == 0 { None } else { file::find(self.pid, mapping) };
        let file_offset = mapping.offset.saturating_add(addr - mapping.start);
        let file = found.and_then(|(file, via)| Some((file::window(file, file_offset, len_bytes)?, via)));
        match file {
            Some((file, via)) if mapping.shared => {
                let how = format!("pread of {via} from {file_offset:#x}, its holes are zeros");
                Window { offset, len_bytes, backing: Box::new(file), how, remote: false }
            }
            file => {
                let remote = self.remote(mapping, addr, file.map(|(file, _)| file));
                let how = remote.describe().to_owned();
                Window { offset, len_bytes, backing: Box::new(remote), how, remote: true }
            }
        }
    }

    fn remote(&self, mapping: &Mapping, addr: u64, below: Option<FileBacking>) -> RemoteWindow {
        let pagemap = self.pagemap.clone().filter(|_| !mapping.shared);
        let pagemap = match (pagemap, below) {
            (Some(pagemap), None) if mapping.inode == 0 => Some(PagemapOf::Anonymous(pagemap)),
            (Some(pagemap), Some(below)) => Some(PagemapOf::File { pagemap, below }),
            _ => None,
        };
        RemoteWindow::new(self.pid, addr, pagemap)
    }

    /// Whether the host lets us read the process at all.
    ///
    /// # Errors
    /// [`ProcessError`] if it does not.
    pub fn probe_any(&self) -> Result<(), ProcessError> {
        let readable = self.mappings.iter().find(|mapping| mapping.readable);
        readable.map_or(Ok(()), |mapping| self.probe(mapping.start))
    }

    /// Whether the host lets us read the process at `addr`. Other failures than that are left to the reading.
    ///
    /// # Errors
    /// [`ProcessError`] if it does not.
    pub fn probe(&self, addr: u64) -> Result<(), ProcessError> {
        match process_memory::read(self.pid, addr, &mut [0]) {
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                Err(ProcessError::new(self.pid, "process_vm_readv", cause))
            }
            _ => Ok(()),
        }
    }
}

/// The process that a thread belongs to.
#[must_use]
pub fn process_of_thread(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_over_several_mappings_is_several_windows() {
        let us = Process::open(std::process::id()).unwrap();
        let pairs = us.mappings.iter().zip(us.mappings.iter().skip(1));
        let adjacent = |low: &Mapping, high: &Mapping| low.end == high.start && low.readable && high.readable;
        let (low, high) = pairs.clone().find(|(low, high)| adjacent(low, high)).unwrap();
        let windows = us.windows(low.end - 100, 300).unwrap();
        let shapes: Vec<_> = windows.iter().map(|window| (window.offset, window.len_bytes)).collect();
        assert_eq!(shapes, [(0, 100), (100, 200)]);
        let mut bytes = [0; 4];
        windows[1].backing.read_at(0, &mut bytes).unwrap();
        assert!(high.start == low.end && us.probe_any().is_ok());
        let (low, _) = pairs.clone().find(|(low, high)| low.end < high.start && low.readable).unwrap();
        let error = us.windows(low.end - 1, 5).unwrap_err();
        assert!(matches!(error, ProcessError::NotMapped { len_bytes: 4, addr, .. } if addr == low.end), "{error}");
    }

    #[test]
    fn a_process_that_is_none_is_an_error_without_hint() {
        let error = Process::open(u32::MAX).unwrap_err();
        assert!(error.to_string().starts_with("process 4294967295: read /proc/4294967295/maps: "), "{error}");
        assert_eq!((error.hint(), process_of_thread(u32::MAX)), (None, None));
        assert_eq!(process_of_thread(std::process::id()), Some(std::process::id()));
    }
}
