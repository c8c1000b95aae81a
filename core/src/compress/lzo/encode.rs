//! The LZO1X encoder: one pass, one probe per position, never a second look. Not here: the stream format (the table in
//! `lzo`), decoding.
//!
//! The time for a page is bounded whatever the page holds, since a guest chooses what it holds: every step of the search
//! moves forward by at least one byte and looks at one earlier place only, and the bytes that a copy covers are compared
//! once and then passed over.

use super::{
    COPY_BASE, END, EXTENSION_STEP, FAR_DISTANCE, FAR_PLAIN_MAX, FIRST_RUN_BASE, FIRST_RUN_MAX, MAX_STATE,
    MIDDLE_DISTANCE, MIDDLE_PLAIN_MAX, NEAR_DISTANCE, NEAR_LEN, RUN_BASE, RUN_PLAIN_MAX,
};

/// 8 KiB of places, cleared for each page. Twice as many make pages of 4 KiB 0.4 % smaller and noise a quarter slower.
const TABLE_BITS: u32 = 12;
const TABLE_LEN: usize = 1 << TABLE_BITS;
/// 2^32 divided by the golden ratio: spreads the low bits of the four bytes over the high bits that are kept.
const HASH_FACTOR: u32 = 0x9e37_79b1;
/// The search steps one byte further for each 32 bytes without a copy, for the first time after 8 of them: in 4 KiB of
/// noise one byte in eight is looked at. Pages are as small as liblzo2's, within 1 %.
const SKIP_SHIFT: u32 = 5;
const SKIP_EARLIER: usize = 24;
/// A stream starts with at least this many literals, as every stream of liblzo2 does.
const FIRST_LITERALS: usize = 4;
/// The shortest repetition looked for; the format has shorter ones, which save next to nothing.
const MIN_LEN: usize = 4;
/// Runs up to this many bytes are moved without a loop.
const SHORT: usize = 16;

/// Finds repetitions: for each hash of four bytes the last place it was seen at.
pub(super) struct Matcher {
    places: [u16; TABLE_LEN],
}

/// A repetition: `len` bytes at `at` are those `distance` before.
struct Match {
    at: usize,
    distance: usize,
    len: usize,
}

impl Matcher {
    pub(super) fn new() -> Self {
        Self { places: [0; TABLE_LEN] }
    }

    /// Compresses `page`, at most 64 KiB, into the head of `out`; `None` when it does not fit there.
    pub(super) fn compress(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        // Place 0 doubles as "not seen": a probe compares the bytes anyhow.
        self.places.fill(0);
        let mut stream = Stream { out, at: 0 };
        let mut literals_from = 0;
        let mut at = FIRST_LITERALS;
        while let Some(found) = self.next_match(page, at, literals_from) {
            stream.literals(page.get(literals_from..)?, found.at - literals_from)?;
            stream.copy(found.distance, found.len)?;
            at = found.at + found.len;
            literals_from = at;
        }
        stream.literals(page.get(literals_from..)?, page.len() - literals_from)?;
        stream.put(&END)?;
        Some(stream.at)
    }

    /// The next repetition at or behind `at`; the search gets coarser the longer there was none.
    fn next_match(&mut self, page: &[u8], mut at: usize, literals_from: usize) -> Option<Match> {
        loop {
            let word = word_at(page, at)?;
            let place = self.places.get_mut(slot(word))?;
            let seen = usize::from(*place);
            *place = at as u16;
            let distance = at - seen;
            if word_at(page, seen) == Some(word) && distance <= FAR_DISTANCE {
                return Some(Match { at, distance, len: MIN_LEN + common_len(page, seen + MIN_LEN, at + MIN_LEN) });
            }
            at += 1 + ((at - literals_from + SKIP_EARLIER) >> SKIP_SHIFT);
        }
    }
}

fn word_at(page: &[u8], at: usize) -> Option<u32> {
    page.get(at..at + MIN_LEN)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn slot(word: u32) -> usize {
    (word.wrapping_mul(HASH_FACTOR) >> (u32::BITS - TABLE_BITS)) as usize
}

/// How many bytes from `at` on are those from `seen` on; eight at a time.
fn common_len(page: &[u8], seen: usize, at: usize) -> usize {
    let (Some(old), Some(new)) = (page.get(seen..), page.get(at..)) else { return 0 };
    let (old_words, _) = old.as_chunks::<8>();
    let (new_words, tail) = new.as_chunks::<8>();
    let mut len = 0;
    for (a, b) in old_words.iter().zip(new_words) {
        let differing = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differing != 0 {
            return len + differing.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let old_tail = old.get(len..).unwrap_or_default();
    len + old_tail.iter().zip(tail).take_while(|(a, b)| a == b).count()
}

/// The output; every method answers `None` when it is full, and the page is then stored as it is.
struct Stream<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Stream<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at + bytes.len();
        self.out.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(())
    }

    /// A run of literals: the first `len` bytes of `rest`, the part of the page from there on.
    #[inline]
    fn literals(&mut self, rest: &[u8], len: usize) -> Option<()> {
        if len == 0 {
            return Some(());
        }
        self.run_header(len)?;
        if !self.short_literals(rest, len) {
            self.put(rest.get(..len)?)?;
        }
        Some(())
    }

    #[inline]
    fn run_header(&mut self, len: usize) -> Option<()> {
        if self.at == 0 && len <= FIRST_RUN_MAX {
            return self.put(&[(FIRST_RUN_BASE + len) as u8]);
        }
        if len <= MAX_STATE {
            // The two bytes that end every copy have the count of literals in the first of them.
            *self.out.get_mut(self.at.checked_sub(2)?)? |= len as u8;
            return Some(());
        }
        if len <= RUN_PLAIN_MAX {
            return self.put(&[(len - RUN_BASE) as u8]);
        }
        self.put(&[0])?;
        self.extension(len - RUN_PLAIN_MAX)
    }

    /// Most runs are short. Sixteen bytes are moved at once where both sides have so many; what is too much is written
    /// over by the next instruction. Answers whether it was done.
    #[inline]
    fn short_literals(&mut self, rest: &[u8], len: usize) -> bool {
        let to = self.out.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut::<SHORT>);
        let (Some(from), Some(to), true) = (rest.first_chunk(), to, len <= SHORT) else { return false };
        *to = *from;
        self.at += len;
        true
    }

    fn copy(&mut self, distance: usize, len: usize) -> Option<()> {
        let back = distance - 1;
        if distance <= NEAR_DISTANCE && len <= NEAR_LEN {
            return self.put(&[(((len - 1) << 5) | ((back & 7) << 2)) as u8, (back >> 3) as u8]);
        }
        if distance <= MIDDLE_DISTANCE {
            self.length(0x20, len, MIDDLE_PLAIN_MAX)?;
            return self.put(&((back << 2) as u16).to_le_bytes());
        }
        let back = distance - MIDDLE_DISTANCE;
        self.length(0x10 | ((back >> 14) << 3) as u8, len, FAR_PLAIN_MAX)?;
        self.put(&((back << 2) as u16).to_le_bytes())
    }

    /// The first byte of a copy: its kind and the length, with an extension where the length is above `plain_max`.
    fn length(&mut self, kind: u8, len: usize, plain_max: usize) -> Option<()> {
        if len <= plain_max {
            return self.put(&[kind | (len - COPY_BASE) as u8]);
        }
        self.put(&[kind])?;
        self.extension(len - plain_max)
    }

    fn extension(&mut self, mut rest: usize) -> Option<()> {
        while rest > EXTENSION_STEP {
            self.put(&[0])?;
            rest -= EXTENSION_STEP;
        }
        self.put(&[rest as u8])
    }
}
