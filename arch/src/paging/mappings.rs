//! What tables map, as a [`Survey`](super::survey::Survey) tells it, and the bounds of one.

use core::fmt;
use core::ops::ControlFlow;

use thiserror::Error;

use super::form::Rights;
use super::walk::WalkError;
use super::{Span, Swap, Target};
use crate::addr::{PhysAddr, VirtAddr, VirtRange};

/// Addresses that are mapped as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The addresses.
    pub virt: VirtRange,
    /// What the first of them maps to; the others follow.
    pub phys: PhysAddr,
    /// What the tables allow.
    pub rights: Rights,
}

impl Mapping {
    /// This and `next` as one, if `next` goes on where this ends, in both spaces, with the same rights.
    #[must_use]
    pub fn joined(&self, next: &Self) -> Option<Self> {
        let follows = self.virt.last().checked_add(1) == Some(next.virt.first());
        let len = self.virt.len_minus_one().checked_add(1)?;
        if !follows || self.phys.checked_add(len) != Some(next.phys) || self.rights != next.rights {
            return None;
        }
        Some(Self { virt: VirtRange::new(self.virt.first(), next.virt.last())?, ..*self })
    }
}

/// A table that was met again, for other addresses than before, and not entered. What it maps there is what it maps at
/// `like`, moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shared {
    /// The addresses that it translates here.
    pub virt: VirtRange,
    /// The first of the addresses for which it was entered.
    pub like: VirtAddr,
    /// Where it is.
    pub table: PhysAddr,
    /// Its level.
    pub level: u8,
}

/// Who is told what tables map.
pub trait Visitor {
    /// A mapping. [`ControlFlow::Break`] ends the survey: there is no room for more.
    fn mapping(&mut self, mapping: Mapping) -> ControlFlow<()>;

    /// A table that is shared and was not entered again.
    fn shared(&mut self, shared: Shared);

    /// Addresses whose table, or this part of it, is not in RAM.
    fn absent(&mut self, virt: VirtRange, table: PhysAddr, level: u8) {
        let _ = (virt, table, level);
    }

    /// Addresses whose table is in RAM that cannot be read.
    fn unreadable(&mut self, virt: VirtRange, error: &WalkError);
}

/// What there was more of than allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Excess {
    /// Pieces of tables: more than this many, [`Limits::pieces`].
    Pieces(u32),
    /// Mappings: the visitor has no room for more.
    Mappings,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pieces(limit) => write!(f, "more than {limit} pieces of page tables"),
            Self::Mappings => f.write_str("more mappings than there is room for"),
        }
    }
}

/// What ended a survey early, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{excess}: stopped before {virt}, {level} at {table}")]
pub struct Bound {
    /// What there was too much of.
    pub excess: Excess,
    /// The first address that was not looked at. Those below it in the same space were.
    pub virt: VirtAddr,
    /// Name of the level.
    pub level: &'static str,
    /// The table.
    pub table: PhysAddr,
}

/// The most that a survey may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Pieces of tables, of at most 4096 bytes each, that are read. A survey holds at most one key of
    /// [`Limits::KEY_BYTES`] for each, in a hash table.
    pub pieces: u32,
    /// For how many of its addresses a table is entered, at least 1; of the others it is told that they share it.
    pub addresses: u32,
}

impl Limits {
    /// Size of what is held of a table.
    pub const KEY_BYTES: usize = 48;
}

impl Default for Limits {
    /// As many pieces as 4 TiB need in pages of 4 KiB, entered once each: 96 MiB of keys.
    fn default() -> Self {
        Self { pieces: 1 << 21, addresses: 1 }
    }
}

/// Joins mappings that go on where the one before ends.
pub(super) struct Merging<'a> {
    pub visitor: &'a mut dyn Visitor,
    held: Option<Mapping>,
}

impl<'a> Merging<'a> {
    pub fn new(visitor: &'a mut dyn Visitor) -> Self {
        Self { visitor, held: None }
    }

    /// Breaks with the first address of a mapping that was refused.
    pub fn push(&mut self, mapping: Mapping) -> ControlFlow<VirtAddr> {
        if let Some(joined) = self.held.and_then(|held| held.joined(&mapping)) {
            self.held = Some(joined);
            return ControlFlow::Continue(());
        }
        let done = self.flush();
        self.held = Some(mapping);
        done
    }

    pub fn flush(&mut self) -> ControlFlow<VirtAddr> {
        match self.held.take() {
            Some(held) if self.visitor.mapping(held).is_break() => ControlFlow::Break(held.virt.first()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Tells what is left of mappings after a swap, in pieces where it cuts them.
pub(super) struct Swapping<'a> {
    pub visitor: &'a mut dyn Visitor,
    pub swap: Swap,
}

impl Visitor for Swapping<'_> {
    fn mapping(&mut self, mapping: Mapping) -> ControlFlow<()> {
        let whole = Span { virt: mapping.virt, target: Target::Phys(mapping.phys) };
        let mut next = Some(mapping.virt.first());
        while let Some(virt) = next.filter(|virt| whole.virt.contains(*virt)) {
            let piece = self.swap.apply(whole, virt);
            if let Target::Phys(phys) = piece.target {
                self.visitor.mapping(Mapping { virt: piece.virt, phys, ..mapping })?;
            }
            next = piece.virt.next();
        }
        ControlFlow::Continue(())
    }

    fn shared(&mut self, shared: Shared) {
        self.visitor.shared(shared);
    }

    fn absent(&mut self, virt: VirtRange, table: PhysAddr, level: u8) {
        self.visitor.absent(virt, table, level);
    }

    fn unreadable(&mut self, virt: VirtRange, error: &WalkError) {
        self.visitor.unreadable(virt, error);
    }
}
