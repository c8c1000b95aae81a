//! How much of a memory is known to be zero without reading it.

use guestdump_arch::{PhysAddr, Presence};

use super::leaves::Memory;

/// Pieces that are asked for: a hostile file may have a hole in each of its blocks.
const MAX_PIECES: usize = 1 << 20;

/// What is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownZeros {
    /// Bytes that are zero.
    pub len_bytes: u64,
    /// Whether all of the memory was asked for: it may come in too many pieces.
    pub whole: bool,
}

/// Asks for all of a memory; reads none of it.
#[must_use]
pub fn known_zeros(memory: Memory<'_>) -> KnownZeros {
    let (mut len_bytes, mut pieces) = (0_u64, 0);
    for range in memory.ranges {
        let mut at = range.start().0;
        while at < range.end().0 {
            if pieces == MAX_PIECES {
                return KnownZeros { len_bytes, whole: false };
            }
            pieces += 1;
            let rest = range.end().0 - at;
            let extent = memory.memory.extent(PhysAddr(at), rest);
            let len = extent.len_bytes.clamp(1, rest);
            if extent.presence == Presence::Zero {
                len_bytes = len_bytes.saturating_add(len);
            }
            at += len;
        }
    }
    KnownZeros { len_bytes, whole: true }
}
