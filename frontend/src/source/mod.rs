//! Where a guest comes from. One module for each kind of source, one line each in [`open`].

pub mod demo;
pub mod dump;
pub mod gdb;
pub mod image;
pub mod manifest;
pub mod process;
pub mod qmp;
pub mod raw;

use std::path::{Path, PathBuf};
use std::time::Duration;

use guestdump_core::arch::{Arch, Endian};
use guestdump_core::format::ReadError;
use guestdump_core::guest::Guest;
use guestdump_core::kernel;
use thiserror::Error;

/// What a guest is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To look at it: a running guest is not kept stopped.
    Look,
    /// To dump it: a running guest is stopped until the session ends.
    Dump,
}

/// What ends with the use of a guest. Dropping it lets the guest go on as well.
pub trait Session: core::fmt::Debug {
    /// Lets a guest that ran before run again, and says for how long it stood still; `None` for a guest that cannot run
    /// (a file), zero for one that was paused all along.
    ///
    /// # Errors
    /// [`SourceError`] if the guest could not be told.
    fn finish(self: Box<Self>) -> Result<Option<Duration>, SourceError>;
}

/// The session of a guest that is no process.
#[derive(Debug)]
pub struct Still;

impl Session for Still {
    fn finish(self: Box<Self>) -> Result<Option<Duration>, SourceError> {
        Ok(None)
    }
}

/// A guest and what keeps it open.
#[derive(Debug)]
pub struct Opened {
    /// The guest.
    pub guest: Guest,
    /// What ends with its use.
    pub session: Box<dyn Session>,
}

/// Which guest, and what the user says about it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `qmp:PATH`, `demo:ARCH`, a manifest, its folder, a dump, an image, or raw memory.
    pub source: String,
    /// More files of the same guest.
    pub more: Vec<String>,
    /// Where its VMCOREINFO is to be taken from.
    pub vmcoreinfo: VmcoreinfoFrom,
    /// What `--arch` says.
    pub arch: Option<(&'static dyn Arch, Option<Endian>)>,
    /// What for.
    pub purpose: Purpose,
    /// Our own executable, which watches over a stopped guest.
    pub watchdog: Option<PathBuf>,
}

impl Request {
    /// That source, about which the user says nothing.
    #[must_use]
    pub fn new(source: String, purpose: Purpose) -> Self {
        let (more, vmcoreinfo) = (Vec::new(), VmcoreinfoFrom::Source);
        Self { source, more, vmcoreinfo, arch: None, purpose, watchdog: None }
    }
}

/// Where VMCOREINFO is taken from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VmcoreinfoFrom {
    /// From the source; searched for where that does not say it.
    Source,
    /// Searched for, whatever the source says.
    Scan,
    /// From nowhere: the dump has none.
    Nowhere,
    /// A file with the text, or with the note as Linux keeps it.
    File(PathBuf),
}

/// Why there is no guest.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] manifest::ManifestError),
    /// The live QEMU does not hand it over.
    #[error(transparent)]
    Qmp(#[from] qmp::QmpError),
    /// The dump cannot be read.
    #[error("{path}: {source}")]
    Dump {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// The path cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such sample.
    #[error("no sample guest is called {name}")]
    NoDemo {
        /// What was asked for.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// The source is memory and nothing else.
    #[error("{what} does not say which architecture its guest has")]
    NoArch {
        /// What.
        what: String,
    },
    /// Files that cannot be one guest.
    #[error("{name}: only files of a split set, or of raw memory (FILE@ADDR), can be given together")]
    Several {
        /// The one that does not belong there.
        name: String,
    },
    /// Raw memory that is nowhere, or where other memory is.
    #[error("{name}: {why}")]
    Raw {
        /// What was typed.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that holds no VMCOREINFO.
    #[error("{path} is no VMCOREINFO: {why}")]
    Vmcoreinfo {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// `--arch` and the source disagree.
    #[error("--arch says {wanted}, but the guest is {found}")]
    Contradiction {
        /// What the user said.
        wanted: String,
        /// What the source says.
        found: String,
    },
}

impl SourceError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Manifest(error) => error.hint(),
            Self::Qmp(error) => error.hint(),
            Self::Dump { source: ReadError::Unrecognised { .. }, .. } => Some(
                "raw memory is FILE@ADDR with --arch, or needs a manifest: see the README, \"Raw memory\"".to_owned(),
            ),
            Self::Dump { source: ReadError::Process { .. }, .. } => {
                Some("a guest of QEMU is dumped while QEMU runs: qmp:SOCKET".to_owned())
            }
            Self::Dump { source: ReadError::Machine { .. }, .. } => Some("say which it is with --arch".to_owned()),
            Self::NoDemo { known, .. } => Some(format!("there are {known}")),
            Self::Open { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some("a source is qmp:SOCKET, a manifest (guest.toml), demo:ARCH, or a dump".to_owned())
            }
            Self::Contradiction { .. } => Some("leave --arch out: the source says what it is".to_owned()),
            Self::NoArch { .. } => Some("say which it is with --arch".to_owned()),
            Self::Vmcoreinfo { .. } => {
                Some("a file with the text of the note, from OSRELEASE= on; or --vmcoreinfo scan, or none".to_owned())
            }
            Self::Dump { .. } | Self::Open { .. } | Self::Several { .. } | Self::Raw { .. } => None,
        }
    }
}

/// Opens a guest.
///
/// # Errors
/// [`SourceError`]. A guest that was stopped for it runs again.
pub fn open(request: &Request) -> Result<Opened, SourceError> {
    let (mut opened, search) = open_source(request)?;
    if let Some((arch, endian)) = request.arch {
        check_arch(&mut opened.guest, arch, endian)?;
    }
    take_vmcoreinfo(&mut opened.guest, &request.vmcoreinfo, search)?;
    if let Some(info) = &opened.guest.vmcoreinfo {
        opened.guest.remarks.push(format!("VMCOREINFO {}", info.origin()));
    }
    Ok(opened)
}

/// The guest, and whether its RAM may be searched for what its kernel says of itself.
fn open_source(request: &Request) -> Result<(Opened, bool), SourceError> {
    let source = request.source.as_str();
    let still = |guest| Opened { guest, session: Box::new(Still) };
    let is_file = !["qmp:", "demo:"].iter().any(|scheme| source.starts_with(scheme));
    if let Some(more) = request.more.first().filter(|_| !is_file || Path::new(source).is_dir()) {
        return Err(SourceError::Several { name: more.clone() });
    }
    if let Some(socket) = source.strip_prefix("qmp:") {
        let live = qmp::QmpSource::new(PathBuf::from(socket), request.watchdog.clone());
        return Ok((live.open(request.purpose)?, true));
    }
    if let Some(name) = source.strip_prefix("demo:") {
        let known = demo::names().join(", ");
        let guest = demo::guest(name).ok_or_else(|| SourceError::NoDemo { name: name.to_owned(), known })?;
        return Ok((still(guest), true));
    }
    if let Some(guest) = image::raw(request)? {
        return Ok((still(guest), true));
    }
    let path = Path::new(source);
    if path.is_dir() || path.extension().is_some_and(|ending| ending == "toml") {
        let found = manifest::ManifestSource { path: path.to_owned() }.open()?;
        return Ok((still(found.guest), found.search_vmcoreinfo));
    }
    let mut files = vec![dump::file(path)?];
    for more in &request.more {
        files.push(dump::file(Path::new(more))?);
    }
    if let Some(guest) = image::open(path, files.first(), request)? {
        return Ok((still(guest), true));
    }
    Ok((still(dump::open(path, files, request.arch.map(|arch| arch.0))?), true))
}

/// VMCOREINFO as it is wanted.
fn take_vmcoreinfo(guest: &mut Guest, from: &VmcoreinfoFrom, search: bool) -> Result<(), SourceError> {
    match from {
        VmcoreinfoFrom::Source if search => kernel::find_vmcoreinfo(guest),
        VmcoreinfoFrom::Source => {}
        VmcoreinfoFrom::Scan => {
            guest.vmcoreinfo = None;
            kernel::find_vmcoreinfo(guest);
        }
        VmcoreinfoFrom::Nowhere => guest.vmcoreinfo = None,
        VmcoreinfoFrom::File(path) => guest.vmcoreinfo = Some(image::vmcoreinfo(path)?),
    }
    Ok(())
}

/// Takes what `--arch` says, or refuses it where the source says otherwise.
fn check_arch(guest: &mut Guest, arch: &'static dyn Arch, endian: Option<Endian>) -> Result<(), SourceError> {
    let names = [guest.arch.identity().name, guest.arch_of_dump().identity().name];
    let found = |guest: &Guest| {
        let order = guest.endian.map_or(String::new(), |endian| format!(", {}", endian.name()));
        format!("{}{order}", names.first().unwrap_or(&""))
    };
    let other_order = endian.is_some_and(|endian| guest.endian.is_some_and(|known| known != endian));
    if !names.contains(&arch.identity().name) || other_order {
        let order = endian.filter(|_| other_order).map_or(String::new(), |endian| format!(", {}", endian.name()));
        let wanted = format!("{}{order}", arch.identity().name);
        return Err(SourceError::Contradiction { wanted, found: found(guest) });
    }
    guest.endian = guest.endian.or(endian);
    Ok(())
}
