//! Where a dump goes: bytes at offsets. Files, pipes and memory differ only here.
//!
//! "Flattened" is such a sink too; it lives with the format that it belongs to, in `format/flattened.rs`.

use std::io::{self, Seek, SeekFrom, Write};

/// Something that a dump can be written to, by one thread after the other. Offsets are those of the dump, from 0.
pub trait Sink: Send {
    /// Puts `bytes` at `offset`. What is never written reads as zero.
    ///
    /// # Errors
    /// What the host says; [`io::ErrorKind::Unsupported`] for an offset that the sink has passed and cannot go back to.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Says that `len_bytes` bytes from `offset` on are zero: nothing to do where gaps read as zeros.
    ///
    /// # Errors
    /// As [`Sink::write_at`].
    fn zeros_at(&mut self, offset: u64, len_bytes: u64) -> io::Result<()> {
        if self.sparse() {
            return Ok(());
        }
        let (mut at, end) = (offset, offset.saturating_add(len_bytes));
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write_at(at, ZEROS.get(..len).unwrap_or(&ZEROS))?;
            at += len as u64;
        }
        Ok(())
    }

    /// Whether bytes may be written out of order, and again.
    fn rewritable(&self) -> bool;

    /// Whether leaving a gap is cheaper than writing zeros, and readers see zeros there.
    fn sparse(&self) -> bool;

    /// Ends the dump at `len_bytes` and hands everything to the host.
    ///
    /// # Errors
    /// What the host says.
    fn finish(&mut self, len_bytes: u64) -> io::Result<()>;
}

/// A sink that can only go forward: a pipe. Gaps become zeros.
#[derive(Debug)]
pub struct Sequential<W> {
    out: W,
    at: u64,
}

static ZEROS: [u8; 65536] = [0; 65536];

/// Writes `count` zeros.
fn write_zeros(out: &mut dyn Write, mut count: u64) -> io::Result<()> {
    while count > 0 {
        let len = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        out.write_all(ZEROS.get(..len).unwrap_or(&ZEROS))?;
        count -= len as u64;
    }
    Ok(())
}

impl<W: Write> Sequential<W> {
    /// Starts at offset 0.
    pub const fn new(out: W) -> Self {
        Self { out, at: 0 }
    }
}

impl<W: Write + Send> Sink for Sequential<W> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(gap) = offset.checked_sub(self.at) else {
            let text = format!("cannot go back from offset {} to {offset} of a stream", self.at);
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        };
        write_zeros(&mut self.out, gap)?;
        self.out.write_all(bytes)?;
        self.at = offset.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn rewritable(&self) -> bool {
        false
    }

    fn sparse(&self) -> bool {
        false
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        self.write_at(len_bytes.max(self.at), &[])?;
        self.out.flush()
    }
}

/// A sink that can go anywhere: a regular file, or a cursor in memory.
#[derive(Debug)]
pub struct Seekable<W> {
    out: W,
    at: u64,
    end: u64,
}

impl<W: Write + Seek> Seekable<W> {
    /// Offset 0 of the dump is offset 0 of `out`, which is taken to be empty.
    pub const fn new(out: W) -> Self {
        Self { out, at: u64::MAX, end: 0 }
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write + Seek + Send> Sink for Seekable<W> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.at != offset {
            self.out.seek(SeekFrom::Start(offset))?;
        }
        // Unknown until the write is through.
        self.at = u64::MAX;
        self.out.write_all(bytes)?;
        self.at = offset.saturating_add(bytes.len() as u64);
        self.end = self.end.max(self.at);
        Ok(())
    }

    fn rewritable(&self) -> bool {
        true
    }

    fn sparse(&self) -> bool {
        true
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        if len_bytes > self.end {
            self.write_at(len_bytes - 1, &[0])?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_fill_gaps_and_never_go_back() {
        let mut out = Vec::new();
        let mut sink = Sequential::new(&mut out);
        sink.write_at(2, b"ab").unwrap();
        sink.write_at(4, b"c").unwrap();
        let error = sink.write_at(1, b"x").unwrap_err();
        assert_eq!(error.to_string(), "cannot go back from offset 5 to 1 of a stream");
        sink.finish(70_000).unwrap();
        assert_eq!((&out[..6], out.len()), (&b"\0\0abc\0"[..], 70_000));
    }

    #[test]
    fn files_take_any_order_and_reach_their_length() {
        let mut sink = Seekable::new(io::Cursor::new(Vec::new()));
        sink.write_at(4, b"de").unwrap();
        sink.write_at(0, b"a").unwrap();
        sink.finish(8).unwrap();
        assert_eq!(sink.into_inner().into_inner(), b"a\0\0\0de\0\0");
    }
}
