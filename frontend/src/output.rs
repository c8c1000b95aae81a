//! Where a dump is written: a file that appears only when it is whole, a file descriptor, standard output.
//!
//! A file is written under a temporary name in the same folder, fsynced and renamed; whatever ends the program early,
//! no half file stays and nothing is overwritten without being asked for.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use guestdump_core::format::Format;
use guestdump_core::format::flattened::Flattened;
use guestdump_core::sink::{Sequential, Sink};
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::signals::Interrupt;

mod direct;
mod file;
mod pace;

use direct::DirectSink;
use file::FileSink;
use pace::Paced;

/// Mode of a dump: it holds everything that the guest knows.
const MODE: u32 = 0o600;

/// What the user named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A path.
    File(PathBuf),
    /// An open file descriptor.
    Fd(RawFd),
    /// Standard output.
    Stdout,
}

/// Why nothing can be written there.
#[derive(Debug, Error)]
pub enum OutputError {
    /// Something is there already.
    #[error("{path} exists")]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// A folder cannot be a dump.
    #[error("{path} is a folder")]
    IsDirectory {
        /// The path.
        path: PathBuf,
    },
    /// `fd:N` without a number.
    #[error("{text}: fd: needs the number of an open file descriptor")]
    BadFd {
        /// What was given.
        text: String,
    },
    /// The host refuses.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The path, or a name for it.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The output cannot go back, and the format must.
    #[error("{format} goes back in its output, and {output} cannot")]
    CannotSeek {
        /// Name of the format.
        format: &'static str,
        /// Name of the output.
        output: String,
    },
    /// The output is no file in which bytes can be left out or written in whole blocks.
    #[error("{option} is for seekable files, and {output} takes {format} as a stream")]
    CannotPlace {
        /// What was asked for.
        option: &'static str,
        /// Name of the format.
        format: &'static str,
        /// Name of the output.
        output: String,
    },
    /// The file system has no O_DIRECT.
    #[error("{path} cannot be written past the page cache: {source}")]
    NoDirect {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is less room than the dump needs for sure.
    #[error("{path} has {free} bytes free, and the dump takes {needed}")]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
}

impl OutputError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("overwrite it with --force, or choose another name".to_owned()),
            Self::IsDirectory { path } => Some(format!("name a file in it: {}", path.join("vmcore").display())),
            Self::BadFd { .. } => Some("for example fd:3, with 3>file behind the command".to_owned()),
            Self::CannotSeek { .. } => {
                Some("use the format of the same name without -raw, or write to a file".to_owned())
            }
            Self::CannotPlace { .. } => Some("leave it out: a stream has neither holes nor blocks".to_owned()),
            Self::NoDirect { .. } => Some("leave --direct out, or write to another file system".to_owned()),
            Self::NoSpace { .. } => Some("a kdump format compresses: --format kdump-zlib".to_owned()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("choose a folder that you may write to".to_owned())
            }
            Self::Io { .. } => None,
        }
    }
}

impl Target {
    /// Reads `PATH`, `file:PATH`, `fd:N` or `-`.
    ///
    /// # Errors
    /// [`OutputError::BadFd`].
    pub fn parse(text: &str) -> Result<Self, OutputError> {
        if text == "-" {
            return Ok(Self::Stdout);
        }
        if let Some(number) = text.strip_prefix("fd:") {
            let bad = || OutputError::BadFd { text: text.to_owned() };
            return number.parse().ok().filter(|fd| *fd >= 0).map(Self::Fd).ok_or_else(bad);
        }
        Ok(Self::File(PathBuf::from(text.strip_prefix("file:").unwrap_or(text))))
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Fd(fd) => format!("fd:{fd}"),
            Self::Stdout => "standard output".to_owned(),
        }
    }
}

/// How the user wants it to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manner {
    /// Whether zeros may be left out as holes.
    pub sparse: bool,
    /// Whether to write past the host's page cache.
    pub direct: bool,
    /// Most bytes to write in a second.
    pub rate_limit: Option<u64>,
}

/// Bytes that a pipe is asked to hold: what a user may ask for without privileges (pipe(7), pipe-max-size).
const PIPE_LEN: usize = 1 << 20;

/// An open output.
#[derive(Debug)]
enum Open {
    /// A regular file that is not there yet.
    Temporary { file: NamedTempFile, path: PathBuf, force: bool },
    /// Something that is there: a device, a pipe, a descriptor.
    Existing(File),
}

/// An output, opened but not written to.
#[derive(Debug)]
pub struct Output {
    open: Open,
    name: String,
    seekable: bool,
}

impl Output {
    /// Opens an output. Nothing that exists changes yet.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn open(target: &Target, force: bool) -> Result<Self, OutputError> {
        let name = target.name();
        let io_error = |source| OutputError::Io { path: name.clone(), source };
        let open = match target {
            Target::File(path) => open_path(path, force)?,
            Target::Fd(fd) => Open::Existing(duplicate(*fd).map_err(io_error)?),
            Target::Stdout => Open::Existing(duplicate(1).map_err(io_error)?),
        };
        let seekable = match &open {
            Open::Temporary { .. } => true,
            Open::Existing(file) => empty_regular(file).map_err(io_error)?,
        };
        Ok(Self { open, name, seekable })
    }

    /// Whether one can go back in it.
    #[must_use]
    pub const fn seekable(&self) -> bool {
        self.seekable
    }

    /// Checks that a format can be written here, and that there is room for what it takes for sure.
    ///
    /// # Errors
    /// [`OutputError::CannotSeek`], [`OutputError::NoSpace`].
    pub fn check(&self, format: &'static Format, needed: u64) -> Result<(), OutputError> {
        if format.needs_seek() && !self.seekable {
            return Err(OutputError::CannotSeek { format: format.name, output: self.name.clone() });
        }
        let Open::Temporary { path, .. } = &self.open else { return Ok(()) };
        let folder = folder(path);
        // A file system that does not say how much is free will say so when it is full.
        let Ok(stat) = rustix::fs::statvfs(folder) else { return Ok(()) };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < needed { Err(OutputError::NoSpace { path: folder.to_owned(), free, needed }) } else { Ok(()) }
    }

    /// Checks that it can be written to in the way that the user wants.
    ///
    /// # Errors
    /// [`OutputError::CannotPlace`], [`OutputError::NoDirect`].
    pub fn prepare(&self, format: &'static Format, manner: &Manner) -> Result<(), OutputError> {
        let placed = self.seekable && !format.flattened;
        let option = if manner.direct { "--direct" } else { "--no-sparse" };
        if (manner.direct || !manner.sparse) && !placed {
            return Err(OutputError::CannotPlace { option, format: format.name, output: self.name.clone() });
        }
        if manner.direct {
            direct::set_direct(self.file())
                .map_err(|source| OutputError::NoDirect { path: self.name.clone(), source })?;
        }
        // A longer pipe lets both sides work in larger steps; where that is not allowed, it stays as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(self.file(), PIPE_LEN);
        Ok(())
    }

    fn file(&self) -> &File {
        match &self.open {
            Open::Temporary { file, .. } => file.as_file(),
            Open::Existing(file) => file,
        }
    }

    /// The sink for a format. [`Output::prepare`] comes before.
    pub fn sink(&mut self, format: &'static Format, manner: &Manner, interrupt: &Interrupt) -> Box<dyn Sink + '_> {
        let file = self.file();
        let sink: Box<dyn Sink> = match (format.flattened, self.seekable) {
            (true, _) => Box::new(Flattened::new(file)),
            (false, true) if manner.direct => Box::new(DirectSink::new(file, manner.sparse)),
            (false, true) => Box::new(FileSink::new(file, manner.sparse)),
            (false, false) => Box::new(Sequential::new(file)),
        };
        match manner.rate_limit {
            Some(rate) => Box::new(Paced::new(sink, rate, interrupt.clone())),
            None => sink,
        }
    }

    /// Makes the dump appear: everything is on the disk before the name is.
    ///
    /// # Errors
    /// [`OutputError`]; the temporary file is gone then.
    pub fn publish(self) -> Result<(), OutputError> {
        let name = self.name;
        let io_error = |source| OutputError::Io { path: name.clone(), source };
        match self.open {
            Open::Existing(mut file) => file.flush().map_err(io_error),
            Open::Temporary { file, path, force } => {
                file.as_file().sync_all().map_err(io_error)?;
                if force {
                    file.persist(&path).map_err(|error| io_error(error.error))?;
                } else {
                    file.persist_noclobber(&path).map_err(|error| match error.error.kind() {
                        io::ErrorKind::AlreadyExists => OutputError::Exists { path: path.clone() },
                        _ => io_error(error.error),
                    })?;
                }
                // The folder's entry too; a file system that cannot do that is no reason to fail.
                File::open(folder(&path)).and_then(|folder| folder.sync_all()).or(Ok(()))
            }
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn open_path(path: &Path, force: bool) -> Result<Open, OutputError> {
    let io_error = |source| OutputError::Io { path: path.display().to_string(), source };
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err(OutputError::IsDirectory { path: path.to_owned() }),
        // Devices and pipes are written to as they are.
        Ok(there) if !there.is_file() && (there.file_type().is_fifo() || there.file_type().is_char_device()) => {
            return Ok(Open::Existing(File::options().write(true).open(path).map_err(io_error)?));
        }
        Ok(_) if !force => return Err(OutputError::Exists { path: path.to_owned() }),
        Ok(_) | Err(_) => {}
    }
    let permissions = std::fs::Permissions::from_mode(MODE);
    let file = tempfile::Builder::new().prefix(".guestdump-").permissions(permissions).tempfile_in(folder(path));
    Ok(Open::Temporary { file: file.map_err(io_error)?, path: path.to_owned(), force })
}

/// Our own handle of a descriptor that somebody else opened.
#[allow(unsafe_code, reason = "the number of a descriptor comes from the user")]
fn duplicate(fd: RawFd) -> io::Result<File> {
    // SAFETY: the borrowed descriptor is used for this one call; if it is not open, dup fails with EBADF. It is never
    // closed here, and -1 cannot come here: `Target::parse` refuses negative numbers.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned().map(File::from)
}

/// Whether a descriptor is a regular file that is empty and stands at its start: only such a one can be gone back in
/// without losing what somebody else wrote.
fn empty_regular(mut file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() != 0 {
        return Ok(false);
    }
    let append = rustix::fs::fcntl_getfl(file).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::APPEND));
    Ok(!append && io::Seek::stream_position(&mut file)? == 0)
}
