//! The formats of dumps: the table of what can be written, and how a file is recognised.

pub mod elf;
pub mod flattened;
pub mod image;
pub mod kdump;
pub mod read;

use std::io;

use thiserror::Error;

use crate::compress::{self, Codec, CodecError};

/// What a file is in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Container {
    /// An ELF core file.
    Elf,
    /// A kdump-compressed file.
    Kdump,
}

/// One format that can be asked for. Names are those of QMP's `DumpGuestMemoryFormat`, and more of the same kind.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Name.
    pub name: &'static str,
    /// What it is.
    pub container: Container,
    /// Name of the codec of its pages, in the table of codecs.
    pub codec: &'static str,
    /// Whether it is written as records, so that it can go through a pipe.
    pub flattened: bool,
    /// For people.
    pub about: &'static str,
}

const fn kdump(name: &'static str, codec: &'static str, flattened: bool, about: &'static str) -> Format {
    Format { name, container: Container::Kdump, codec, flattened, about }
}

/// Every format of this build.
pub static ALL: &[Format] = &[
    Format { name: "elf", container: Container::Elf, codec: "none", flattened: false, about: "ELF core, plain memory" },
    kdump("kdump-raw-zlib", "zlib", false, "kdump, zlib pages, seekable output"),
    kdump("kdump-raw-lzo", "lzo", false, "kdump, LZO pages, seekable output"),
    kdump("kdump-raw-snappy", "snappy", false, "kdump, snappy pages, seekable output"),
    #[cfg(feature = "zstd")]
    kdump("kdump-raw-zstd", "zstd", false, "kdump, zstd pages, seekable output"),
    kdump("kdump-raw-none", "none", false, "kdump, pages as they are, seekable output"),
    kdump("kdump-zlib", "zlib", true, "kdump, zlib pages, flattened: any output"),
    kdump("kdump-lzo", "lzo", true, "kdump, LZO pages, flattened: any output"),
    kdump("kdump-snappy", "snappy", true, "kdump, snappy pages, flattened: any output"),
    #[cfg(feature = "zstd")]
    kdump("kdump-zstd", "zstd", true, "kdump, zstd pages, flattened: any output"),
];

/// The format of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Format> {
    ALL.iter().find(|format| format.name == name)
}

impl Format {
    /// Its codec.
    #[must_use]
    pub fn codec(&self) -> Option<&'static dyn Codec> {
        compress::by_name(self.codec)
    }

    /// Whether it needs an output in which one can go back.
    #[must_use]
    pub fn needs_seek(&self) -> bool {
        self.container == Container::Kdump && !self.flattened
    }
}

/// A file that holds a dump.
#[allow(clippy::len_without_is_empty, reason = "an empty file is no special case")]
pub trait DumpFile: core::fmt::Debug + Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// What the host says; [`io::ErrorKind::UnexpectedEof`] behind the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// How many bytes from `offset` on are known to be zero without being read: those of a hole.
    fn zeros_at(&self, offset: u64) -> u64 {
        let _ = offset;
        0
    }

    /// How many bytes from `offset` on may be anything: up to the next hole; 0 behind the end.
    fn data_at(&self, offset: u64) -> u64 {
        self.len().saturating_sub(offset)
    }

    /// How many bytes it may hold at most, where it claims to be longer than that: records say where their bytes belong.
    fn held(&self) -> u64 {
        self.len()
    }
}

impl DumpFile for Vec<u8> {
    fn len(&self) -> u64 {
        Self::len(self) as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.get(start..start.saturating_add(buf.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

impl DumpFile for std::sync::Arc<dyn DumpFile> {
    fn len(&self) -> u64 {
        self.as_ref().len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_ref().read_at(offset, buf)
    }

    fn zeros_at(&self, offset: u64) -> u64 {
        self.as_ref().zeros_at(offset)
    }

    fn data_at(&self, offset: u64) -> u64 {
        self.as_ref().data_at(offset)
    }

    fn held(&self) -> u64 {
        self.as_ref().held()
    }
}

/// Why a file cannot be read as a dump.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The host cannot read it, or it ends too early.
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// Neither ELF nor kdump nor flattened.
    #[error("not a dump: the file starts with {start}")]
    Unrecognised {
        /// Its first bytes, in hexadecimal.
        start: String,
    },
    /// Something else, which is known.
    #[error("it is {what}, which is not read")]
    Other {
        /// What.
        what: &'static str,
    },
    /// A core file of a process.
    #[error("it is the core of a process, {program}, and not of a machine")]
    Process {
        /// Name of the program.
        program: String,
    },
    /// A part of the file lies outside of it.
    #[error("{what} at offset {offset:#x}, {len} bytes, lies outside of the file of {file_len} bytes")]
    Outside {
        /// Which part.
        what: &'static str,
        /// Where it should be.
        offset: u64,
        /// How long it should be.
        len: u64,
        /// Length of the file.
        file_len: u64,
    },
    /// A field holds what it cannot.
    #[error("{what} is {value:#x}: {why}")]
    Field {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A flattened record is impossible.
    #[error("flattened record at {at:#x}: offset {offset}, size {size} in a file of {file_len} bytes")]
    FlatRecord {
        /// Where the record is.
        at: u64,
        /// Its offset.
        offset: i64,
        /// Its size.
        size: i64,
        /// Length of the file.
        file_len: u64,
    },
    /// More than a reader holds in memory.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are read.
        limit: usize,
    },
    /// No architecture writes such files.
    #[error("no known architecture has e_machine {machine} (known: {known})")]
    Machine {
        /// `e_machine` or the machine name.
        machine: String,
        /// Names that are known.
        known: String,
    },
    /// Files that are no parts of one dump.
    #[error("file {number} is no part of the dump that file 1 is: {why}")]
    Set {
        /// Which of the files, from 1.
        number: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A page cannot be decompressed.
    #[error("page {pfn:#x} at offset {offset:#x}, {size} bytes: {source}")]
    Page {
        /// Its page frame number.
        pfn: u64,
        /// Where its bytes are.
        offset: u64,
        /// How many they are.
        size: u32,
        /// Why.
        source: CodecError,
    },
}

/// Reads `len` bytes at `offset`, or says which part of the file lies outside of it. Never allocates more than the
/// file holds.
///
/// # Errors
/// [`ReadError::Outside`], [`ReadError::Io`].
pub fn read_part(file: &dyn DumpFile, what: &'static str, offset: u64, len: u64) -> Result<Vec<u8>, ReadError> {
    let file_len = file.len();
    if offset.checked_add(len).is_none_or(|end| end > file_len) {
        return Err(ReadError::Outside { what, offset, len, file_len });
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    file.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// Parts of this length are read even from a file that holds less.
const SHORT: u64 = 64 << 10;

/// Reads what the file has of `len` bytes at `offset`: nothing behind its end, and of a long part no more than the file
/// can hold.
///
/// # Errors
/// [`ReadError::Io`].
pub fn read_there(file: &dyn DumpFile, offset: u64, len: u64) -> Result<Vec<u8>, ReadError> {
    let there = len.min(file.len().saturating_sub(offset)).min(file.held().max(SHORT));
    let mut bytes = vec![0; usize::try_from(there).unwrap_or(usize::MAX)];
    if there > 0 {
        file.read_at(offset, &mut bytes)?;
    }
    Ok(bytes)
}
