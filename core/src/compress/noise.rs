//! Pages that no codec can make smaller, told by their bytes: encrypted or compressed data, random numbers.
//!
//! A codec that looks for repetitions spends its longest time on pages that have none. Here such a page is known by the
//! number of times that each byte value occurs. With n bytes drawn at random, the statistic chi-square of the 256 counts is 255 on
//! average with a standard deviation of 22.6, whatever n. Coding by frequency saves about chi-square / (2 ln 2) bits, and
//! describing the code costs more than the 28 bytes that this is at the upper bound. A repetition of a part of the page raises it
//! (a half that occurs twice: 510); bytes that are too evenly spread, as counters are, lower it.

/// Bounds of chi-square between which a page is noise. Of truly random pages, 97 of 100 are between them.
const CHI_SQUARE: core::ops::RangeInclusive<u64> = 180..=310;
/// What can be seen early is looked for in so many bytes.
const SAMPLE: usize = 512;
/// Random bytes of that number have a chi-square above this once in many millions.
const SAMPLE_MOST: u64 = 400;
/// Shorter pages say too little.
const SHORTEST: usize = 2048;

/// Whether `page` is taken for noise: compressing it is not worth a try.
pub(super) fn is_noise(page: &[u8]) -> bool {
    let Some((sample, rest)) = page.split_at_checked(SAMPLE).filter(|_| page.len() >= SHORTEST) else { return false };
    let mut counts = [[0_u32; 256]; 4];
    count(sample, &mut counts);
    if chi_square(&counts, SAMPLE) > SAMPLE_MOST {
        return false;
    }
    count(rest, &mut counts);
    CHI_SQUARE.contains(&chi_square(&counts, page.len()))
}

/// Whether the start of `page` is text: next to nothing but printable ASCII, blanks and ends of lines.
#[cfg_attr(not(feature = "libdeflate"), allow(dead_code, reason = "only libdeflate has two speeds to choose from"))]
pub(super) fn is_text(page: &[u8]) -> bool {
    let sample = page.get(..SAMPLE).unwrap_or(page);
    let text = sample.iter().filter(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')).count();
    text >= sample.len() / 16 * 15
}

/// Counts in four tables in turn, so that equal neighbours do not wait for each other.
fn count(bytes: &[u8], counts: &mut [[u32; 256]; 4]) {
    let [a, b, c, d] = counts;
    let (words, rest) = bytes.as_chunks::<4>();
    for [w, x, y, z] in words {
        bump(a, *w);
        bump(b, *x);
        bump(c, *y);
        bump(d, *z);
    }
    rest.iter().for_each(|byte| bump(a, *byte));
}

#[inline]
fn bump(counts: &mut [u32; 256], byte: u8) {
    if let Some(count) = counts.get_mut(usize::from(byte)) {
        *count += 1;
    }
}

/// Sum of (count - n/256)^2 / (n/256), in whole numbers.
fn chi_square([a, b, c, d]: &[[u32; 256]; 4], n: usize) -> u64 {
    let counts = a.iter().zip(b).zip(c.iter().zip(d)).map(|((a, b), (c, d))| u64::from(a + b + c + d));
    let squares: u64 = counts.map(|count| count * count).sum();
    (256 * squares / n as u64).saturating_sub(n as u64)
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
            let noise = (1..=1000).filter(|seed| is_noise(&random(len, *seed))).count();
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
        }
        for (number, page) in pages.iter().enumerate() {
            assert!(!is_noise(page), "page {number}");
        }
        assert!(is_text(&pages[3]) && !is_text(&pages[0]) && !is_text(&[0; 4096]));
        assert!(!is_noise(&[]) && !is_noise(&random(1024, 1)));
    }
}
