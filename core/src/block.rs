//! Blocks of guest-physical memory: sorted, disjoint, of any alignment; and memory made of blocks.
//!
//! Where the bytes of a block come from is a [`Backing`], given by a source.

use std::io;

use guestdump_arch::{Extent, MemoryError, PhysAddr, PhysMemory, PhysRange, Presence};
use thiserror::Error;

/// What a block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockKind {
    /// RAM of the machine.
    Ram,
    /// Memory of a device: video RAM, firmware, ROM windows. Not dumped unless asked for.
    Device,
}

/// A range of guest-physical memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Its addresses; never empty.
    pub range: PhysRange,
    /// What it is.
    pub kind: BlockKind,
    /// What the source calls it ("pc.ram").
    pub name: String,
}

/// Why a list of blocks is no memory map.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BlockError {
    /// Two blocks share bytes.
    #[error("memory {first} ({first_name}) and {second} ({second_name}) overlap")]
    Overlap {
        /// The lower one.
        first: PhysRange,
        /// Its name.
        first_name: String,
        /// The other.
        second: PhysRange,
        /// Its name.
        second_name: String,
    },
    /// A block without bytes.
    #[error("memory block {name} at {start} has no bytes")]
    Empty {
        /// Its name.
        name: String,
        /// Where it is.
        start: PhysAddr,
    },
}

/// Sorts blocks by address.
///
/// # Errors
/// [`BlockError`] if one is empty or two overlap.
pub fn sorted(mut blocks: Vec<Block>) -> Result<Vec<Block>, BlockError> {
    blocks.sort_by_key(|block| block.range.start());
    if let Some(block) = blocks.iter().find(|block| block.range.is_empty()) {
        return Err(BlockError::Empty { name: block.name.clone(), start: block.range.start() });
    }
    for (low, high) in blocks.iter().zip(blocks.iter().skip(1)) {
        if !low.range.intersect(high.range).is_empty() {
            return Err(BlockError::Overlap {
                first: low.range,
                first_name: low.name.clone(),
                second: high.range,
                second_name: high.name.clone(),
            });
        }
    }
    Ok(blocks)
}

/// A read that stopped part way.
#[derive(Debug)]
pub struct ShortRead {
    /// Bytes that were read before.
    pub done: usize,
    /// What the host said.
    pub cause: io::Error,
}

/// Where the bytes of one block are.
pub trait Backing: core::fmt::Debug + Send + Sync {
    /// Fills `buf` from byte `offset` of the block. The caller stays inside the block.
    ///
    /// # Errors
    /// [`ShortRead`] if not all of it could be read.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead>;

    /// Whether the bytes from `offset` on must be read (`true`) or are known to be zero because nothing was ever
    /// stored there, and for how many bytes that holds. Looks at most at `limit_bytes`. Must not bring pages into being.
    fn extent_at(&self, offset: u64, limit_bytes: u64) -> (bool, u64) {
        let _ = offset;
        (true, limit_bytes)
    }
}

/// A block of zeros.
#[derive(Debug)]
pub struct Zeros;

impl Backing for Zeros {
    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        buf.fill(0);
        Ok(())
    }

    fn extent_at(&self, _offset: u64, limit_bytes: u64) -> (bool, u64) {
        (false, limit_bytes)
    }
}

/// Bytes held in memory, for samples and tests; the rest of the block is zero.
#[derive(Debug)]
pub struct Bytes(pub Vec<u8>);

impl Backing for Bytes {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let stored = self.0.get(start..).unwrap_or_default().iter().copied();
        buf.iter_mut().zip(stored.chain(core::iter::repeat(0))).for_each(|(to, from)| *to = from);
        Ok(())
    }
}

/// Memory made of backed blocks.
#[derive(Debug, Default)]
pub struct BlockMemory {
    blocks: Vec<(PhysRange, Box<dyn Backing>)>,
}

impl BlockMemory {
    /// Memory of blocks that are disjoint (see [`sorted`]); their order does not matter.
    #[must_use]
    pub fn new(mut blocks: Vec<(PhysRange, Box<dyn Backing>)>) -> Self {
        blocks.sort_by_key(|block| block.0.start());
        Self { blocks }
    }

    /// The block that holds `addr`, or `Err` with the next one above.
    fn find(&self, addr: PhysAddr) -> Result<&(PhysRange, Box<dyn Backing>), Option<PhysAddr>> {
        let above = self.blocks.partition_point(|block| block.0.start() <= addr);
        let at = above.checked_sub(1).and_then(|index| self.blocks.get(index));
        at.filter(|block| block.0.contains(addr)).ok_or_else(|| self.blocks.get(above).map(|block| block.0.start()))
    }
}

impl PhysMemory for BlockMemory {
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        let wanted = buf.len();
        let (mut at, mut rest, mut done) = (addr, buf, 0_usize);
        while !rest.is_empty() {
            let Ok((range, backing)) = self.find(at) else { return Ok(false) };
            let room = usize::try_from(range.end().0 - at.0).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_mut(room.min(rest.len()));
            let unreadable = |short: ShortRead| MemoryError::Unreadable {
                addr,
                done: done + short.done,
                wanted,
                cause: short.cause,
            };
            backing.read_at(at.0 - range.start().0, now).map_err(unreadable)?;
            done += now.len();
            at = PhysAddr(at.0.saturating_add(now.len() as u64));
            rest = later;
        }
        Ok(true)
    }

    fn extent(&self, addr: PhysAddr, limit_bytes: u64) -> Extent {
        match self.find(addr) {
            Ok((range, backing)) => {
                let room = range.end().0 - addr.0;
                let (data, len) = backing.extent_at(addr.0 - range.start().0, limit_bytes.clamp(1, room));
                let presence = if data { Presence::Data } else { Presence::Zero };
                Extent { presence, len_bytes: len.clamp(1, room) }
            }
            Err(next) => {
                let end = next.map_or(u64::MAX, |next| next.0);
                Extent { presence: Presence::Absent, len_bytes: end.saturating_sub(addr.0).max(1) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, len: u64) -> PhysRange {
        PhysRange::new(PhysAddr(start), len).unwrap()
    }

    fn block(start: u64, len: u64, name: &str) -> Block {
        Block { range: range(start, len), kind: BlockKind::Ram, name: name.to_owned() }
    }

    #[test]
    fn overlapping_and_empty_blocks_are_refused() {
        let error = sorted(vec![block(10, 5, "b"), block(0, 11, "a")]).unwrap_err();
        assert_eq!(error.to_string(), "memory 0x0..0xb (a) and 0xa..0xf (b) overlap");
        assert!(matches!(sorted(vec![block(3, 0, "x")]), Err(BlockError::Empty { .. })));
        assert_eq!(sorted(vec![block(5, 5, "b"), block(0, 5, "a")]).unwrap()[0].name, "a");
    }

    #[test]
    fn reads_cross_adjacent_blocks_and_stop_at_holes() {
        let memory = BlockMemory::new(vec![
            (range(8, 4), Box::new(Bytes(vec![3, 4, 5, 6]))),
            (range(5, 3), Box::new(Bytes(vec![0, 1, 2]))),
            (range(20, 4), Box::new(Zeros)),
        ]);
        let mut buf = [9; 7];
        assert!(memory.read(PhysAddr(5), &mut buf).unwrap());
        assert_eq!(buf, [0, 1, 2, 3, 4, 5, 6]);
        assert!(!memory.read(PhysAddr(6), &mut buf).unwrap());
        let extent = |addr| memory.extent(PhysAddr(addr), 100);
        assert_eq!(extent(12), Extent { presence: Presence::Absent, len_bytes: 8 });
        assert_eq!(extent(21), Extent { presence: Presence::Zero, len_bytes: 3 });
        assert_eq!(extent(9), Extent { presence: Presence::Data, len_bytes: 3 });
        assert_eq!(extent(24).presence, Presence::Absent);
    }
}
