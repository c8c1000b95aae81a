//! `/proc/PID/pagemap` (linux `Documentation/admin-guide/mm/pagemap.rst`): which pages a process has. Since Linux 6.7 the kernel
//! answers with ranges; before, one u64 of the host is read for each page. Which mappings it speaks the truth about is
//! said in `remote.rs`.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::process_memory;

/// Page is present.
const PRESENT: u64 = 1 << 63;
/// Page is swapped out, or on its way between places.
const SWAPPED: u64 = 1 << 62;
/// Bytes of an entry.
const ENTRY: usize = 8;
/// Entries read at first, and at most at once: runs may be one page or a thousand.
const FIRST: usize = 64;
const MOST: usize = 4096;

/// Whether the process has never touched the page of this entry.
#[must_use]
pub const fn never_touched(entry: u64) -> bool {
    entry & (PRESENT | SWAPPED) == 0
}

/// Whether the page at `page` (an address divided by the page size) was touched, and for how many pages from there, at
/// most `limit`, that holds. What cannot be known was touched.
pub fn run(pagemap: &File, page: u64, limit: u64) -> (bool, u64) {
    scanned(pagemap, page, limit).unwrap_or_else(|| counted(pagemap, page, limit))
}

/// The same, if the kernel has the call for it.
fn scanned(pagemap: &File, page: u64, limit: u64) -> Option<(bool, u64)> {
    let page_bytes = rustix::param::page_size() as u64;
    let (start, end) = (page.checked_mul(page_bytes)?, page.checked_add(limit)?.checked_mul(page_bytes)?);
    let touched = process_memory::first_touched(pagemap, start..end).ok()?;
    Some(match touched {
        None => (false, limit),
        Some(touched) if touched.start > start => (false, (touched.start - start) / page_bytes),
        Some(touched) => (true, touched.end.checked_sub(start)? / page_bytes),
    })
}

/// The same by entries.
fn counted(pagemap: &File, page: u64, limit: u64) -> (bool, u64) {
    let mut known = None;
    let (mut done, mut chunk) = (0_u64, FIRST);
    let mut buffer = Vec::new();
    while done < limit {
        let entries = usize::try_from(limit - done).unwrap_or(usize::MAX).min(chunk);
        buffer.resize(entries * ENTRY, 0);
        let at = page.saturating_add(done).saturating_mul(ENTRY as u64);
        if pagemap.read_exact_at(&mut buffer, at).is_err() {
            // The process has ended, perhaps: reading its memory will tell.
            return if known == Some(false) { (false, done) } else { (true, limit) };
        }
        for entry in buffer.as_chunks::<ENTRY>().0 {
            let touched = !never_touched(u64::from_ne_bytes(*entry));
            if *known.get_or_insert(touched) != touched {
                return (!touched, done);
            }
            done += 1;
        }
        chunk = (chunk * 2).min(MOST);
    }
    (known.unwrap_or(true), limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn only_absent_pages_that_are_not_swapped_were_never_touched() {
        // Soft-dirty (55) and exclusive (56) bits are set on entries of pages that are not there as well.
        assert!(never_touched(0) && never_touched(1 << 55));
        assert!(!never_touched(0x8180_0000_0000_0000) && !never_touched(0x4000_0000_0000_0060));
    }

    #[test]
    fn scanning_and_counting_tell_the_same() {
        let page = rustix::param::page_size();
        // Untouched but for some pages: an allocation of this size is mapped, and not written to.
        let mut memory = vec![0_u8; 4096 * page];
        for touched in [17, 18, 19, 1000, 4000] {
            memory[touched * page] = 1;
        }
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let first = (memory.as_ptr().addr().div_ceil(page)) as u64;
        let (mut at, mut runs) = (0, 0);
        while at < 4095 {
            let expected = counted(&pagemap, first + at, 4095 - at);
            assert_eq!(run(&pagemap, first + at, 4095 - at), expected, "page {at}");
            // Before Linux 6.7 there is nothing to compare.
            if let Some(scanned) = scanned(&pagemap, first + at, 4095 - at) {
                assert_eq!(scanned, expected, "page {at}");
            }
            at += expected.1;
            runs += 1;
        }
        // Where the kernel gives huge pages, their neighbours are touched too.
        assert!((2..12).contains(&runs), "{runs} runs");
        assert_eq!(memory[1000 * page], 1);
    }

    #[test]
    fn runs_end_where_the_state_changes_and_unknown_means_touched() {
        let mut file = tempfile::tempfile().unwrap();
        let entries = [0_u64, 0, PRESENT, SWAPPED, PRESENT | 1].into_iter().chain([0; 300]);
        entries.for_each(|entry| file.write_all(&entry.to_ne_bytes()).unwrap());
        assert_eq!(run(&file, 0, 1000), (false, 2));
        assert_eq!(run(&file, 0, 1), (false, 1));
        assert_eq!(run(&file, 2, 3), (true, 3));
        assert_eq!(run(&file, 2, 1000), (true, 3));
        assert_eq!(run(&file, 5, 300), (false, 300));
        assert_eq!(run(&file, 400, 7), (true, 7));
        assert_eq!(run(&file, u64::MAX, 7), (true, 7));
    }
}
