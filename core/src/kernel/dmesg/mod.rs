//! The kernel's log out of its memory, by what VMCOREINFO says of it: the records of printk's ring buffer (since 5.10) or
//! of the older `log_buf`.
//!
//! Format of both: linux `Documentation/admin-guide/kdump/vmcoreinfo.rst` names the symbols and members; where each kind's
//! module needs more, it says how it is known. All of it is guest memory: every offset is checked, and a log that makes
//! no sense ends.

mod log_buf;
mod ring;

use core::fmt;

use guestdump_arch::{ArchError, CAbi, KernelFacts, VirtAddr};
use thiserror::Error;

use super::{KernelMemory, Unmapped};
use crate::guest::Guest;
use crate::vmcoreinfo::Vmcoreinfo;

/// Why there is no log, or no more of it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DmesgError {
    /// The kernel does not say what its log looks like.
    #[error("no VMCOREINFO: where the kernel's log is cannot be known")]
    NoVmcoreinfo,
    /// VMCOREINFO names neither kind of log.
    #[error("VMCOREINFO has neither SYMBOL(prb) nor SYMBOL(log_buf)")]
    NoSymbol,
    /// VMCOREINFO lacks a line.
    #[error("VMCOREINFO has no {key}")]
    Key {
        /// The line's key.
        key: String,
    },
    /// The guest contradicts its architecture.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// Memory of the log cannot be read.
    #[error("{what}: {source}")]
    Memory {
        /// Which part.
        what: &'static str,
        /// Where.
        source: Unmapped,
    },
    /// A number of the log cannot be true.
    #[error("{what} is {value:#x}: {why}")]
    Field {
        /// Its C name.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Which kind of log it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `struct printk_ringbuffer`, since 5.10.
    Ring,
    /// `log_buf` with a header before each text, since 3.5.
    LogBuf,
}

/// A record of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Its number since the kernel started, where the log says it.
    pub seq: Option<u64>,
    /// When it was written, in nanoseconds since the kernel started.
    pub ts_nsec: u64,
    /// Severity as in syslog(3), 0 to 7.
    pub level: Option<u8>,
    /// Facility as in syslog(3): 0 is the kernel's.
    pub facility: Option<u8>,
    /// Who wrote it: a thread's number, or with the top bit a CPU's.
    pub caller: Option<u32>,
    /// The text as the kernel holds it; it may have several lines.
    pub text: Vec<u8>,
    /// What the driver said of its device (SUBSYSTEM, DEVICE).
    pub dict: Vec<(String, String)>,
}

/// What was found wrong while a log was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Damage {
    /// Records that were not read: their descriptors or texts make no sense or are not in memory.
    pub records: u64,
    /// Why the first of them was not.
    pub first: Option<&'static str>,
}

impl Damage {
    fn add(&mut self, why: &'static str) {
        self.records += 1;
        self.first = self.first.or(Some(why));
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records cannot be read: {}", self.records, self.first.unwrap_or("nothing is wrong"))
    }
}

/// A log that was found.
#[derive(Debug)]
pub enum Log<'a> {
    /// See [`Kind::Ring`].
    Ring(ring::Records<'a>),
    /// See [`Kind::LogBuf`].
    LogBuf(log_buf::Records<'a>),
}

/// Finds the log of a guest's kernel.
///
/// # Errors
/// [`DmesgError`].
pub fn open(guest: &Guest) -> Result<Log<'_>, DmesgError> {
    let info = guest.vmcoreinfo.as_ref().ok_or(DmesgError::NoVmcoreinfo)?;
    let abi = guest.dump_info(&[])?.abi;
    let kernel = Reader { memory: KernelMemory::new(guest, info), info, abi };
    if info.symbol("prb").is_some() {
        return ring::Records::open(kernel).map(Log::Ring);
    }
    if info.symbol("log_buf").is_some() {
        return log_buf::Records::open(kernel).map(Log::LogBuf);
    }
    Err(DmesgError::NoSymbol)
}

impl Log<'_> {
    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Ring(_) => Kind::Ring,
            Self::LogBuf(_) => Kind::LogBuf,
        }
    }

    /// What was wrong so far.
    #[must_use]
    pub const fn damage(&self) -> Damage {
        match self {
            Self::Ring(records) => records.damage,
            Self::LogBuf(records) => records.damage,
        }
    }

    /// Bytes of text that the log can hold.
    #[must_use]
    pub const fn text_bytes(&self) -> u64 {
        match self {
            Self::Ring(records) => records.text_bytes(),
            Self::LogBuf(records) => records.text_bytes(),
        }
    }
}

impl Iterator for Log<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        match self {
            Self::Ring(records) => records.next(),
            Self::LogBuf(records) => records.next(),
        }
    }
}

/// A kernel's memory and what both kinds of log ask of VMCOREINFO.
#[derive(Debug)]
struct Reader<'a> {
    memory: KernelMemory<'a>,
    info: &'a Vmcoreinfo,
    abi: CAbi,
}

impl Reader<'_> {
    fn offset(&self, member: &str) -> Result<u64, DmesgError> {
        self.info.offset(member).ok_or_else(|| DmesgError::Key { key: format!("OFFSET({member})") })
    }

    fn size(&self, name: &str) -> Result<u64, DmesgError> {
        self.info.size(name).ok_or_else(|| DmesgError::Key { key: format!("SIZE({name})") })
    }

    fn symbol(&self, name: &str) -> Result<VirtAddr, DmesgError> {
        self.info.symbol(name).ok_or_else(|| DmesgError::Key { key: format!("SYMBOL({name})") })
    }

    /// `unsigned int`.
    fn int(&self, what: &'static str, at: VirtAddr) -> Result<u64, DmesgError> {
        self.memory.int(self.abi, at, 4).map_err(|source| DmesgError::Memory { what, source })
    }

    /// `unsigned long`, or a pointer.
    fn word(&self, what: &'static str, at: VirtAddr) -> Result<u64, DmesgError> {
        self.memory.word(self.abi, at).map_err(|source| DmesgError::Memory { what, source })
    }
}

/// `at + bytes`; addresses that pass the end of all are those of no memory.
const fn plus(at: VirtAddr, bytes: u64) -> VirtAddr {
    VirtAddr(at.0.saturating_add(bytes))
}

/// Severity and facility: two bytes, the facility and a byte of two bit fields, flags in five bits and then the level in
/// three, which big-endian compilers place from the top. Not in VMCOREINFO; observed in rings of kernels of both byte orders
/// (6.1), where they are the priorities that /dev/kmsg shows (`Documentation/ABI/testing/dev-kmsg`).
const fn priority(abi: CAbi, bytes: [u8; 2]) -> (u8, u8) {
    let level = match abi.endian {
        guestdump_arch::Endian::Little => bytes[1] >> 5,
        guestdump_arch::Endian::Big => bytes[1] & 7,
    };
    (bytes[0], level)
}

/// Up to the first NUL.
fn c_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
