//! A digest of memory content that is equal for equal guests, whatever the format, codec, page size and number of workers.
//!
//! BLAKE3 of a list of leaves; a leaf is BLAKE3 of a list of frames. Frames of zeros and frames that are no memory are in no
//! list, and leaves without frames neither: a hole that reads as zero is a page of zeros. A frame that is missing is in the
//! list, by that alone, so that a filtered dump has another digest than a whole one. A digest of memory of which frames
//! cannot be read says nothing.

use core::fmt;

use super::leaves::Leaf;
use super::{Class, FRAME};

/// Told apart from every other use of the hash, and from later versions of this list.
const DOMAIN: &[u8] = b"guestdump memory content, version 1";

/// A digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a frame of a class contributes before its bytes.
const fn tag(class: Class) -> Option<u8> {
    match class {
        Class::Outside | Class::Zero | Class::Damaged => None,
        Class::Data => Some(1),
        Class::Missing => Some(2),
    }
}

/// The hash of a leaf, or `None` if nothing in it counts.
#[must_use]
pub fn of_leaf(leaf: &Leaf) -> Option<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    for (index, (class, frame)) in leaf.classes.iter().zip(leaf.bytes.chunks(FRAME)).enumerate() {
        if let Some(tag) = tag(*class) {
            hasher.update(&(index as u32).to_le_bytes()).update(&[tag]);
            if *class == Class::Data {
                hasher.update(frame);
            }
        }
    }
    (hasher.count() > 0).then(|| *hasher.finalize().as_bytes())
}

/// The list of leaves.
#[derive(Debug)]
pub struct Leaves(blake3::Hasher);

impl Leaves {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN);
        Self(hasher)
    }

    /// Adds a leaf; numbers ascend.
    pub fn add(&mut self, number: u64, hash: &[u8; 32]) {
        self.0.update(&number.to_le_bytes()).update(hash);
    }

    /// The digest of all of them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}
