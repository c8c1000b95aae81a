//! Guest-physical memory as a reader sees it. Absent memory is a value, not an error.
//!
//! This is the one way in which anybody reads a guest: walkers, the search for kernel data, the page pipeline. Where the
//! bytes come from (a process, a file, a dump) is the business of whoever implements [`PhysMemory`].

use core::fmt;

use thiserror::Error;

use crate::addr::PhysAddr;

/// What is known about the bytes from an address on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// RAM whose content must be read.
    Data,
    /// RAM that is known to hold zeros because nothing was ever stored there: reading it is not needed, and may cost
    /// the host memory.
    Zero,
    /// RAM whose content the source left out on purpose: a filtered dump.
    Excluded,
    /// No RAM, or RAM whose content is not to be had.
    Absent,
}

/// A run of bytes of one [`Presence`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// What these bytes are.
    pub presence: Presence,
    /// How many they are; at least 1, and never past 2^64 - 1.
    pub len_bytes: u64,
}

/// Guest memory that should be readable and is not.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// Reading failed part way.
    #[error("guest memory {addr}: {done} of {wanted} bytes could be read: {cause}")]
    Unreadable {
        /// First byte of the read.
        addr: PhysAddr,
        /// Bytes read before the failure.
        done: usize,
        /// Bytes asked for.
        wanted: usize,
        /// What the host said.
        cause: std::io::Error,
    },
}

/// Random access to guest-physical memory.
pub trait PhysMemory: fmt::Debug + Send + Sync {
    /// Fills all of `buf` from `addr` and says `true`, or says `false` if any of these bytes is not RAM (`buf` then
    /// holds nothing of use).
    ///
    /// # Errors
    /// [`MemoryError`] if there is RAM that cannot be read.
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError>;

    /// The longest run that is cheap to find, from `addr` on, of bytes of the same presence. At most `limit_bytes`
    /// need be looked at; the run may still be reported longer.
    fn extent(&self, addr: PhysAddr, limit_bytes: u64) -> Extent;
}
