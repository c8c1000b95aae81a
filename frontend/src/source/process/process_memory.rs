//! The unsafe code of this program: three system calls that no safe crate offers soundly.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd as _};

/// Reads memory of process `pid` from address `addr` on; gives the number of bytes read, which may be fewer than asked
/// for where the memory ends.
///
/// # Errors
/// What `process_vm_readv` says: EPERM without the right to trace the process, EFAULT where nothing is mapped, ESRCH
/// for a process that has ended.
pub fn read(pid: u32, addr: u64, buf: &mut [u8]) -> io::Result<usize> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let pid = libc::pid_t::try_from(pid).map_err(invalid)?;
    let base = usize::try_from(addr).map_err(invalid)?;
    let local = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(base), iov_len: buf.len() };
    // SAFETY: `local` is one writable buffer, borrowed for the whole call, that the kernel writes to within its length.
    // `remote` is an address of the other process (or of ours, and then only read), which the kernel checks and which
    // is never dereferenced here.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// The process that listens at the other end of a Unix socket; `None` if it is not visible from here. (rustix has the
/// same call, but its result cannot hold the 0 that the kernel gives then.)
///
/// # Errors
/// What `getsockopt` says.
pub fn peer_pid(socket: impl AsFd) -> io::Result<Option<u32>> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = libc::socklen_t::try_from(size_of_val(&peer)).unwrap_or(0);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes to `peer`, which has that size and for which all bytes are values.
    let status =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &raw mut len) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(peer.pid).ok().filter(|pid| *pid != 0))
}

/// `struct pm_scan_arg` of the PAGEMAP_SCAN ioctl (linux `Documentation/admin-guide/mm/pagemap.rst`; since 6.7).
#[repr(C)]
#[derive(Debug, Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// Its `struct page_region`.
#[repr(C)]
#[derive(Debug, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

const PAGEMAP_SCAN: libc::Ioctl = libc::_IOWR::<PmScanArg>(b'f' as u32, 16);
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;

/// The first pages of `addresses` (borders of pages) of a process that are present or swapped out, by its
/// `/proc/PID/pagemap`: the kernel passes over what has no page tables without looking at each page.
///
/// # Errors
/// What `ioctl` says: ENOTTY before Linux 6.7.
pub fn first_touched(pagemap: impl AsFd, addresses: Range<u64>) -> io::Result<Option<Range<u64>>> {
    let mut region = PageRegion::default();
    let mut arg = PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        start: addresses.start,
        end: addresses.end,
        vec: (&raw mut region).expose_provenance() as u64,
        vec_len: 1,
        category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        ..PmScanArg::default()
    };
    let fd = pagemap.as_fd().as_raw_fd();
    // SAFETY: the kernel reads and writes `arg`, whose size it is told, and writes at most one `page_region` to `vec`, which
    // is `region`. Both outlive the call, and all bytes are values of both. Nothing is changed in the process.
    let regions = unsafe { libc::ioctl(fd, PAGEMAP_SCAN, &raw mut arg) };
    match regions {
        0 => Ok(None),
        1 => Ok(Some(region.start..region.end)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_our_own_socket_is_us() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(peer_pid(&ours).unwrap(), Some(std::process::id()));
    }
}
