//! Pieces of bitmaps of page frames: the lowest bit of a byte comes first.

use std::ops::Range;

/// Bytes of bitmap that share a count.
pub(super) const PIECE: u64 = 4096;
/// Its frames.
pub(super) const PIECE_BITS: u64 = PIECE * 8;

/// A piece of a bitmap.
pub(super) type Bits = Box<[u8]>;

/// Bits that are set.
pub(super) fn count(bits: &[u8]) -> u64 {
    bits.iter().map(|byte| u64::from(byte.count_ones())).sum()
}

/// Whether a bit is set.
pub(super) fn has(bits: &[u8], bit: u64) -> bool {
    usize::try_from(bit / 8).ok().and_then(|at| bits.get(at)).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
}

/// Clears the bits of frames outside of `frames` in piece `number` of a bitmap.
pub(super) fn clear_outside(bits: &mut [u8], number: u64, frames: &Range<u64>) {
    let first = number.saturating_mul(PIECE_BITS);
    if frames.start <= first && frames.end >= first.saturating_add(PIECE_BITS) {
        return;
    }
    // Whole bytes at once: a piece is long, and nearly all of it is on one side.
    let byte_of = |frame: u64| usize::try_from(frame.saturating_sub(first) / 8).unwrap_or(usize::MAX).min(bits.len());
    let edges = [byte_of(frames.start), byte_of(frames.end)];
    for edge in edges {
        let Some(byte) = bits.get_mut(edge) else { continue };
        let at = first.saturating_add(edge as u64 * 8);
        for bit in (0..8).filter(|bit| !frames.contains(&(at.saturating_add(*bit)))) {
            *byte &= !(1 << bit);
        }
    }
    let [head, tail] = edges;
    bits.get_mut(..head).unwrap_or_default().fill(0);
    bits.get_mut(tail.saturating_add(1)..).unwrap_or_default().fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_outside_lose_their_bits() {
        let first = 3 * PIECE_BITS;
        let ends = [0, 5, first - 1, first, first + 1, first + 8, first + 13, first + 4096, first + PIECE_BITS - 3];
        let ends = ends.into_iter().chain([first + PIECE_BITS, first + PIECE_BITS + 9, u64::MAX]);
        for start in ends.clone() {
            for end in ends.clone() {
                let mut bits = vec![0xff; PIECE as usize];
                clear_outside(&mut bits, 3, &(start..end));
                let wrong = (0..PIECE_BITS).find(|bit| {
                    let set = bits[*bit as usize / 8] >> (bit % 8) & 1 == 1;
                    set != (start..end).contains(&(first + bit))
                });
                assert_eq!(wrong, None, "{start:#x}..{end:#x}");
            }
        }
    }
}
