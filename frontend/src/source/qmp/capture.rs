//! QEMU's own notes and memory map: `dump-guest-memory` into a pipe that is closed behind the headers.
//!
//! QEMU writes headers and notes first and then memory, into a pipe that holds 64 KiB; when we close our end it gives up
//! with "Broken pipe". Observed with 7.2 and 10.0.2: about a millisecond, whatever the guest's size. A running guest is
//! stopped by QEMU for that long.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use guestdump_arch::PhysAddr;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::json;

use super::client::{Client, Pending};
use super::error::QmpError;
use super::head::{self, Head, Parsed};

/// Under this name QEMU keeps our end of the pipe until the dump takes it.
const FD_NAME: &str = "guestdump-notes";
/// So many bytes of memory are kept for comparison, where QEMU has written them.
const SAMPLE_BYTES: u64 = 4096;

/// What came through the pipe.
#[derive(Debug)]
pub struct Capture {
    /// Headers and notes.
    pub head: Head,
    /// The first bytes of the block that comes first in the file, and their address.
    pub sample: Option<(PhysAddr, Vec<u8>)>,
    /// How long QEMU took.
    pub took: Duration,
}

/// Takes them. The guest should be stopped: else QEMU stops it, and lets it run again.
///
/// # Errors
/// [`QmpError`] if QEMU refuses, or writes nonsense.
pub fn capture(client: &mut Client) -> Result<Capture, QmpError> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| QmpError::Pipe(error.into()))?;
    client.give_fd(FD_NAME, write.as_fd())?;
    drop(write);
    let begin = Instant::now();
    let arguments = json!({ "paging": false, "protocol": format!("fd:{FD_NAME}") });
    let pending = client.send("dump-guest-memory", arguments, None)?;
    let mut reading = Reading { pipe: Some(File::from(read)), bytes: Vec::new(), wanted: 64, parsed: None };
    let early = reading.run(client, pending, begin + client.timeouts.reply);
    // Closing our end lets QEMU go on: it waits inside of the command while the pipe is full.
    reading.pipe = None;
    let replied = match early? {
        Some(reply) => reply,
        None => client.wait(pending, client.timeouts.reply).map(drop),
    };
    let took = begin.elapsed();
    match (reading.parsed, replied) {
        // The dump is expected to fail with "Broken pipe"; a guest of less than 64 KiB could even succeed.
        (Some(head), Ok(()) | Err(QmpError::Command { .. })) => {
            Ok(Capture { sample: sample(&head, &reading.bytes), head, took })
        }
        (_, Err(error)) => {
            // Refused before the descriptor was taken; if it was taken, there is nothing to be closed.
            let _ = client.call("closefd", json!({ "fdname": FD_NAME }));
            Err(error)
        }
        (None, Ok(())) => Err(QmpError::HeadCutOff { got: reading.bytes.len() }),
    }
}

/// The reply to the dump, if it came before we were done.
type EarlyReply = Option<Result<(), QmpError>>;

struct Reading {
    pipe: Option<File>,
    bytes: Vec<u8>,
    wanted: usize,
    parsed: Option<Head>,
}

impl Reading {
    /// Reads until the head and the sample are there, the pipe ends, or QEMU replies.
    fn run(&mut self, client: &mut Client, pending: Pending, deadline: Instant) -> Result<EarlyReply, QmpError> {
        let timeout = client.timeouts.reply;
        loop {
            if self.is_complete()? {
                return Ok(None);
            }
            let (from_pipe, from_monitor) = self.wait(client, deadline).map_err(QmpError::Pipe)?;
            if !from_pipe && !from_monitor {
                return Err(QmpError::Timeout { command: pending.command, seconds: timeout.as_secs() });
            }
            if from_pipe && !self.receive().map_err(QmpError::Pipe)? {
                // QEMU has closed its end: whatever it has to say is its reply.
                return Ok(Some(client.wait(pending, timeout).map(drop)));
            }
            if from_monitor {
                client.fill(pending.command, deadline, timeout)?;
                let reply = client.take_reply(pending).transpose();
                if let Some(reply) = reply {
                    self.is_complete()?;
                    return Ok(Some(reply.map(drop)));
                }
            }
        }
    }

    /// Whether the pipe and the monitor have something for us; neither at the deadline.
    fn wait(&self, client: &Client, deadline: Instant) -> std::io::Result<(bool, bool)> {
        let Some(pipe) = &self.pipe else { return Ok((false, false)) };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let mut fds = [PollFd::new(pipe, PollFlags::IN), PollFd::new(client.stream(), PollFlags::IN)];
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Ok(_) => return Ok((!fds[0].revents().is_empty(), !fds[1].revents().is_empty())),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what the pipe has; `false` at its end.
    fn receive(&mut self) -> std::io::Result<bool> {
        let Some(pipe) = &mut self.pipe else { return Ok(false) };
        let mut buffer = [0; 64 << 10];
        let received = pipe.read(&mut buffer)?;
        self.bytes.extend_from_slice(buffer.get(..received).unwrap_or_default());
        Ok(received > 0)
    }

    fn is_complete(&mut self) -> Result<bool, QmpError> {
        if self.parsed.is_none() && self.bytes.len() >= self.wanted {
            match head::parse(&self.bytes)? {
                Parsed::More(wanted) => self.wanted = wanted,
                Parsed::Whole(head) => self.parsed = Some(head),
            }
        }
        let Some(head) = &self.parsed else { return Ok(false) };
        let end = head.first_memory().map(|load| load.file_offset.saturating_add(load.file_bytes.min(SAMPLE_BYTES)));
        Ok(end.is_none_or(|end| self.bytes.len() as u64 >= end))
    }
}

fn sample(head: &Head, bytes: &[u8]) -> Option<(PhysAddr, Vec<u8>)> {
    let load = head.first_memory()?;
    let start = usize::try_from(load.file_offset).ok()?;
    let len = usize::try_from(load.file_bytes.min(SAMPLE_BYTES)).ok()?;
    Some((load.start, bytes.get(start..start.checked_add(len)?)?.to_vec()))
}
