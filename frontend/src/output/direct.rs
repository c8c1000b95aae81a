//! A regular file written past the host's page cache (O_DIRECT, open(2)): a dump as large as the guest would push
//! everything else out of it.
//!
//! The kernel takes whole blocks only, from aligned memory. So bytes are gathered in a few chunks; a chunk is written when
//! another needs its buffer. A dump is written in two streams at most, so each chunk is written once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use guestdump_core::sink::Sink;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Alignment of offsets, lengths and memory: the largest logical block of a disk.
const BLOCK: usize = 4096;
/// Bytes of a chunk.
const CHUNK: usize = 1 << 20;
/// Chunks in memory: page descriptors and page data have one each; headers and bitmaps come before and after.
const CHUNKS: usize = 4;

/// Makes writes to `file` go past the page cache.
///
/// # Errors
/// EINVAL, where its file system cannot do that.
pub(super) fn set_direct(file: &File) -> io::Result<()> {
    Ok(fcntl_setfl(file, fcntl_getfl(file)? | OFlags::DIRECT)?)
}

/// A file that was empty and is set to O_DIRECT.
#[derive(Debug)]
pub(super) struct DirectSink<'a> {
    file: &'a File,
    sparse: bool,
    /// Used last: last.
    chunks: Vec<Chunk>,
    /// Nothing was written to the file from here on.
    end: u64,
}

impl<'a> DirectSink<'a> {
    pub(super) const fn new(file: &'a File, sparse: bool) -> Self {
        Self { file, sparse, chunks: Vec::new(), end: 0 }
    }

    /// The chunk at an offset that is a multiple of its size.
    fn chunk(&mut self, offset: u64) -> io::Result<&mut Chunk> {
        let chunk = match self.chunks.iter().position(|chunk| chunk.offset == offset) {
            Some(at) => self.chunks.remove(at),
            None => {
                let mut chunk =
                    if self.chunks.len() < CHUNKS { Chunk::new() } else { self.chunks.remove(0).write(self.file)? };
                let known = offset < self.end;
                chunk.start(offset, known.then_some(self.file))?;
                self.end = self.end.max(offset + CHUNK as u64);
                chunk
            }
        };
        self.chunks.push(chunk);
        self.chunks.last_mut().ok_or_else(|| io::ErrorKind::Other.into())
    }
}

impl Sink for DirectSink<'_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let into = usize::try_from(at % CHUNK as u64).unwrap_or(0);
            let (now, later) = rest.split_at(rest.len().min(CHUNK - into));
            self.chunk(at - into as u64)?.put(into, now);
            at = at.saturating_add(now.len() as u64);
            rest = later;
        }
        Ok(())
    }

    fn rewritable(&self) -> bool {
        true
    }

    fn sparse(&self) -> bool {
        self.sparse
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        for chunk in self.chunks.drain(..) {
            chunk.write(self.file)?;
        }
        // The last block was written whole.
        self.file.set_len(len_bytes)
    }
}

/// A piece of the file in memory.
#[derive(Debug)]
struct Chunk {
    offset: u64,
    /// Longer than a chunk by what alignment may take.
    memory: Vec<u8>,
    aligned: usize,
    dirty: [bool; CHUNK / BLOCK],
}

impl Chunk {
    fn new() -> Self {
        let memory = vec![0; CHUNK + BLOCK];
        let aligned = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { offset: 0, memory, aligned, dirty: [false; CHUNK / BLOCK] }
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.aligned..self.aligned + CHUNK).unwrap_or_default()
    }

    /// Becomes the chunk at `offset`, with what a file has there.
    fn start(&mut self, offset: u64, file: Option<&File>) -> io::Result<()> {
        self.offset = offset;
        self.dirty.fill(false);
        self.bytes().fill(0);
        let Some(file) = file else { return Ok(()) };
        let mut done = 0;
        while done < CHUNK {
            match file.read_at(&mut self.bytes()[done..], offset + done as u64) {
                // Only the end of the file is no whole block, and behind it are zeros.
                Ok(count) if count == 0 || !count.is_multiple_of(BLOCK) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes()[at..at + bytes.len()].copy_from_slice(bytes);
        self.dirty[at / BLOCK..(at + bytes.len()).div_ceil(BLOCK)].fill(true);
    }

    /// Writes its blocks that were written to.
    fn write(mut self, file: &File) -> io::Result<Self> {
        let mut at = 0;
        while at < self.dirty.len() {
            let run = self.dirty[at..].iter().take_while(|dirty| **dirty).count();
            let offset = self.offset + (at * BLOCK) as u64;
            file.write_all_at(&self.bytes()[at * BLOCK..(at + run) * BLOCK], offset)?;
            at += run.max(1);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    /// A file on a file system that has O_DIRECT, or none.
    fn direct_file() -> Option<File> {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        set_direct(&file).is_ok().then_some(file)
    }

    #[test]
    fn scattered_bytes_end_up_in_their_places() {
        let Some(file) = direct_file() else { return eprintln!("skipped: no O_DIRECT here") };
        let mut sink = DirectSink::new(&file, true);
        let mut expect = vec![0_u8; 12 << 20];
        // Two streams, then a start that is written again.
        let pieces = (0..2000_usize).flat_map(|n| [(100 + n * 24, 24, n), ((2 << 20) + n * 3001, 3001, n)]);
        for (at, len, n) in pieces.chain([(0, 70, 5), (9 << 20, 1, 7), (4097, 5000, 9)]) {
            let bytes = vec![n as u8 | 1; len];
            sink.write_at(at as u64, &bytes).unwrap();
            expect[at..at + len].copy_from_slice(&bytes);
        }
        expect.truncate((11 << 20) + 5);
        sink.finish(expect.len() as u64).unwrap();
        let back = std::fs::read(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).unwrap();
        assert!(back == expect);
        assert!(file.metadata().unwrap().blocks() * 512 < 10 << 20, "holes stay holes");
    }
}
