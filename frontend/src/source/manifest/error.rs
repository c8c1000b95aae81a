//! Everything that can be wrong with a manifest, with its numbers, and what to do about it.
//!
//! An error knows the file, the line, the column and the key. Where an error is found lives with the step that finds
//! it.

use std::io;
use std::path::PathBuf;

use guestdump_arch::{ArchError, Endian, MemoryError, PhysAddr, PhysRange};
use thiserror::Error;

use crate::number::NumberError;

/// Longest manifest that is read, in bytes: 10,000 vCPUs with all their registers have room.
pub const MAX_LEN: u64 = 1 << 20;

/// Why a manifest does not describe a guest.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// The manifest itself cannot be read.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// The manifest.
        path: PathBuf,
        /// What the host said.
        cause: io::Error,
    },
    /// The manifest is something else than a file.
    #[error("{}: a manifest is a file, and this is a {what}", path.display())]
    NotAFile {
        /// The manifest.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The manifest is absurdly long.
    #[error("{}: a manifest has at most {MAX_LEN} bytes, and this file has {len}", path.display())]
    TooLong {
        /// The manifest.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// The manifest is no text.
    #[error("{}: byte {at} is not UTF-8", path.display())]
    NotText {
        /// The manifest.
        path: PathBuf,
        /// Offset of the first byte that does not belong there.
        at: usize,
    },
    /// Something in the manifest, or something that it names.
    #[error("{}:{line}:{column}: {}{}{problem}", file.display(), key, if key.is_empty() { "" } else { ": " })]
    Invalid {
        /// The manifest.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The key: `memory[1].length`; empty where there is none.
        key: String,
        /// What is wrong.
        problem: Box<Problem>,
    },
}

/// What is wrong with one key.
#[derive(Debug, Error)]
pub enum Problem {
    /// No TOML.
    #[error("{0}")]
    Syntax(String),
    /// A key that no table of this kind has.
    #[error("no such key")]
    UnknownKey {
        /// The key that was probably meant.
        closest: Option<&'static str>,
        /// All keys of the table.
        known: &'static [&'static str],
    },
    /// A key that must be there is not.
    #[error("missing")]
    Missing,
    /// A value of another kind.
    #[error("{wanted} is wanted here, not {found}")]
    WrongType {
        /// What belongs here.
        wanted: &'static str,
        /// What is here.
        found: &'static str,
    },
    /// A value that is no number, or none that fits.
    #[error(transparent)]
    Number(#[from] NumberError),
    /// No architecture of that name.
    #[error("no architecture {name}")]
    UnknownArch {
        /// What was written.
        name: String,
        /// The one that was probably meant.
        closest: Option<&'static str>,
    },
    /// No byte order of that name.
    #[error("{0:?} is no byte order")]
    UnknownByteOrder(String),
    /// The name of the architecture says another byte order.
    #[error("{} contradicts arch {arch}, which is {}", byte_order.name(), by_name.name())]
    ByteOrderContradiction {
        /// What `byte-order` says.
        byte_order: Endian,
        /// The name of the architecture, as it was written.
        arch: String,
        /// What that name says.
        by_name: Endian,
    },
    /// The architecture has no guests of that byte order.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// A page size that no dump has.
    #[error("{0} is no page size: a power of two from 4096 to 262144")]
    PageSize(u64),
    /// No kind of memory.
    #[error("{0:?} is no kind of memory")]
    UnknownKind(String),
    /// No memory at all.
    #[error("no memory")]
    NoMemory,
    /// A block that is neither in a file nor zero, or both.
    #[error("either file or zero = true says where the bytes are, not {}", if *both { "both" } else { "neither" })]
    FileOrZero {
        /// Whether both are there.
        both: bool,
    },
    /// An offset without a file.
    #[error("an offset needs a file")]
    OffsetWithoutFile,
    /// A block of zeros whose length nothing says.
    #[error("missing: zeros have no length of their own")]
    ZerosWithoutLength,
    /// A block without bytes.
    #[error("memory of no bytes")]
    NoBytes,
    /// A block beyond the last address.
    #[error("{len_bytes} bytes from {start} end beyond 2^64 - 1")]
    BeyondAddresses {
        /// First address.
        start: PhysAddr,
        /// Length in bytes.
        len_bytes: u64,
    },
    /// Two blocks share bytes.
    #[error("{range} overlaps memory[{other}] at {other_range}, line {other_line}")]
    Overlap {
        /// This block.
        range: PhysRange,
        /// Index of the other.
        other: usize,
        /// Its addresses.
        other_range: PhysRange,
        /// Where it stands.
        other_line: usize,
    },
    /// A file that cannot be opened or read.
    #[error("{}: {cause}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the host said.
        cause: io::Error,
    },
    /// Something that is neither a file nor a block device.
    #[error("{} is a {what}, not a file", path.display())]
    FileKind {
        /// Its path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file that is shorter than the block.
    #[error("{} has {file_len} bytes, and offset {offset} + length {len_bytes} needs {}", path.display(), offset.saturating_add(*len_bytes))]
    FileShort {
        /// Its path.
        path: PathBuf,
        /// Its length in bytes.
        file_len: u64,
        /// `offset`.
        offset: u64,
        /// `length`.
        len_bytes: u64,
    },
    /// A block up to the end of a file that ends before the block starts.
    #[error("{} has {file_len} bytes: nothing is left behind offset {offset}", path.display())]
    FileUsedUp {
        /// Its path.
        path: PathBuf,
        /// Its length in bytes.
        file_len: u64,
        /// `offset`.
        offset: u64,
    },
    /// A vCPU number that has no `pr_pid`.
    #[error("vCPU number {0} is above 2147483646")]
    CpuId(u64),
    /// Two vCPUs of one number.
    #[error("cpu[{other}] has number {id} too")]
    SameCpu {
        /// The number.
        id: u32,
        /// Index of the other.
        other: usize,
    },
    /// No register of that name.
    #[error("{arch} has no register {name}")]
    UnknownRegister {
        /// The architecture.
        arch: &'static str,
        /// What was written.
        name: String,
        /// The one that was probably meant.
        closest: Option<&'static str>,
        /// All registers of the architecture.
        known: Vec<&'static str>,
    },
    /// A value that does not fit its register.
    #[error("{value} is wider than the {width} bytes of {register}")]
    TooWide {
        /// The register.
        register: &'static str,
        /// Its width in bytes.
        width: usize,
        /// The value, as it was written.
        value: String,
    },
    /// One register under two names.
    #[error("register {register} is set twice")]
    RegisterTwice {
        /// Its name in the list.
        register: &'static str,
    },
    /// More than one place, or none, for VMCOREINFO.
    #[error("one of at, file and search is wanted, not {0} of them")]
    VmcoreinfoPlaces(usize),
    /// A size without an address.
    #[error("a size needs at")]
    SizeWithoutAt,
    /// Nothing where the note should be.
    #[error("no memory at {at}, where {wanted} bytes of the VMCOREINFO note should be")]
    NoteAbsent {
        /// Address of the note.
        at: PhysAddr,
        /// Bytes looked for.
        wanted: usize,
    },
    /// Memory that holds the note cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Something else than the note.
    #[error("at {at} is no VMCOREINFO note but {}", hex(found))]
    NoteOther {
        /// Where it was looked for.
        at: PhysAddr,
        /// What is there.
        found: Vec<u8>,
    },
    /// A note that is longer than believable.
    #[error("the VMCOREINFO note at {at} says that it has {len_bytes} bytes, and {limit} is the most that it may have")]
    NoteTooLong {
        /// Where it is.
        at: PhysAddr,
        /// Length of note and header in bytes.
        len_bytes: u64,
        /// The limit: `size`, or 1 MiB.
        limit: u64,
    },
    /// A file that is no VMCOREINFO.
    #[error("{} has no line of the form KEY=VALUE", path.display())]
    NoKeyValue {
        /// Its path.
        path: PathBuf,
    },
    /// A VMCOREINFO file that is longer than believable.
    #[error("{} has more than {limit} bytes", path.display())]
    TextTooLong {
        /// Its path.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}

impl ManifestError {
    /// What to do, where that can be said in one line.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                Some("a manifest is a .toml file, or a folder with guest.toml in it".to_owned())
            }
            Self::NotText { .. } | Self::TooLong { .. } => {
                Some("raw memory is named by a manifest: file = \"ram.bin\" in a [[memory]] table".to_owned())
            }
            Self::Invalid { problem, .. } => problem.hint(),
            Self::Unreadable { .. } | Self::NotAFile { .. } => None,
        }
    }
}

/// "did you mean ...", or the names that there are.
fn meant(closest: Option<&'static str>, what: &str, known: &[&str]) -> String {
    match closest {
        Some(name) => format!("did you mean {name}?"),
        None => format!("{what}: {}", known.join(", ")),
    }
}

impl Problem {
    fn hint(&self) -> Option<String> {
        let fixed = |text: &str| Some(text.to_owned());
        match self {
            Self::UnknownKey { closest, known } => Some(meant(*closest, "keys of this table", known)),
            Self::UnknownArch { closest, .. } => Some(meant(*closest, "architectures", &guestdump_core::arch::names())),
            Self::UnknownRegister { closest, known, .. } => Some(meant(*closest, "registers", known)),
            Self::Number(error) => fixed(error.hint()),
            Self::UnknownByteOrder(_) => fixed("byte orders: little, big"),
            Self::UnknownKind(_) => fixed("kinds of memory: ram, device"),
            Self::NoMemory => fixed("a [[memory]] table describes a block: start, and file or zero = true with length"),
            Self::FileShort { .. } | Self::FileUsedUp { .. } => {
                fixed("leave out length to take a file to its end; offset counts from the file's first byte")
            }
            Self::File { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                fixed("paths are relative to the folder of the manifest")
            }
            Self::NoteAbsent { .. } | Self::NoteOther { .. } => {
                fixed("at is the first number in /sys/kernel/vmcoreinfo; leave it out to search the memory")
            }
            Self::NoteTooLong { .. } => {
                fixed("size is the second number in /sys/kernel/vmcoreinfo, which is hexadecimal there without 0x")
            }
            _ => None,
        }
    }
}
