//! Addresses: guest-physical, guest-virtual, page frame numbers and ranges of them.
//!
//! Only arithmetic that every crate needs lives here; what an address means to an architecture does not.

use core::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The address as a number of bytes.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// `self + bytes`, or `None` beyond 2^64 - 1.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x})", stringify!($name), self.0)
            }
        }
    };
}

address! {
    /// A guest-physical address, in bytes.
    PhysAddr
}
address! {
    /// A guest-virtual address, in bytes.
    VirtAddr
}

/// A page frame number: a guest-physical address divided by the dump's page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Pfn(pub u64);

/// Guest-physical bytes `start..end`, half open.
///
/// No range reaches 2^64: the end is always a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysRange {
    start: u64,
    end: u64,
}

impl PhysRange {
    /// The `len_bytes` bytes from `start`, or `None` if their end is beyond 2^64 - 1.
    #[must_use]
    pub const fn new(start: PhysAddr, len_bytes: u64) -> Option<Self> {
        match start.0.checked_add(len_bytes) {
            Some(end) => Some(Self { start: start.0, end }),
            None => None,
        }
    }

    /// `start..end`; empty when `end` is not above `start`.
    #[must_use]
    pub const fn between(start: PhysAddr, end: PhysAddr) -> Self {
        let end = if end.0 > start.0 { end.0 } else { start.0 };
        Self { start: start.0, end }
    }

    /// First byte.
    #[must_use]
    pub const fn start(self) -> PhysAddr {
        PhysAddr(self.start)
    }

    /// One past the last byte.
    #[must_use]
    pub const fn end(self) -> PhysAddr {
        PhysAddr(self.end)
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there is no byte in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether `addr` lies in it.
    #[must_use]
    pub const fn contains(self, addr: PhysAddr) -> bool {
        self.start <= addr.0 && addr.0 < self.end
    }

    /// The bytes that both have; empty if none.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self::between(PhysAddr(start), PhysAddr(self.end.min(other.end)))
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

impl fmt::Debug for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Guest-virtual bytes `first..=last`, both inclusive, never empty: the top of an address space ends at 2^64 - 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VirtRange {
    first: u64,
    last: u64,
}

impl VirtRange {
    /// `first..=last`, or `None` when `last` is below `first`.
    #[must_use]
    pub const fn new(first: VirtAddr, last: VirtAddr) -> Option<Self> {
        if first.0 <= last.0 { Some(Self { first: first.0, last: last.0 }) } else { None }
    }

    /// First byte.
    #[must_use]
    pub const fn first(self) -> VirtAddr {
        VirtAddr(self.first)
    }

    /// Last byte, included.
    #[must_use]
    pub const fn last(self) -> VirtAddr {
        VirtAddr(self.last)
    }

    /// Length in bytes less one, so that all 2^64 bytes have a length.
    #[must_use]
    pub const fn len_minus_one(self) -> u64 {
        self.last - self.first
    }

    /// Whether `addr` lies in it.
    #[must_use]
    pub const fn contains(self, addr: VirtAddr) -> bool {
        self.first <= addr.0 && addr.0 <= self.last
    }

    /// The first address behind it, or `None` at the top of the address space.
    #[must_use]
    pub const fn next(self) -> Option<VirtAddr> {
        match self.last.checked_add(1) {
            Some(next) => Some(VirtAddr(next)),
            None => None,
        }
    }

    /// The bytes that both have, or `None`.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(VirtAddr(self.first.max(other.first)), VirtAddr(self.last.min(other.last)))
    }
}

impl fmt::Display for VirtRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..={:#x}", self.first, self.last)
    }
}

impl fmt::Debug for VirtRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
