//! QEMU's gdbstub, for a moment: started through the monitor on one end of a socket pair, ended the same way.
//!
//! `getfd`, `chardev-add` and the human monitor's `gdbserver chardev:ID` need no path, so that a QEMU of another user, or
//! one that sees other folders, can do it, and nobody else can connect. `gdbserver none` takes the device away again. What
//! remains is a device called `gdb` without use, as after every gdbserver. Observed with QEMU 7.2 and 10.0.2.
//!
//! Attaching stops a guest that runs: it must stand still already. Then its run state stays as it is, whatever it is, no
//! event is sent, and a connection that ends leaves it so, as long as nobody says `D`. If we die, the socket pair ends
//! with us; the device that is left over is ended by whoever comes next.
//!
//! There is one gdbstub for all: somebody's who debugs is left alone. One on a device of its own name that was started
//! through the monitor does not show, and would be ended.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;

use super::client::Client;
use super::error::QmpError;
use super::wire;
use crate::source::gdb::{self, GdbError};

/// The name of our device.
const DEVICE: &str = "guestdump-gdb";
/// Under this name QEMU keeps its end of the socket pair until the device takes it.
const FD_NAME: &str = "guestdump-gdb-fd";
/// What QEMU calls the device of `-gdb`, `-s` and `gdbserver` when they make it.
const USUAL_DEVICE: &str = "gdb";
/// What QEMU says when a gdbstub listens.
const LISTENS: &str = "Waiting for gdb connection";

/// Why the gdbstub tells nothing.
#[derive(Debug, Error)]
pub enum StubError {
    /// It is somebody else's.
    #[error("QEMU's gdbstub is in use ({0})")]
    InUse(String),
    /// It does not start.
    #[error("QEMU's gdbstub does not start: \"{0}\"")]
    NotStarted(String),
    /// No socket pair.
    #[error("socket pair for QEMU's gdbstub: {0}")]
    NoSocket(std::io::Error),
    /// It says something else than it should.
    #[error(transparent)]
    Gdb(#[from] GdbError),
    /// The monitor refuses, or fails.
    #[error(transparent)]
    Monitor(#[from] QmpError),
}

/// Does something with a gdbstub of a guest that stands still. It is ended, whatever happened.
///
/// # Errors
/// [`StubError`]; the stub is ended then, too, if the monitor still serves us.
pub(super) fn with_stub<T>(
    client: &mut Client,
    processes: &[u32],
    limit: Duration,
    action: impl FnOnce(&mut gdb::Client) -> Result<T, GdbError>,
) -> Result<T, StubError> {
    let devices = client.call("query-chardev", Value::Null)?;
    let command_lines: Vec<_> = processes.iter().filter_map(|pid| command_line(*pid)).collect();
    match state(&devices, &command_lines) {
        State::Free => {}
        State::LeftOver => end(client)?,
        State::InUse(by) => return Err(StubError::InUse(by)),
    }
    let outcome = start(client).and_then(|socket| {
        let mut gdb = gdb::Client::start(socket, limit)?;
        Ok(action(&mut gdb)?)
    });
    // The socket is closed by now, so that the device is not busy.
    let ended = end(client);
    let result = outcome?;
    ended?;
    Ok(result)
}

fn start(client: &mut Client) -> Result<UnixStream, StubError> {
    let (ours, theirs) = UnixStream::pair().map_err(StubError::NoSocket)?;
    client.give_fd(FD_NAME, theirs.as_fd())?;
    drop(theirs);
    let address = json!({ "type": "fd", "data": { "str": FD_NAME } });
    let backend = json!({ "type": "socket", "data": { "addr": address, "server": false } });
    if let Err(refused) = client.call("chardev-add", json!({ "id": DEVICE, "backend": backend })) {
        // Refused before the descriptor was taken; if it was taken, there is nothing to be closed.
        let _ = client.call("closefd", json!({ "fdname": FD_NAME }));
        return Err(refused.into());
    }
    let said = client.human(&format!("gdbserver chardev:{DEVICE}"))?;
    if said.starts_with(LISTENS) { Ok(ours) } else { Err(StubError::NotStarted(wire::excerpt(said.as_bytes()))) }
}

/// Ends a stub on our device, and takes the device away if no stub did.
fn end(client: &mut Client) -> Result<(), QmpError> {
    let devices = client.call("query-chardev", Value::Null)?;
    if !is_there(&devices) {
        return Ok(());
    }
    client.human("gdbserver none")?;
    match client.call("chardev-remove", json!({ "id": DEVICE })) {
        // It went with the stub.
        Ok(_) | Err(QmpError::Command { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The words of a process's command line.
fn command_line(pid: u32) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/cmdline")).ok()
}

/// Whose the gdbstub is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Free,
    /// Ours, of a process that died.
    LeftOver,
    /// Somebody's, in QEMU's words.
    InUse(String),
}

/// Label and file name of each device in the reply to `query-chardev`.
fn labels(devices: &Value) -> impl Iterator<Item = (&str, &str)> {
    devices.as_array().into_iter().flatten().filter_map(both)
}

/// Its label, and its file name if it has one.
fn both(device: &Value) -> Option<(&str, &str)> {
    let text = |name| device.get(name).and_then(Value::as_str);
    Some((text("label")?, text("filename").unwrap_or_default()))
}

fn is_there(devices: &Value) -> bool {
    labels(devices).any(|(label, _)| label == DEVICE)
}

/// By the reply to `query-chardev`, and by the command lines of the processes that may be QEMU (words that end in NUL):
/// only there does a stub show whose user made a device for it.
fn state(devices: &Value, command_lines: &[Vec<u8>]) -> State {
    let of_its_own = command_lines.iter().find_map(|words| {
        let mut words = words.split(|byte| *byte == 0);
        words.find(|word| [b"-gdb".as_slice(), b"--gdb"].contains(word))?;
        words.next().filter(|device| device.starts_with(b"chardev:"))
    });
    if let Some(device) = of_its_own {
        return State::InUse(device.escape_ascii().to_string());
    }
    if let Some((_, file)) = labels(devices).find(|(label, _)| *label == USUAL_DEVICE) {
        return State::InUse(file.to_owned());
    }
    match labels(devices).find(|(label, _)| *label == DEVICE) {
        None => State::Free,
        Some((_, file)) if file.starts_with("disconnected:") => State::LeftOver,
        Some(_) => State::InUse("by another guestdump".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_of_somebody_is_seen() {
        // QEMU 10.0.2's own words, with -gdb unix:/tmp/g,server=on,wait=off.
        let monitor = json!({"frontend-open": true, "filename": "unix:/tmp/q,server=on", "label": "compat_monitor0"});
        let behind = json!({"frontend-open": true, "filename": "gdb", "label": "#chr096"});
        let device = |label: &str, file: &str| json!([monitor, behind, {"label": label, "filename": file}]);
        let none: &[Vec<u8>] = &[];
        assert_eq!(state(&json!([monitor]), none), State::Free);
        assert_eq!(state(&json!([behind, monitor]), none), State::Free);
        let file = "disconnected:unix:/tmp/g,server=on";
        assert_eq!(state(&device("gdb", file), none), State::InUse(file.to_owned()));
        assert_eq!(state(&device(DEVICE, "disconnected:fd:guestdump-gdb-fd"), none), State::LeftOver);
        assert_eq!(state(&device(DEVICE, "unix:"), none), State::InUse("by another guestdump".to_owned()));
        assert_eq!(state(&device("serial0", "pty"), none), State::Free);
        let line = |words: &str| vec![words.replace(' ', "\0").into_bytes()];
        assert_eq!(
            state(&json!([monitor]), &line("q -S -gdb chardev:g0 -m 64")),
            State::InUse("chardev:g0".to_owned())
        );
        assert_eq!(state(&json!([monitor]), &line("q -gdb tcp::1234 -device chardev:x")), State::Free);
    }
}
