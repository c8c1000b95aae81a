//! Whether bytes are all zero. The one loop that sees every byte of a guest.

/// Whether all of `bytes` is zero.
///
/// Pieces of 256 bytes are OR-ed whole and tested once each: that is the form which compilers turn into vector code, and
/// most pages that hold anything show it in the first piece.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let pieces = bytes.chunks_exact(256);
    let rest = pieces.remainder();
    pieces.into_iter().all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::is_zero;

    #[test]
    fn any_single_bit_shows() {
        for len in [0, 1, 255, 256, 257, 4096, 5000] {
            let mut page = vec![0_u8; len];
            assert!(is_zero(&page));
            for at in 0..len {
                page[at] = 1 << (at % 8);
                assert!(!is_zero(&page), "{at} of {len}");
                page[at] = 0;
            }
        }
    }
}
