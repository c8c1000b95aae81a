//! Reading a whole dump: what its memory is made of, whether it hangs together, whether it equals another.
//!
//! Memory is looked at in frames of 4096 bytes and leaves of 1 MiB of guest-physical addresses, whatever the dump's format,
//! page size and the number of workers: that makes counts and digests of one guest's dumps comparable. The bytes of a frame
//! that are no memory count as zero, and so does a frame that is none: firmware may end inside of a page, and formats round
//! that differently.

mod audit;
mod content;
mod digest;
mod leaves;
mod notes;
mod picture;
mod zeros;

pub use audit::{Audit, audit, audit_set};
pub use content::{Content, Difference, compare, survey, survey_with};
pub use digest::Digest;
pub use leaves::Memory;
pub use notes::{NoteDifference, compare_notes};
pub use picture::{Cell, Kind, cell_size, picture};
pub use zeros::{KnownZeros, known_zeros};

/// Bytes of a frame.
pub const FRAME: usize = 4096;
/// Bytes of a leaf.
pub const LEAF: usize = 1 << 20;
/// Frames of a leaf.
pub const FRAMES: usize = LEAF / FRAME;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Class {
    /// Not memory of the guest.
    Outside,
    /// Memory that holds zeros.
    Zero,
    /// Memory that holds something.
    Data,
    /// Memory that the dump does not hold: it was filtered out, or lost.
    Missing,
    /// Memory that the dump should hold and that cannot be read.
    Damaged,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Outside, Self::Zero, Self::Data, Self::Missing, Self::Damaged];

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outside => "no memory",
            Self::Zero => "zero",
            Self::Data => "data",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
        }
    }
}
