//! One connection to a QMP monitor: greeting, commands with ids, replies among events, a file descriptor on its way in.
//!
//! Every wait has an end, every line a greatest length: the other side may be anything. What the commands mean lives in
//! the modules around this one.

use std::io::{ErrorKind, IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde_json::{Value, json};

use super::error::{QmpError, not_a_socket};
use super::wire::{self, Lines, Message};

/// Longest line that is taken. The longest reply of ours is that of `info registers -a`: 4 KiB for each vCPU.
const MAX_LINE_BYTES: usize = 16 << 20;
/// Longest greeting that is taken.
const MAX_GREETING_BYTES: usize = 64 << 10;
/// Events that say that a guest moved, or was changed, while it should stand still.
const WATCHED: [&str; 3] = ["STOP", "RESUME", "RESET"];
/// As many events are kept; nobody needs more of them.
const MAX_EVENTS: usize = 64;

/// How long to wait for QEMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For the greeting of the monitor.
    pub greeting: Duration,
    /// For the reply to a command.
    pub reply: Duration,
    /// For the reply to `stop` and `cont`: QEMU ends pending disk I/O first.
    pub stop: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { greeting: seconds(5), reply: seconds(30), stop: seconds(120) }
    }
}

/// A command that was sent and not yet answered.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// Its name.
    pub command: &'static str,
    id: u64,
}

/// A connection that has been greeted.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    lines: Lines,
    next_id: u64,
    events: Vec<String>,
    /// QEMU's version, for people.
    pub version: String,
    /// How long to wait.
    pub timeouts: Timeouts,
}

impl Client {
    /// Connects, and leaves the monitor ready for commands.
    ///
    /// # Errors
    /// [`QmpError`] if there is no monitor, or none that serves us.
    pub fn connect(path: &Path, timeouts: Timeouts) -> Result<Self, QmpError> {
        let stream = dial(path, timeouts.greeting)?;
        let mut client =
            Self { stream, lines: Lines::default(), next_id: 1, events: Vec::new(), version: String::new(), timeouts };
        client.version = client.greeting(path)?;
        client.call("qmp_capabilities", Value::Null)?;
        Ok(client)
    }

    /// The socket, for those who share it.
    #[must_use]
    pub const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    fn greeting(&mut self, path: &Path) -> Result<String, QmpError> {
        let deadline = Instant::now() + self.timeouts.greeting;
        let foreign = |first: &[u8]| QmpError::NotQmp { path: path.to_owned(), first: wire::excerpt(first) };
        loop {
            if let Some(line) = self.lines.pop() {
                let Ok(Message::Greeting { version: [major, minor, micro], package }) = wire::parse(&line) else {
                    return Err(foreign(&line));
                };
                let package = if package.is_empty() { package } else { format!(" ({package})") };
                return Ok(format!("{major}.{minor}.{micro}{package}"));
            }
            if self.lines.unfinished().len() > MAX_GREETING_BYTES {
                return Err(foreign(self.lines.unfinished()));
            }
            match self.fill("the greeting", deadline, self.timeouts.greeting) {
                Ok(()) => {}
                Err(_) if !self.lines.unfinished().is_empty() => return Err(foreign(self.lines.unfinished())),
                Err(QmpError::Timeout { seconds, .. }) => {
                    return Err(QmpError::NoGreeting { path: path.to_owned(), seconds });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs a command and waits for its result. `arguments` may be null.
    ///
    /// # Errors
    /// [`QmpError`] if QEMU refuses it, does not answer in time, or answers with nonsense.
    pub fn call(&mut self, command: &'static str, arguments: Value) -> Result<Value, QmpError> {
        let timeout = if matches!(command, "stop" | "cont") { self.timeouts.stop } else { self.timeouts.reply };
        let pending = self.send(command, arguments, None)?;
        self.wait(pending, timeout)
    }

    /// What a command of the human monitor prints.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn human(&mut self, line: &str) -> Result<String, QmpError> {
        let command = "human-monitor-command";
        match self.call(command, json!({ "command-line": line }))? {
            Value::String(text) => Ok(text),
            other => Err(QmpError::Reply { command, what: "text", reply: wire::excerpt(other.to_string().as_bytes()) }),
        }
    }

    /// Gives QEMU a file descriptor under a name.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn give_fd(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<(), QmpError> {
        let pending = self.send("getfd", json!({ "fdname": name }), Some(fd))?;
        self.wait(pending, self.timeouts.reply).map(drop)
    }

    /// Sends a command, with a file descriptor if there is one, and does not wait.
    ///
    /// # Errors
    /// [`QmpError::Broken`] if it cannot be sent.
    pub fn send(
        &mut self,
        command: &'static str,
        arguments: Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Pending, QmpError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut message = json!({ "execute": command, "id": id });
        if let (false, Some(object)) = (arguments.is_null(), message.as_object_mut()) {
            object.insert("arguments".to_owned(), arguments);
        }
        let line = format!("{message}\n");
        send_line(&self.stream, line.as_bytes(), fd).map_err(|cause| QmpError::Broken { during: command, cause })?;
        Ok(Pending { command, id })
    }

    /// Waits for a command's result.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn wait(&mut self, pending: Pending, timeout: Duration) -> Result<Value, QmpError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(value) = self.take_reply(pending)? {
                return Ok(value);
            }
            self.fill(pending.command, deadline, timeout)?;
        }
    }

    /// The result of a command, if it has been received; events on the way are kept.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn take_reply(&mut self, pending: Pending) -> Result<Option<Value>, QmpError> {
        let command = pending.command;
        while let Some(line) = self.lines.pop() {
            let message = wire::parse(&line).map_err(|foreign| QmpError::NoMessage { command, text: foreign.0 })?;
            match message {
                Message::Event { name } => self.note_event(name),
                Message::Return { id, value } if pending.is_answered_by(id.as_ref())? => return Ok(Some(value)),
                // QEMU leaves the id out of errors about lines that it could not read.
                Message::Error { id, class, desc } if id.is_none() || pending.is_answered_by(id.as_ref())? => {
                    return Err(QmpError::Command { command, class, desc });
                }
                Message::Return { .. } | Message::Error { .. } => {}
                Message::Greeting { .. } => {
                    return Err(QmpError::NoMessage { command, text: wire::excerpt(&line) });
                }
            }
        }
        Ok(None)
    }

    fn note_event(&mut self, name: String) {
        if WATCHED.contains(&name.as_str()) && self.events.len() < MAX_EVENTS {
            self.events.push(name);
        }
    }

    /// The events that were received since the last call and that tell of a guest that moved.
    pub fn take_events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    /// Receives something.
    ///
    /// # Errors
    /// [`QmpError`] if nothing comes until `deadline`, or the connection ends.
    pub fn fill(&mut self, command: &'static str, deadline: Instant, timeout: Duration) -> Result<(), QmpError> {
        let broken = |cause| QmpError::Broken { during: command, cause };
        let left = deadline.saturating_duration_since(Instant::now());
        // A zero timeout would mean "for ever" to the socket.
        if left < Duration::from_millis(1) {
            return Err(QmpError::Timeout { command, seconds: timeout.as_secs() });
        }
        self.stream.set_read_timeout(Some(left)).map_err(broken)?;
        let mut buffer = [0; 64 << 10];
        let received = match self.stream.read(&mut buffer) {
            Ok(0) => return Err(QmpError::Closed { during: command }),
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(QmpError::Timeout { command, seconds: timeout.as_secs() });
            }
            Err(error) => return Err(broken(error)),
        };
        self.lines.push(buffer.get(..received).unwrap_or_default());
        if self.lines.unfinished().len() > MAX_LINE_BYTES + buffer.len() {
            return Err(QmpError::LineTooLong { command, limit_bytes: MAX_LINE_BYTES });
        }
        Ok(())
    }
}

impl Pending {
    /// Whether a reply with this id is the one. Smaller ids are late replies to commands that nobody waits for.
    fn is_answered_by(self, id: Option<&Value>) -> Result<bool, QmpError> {
        match id.and_then(Value::as_u64) {
            Some(id) if id == self.id => Ok(true),
            Some(id) if id < self.id => Ok(false),
            _ => {
                let got = id.map_or_else(|| "none".to_owned(), |id| wire::excerpt(id.to_string().as_bytes()));
                Err(QmpError::WrongId { command: self.command, got, expected: self.id })
            }
        }
    }
}

/// Connects. A listener whose queue is full would let us wait for ever: the send timeout counts for that as well.
fn dial(path: &Path, timeout: Duration) -> Result<UnixStream, QmpError> {
    if let Some(error) = not_a_socket(path) {
        return Err(error);
    }
    let connect = || {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(UnixStream::from(socket))
    };
    connect().map_err(|cause| match cause {
        rustix::io::Errno::AGAIN => QmpError::NoGreeting { path: path.to_owned(), seconds: timeout.as_secs() },
        cause => QmpError::Connect { path: path.to_owned(), cause: cause.into() },
    })
}

/// Sends all of a line; the descriptor goes with its first byte.
fn send_line(stream: &UnixStream, mut line: &[u8], mut fd: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
    while !line.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.as_slice();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let slices = [IoSlice::new(line)];
        match rustix::net::sendmsg(stream.as_fd(), &slices, &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) => line = line.get(sent..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        fd = None;
    }
    Ok(())
}
