//! The unsafe code of this program: two system calls that no safe crate offers soundly.

use std::io;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_our_own_socket_is_us() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(peer_pid(&ours).unwrap(), Some(std::process::id()));
    }
}
