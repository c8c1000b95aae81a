//! A range of memory in the order of its addresses: batches for workers, and long runs that are known to be zero, however
//! long. So the number of jobs grows with what a guest has touched, not with what it may touch.

use guestdump_arch::{PhysAddr, PhysMemory, PhysRange, Presence};

use super::BATCH;

/// A part of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// Its addresses. Borders inside of the range are multiples of [`BATCH`], so that no page is cut.
    pub area: PhysRange,
    /// Whether nothing was ever stored there, and nobody needs to look.
    pub untouched: bool,
}

/// The stretches of a range.
#[derive(Debug)]
pub struct Stretches<'a> {
    memory: &'a dyn PhysMemory,
    rest: PhysRange,
    /// Up to here there is no use in asking the memory again.
    asked: PhysAddr,
}

/// Splits `range`. Whoever reads a batch asks for its holes again: they may have filled up, and may be short.
pub fn stretches(memory: &dyn PhysMemory, range: PhysRange) -> Stretches<'_> {
    Stretches { memory, rest: range, asked: range.start() }
}

/// The same without asking: batches only.
pub fn batches(memory: &dyn PhysMemory, range: PhysRange) -> Stretches<'_> {
    Stretches { memory, rest: range, asked: range.end() }
}

impl Stretches<'_> {
    /// The end of the whole batches from the start of the rest on that are known to be zero.
    fn untouched_until(&mut self) -> Option<PhysAddr> {
        let at = self.rest.start();
        if at < self.asked {
            return None;
        }
        let extent = self.memory.extent(at, self.rest.len());
        let end = at.0.saturating_add(extent.len_bytes).min(self.rest.end().0);
        self.asked = PhysAddr(end);
        let whole = if end == self.rest.end().0 { end } else { end / BATCH * BATCH };
        (extent.presence == Presence::Zero && whole > at.0).then_some(PhysAddr(whole))
    }
}

impl Iterator for Stretches<'_> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        if self.rest.is_empty() {
            return None;
        }
        let untouched = self.untouched_until();
        let batch = PhysAddr((self.rest.start().0 / BATCH + 1).saturating_mul(BATCH).min(self.rest.end().0));
        let end = untouched.unwrap_or(batch);
        let area = PhysRange::between(self.rest.start(), end);
        self.rest = PhysRange::between(end, self.rest.end());
        Some(Stretch { area, untouched: untouched.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Backing, BlockMemory, Bytes, ShortRead, Zeros};

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::between(PhysAddr(start), PhysAddr(end))
    }

    fn shown(memory: &dyn PhysMemory, of: PhysRange) -> Vec<(u64, u64, bool)> {
        let shown = |part: Stretch| (part.area.start().0 / 4096, part.area.end().0 / 4096, part.untouched);
        stretches(memory, of).map(shown).collect()
    }

    #[test]
    fn holes_are_one_stretch_and_data_are_batches() {
        let memory = BlockMemory::new(vec![
            (range(0x1000, 1 << 44), Box::new(Zeros) as Box<dyn Backing>),
            (range(1 << 44, (1 << 44) + 2 * BATCH + 0x3000), Box::new(Bytes(vec![1]))),
        ]);
        let (end, batch) = ((1 << 44) / 4096, BATCH / 4096);
        let all = shown(&memory, range(0x1000, (1 << 44) + 2 * BATCH + 0x3000));
        let data = [(end, end + batch, false), (end + batch, end + 2 * batch, false)];
        assert_eq!(all[0], (1, end, true));
        assert_eq!(all[1..3], data);
        assert_eq!(all[3..], [(end + 2 * batch, end + 2 * batch + 3, false)]);
    }

    /// Touched in every other piece of 3 MiB.
    #[derive(Debug)]
    struct Striped;

    impl Backing for Striped {
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), ShortRead> {
            Ok(())
        }

        fn extent_at(&self, offset: u64, _: u64) -> (bool, u64) {
            let stripe = 3 << 20;
            ((offset / stripe).is_multiple_of(2), stripe - offset % stripe)
        }
    }

    #[test]
    fn every_byte_is_in_one_stretch() {
        let memory = BlockMemory::new(vec![(range(0, 1 << 30), Box::new(Striped) as Box<dyn Backing>)]);
        for (from, to) in [(0, 1 << 30), (0x12_3000, 0x3456_7000), (0x70_0000, 0x70_0001)] {
            let mut at = from;
            for part in stretches(&memory, range(from, to)) {
                assert_eq!(part.area.start().0, at);
                at = part.area.end().0;
                assert!(!part.untouched || (part.area.start().0 / (3 << 20)) % 2 == 1);
                assert!(part.untouched || part.area.len() <= BATCH);
            }
            assert_eq!(at, to);
        }
        let untouched = stretches(&memory, range(0, 1 << 30)).filter(|part| part.untouched);
        let bytes: u64 = untouched.map(|part| part.area.len()).sum();
        assert!(bytes > (1 << 29) - (200 << 20), "{bytes:#x}");
    }
}
