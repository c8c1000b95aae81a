//! A part of the second bitmap, of the page descriptors and of the data, held in memory: pages are asked for one after the
//! other, and each would cost three reads and a count of bits.

use super::data::Data;
use super::layout::DESC_LEN;
use super::pages::Desc;
use crate::format::{DumpFile, ReadError, read_there};

/// Bytes of bitmap that share a count.
const GROUP: usize = 64;
/// Descriptors in a window.
const DESCS: u64 = 256;

/// What was read last. Empty at first.
#[derive(Debug)]
pub(super) struct Window {
    piece: Option<u64>,
    bitmap: Box<[u8]>,
    /// Bits before each group.
    before: Vec<u64>,
    first_desc: u64,
    descs: Vec<u8>,
    /// Data of pages.
    pub(super) data: Data,
    /// Where a page of zeros is: many descriptors point to one and the same.
    pub(super) zeros: Option<Desc>,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            piece: None,
            bitmap: Box::default(),
            before: Vec::new(),
            first_desc: 0,
            descs: Vec::new(),
            data: Data::default(),
            zeros: None,
        }
    }

    /// Whether it holds that piece of the bitmap.
    pub(super) fn holds(&self, piece: u64) -> bool {
        self.piece == Some(piece)
    }

    /// Moves to a piece of the bitmap.
    pub(super) fn go_to(&mut self, piece: u64, bitmap: Box<[u8]>) {
        self.bitmap = bitmap;
        self.before.clear();
        let mut sum = 0;
        for group in self.bitmap.chunks(GROUP) {
            self.before.push(sum);
            sum += group.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        }
        self.piece = Some(piece);
    }

    /// How many bits of the piece are set before `bit`; `None` if that one is not set.
    pub(super) fn rank(&self, bit: u64) -> Option<u64> {
        let at = usize::try_from(bit / 8).ok()?;
        let (own, below) = (self.bitmap.get(at)?, (1_u8 << (bit % 8)) - 1);
        let group = self.bitmap.get(at / GROUP * GROUP..at)?;
        let whole: u64 = group.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let before = self.before.get(at / GROUP)? + whole + u64::from((own & below).count_ones());
        (own >> (bit % 8) & 1 == 1).then_some(before)
    }

    /// Descriptor `index` of `total` that stand at `offset` in the file, which may have been cut.
    pub(super) fn desc(
        &mut self,
        file: &dyn DumpFile,
        offset: u64,
        index: u64,
        total: u64,
    ) -> Result<&[u8], ReadError> {
        let held = self.descs.len() as u64 / DESC_LEN;
        let place = |index: u64| offset.saturating_add(index.saturating_mul(DESC_LEN));
        if index < self.first_desc || index - self.first_desc >= held {
            let first = index / DESCS * DESCS;
            self.descs = read_there(file, place(first), total.saturating_sub(first).min(DESCS) * DESC_LEN)?;
            self.first_desc = first;
        }
        let at = usize::try_from((index - self.first_desc).saturating_mul(DESC_LEN)).unwrap_or(usize::MAX);
        let end = at.saturating_add(usize::try_from(DESC_LEN).unwrap_or(0));
        let (what, file_len) = ("page descriptor", file.len());
        self.descs.get(at..end).ok_or(ReadError::Outside { what, offset: place(index), len: DESC_LEN, file_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 4096;

    #[test]
    fn ranks_are_counts_of_bits_and_descriptors_are_their_bytes() {
        let bitmap: Vec<u8> = (0..PIECE).map(|at| (at * 37 % 251) as u8).collect();
        let file: Vec<u8> = (0..700 * DESC_LEN).map(|at| (at / DESC_LEN) as u8).collect();
        let mut window = Window::new();
        window.go_to(1, bitmap.clone().into());
        assert!(window.holds(1) && !window.holds(0));
        let mut count = 0;
        for bit in 0..PIECE * 8 {
            let set = bitmap[(bit / 8) as usize] >> (bit % 8) & 1 == 1;
            assert_eq!(window.rank(bit), set.then_some(count), "{bit}");
            count += u64::from(set);
        }
        assert_eq!(window.rank(PIECE * 8), None);
        for index in [0, 255, 256, 699, 3] {
            assert_eq!(window.desc(&file, 0, index, 700).unwrap(), [index as u8; 24]);
        }
        assert!(window.desc(&file, 0, 700, 700).is_err());
        assert!(window.desc(&file, 1 << 40, 0, 700).is_err());
        // A cut file has the descriptors before the cut.
        let cut = file[..300 * DESC_LEN as usize + 7].to_vec();
        let mut window = Window::new();
        assert_eq!(window.desc(&cut, 0, 299, 700).unwrap(), [299_u64 as u8; 24]);
        assert!(window.desc(&cut, 0, 300, 700).is_err());
    }
}
