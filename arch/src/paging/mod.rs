//! Address translation: what a vCPU says about it ([`Paging`]), geometry as data ([`form`]), and the one radix walker
//! ([`walk`]), and the one that goes through all tables ([`survey`]). Architectures give forms and roots; they never loop over tables.

pub mod form;
pub mod mappings;
pub mod survey;
pub mod walk;

use core::fmt;

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::memory::PhysMemory;
use form::Radix;
use mappings::{Bound, Visitor};
use survey::Survey;
use walk::{Step, WalkError};

/// How a vCPU translates addresses at the moment.
#[derive(Debug)]
pub enum Paging {
    /// Not at all: virtual is physical.
    Off,
    /// By tables that form a radix tree.
    Radix(Radix),
    /// By other means: the hashed page table of ppc64.
    Custom(Box<dyn Spans>),
    /// In one of these ways, and what that gives is not yet where memory is: prefixing of s390x, the A20 line of a PC.
    /// Addresses of tables are already those of memory.
    Swapped(Box<Paging>, Swap),
}

impl Paging {
    /// The radix tree, if tables form one.
    #[must_use]
    pub fn radix(&self) -> Option<&Radix> {
        match self {
            Self::Radix(radix) => Some(radix),
            Self::Swapped(paging, _) => paging.radix(),
            Self::Off | Self::Custom(_) => None,
        }
    }

    /// The other means, if it is by those.
    #[must_use]
    pub fn custom(&self) -> Option<&dyn Spans> {
        match self {
            Self::Custom(spans) => Some(spans.as_ref()),
            Self::Swapped(paging, _) => paging.custom(),
            Self::Off | Self::Radix(_) => None,
        }
    }

    /// Whether addresses are translated by tables at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.radix().is_some() || self.custom().is_some()
    }
}

/// What becomes of an address behind translation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Swap {
    /// The `len_bytes` from 0 on and those from `at` on change places. `at` is not below `len_bytes`, which is not 0.
    Areas {
        /// Start of the other area.
        at: PhysAddr,
        /// Length of each.
        len_bytes: u64,
    },
    /// A bit is always 0.
    Without {
        /// Its number.
        bit: u8,
    },
}

impl Swap {
    /// First and last of the addresses around `phys` that stay together, and where the first goes.
    fn area(self, phys: u64) -> (u64, u64, u64) {
        match self {
            Self::Areas { at: PhysAddr(at), len_bytes: len } => {
                let end = at.saturating_add(len);
                match phys {
                    _ if phys < len => (0, len.saturating_sub(1), at),
                    _ if phys < at => (len, at - 1, len),
                    _ if phys < end => (at, end - 1, 0),
                    _ => (end, u64::MAX, end),
                }
            }
            Self::Without { bit } => {
                let bit = 1_u64.checked_shl(u32::from(bit)).unwrap_or(0);
                let first = phys & !bit.saturating_sub(1);
                (first, first | bit.saturating_sub(1), first & !bit)
            }
        }
    }

    /// The part of a span that holds `virt` and is in one piece after the swap.
    fn apply(self, span: Span, virt: VirtAddr) -> Span {
        let Target::Phys(start) = span.target else { return span };
        let (first, last, to) = self.area(start.0.wrapping_add(virt.0.wrapping_sub(span.virt.first().0)));
        let skipped = first.saturating_sub(start.0);
        let kept = last.wrapping_sub(start.0).min(span.virt.len_minus_one());
        let at = |offset: u64| VirtAddr(span.virt.first().0.wrapping_add(offset));
        let target = Target::Phys(PhysAddr(to.wrapping_add(start.0.saturating_sub(first))));
        VirtRange::new(at(skipped), at(kept)).map_or(span, |virt| Span { virt, target })
    }
}

/// Why a range of virtual addresses maps to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hole {
    /// Outside of every root: not canonical, or a half that is switched off.
    NoRoot,
    /// An entry says "not present".
    NotPresent {
        /// Level of the entry, 0 at the root.
        level: u8,
        /// Its index in the table.
        index: u32,
        /// Its content.
        raw: u64,
    },
    /// The index is outside of the part of the table that exists (table offset and length of s390x).
    OutOfTable {
        /// Level of the table, 0 at the root.
        level: u8,
        /// The index.
        index: u32,
    },
    /// An entry that the architecture forbids.
    Invalid {
        /// Level of the entry.
        level: u8,
        /// Its index in the table.
        index: u32,
        /// Its content.
        raw: u64,
    },
    /// A table lies where there is no RAM.
    TableAbsent {
        /// Level of the table.
        level: u8,
        /// Its address.
        table: PhysAddr,
    },
}

/// What a span maps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// To guest-physical memory: the span's first byte is here, and the rest follows.
    Phys(PhysAddr),
    /// To nothing.
    Hole(Hole),
}

/// A range of virtual addresses that is mapped as one, or not mapped as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The addresses. They hold the address that was asked for.
    pub virt: VirtRange,
    /// What they map to.
    pub target: Target,
}

impl Span {
    /// Where `addr` of this span maps to, if anywhere.
    #[must_use]
    pub fn phys(&self, addr: VirtAddr) -> Option<PhysAddr> {
        match self.target {
            Target::Phys(at) if self.virt.contains(addr) => at.checked_add(addr.0.wrapping_sub(self.virt.first().0)),
            Target::Phys(_) | Target::Hole(_) => None,
        }
    }
}

/// The one primitive of translation: the range around an address, and what it maps to. Translating is one call,
/// enumerating a loop to the end of each span.
pub trait Spans: fmt::Debug + Send + Sync {
    /// The span that holds `virt`.
    ///
    /// # Errors
    /// [`WalkError`] if memory that exists cannot be read.
    fn span_at(&self, memory: &dyn PhysMemory, virt: VirtAddr) -> Result<Span, WalkError>;

    /// How `virt` is looked up, for people: one line for each table entry that is looked at, and the end.
    ///
    /// # Errors
    /// As [`Spans::span_at`].
    fn steps(&self, memory: &dyn PhysMemory, virt: VirtAddr) -> Result<Vec<Step>, WalkError>;

    /// Everything that is mapped, in an order of its own.
    ///
    /// # Errors
    /// [`mappings::Bound`] if the survey's bound is hit or the visitor has enough.
    fn visit(&self, survey: &mut Survey, memory: &dyn PhysMemory, visitor: &mut dyn Visitor) -> Result<(), Bound>;
}
