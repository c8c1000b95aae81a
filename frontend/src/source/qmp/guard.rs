//! The resume guard: a process that outlives us and lets the guest go on if we cannot, because we were killed.
//!
//! It is our own program with the hidden argument [`ARGUMENT`], started before the guest is stopped. Its standard input
//! is one end of a socket pair, the life line, whose other end only we hold; its standard output is the QMP connection
//! that we use. On the life line we say `a` (armed), which it answers with `A`, and in the end `d` (done). If the life
//! line ends without `d`, we are dead, and the guard says `cont` for us. It ignores the signals that a terminal or a
//! service manager sends to all of a group, and has a session of its own.
//!
//! It waits for the reply: QEMU drops commands of a connection that closes before it came to them.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::wire::{self, Lines, Message};

/// The hidden argument of the program.
pub const ARGUMENT: &str = "__resume-guard";
/// The id of the guard's command, which no command of ours has.
const ID: &str = "guestdump-resume-guard";
const ARMED: u8 = b'a';
const ARMED_TOO: u8 = b'A';
const DONE: u8 = b'd';
/// For a program to start, and to end.
const START: Duration = Duration::from_secs(10);
/// For QEMU to carry `cont` out: it may be in the middle of something long.
const REPLY: Duration = Duration::from_secs(600);

/// A guard that runs.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    life_line: UnixStream,
}

impl Guard {
    /// Starts and arms it. From now on, our death means `cont`.
    ///
    /// # Errors
    /// What the host says, or that the program is no guard.
    pub(super) fn start(program: &Path, monitor: &UnixStream) -> io::Result<Self> {
        let (life_line, theirs) = UnixStream::pair()?;
        let child = Command::new(program)
            .arg(ARGUMENT)
            .stdin(OwnedFd::from(theirs))
            .stdout(OwnedFd::from(monitor.try_clone()?))
            .stderr(Stdio::null())
            .spawn()?;
        let mut guard = Self { child, life_line };
        match guard.arm() {
            Ok(()) => Ok(guard),
            Err(error) => {
                let _ = guard.child.kill();
                let _ = guard.child.wait();
                Err(io::Error::new(error.kind(), format!("does not answer as a resume guard: {error}")))
            }
        }
    }

    fn arm(&mut self) -> io::Result<()> {
        self.life_line.set_read_timeout(Some(START))?;
        self.life_line.write_all(&[ARMED])?;
        let mut answer = [0];
        self.life_line.read_exact(&mut answer)?;
        if answer == [ARMED_TOO] { Ok(()) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
    }

    /// Ends it: the guest runs again, or is no longer ours.
    pub(super) fn disarm(mut self) {
        let said = self.life_line.write_all(&[DONE]);
        // It closes its end when it ends. One that does not is left alone.
        let ended = said.and_then(|()| self.life_line.read(&mut [0]));
        if matches!(ended, Ok(0)) {
            let _ = self.child.wait();
        }
    }
}

/// What the hidden argument runs.
#[must_use]
pub fn resume_guard_main() -> ExitCode {
    match watch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn watch() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        // A handler that does nothing of note: the signal is as good as ignored.
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    // Fails where we lead a group already, which serves as well.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    let life_line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    if watch_life_line(life_line)? {
        resume(UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?))?;
    }
    Ok(())
}

/// Whether the other end died while we were armed.
fn watch_life_line(mut life_line: UnixStream) -> io::Result<bool> {
    let mut armed = false;
    let mut byte = [0];
    loop {
        match life_line.read(&mut byte) {
            Ok(0) => return Ok(armed),
            Ok(_) if byte == [DONE] => return Ok(false),
            Ok(_) if byte == [ARMED] => {
                armed = true;
                // If this fails, the other end is dead, and the next read says so.
                let _ = life_line.write_all(&[ARMED_TOO]);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The other end died with our answer unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(armed),
            Err(error) => return Err(error),
        }
    }
}

fn resume(mut monitor: UnixStream) -> io::Result<()> {
    let deadline = Instant::now() + REPLY;
    monitor.write_all(format!("{{\"execute\":\"cont\",\"id\":\"{ID}\"}}\n").as_bytes())?;
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    loop {
        while let Some(line) = lines.pop() {
            if let Ok(Message::Return { id: Some(id), .. } | Message::Error { id: Some(id), .. }) = wire::parse(&line)
                && id == ID
            {
                return Ok(());
            }
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        monitor.set_read_timeout(Some(left))?;
        match monitor.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(received) => lines.push(buffer.get(..received).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
