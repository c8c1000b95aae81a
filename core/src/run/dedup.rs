//! Which pages of a kdump file were stored before: a table of bounded size, so that equal pages share their bytes.
//!
//! The table is asked and filled by the one writer, in the order of the pages, and its places follow from the pages alone:
//! a dump is the same whatever the number of workers. Whether two pages are equal is told by two SipHash values of 64 bits. The
//! key of one is drawn for each run, so that a guest cannot make pages that only look equal.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

/// Pages that are remembered: 16 MiB of table. A page forgets the one that had its place before.
const SLOTS: usize = 1 << 19;

/// What tells a page from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    place: u64,
    secret: u64,
}

/// Makes marks; the same for all workers of a run.
#[derive(Clone, Debug, Default)]
pub struct Marker(RandomState);

impl Marker {
    /// The mark of a page.
    pub fn mark(&self, page: &[u8]) -> Mark {
        let mut known = DefaultHasher::new();
        known.write(page);
        let mut secret = self.0.build_hasher();
        secret.write(page);
        Mark { place: known.finish(), secret: secret.finish() }
    }
}

/// Where the bytes of a page are in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// `offset` of its descriptor; 0 is no place.
    pub offset: u64,
    /// `size`.
    pub size: u32,
    /// `flags`.
    pub flag: u32,
}

/// The table.
#[derive(Debug)]
pub struct Table(Vec<(Mark, Place)>);

impl Table {
    /// An empty one.
    pub fn new() -> Self {
        Self(vec![(Mark::default(), Place::default()); SLOTS])
    }

    /// Where a page with that mark was stored before; or remembers that it will be at `new`.
    pub fn find_or_put(&mut self, mark: Mark, new: Place) -> Option<Place> {
        let slots = self.0.len() as u64;
        let index = usize::try_from(mark.place % slots).unwrap_or(0);
        let slot = self.0.get_mut(index)?;
        if slot.1.offset != 0 && slot.0 == mark {
            return Some(slot.1);
        }
        *slot = (mark, new);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pages_are_found_and_others_take_their_place() {
        let (marker, mut table) = (Marker::default(), Table::new());
        let place = |offset| Place { offset, size: 10, flag: 1 };
        let (one, other) = (marker.mark(&[1; 4096]), marker.mark(&[2; 4096]));
        assert_eq!((one, one == other), (marker.clone().mark(&[1; 4096]), false));
        assert_eq!(table.find_or_put(one, place(100)), None);
        assert_eq!(table.find_or_put(other, place(200)), None);
        assert_eq!(table.find_or_put(one, place(300)), Some(place(100)));
        // Another page with the same place: the table forgets, and never confuses.
        let rival = Mark { secret: one.secret ^ 1, ..one };
        assert_eq!(table.find_or_put(rival, place(400)), None);
        assert_eq!(table.find_or_put(one, place(500)), None);
        assert_eq!(table.find_or_put(one, place(600)), Some(place(500)));
    }
}
