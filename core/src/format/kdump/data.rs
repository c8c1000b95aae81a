//! Data of pages: what lies in one piece in the file, as writers put it, is read at once and not page by page.

use std::io;
use std::ops::Range;

use super::pages::Desc;
use crate::format::{DumpFile, ReadError};

/// Bytes that are read at once at most, unless a single page has more.
const MOST: u64 = 256 << 10;

/// What was read last. Empty at first.
#[derive(Debug, Default)]
pub(super) struct Data {
    offset: u64,
    bytes: Vec<u8>,
    /// Where not all could be read: a disk that is broken there takes its time for each try.
    broken: Range<u64>,
}

impl Data {
    /// The data of the first of `pages`. That of those behind it is read with it as long as each follows on the one before,
    /// `known` ones apart: no byte is read twice, however a file is laid out.
    pub(super) fn of_first(
        &mut self,
        file: &dyn DumpFile,
        pages: &[Desc],
        known: Option<Desc>,
    ) -> Result<&[u8], ReadError> {
        let Some(first) = pages.first() else { return Ok(&[]) };
        if self.held(first).is_none() {
            self.read(file, first, pages, known)?;
        }
        Ok(self.held(first).unwrap_or_default())
    }

    fn held(&self, page: &Desc) -> Option<&[u8]> {
        let at = usize::try_from(page.offset.checked_sub(self.offset)?).ok()?;
        let size = usize::try_from(page.size).ok()?;
        self.bytes.get(at..at.checked_add(size)?)
    }

    fn read(
        &mut self,
        file: &dyn DumpFile,
        first: &Desc,
        pages: &[Desc],
        known: Option<Desc>,
    ) -> Result<(), ReadError> {
        let mut len = u64::from(first.size);
        for page in pages.iter().skip(1).filter(|page| known != Some(**page)) {
            let more = len + u64::from(page.size);
            if first.offset.checked_add(len) != Some(page.offset) || more > MOST {
                break;
            }
            len = more;
        }
        let (start, size) = (first.offset, u64::from(first.size));
        let there = len.min(file.len().saturating_sub(start));
        if there > size && !self.broken.contains(&start) {
            if self.fill(file, start, there).is_ok() {
                return Ok(());
            }
            self.broken = start..start.saturating_add(there);
        }
        if there < size {
            return Err(ReadError::Outside { what: "page data", offset: start, len: size, file_len: file.len() });
        }
        Ok(self.fill(file, start, size)?)
    }

    fn fill(&mut self, file: &dyn DumpFile, offset: u64, len: u64) -> io::Result<()> {
        self.offset = offset;
        self.bytes.resize(usize::try_from(len).unwrap_or(0), 0);
        let read = file.read_at(offset, &mut self.bytes);
        if read.is_err() {
            self.bytes.clear();
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Counts how often it is read; bytes from 200 on cannot be.
    #[derive(Debug)]
    struct Disk(Vec<u8>, AtomicU64);

    impl DumpFile for Disk {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            self.1.fetch_add(1, Ordering::Relaxed);
            if offset as usize + buf.len() > 200 { Err(io::Error::other("bad")) } else { self.0.read_at(offset, buf) }
        }
    }

    fn desc(offset: u64, size: u32) -> Desc {
        Desc { offset, size, flags: 0 }
    }

    #[test]
    fn neighbours_are_read_together_and_each_page_by_itself_where_that_fails() {
        let disk = Disk((0..=255).collect(), AtomicU64::new(0));
        // The second lies elsewhere: the page of zeros.
        let zeros = Some(desc(0, 5));
        let pages =
            [desc(10, 20), desc(0, 5), desc(30, 100), desc(130, 40), desc(170, 40), desc(210, 30), desc(250, 7)];
        let mut data = Data::default();
        let mut of = |number: usize| {
            let bytes = data.of_first(&disk, &pages[number..], zeros).map(<[u8]>::to_vec);
            (bytes, disk.1.swap(0, Ordering::Relaxed))
        };
        let bytes = |range: Range<u8>| range.collect::<Vec<u8>>();
        // Together they reach into what cannot be read.
        assert!(matches!(of(0), (Ok(first), 2) if first == bytes(10..30)));
        assert!(matches!(of(2), (Ok(third), 1) if third == bytes(30..130)));
        assert!(matches!(of(4), (Err(ReadError::Io(_)), 1)));
        assert!(matches!(of(6), (Err(ReadError::Outside { offset: 250, len: 7, .. }), 0)));
        // A file that was cut: what is there of a run is read, and what is whole of it served.
        let cut = Disk((0..150).collect(), AtomicU64::new(0));
        let mut data = Data::default();
        for (number, page) in pages.iter().enumerate().filter(|(number, _)| [0, 2].contains(number)) {
            let first = data.of_first(&cut, &pages[number..], zeros).unwrap();
            assert_eq!(first, bytes(page.offset as u8..page.offset as u8 + page.size as u8));
        }
        assert_eq!(cut.1.load(Ordering::Relaxed), 1);
        assert!(data.of_first(&cut, &pages[3..], zeros).is_err());
    }

    #[test]
    fn no_more_is_read_at_once_than_the_limit() {
        let file = vec![1; 1 << 20];
        let pages: Vec<Desc> = (0..256).map(|number| desc(number * 4096, 4096)).collect();
        let mut data = Data::default();
        assert_eq!(data.of_first(&file, &pages, None).unwrap().len(), 4096);
        assert_eq!(data.bytes.len() as u64, MOST);
        // Runs that take turns are read page by page.
        let (disk, mut data) = (Disk(vec![1; 200], AtomicU64::new(0)), Data::default());
        let turns = [desc(0, 10), desc(100, 10), desc(10, 10), desc(110, 10)];
        for number in 0..turns.len() {
            data.of_first(&disk, &turns[number..], None).unwrap();
            assert_eq!(data.bytes.len(), 10);
        }
        // A descriptor that leaves the address space.
        assert!(data.of_first(&file, &[desc(u64::MAX - 1, 4096), desc(4094, 1)], None).is_err());
    }
}
