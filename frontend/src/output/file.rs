//! A regular file as a sink: bytes go to their places by `pwrite`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use guestdump_core::sink::Sink;

/// A file that was empty.
#[derive(Debug)]
pub(super) struct FileSink<'a> {
    file: &'a File,
    sparse: bool,
}

impl<'a> FileSink<'a> {
    /// Offset 0 of the dump is offset 0 of the file. With `sparse`, what is zero is left out as holes.
    pub(super) const fn new(file: &'a File, sparse: bool) -> Self {
        Self { file, sparse }
    }
}

impl Sink for FileSink<'_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn rewritable(&self) -> bool {
        true
    }

    fn sparse(&self) -> bool {
        self.sparse
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        // What comes last may be a hole. A file is never cut here: nothing lies behind the end of a dump.
        if self.file.metadata()?.len() < len_bytes { self.file.set_len(len_bytes) } else { Ok(()) }
    }
}
