//! A sink that takes no more than so many bytes a second: for a host whose disk or network others need too.

use std::io;
use std::time::{Duration, Instant};

use guestdump_core::sink::Sink;

use crate::signals::Interrupt;

/// A wait is looked up from this often, so that a signal ends it.
const GLANCE: Duration = Duration::from_millis(50);

/// A sink, slowed down. Only the one writer writes to it: there is no hurry.
pub(super) struct Paced<'a> {
    sink: Box<dyn Sink + 'a>,
    bytes_per_second: u64,
    /// When all that was written so far is paid for.
    free_at: Instant,
    interrupt: Interrupt,
}

impl<'a> Paced<'a> {
    pub(super) fn new(sink: Box<dyn Sink + 'a>, bytes_per_second: u64, interrupt: Interrupt) -> Self {
        Self { sink, bytes_per_second: bytes_per_second.max(1), free_at: Instant::now(), interrupt }
    }

    /// Waits until `len` bytes may be written. Time that nobody used is not saved up.
    fn wait(&mut self, len: usize) -> io::Result<()> {
        let start = Instant::now().max(self.free_at);
        self.free_at = start + Duration::from_secs_f64(len as f64 / self.bytes_per_second as f64);
        while let Some(left) = start.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.interrupt.came() {
                return Err(io::Error::other("cancelled while waiting for --rate-limit"));
            }
            std::thread::sleep(left.min(GLANCE));
        }
        Ok(())
    }
}

impl Sink for Paced<'_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.wait(bytes.len())?;
        self.sink.write_at(offset, bytes)
    }

    fn rewritable(&self) -> bool {
        self.sink.rewritable()
    }

    fn sparse(&self) -> bool {
        self.sink.sparse()
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        self.sink.finish(len_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestdump_core::sink::Seekable;

    #[test]
    fn bytes_take_their_time() {
        let mut bytes = io::Cursor::new(Vec::new());
        let mut sink = Paced::new(Box::new(Seekable::new(&mut bytes)), 1_000_000, Interrupt::default());
        let started = Instant::now();
        for piece in 0..5 {
            sink.write_at(piece * 30_000, &[7; 30_000]).unwrap();
        }
        // The last piece is let through when the four before are paid for.
        assert!(started.elapsed() >= Duration::from_millis(120));
        sink.finish(150_000).unwrap();
        drop(sink);
        assert_eq!(bytes.into_inner(), [7; 150_000]);
    }
}
