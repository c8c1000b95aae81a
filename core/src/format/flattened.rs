//! The flattened format: records of (offset, size, bytes) that say where the bytes of a dump belong. A sink for writing,
//! and an index for reading.
//!
//! Layout: a header of 4096 bytes ("makedumpfile", type 1, version 1), then records; all integers are big-endian whatever
//! the guest; an end record of -1, -1. Observed in files of QEMU 10.0.2 and makedumpfile 1.7.2.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, Write};

use crate::format::{DumpFile, ReadError};
use crate::sink::Sink;

/// Bytes of the file header.
pub const HEADER_LEN: usize = 4096;
/// Its signature, padded with zeros to 16 bytes.
pub const SIGNATURE: &[u8; 16] = b"makedumpfile\0\0\0\0";
const RECORD_LEN: usize = 16;
/// Records are not longer than this, so that a reader can buffer one.
const MAX_RECORD: usize = 1 << 20;
/// The most records that a reader indexes: a dump of 16 TiB in records of 64 KiB has as many.
const MAX_RECORDS: usize = 1 << 28;

/// Writes a dump as records. Nothing is left out that a reader may look at.
#[derive(Debug)]
pub struct Flattened<W> {
    out: W,
    started: bool,
}

impl<W: Write> Flattened<W> {
    /// Records go to `out`.
    pub const fn new(out: W) -> Self {
        Self { out, started: false }
    }

    fn start(&mut self) -> io::Result<()> {
        if self.started {
            return Ok(());
        }
        self.started = true;
        let mut header = SIGNATURE.to_vec();
        header.extend_from_slice(&1_i64.to_be_bytes());
        header.extend_from_slice(&1_i64.to_be_bytes());
        header.resize(HEADER_LEN, 0);
        self.out.write_all(&header)
    }

    fn record(&mut self, offset: i64, size: i64, bytes: &[u8]) -> io::Result<()> {
        let mut head = [0; RECORD_LEN];
        let (first, second) = head.split_at_mut(RECORD_LEN / 2);
        first.copy_from_slice(&offset.to_be_bytes());
        second.copy_from_slice(&size.to_be_bytes());
        write_both(&mut self.out, &head, bytes)
    }
}

/// Writes two pieces with one call where the host lets us; copying them together would cost as much as writing them.
fn write_both(out: &mut impl Write, head: &[u8], bytes: &[u8]) -> io::Result<()> {
    let mut parts = [IoSlice::new(head), IoSlice::new(bytes)];
    let mut rest = parts.as_mut_slice();
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match out.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut rest, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl<W: Write + Send> Sink for Flattened<W> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.start()?;
        let mut at = i64::try_from(offset).map_err(io::Error::other)?;
        for chunk in bytes.chunks(MAX_RECORD) {
            let size = i64::try_from(chunk.len()).map_err(io::Error::other)?;
            self.record(at, size, chunk)?;
            at = at.saturating_add(size);
        }
        Ok(())
    }

    fn rewritable(&self) -> bool {
        false
    }

    fn sparse(&self) -> bool {
        false
    }

    fn finish(&mut self, _len_bytes: u64) -> io::Result<()> {
        self.start()?;
        self.record(-1, -1, &[])?;
        self.out.flush()
    }
}

/// One record: where its bytes lie in the flattened file, and how many they are.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: u64,
    len: u64,
}

/// A flattened file read as the dump that it describes. Gaps read as zeros.
#[derive(Debug)]
pub struct Assembled<F> {
    file: F,
    /// By offset in the dump.
    pieces: BTreeMap<u64, Piece>,
    len: u64,
    complete: bool,
}

impl<F: DumpFile> Assembled<F> {
    /// Indexes the records of `file`.
    ///
    /// # Errors
    /// [`ReadError`] for a record that lies outside of the file or has an impossible size. A file that ends without an
    /// end record is read as far as it goes, see [`Assembled::complete`].
    pub fn new(file: F) -> Result<Self, ReadError> {
        let mut this = Self { file, pieces: BTreeMap::new(), len: 0, complete: false };
        let mut at = HEADER_LEN as u64;
        while let Some((offset, size)) = this.record_at(at)? {
            if (offset, size) == (-1, -1) {
                this.complete = true;
                break;
            }
            at = this.add(at, offset, size)?;
        }
        Ok(this)
    }

    /// Whether the file has its end record.
    pub const fn complete(&self) -> bool {
        self.complete
    }

    fn record_at(&self, at: u64) -> Result<Option<(i64, i64)>, ReadError> {
        if at.saturating_add(RECORD_LEN as u64) > self.file.len() {
            return Ok(None);
        }
        let (mut offset, mut size) = ([0; 8], [0; 8]);
        self.file.read_at(at, &mut offset)?;
        self.file.read_at(at.saturating_add(8), &mut size)?;
        Ok(Some((i64::from_be_bytes(offset), i64::from_be_bytes(size))))
    }

    /// Takes a record in and gives the offset of the next one.
    fn add(&mut self, at: u64, offset: i64, size: i64) -> Result<u64, ReadError> {
        let bad = ReadError::FlatRecord { at, offset, size, file_len: self.file.len() };
        let (Ok(start), Ok(len)) = (u64::try_from(offset), u64::try_from(size)) else { return Err(bad) };
        let data = at.saturating_add(RECORD_LEN as u64);
        let end = data.saturating_add(len);
        if len == 0 || start.checked_add(len).is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(bad);
        }
        if end > self.file.len() {
            // The file was cut: what is there of the record counts.
            let kept = self.file.len().saturating_sub(data);
            if kept > 0 {
                self.put(start, Piece { at: data, len: kept });
            }
            return Ok(self.file.len());
        }
        if self.pieces.len() >= MAX_RECORDS {
            return Err(ReadError::TooMany { what: "flattened records", limit: MAX_RECORDS });
        }
        self.put(start, Piece { at: data, len });
        Ok(end)
    }

    /// Later records win over earlier ones; what sticks out of an earlier one stays.
    fn put(&mut self, start: u64, piece: Piece) {
        let end = start.saturating_add(piece.len);
        self.len = self.len.max(end);
        let before = self.pieces.range(..start).next_back().map(|(start, piece)| (*start, *piece));
        if let Some((old, cut)) = before.filter(|(old, cut)| old.saturating_add(cut.len) > start) {
            self.pieces.insert(old, Piece { len: start - old, ..cut });
            self.keep_tail(old, cut, end);
        }
        let covered: Vec<u64> = self.pieces.range(start..end).map(|(start, _)| *start).collect();
        for old in covered {
            if let Some(cut) = self.pieces.remove(&old) {
                self.keep_tail(old, cut, end);
            }
        }
        self.pieces.insert(start, piece);
    }

    fn keep_tail(&mut self, old: u64, cut: Piece, end: u64) {
        let old_end = old.saturating_add(cut.len);
        if old_end > end {
            self.pieces.insert(end, Piece { at: cut.at.saturating_add(end - old), len: old_end - end });
        }
    }
}

impl<F: DumpFile> DumpFile for Assembled<F> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf.fill(0);
        let first = self.pieces.range(..=offset).next_back().map_or(offset, |(start, _)| *start);
        for (&start, piece) in self.pieces.range(first..end) {
            let from = start.max(offset);
            let to = start.saturating_add(piece.len).min(end);
            if from >= to {
                continue;
            }
            let index = |at: u64| usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
            if let Some(part) = buf.get_mut(index(from)..index(to)) {
                self.file.read_at(piece.at.saturating_add(from - start), part)?;
            }
        }
        Ok(())
    }

    fn zeros_at(&self, offset: u64) -> u64 {
        let inside = |(start, piece): (&u64, &Piece)| start.saturating_add(piece.len) > offset;
        if self.pieces.range(..=offset).next_back().is_some_and(inside) {
            return 0;
        }
        let next = self.pieces.range(offset..).next().map_or(self.len, |(start, _)| *start);
        next.saturating_sub(offset)
    }

    fn held(&self) -> u64 {
        self.file.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flat(records: &[(u64, Vec<u8>)], end: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sink = Flattened::new(&mut out);
        for (offset, bytes) in records {
            sink.write_at(*offset, bytes).unwrap();
        }
        if end {
            sink.finish(0).unwrap();
        }
        out
    }

    proptest! {
        #[test]
        fn records_read_back_as_the_last_bytes_written(
            records in proptest::collection::vec((0_u64..200, proptest::collection::vec(1_u8.., 1..40)), 1..30)
        ) {
            let mut expect = Vec::new();
            for (offset, bytes) in &records {
                let end = *offset as usize + bytes.len();
                expect.resize(expect.len().max(end), 0);
                expect[*offset as usize..end].copy_from_slice(bytes);
            }
            let assembled = Assembled::new(flat(&records, true)).unwrap();
            prop_assert!(assembled.complete());
            let mut all = vec![9; expect.len()];
            assembled.read_at(0, &mut all).unwrap();
            prop_assert_eq!(&all, &expect);
            let mut one = [0];
            for at in 0..expect.len() {
                let zeros = expect[at..].iter().take_while(|byte| **byte == 0).count();
                prop_assert_eq!(assembled.zeros_at(at as u64), zeros as u64);
            }
            for (at, byte) in expect.iter().enumerate() {
                assembled.read_at(at as u64, &mut one).unwrap();
                prop_assert_eq!(one[0], *byte);
            }
        }
    }

    #[test]
    fn cut_files_are_incomplete_and_bad_records_are_refused() {
        let whole = flat(&[(0, vec![1; 100]), (100, vec![2; 100])], true);
        let cut = Assembled::new(whole[..whole.len() - 30].to_vec()).unwrap();
        assert!(!cut.complete());
        assert_eq!(DumpFile::len(&cut), 186);
        let mut bad = whole;
        bad[HEADER_LEN + 8..HEADER_LEN + 16].copy_from_slice(&(-5_i64).to_be_bytes());
        let error = Assembled::new(bad).unwrap_err().to_string();
        assert!(error.contains("size -5"), "{error}");
    }
}
