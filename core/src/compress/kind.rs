//! What kind of bytes a page holds, told before a codec spends time on it.
//!
//! A codec that looks for repetitions spends its longest time on pages that have none: encrypted or compressed data, random
//! numbers. Such a page is known by the number of times that each byte value occurs. With n bytes drawn at random, the
//! statistic chi-square of the 256 counts is 255 on average with a standard deviation of 22.6, whatever n. Coding by
//! frequency saves about chi-square / (2 ln 2) bits, and describing the code costs more than that at the upper bound. A
//! repetition of a part of the page raises it (a half that occurs twice: to 400 or so); bytes that are too evenly spread, as
//! counters are, lower it.

/// What is known of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// No codec can make it smaller: compressing it is not worth a try.
    Noise,
    /// It starts with next to nothing but printable ASCII, blanks and ends of lines.
    Text,
    /// Anything else: programs, tables, objects. Chi-square of its first 512 bytes: near 255 where all values are as
    /// frequent, 4000 and more in programs, 130,560 where there is only one.
    Other(u64),
}

/// Bounds of chi-square between which a page is noise. Of truly random pages, 96 of 100 are between them.
const NOISE: core::ops::RangeInclusive<u64> = 180..=295;
/// What can be seen early is looked for in so many bytes.
const SAMPLE: usize = 512;
/// Random bytes of that number have a chi-square above this once in many millions.
const SAMPLE_NOISE: u64 = 400;
/// Shorter pages say too little.
const SHORTEST: usize = 2048;
/// Noise is told by these 34 of the 56 lines behind the sample of a page of 4 KiB, and of as many in larger ones. A
/// repetition at any distance has lines in it of which both places are looked at: of random patterns, this one had the most
/// at its worst distance.
const LINES: u64 = 0x1c_b9fa_feca_e659;
const LINES_BITS: u32 = 56;
const LINE: usize = 64;

/// How often each byte value occurs, counted in four tables in turn so that equal neighbours do not wait for each other.
struct Counts {
    tables: [[u16; 256]; 4],
    bytes: usize,
}

/// Looks at `page`, of at most 64 KiB.
pub(super) fn of(page: &[u8]) -> Kind {
    let (sample, rest) = page.split_at_checked(SAMPLE).unwrap_or((page, &[]));
    let mut counts = Counts { tables: [[0; 256]; 4], bytes: 0 };
    counts.add(sample);
    let (sum, chi_square) = counts.sum();
    if is_text(&sum, counts.bytes) {
        return Kind::Text;
    }
    if chi_square > SAMPLE_NOISE || page.len() < SHORTEST {
        return Kind::Other(chi_square);
    }
    let lines = rest.chunks(LINE).zip((0..LINES_BITS).cycle());
    lines.filter(|(_, number)| LINES >> number & 1 != 0).for_each(|(line, _)| counts.add(line));
    if NOISE.contains(&counts.sum().1) { Kind::Noise } else { Kind::Other(chi_square) }
}

impl Counts {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        let [a, b, c, d] = &mut self.tables;
        let (words, rest) = bytes.as_chunks::<4>();
        for [w, x, y, z] in words {
            bump(a, *w);
            bump(b, *x);
            bump(c, *y);
            bump(d, *z);
        }
        rest.iter().for_each(|byte| bump(a, *byte));
    }

    /// All tables in one, and chi-square: the sum of (count - n/256)^2 / (n/256), in whole numbers.
    fn sum(&self) -> ([u16; 256], u64) {
        let [a, b, c, d] = &self.tables;
        let mut sum = [0; 256];
        for ((to, (a, b)), (c, d)) in sum.iter_mut().zip(a.iter().zip(b)).zip(c.iter().zip(d)) {
            *to = a + b + c + d;
        }
        // At most the square of the number of bytes, of which less than 2^16 are counted.
        let squares = sum.iter().map(|count| u32::from(*count) * u32::from(*count)).fold(0_u32, u32::wrapping_add);
        let n = self.bytes as u64;
        (sum, (256 * u64::from(squares)).checked_div(n).map_or(0, |expected| expected.saturating_sub(n)))
    }
}

/// Whether 15 of 16 of `bytes` are printable ASCII, blanks and ends of lines.
fn is_text(counts: &[u16; 256], bytes: usize) -> bool {
    let of = |bytes: core::ops::RangeInclusive<u8>| {
        let range = usize::from(*bytes.start())..=usize::from(*bytes.end());
        counts.get(range).unwrap_or_default().iter().map(|count| u32::from(*count)).sum::<u32>()
    };
    let text = of(b'\t'..=b'\n') + of(b'\r'..=b'\r') + of(b' '..=b'~');
    text as usize >= bytes / 16 * 15
}

#[inline]
fn bump(counts: &mut [u16; 256], byte: u8) {
    if let Some(count) = counts.get_mut(usize::from(byte)) {
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        (0..len).map(|_| byte()).collect()
    }

    #[test]
    fn random_pages_are_noise() {
        for len in [4096, 16384, 65536] {
            let noise = (1..=1000).filter(|seed| of(&random(len, *seed)) == Kind::Noise).count();
            assert!(noise > 950, "{noise} of 1000 pages of {len}");
        }
    }

    #[test]
    fn pages_that_shrink_are_not() {
        let mut pages: Vec<Vec<u8>> = vec![
            (0..4096_u32).map(|at| at as u8).collect(),
            (0..4096_u32).map(|at| (at % 251) as u8).collect(),
            (0..1024_u32).flat_map(u32::to_le_bytes).collect(),
            b"the quick brown fox ".iter().copied().cycle().take(4096).collect(),
        ];
        for seed in 1..50 {
            pages.push(random(2048, seed).repeat(2));
            pages.push(random(256, seed).repeat(16));
            let mut part = random(4096, seed);
            part[3000..3256].fill(0);
            pages.push(part);
            // A repetition that starts in the middle of a line, or an odd number of lines on.
            for half in [2112, 2200, 2048 + 17] {
                pages.push(random(half, seed).into_iter().cycle().take(4096).collect());
            }
        }
        for (number, page) in pages.iter().enumerate() {
            assert_ne!(of(page), Kind::Noise, "page {number}");
        }
        assert_eq!(of(&pages[3]), Kind::Text);
        assert_eq!(of(&[0; 4096]), Kind::Other(255 * 512));
        assert_eq!(of(&[0; 65536]), Kind::Other(255 * 512));
        assert!(matches!(of(&random(1024, 1)), Kind::Other(150..400)));
    }
}
