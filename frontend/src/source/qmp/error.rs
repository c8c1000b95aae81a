//! What can go wrong between us and a live QEMU, and what to do about it. Nothing is tried again here.

use std::io;
use std::path::{Path, PathBuf};

use guestdump_arch::ArchError;
use guestdump_core::block::BlockError;
use thiserror::Error;

use super::head::HeadError;
use super::replies::Refusal;
use crate::source::process::ProcessError;

/// Why a QEMU cannot be dumped through its monitor.
#[derive(Debug, Error)]
pub enum QmpError {
    /// The socket could not be connected to.
    #[error("{}: {cause}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the host said.
        cause: io::Error,
    },
    /// There is something, but no socket.
    #[error("{} is {found}, not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The other side took the connection, or let it wait, and said nothing.
    #[error("{}: no greeting within {seconds} s: the monitor is probably in use by another client", path.display())]
    NoGreeting {
        /// The socket.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
    },
    /// Somebody answered, but no QMP monitor.
    #[error("{} is not a QMP monitor: it says \"{first}\"", path.display())]
    NotQmp {
        /// The socket.
        path: PathBuf,
        /// The first bytes, escaped.
        first: String,
    },
    /// The connection ended.
    #[error("the monitor closed the connection during {during}")]
    Closed {
        /// The command that waited.
        during: &'static str,
    },
    /// The connection failed.
    #[error("connection to the monitor during {during}: {cause}")]
    Broken {
        /// The command that waited.
        during: &'static str,
        /// What the host said.
        cause: io::Error,
    },
    /// The monitor did not answer in time.
    #[error("no answer to {command} within {seconds} s: QEMU does not serve its monitor")]
    Timeout {
        /// The command.
        command: &'static str,
        /// How long we waited.
        seconds: u64,
    },
    /// A line without end.
    #[error("the monitor sent a line of more than {limit_bytes} bytes in answer to {command}")]
    LineTooLong {
        /// The command.
        command: &'static str,
        /// The longest line that is taken.
        limit_bytes: usize,
    },
    /// A line that is no message of the protocol.
    #[error("answer to {command} is no QMP message: \"{text}\"")]
    NoMessage {
        /// The command.
        command: &'static str,
        /// Its first bytes, escaped.
        text: String,
    },
    /// A reply that belongs to no command of ours.
    #[error("reply to {command} has id {got} instead of {expected}")]
    WrongId {
        /// The command.
        command: &'static str,
        /// What it says.
        got: String,
        /// What we sent.
        expected: u64,
    },
    /// The command was refused or failed.
    #[error("QEMU refuses {command}: {desc} ({class})")]
    Command {
        /// The command.
        command: &'static str,
        /// QMP's error class.
        class: String,
        /// QEMU's own words.
        desc: String,
    },
    /// A reply without what we need of it.
    #[error("reply to {command} has no usable {what}: {reply}")]
    Reply {
        /// The command.
        command: &'static str,
        /// What is missing.
        what: &'static str,
        /// The reply's beginning.
        reply: String,
    },
    /// The guest is in a state in which its memory is not whole.
    #[error("the guest cannot be dumped now: {0}")]
    Refused(Refusal),
    /// No architecture for this target.
    #[error("QEMU's target {target} is not known; known are {known}")]
    UnknownTarget {
        /// What QEMU says.
        target: String,
        /// All that are known.
        known: String,
    },
    /// No architecture for the vCPUs that the target has.
    #[error("QEMU's target {target} runs vCPUs of ELF machine {machine}, which is not known")]
    UnknownMachine {
        /// What QEMU says.
        target: String,
        /// `e_machine` of its dump.
        machine: u16,
    },
    /// The guest could not be stopped.
    #[error("the guest is {status} after it was told to stop")]
    NotStopped {
        /// Its state.
        status: String,
    },
    /// The guest does not run again.
    #[error("the guest was told to run again and is {status}")]
    NotRunning {
        /// Its state.
        status: String,
    },
    /// Somebody else let the guest run, or reset it, while it was read.
    #[error("somebody else sent the guest {events} while it was read: the dump is inconsistent")]
    Interfered {
        /// The events that QEMU reported.
        events: String,
    },
    /// The resume guard could not be started; the guest was not stopped.
    #[error("resume guard {}: {cause}", path.display())]
    Guard {
        /// Its program.
        path: PathBuf,
        /// What went wrong.
        cause: io::Error,
    },
    /// The pipe for QEMU's dump failed.
    #[error("pipe for QEMU's notes: {0}")]
    Pipe(io::Error),
    /// The file for QEMU's device state failed.
    #[error("memory for QEMU's device state: {0}")]
    State(io::Error),
    /// QEMU's dump ended before its headers did.
    #[error("QEMU's dump ended after {got} bytes, inside of its headers")]
    HeadCutOff {
        /// Bytes received.
        got: usize,
    },
    /// QEMU's dump is not understood.
    #[error("head of QEMU's dump: {0}")]
    Head(#[from] HeadError),
    /// A dump without vCPUs.
    #[error("QEMU's dump has {notes} notes, and none of them is a vCPU's of {arch}")]
    NoVcpus {
        /// Number of notes.
        notes: usize,
        /// The architecture.
        arch: &'static str,
    },
    /// The memory map does not fit together.
    #[error("QEMU's memory map: {0}")]
    Blocks(#[from] BlockError),
    /// The memory map changed while it was asked for.
    #[error("memory at {addr:#x} is no longer where QEMU's dump had it: {said}")]
    MapChanged {
        /// Guest-physical address.
        addr: u64,
        /// What QEMU says now.
        said: String,
    },
    /// The source contradicts the architecture.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// Nothing says which process QEMU is.
    #[error("cannot tell which process QEMU is: the socket's peer is not visible from here")]
    NoPeer,
    /// QEMU's process cannot be read.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The process has other bytes than QEMU showed us.
    #[error("process {pid} does not hold this guest's memory: {len} bytes at guest-physical {addr:#x} differ")]
    OtherMemory {
        /// The process.
        pid: u32,
        /// Where the comparison was made.
        addr: u64,
        /// How many bytes were compared.
        len: usize,
    },
}

impl QmpError {
    /// What to do about it, where there is something to be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Connect { cause, .. } => return connect_hint(cause).map(str::to_owned),
            Self::NotASocket { .. } => "give the path of QEMU's -qmp unix:PATH,server=on,wait=off",
            Self::NoGreeting { .. } => {
                "a QMP monitor serves one client at a time: end the other (libvirt, another guestdump), or start QEMU \
                 with a second -qmp unix:PATH,server=on,wait=off; if there is no other, QEMU hangs"
            }
            Self::NotQmp { first, .. } if first.contains("monitor - type") => {
                "this is QEMU's human monitor: give the socket of -qmp instead"
            }
            Self::NotQmp { .. } => "give the socket of QEMU's -qmp unix:PATH,server=on,wait=off",
            Self::Refused(_) => "wait until it has ended, and try again",
            Self::Command { desc, .. } if desc.contains("dump in process") => "wait for the other dump to end",
            Self::NotRunning { .. } | Self::Timeout { command: "cont", .. } => {
                "let it go on by hand: cont on a monitor, or virsh resume"
            }
            Self::Timeout { .. } => "QEMU may hang: its memory can still be had with gcore",
            Self::Interfered { .. } => "take the dump again, with nobody else at the monitors",
            Self::NoPeer => "run where QEMU's processes are visible, outside of a container or in QEMU's own",
            Self::Process(error) => return error.hint(),
            Self::OtherMemory { .. } => {
                "the monitor's socket may belong to a manager and not to QEMU: use a socket that QEMU itself opened"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Whether the connection is gone, so that a new one may be tried.
    pub(super) fn is_disconnect(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::Broken { .. })
    }
}

fn connect_hint(cause: &io::Error) -> Option<&'static str> {
    match cause.kind() {
        io::ErrorKind::NotFound => Some("give the path of QEMU's -qmp unix:PATH,server=on,wait=off"),
        io::ErrorKind::ConnectionRefused => Some("nobody listens there: the QEMU that made this socket has ended"),
        io::ErrorKind::PermissionDenied => Some("run as root or as the user of the QEMU process"),
        _ => None,
    }
}

/// The error for a path that is no socket, if that is what it is.
pub(super) fn not_a_socket(path: &Path) -> Option<QmpError> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = std::fs::metadata(path).ok()?.file_type();
    if kind.is_socket() {
        return None;
    }
    let found = if kind.is_dir() {
        "a folder"
    } else if kind.is_file() {
        "a file"
    } else {
        "a device or a pipe"
    };
    Some(QmpError::NotASocket { path: path.to_owned(), found })
}
