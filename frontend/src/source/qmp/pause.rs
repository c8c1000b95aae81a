//! A guest that we stop, and how it comes to run again: when the session ends, when it is dropped, when we die.
//!
//! Rules: a guest that did not run before is never told to; once somebody else has let it run, or stopped it after that,
//! its state is theirs; if our connection is lost, a new one to the same QEMU is tried; if that fails too, the guard is
//! left armed and tries when we are gone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Client;
use super::error::QmpError;
use super::guard::Guard;
use super::replies::Status;
use crate::source::process::peer_pid;
use crate::source::{Session, SourceError};

/// A connection, and the guest's state as we have to leave it.
#[derive(Debug)]
pub(super) struct QmpSession {
    /// The connection.
    pub(super) client: Client,
    socket: PathBuf,
    /// When we stopped the guest, as long as it is ours to let it run again.
    stopped: Option<Instant>,
    guard: Option<Guard>,
    /// Whether the guest is to stand still until the end.
    watched: bool,
    /// For how long it stood still already.
    paused: Duration,
}

/// Asks for the run state.
pub(super) fn status(client: &mut Client) -> Result<Status, QmpError> {
    let command = "query-status";
    let reply = client.call(command, Value::Null)?;
    let incomplete =
        || QmpError::Reply { command, what: "status", reply: super::wire::excerpt(reply.to_string().as_bytes()) };
    Status::parse(&reply).ok_or_else(incomplete)
}

impl QmpSession {
    pub(super) const fn new(client: Client, socket: PathBuf) -> Self {
        Self { client, socket, stopped: None, guard: None, watched: false, paused: Duration::ZERO }
    }

    /// Whether the guest stands still because of us.
    pub(super) const fn has_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Counts a time for which QEMU itself held the guest.
    pub(super) fn add_pause(&mut self, pause: Duration) {
        self.paused += pause;
    }

    /// Ends what [`QmpSession::hold`] began before the session ends: from now on the guest may run. One that we stopped does.
    ///
    /// # Errors
    /// [`QmpError`] if it cannot be told, or does not run then.
    pub(super) fn let_run(&mut self) -> Result<(), QmpError> {
        self.end()?;
        self.watched = false;
        Ok(())
    }

    /// From now on the guest is expected to stand still. One that is `live` is stopped; `program` guards it.
    ///
    /// # Errors
    /// [`QmpError`] if it cannot be stopped, or not be guarded; it runs then.
    pub(super) fn hold(&mut self, live: bool, program: Option<PathBuf>) -> Result<(), QmpError> {
        self.watched = true;
        if !live {
            self.client.take_events();
            return Ok(());
        }
        if let Some(path) = program {
            let started = Guard::start(&path, self.client.stream());
            self.guard = Some(started.map_err(|cause| QmpError::Guard { path, cause })?);
        }
        // Before the command: if its reply does not come, the guest may be stopped all the same.
        self.stopped = Some(Instant::now());
        self.client.call("stop", Value::Null)?;
        let status = status(&mut self.client)?;
        if status.running {
            return Err(QmpError::NotStopped { status: status.name });
        }
        if status.name != "paused" {
            // It came to a halt by itself before we could stop it (a panic, an I/O error), and stays there.
            self.release();
        }
        self.client.take_events();
        Ok(())
    }

    /// The guest's state is no longer ours.
    fn release(&mut self) {
        self.stopped = None;
        if let Some(guard) = self.guard.take() {
            guard.disarm();
        }
    }

    /// Lets the guest run, if we stopped it and nobody has let it run since.
    fn end(&mut self) -> Result<Duration, QmpError> {
        if !self.watched {
            return Ok(self.paused);
        }
        // Its reply comes behind all events so far.
        let now = match status(&mut self.client) {
            Err(error) if error.is_disconnect() => {
                self.connect_anew().map_err(|_| error)?;
                status(&mut self.client)
            }
            now => now,
        }?;
        let mut events = self.client.take_events();
        events.retain(|event| event != "STOP");
        // Events may have been lost with a connection; that it runs is as good a sign.
        if now.running && events.is_empty() {
            events.push("RESUME".to_owned());
        }
        if events.iter().any(|event| event == "RESUME") {
            self.release();
        } else if let Some(since) = self.stopped {
            self.resume()?;
            self.paused += since.elapsed();
            self.check_running()?;
        }
        if events.is_empty() { Ok(self.paused) } else { Err(QmpError::Interfered { events: events.join(", ") }) }
    }

    fn check_running(&mut self) -> Result<(), QmpError> {
        let status = status(&mut self.client)?;
        // A guest that ran, and stopped by itself at once, has been let run.
        let ran = self.client.take_events().iter().any(|event| event == "RESUME");
        if status.is_live() || ran { Ok(()) } else { Err(QmpError::NotRunning { status: status.name }) }
    }

    /// `cont`, over a new connection if the old one is gone.
    fn resume(&mut self) -> Result<(), QmpError> {
        let outcome = match self.client.call("cont", Value::Null) {
            Err(error) if error.is_disconnect() => {
                let anew = self.connect_anew().and_then(|()| self.client.call("cont", Value::Null));
                anew.map(drop).map_err(|_| error)
            }
            outcome => outcome.map(drop),
        };
        // A refusal is QEMU's last word. Without any word the guard has still a chance, when we are gone.
        if matches!(outcome, Ok(()) | Err(QmpError::Command { .. })) {
            self.release();
        }
        self.stopped = None;
        outcome
    }

    fn connect_anew(&mut self) -> Result<(), QmpError> {
        let peer = peer_pid(self.client.stream()).ok().flatten();
        let client = Client::connect(&self.socket, self.client.timeouts)?;
        if peer != peer_pid(client.stream()).ok().flatten() {
            // Another QEMU listens there now, and its guest is none of our business.
            return Err(QmpError::Closed { during: "cont" });
        }
        self.client = client;
        Ok(())
    }
}

impl Session for QmpSession {
    fn finish(mut self: Box<Self>) -> Result<Option<Duration>, SourceError> {
        Ok(Some(self.end()?))
    }
}

impl Drop for QmpSession {
    fn drop(&mut self) {
        if self.stopped.is_some() {
            // Nobody is left to be told; the guard is there for what fails here.
            let _ = self.resume();
        }
    }
}
