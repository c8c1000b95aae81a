//! A translation scheme as data: levels, entry size and byte order, and a function that decodes one entry.
//!
//! The byte order here is that of the tables and may differ from the dump's: Linux on ppc64le keeps big-endian tables.

use core::fmt;
use core::ops::Range;

use crate::abi::Endian;
use crate::addr::{PhysAddr, VirtAddr, VirtRange};

/// One level of tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// Name in the architecture's manual: "PML4", "segment table".
    pub name: &'static str,
    /// Lowest bit of the virtual address that this level's index uses.
    pub shift: u8,
    /// Number of bits of its index.
    pub bits: u8,
}

/// What one entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing is mapped.
    NotPresent,
    /// The architecture forbids such an entry.
    Invalid,
    /// The next level's table.
    Table {
        /// Where it starts; where its entry 0 would be, if it starts later.
        at: PhysAddr,
        /// Which of its entries exist (s390x: table offset and length); `None` for all.
        entries: Option<Range<u32>>,
        /// Number of index bits, where the entry says so (ppc64 radix: NLS); `None` for those of the form.
        bits: Option<u8>,
    },
    /// A page or block: `1 << shift` bytes.
    Leaf {
        /// Where it starts; bits below `shift` do not count.
        at: PhysAddr,
        /// Size as a power of two.
        shift: u8,
    },
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPresent => f.write_str("not present"),
            Self::Invalid => f.write_str("invalid"),
            Self::Table { at, entries: None, .. } => write!(f, "table at {at}"),
            Self::Table { at, entries: Some(part), .. } => {
                write!(f, "table at {at}, entries {}..{}", part.start, part.end)
            }
            Self::Leaf { at, shift } => write!(f, "page of {:#x} bytes at {at}", 1_u128 << (shift & 63)),
        }
    }
}

/// Decodes an entry of `level` (0 at the root) whose index uses address bits from `shift` up.
pub type Decode = fn(form: &Form, level: usize, shift: u8, raw: u64) -> Entry;

/// A field of an entry, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Name in the architecture's manual: "NX", "AP\[2:1\]".
    pub name: &'static str,
    /// Lowest bit, counted from the least significant.
    pub low: u8,
    /// Number of bits.
    pub bits: u8,
}

impl Field {
    /// One bit.
    #[must_use]
    pub const fn bit(name: &'static str, low: u8) -> Self {
        Self { name, low, bits: 1 }
    }

    /// Bits `low` to `high`, both included.
    #[must_use]
    pub const fn bits(name: &'static str, low: u8, high: u8) -> Self {
        Self { name, low, bits: high.saturating_sub(low).saturating_add(1) }
    }

    /// Its value in an entry.
    #[must_use]
    pub const fn of(&self, raw: u64) -> u64 {
        let above = 64_u8.saturating_sub(self.low).saturating_sub(self.bits);
        (raw << above) >> above >> self.low
    }
}

/// Which fields an entry of `level` has, from high to low; those of an entry that maps nothing may be none.
pub type Fields = fn(form: &Form, level: usize, shift: u8, raw: u64) -> &'static [Field];

/// What an entry allows. Rights of a mapping are those that every entry on the way to it allows.
pub type RightsOf = fn(form: &Form, level: usize, shift: u8, raw: u64) -> Rights;

/// Which accesses tables allow: reading, writing and executing, to the kernel (supervisor, privileged, EL1) and to the
/// user. What further registers forbid (SMEP, PAN, storage keys) is not in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rights(u8);

impl Rights {
    /// Everything.
    pub const ALL: Self = Self(0o77);
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The kernel reads.
    pub const KERNEL_READ: Self = Self(0o40);
    /// The kernel writes.
    pub const KERNEL_WRITE: Self = Self(0o20);
    /// The kernel executes.
    pub const KERNEL_EXECUTE: Self = Self(0o10);
    /// The user reads.
    pub const USER_READ: Self = Self(0o4);
    /// The user writes.
    pub const USER_WRITE: Self = Self(0o2);
    /// The user executes.
    pub const USER_EXECUTE: Self = Self(0o1);
    /// All of the user's.
    pub const USER: Self = Self(0o7);
    /// All of the kernel's.
    pub const KERNEL: Self = Self(0o70);
    /// Both write.
    pub const WRITE: Self = Self(0o22);
    /// Both execute.
    pub const EXECUTE: Self = Self(0o11);
    /// Both read.
    pub const READ: Self = Self(0o44);

    /// What both allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What one of them allows.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is left without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// This, or without `other` where `forbidden`.
    #[must_use]
    pub const fn without_if(self, forbidden: bool, other: Self) -> Self {
        if forbidden { self.without(other) } else { self }
    }

    /// Whether everything in `other` is allowed.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// As `ls` shows them: the kernel's, a slash, the user's.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |bits: u8, letter| if self.0 & bits == 0 { '-' } else { letter };
        let [kr, kw, kx] = [one(0o40, 'r'), one(0o20, 'w'), one(0o10, 'x')];
        let [ur, uw, ux] = [one(0o4, 'r'), one(0o2, 'w'), one(0o1, 'x')];
        write!(f, "{kr}{kw}{kx}/{ur}{uw}{ux}")
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

/// A translation scheme.
#[derive(Clone, Copy)]
pub struct Form {
    /// Name, for messages: "x86 PAE".
    pub name: &'static str,
    /// Levels from the root down.
    pub levels: &'static [Level],
    /// Size of an entry in bytes: 4 or 8.
    pub entry_bytes: u8,
    /// Byte order of the entries.
    pub endian: Endian,
    /// Bits of an entry that are address on this machine: MAXPHYADDR, less an encryption bit, less a masked A20.
    pub address_mask: u64,
    /// Whether `decode` may find blocks, 52-bit descriptors and so on; what the bits mean is the architecture's.
    pub features: u32,
    /// What an entry says.
    pub decode: Decode,
    /// What an entry allows.
    pub rights: RightsOf,
    /// How an entry is shown.
    pub fields: Fields,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Form({}, address mask {:#x}, features {:#x})", self.name, self.address_mask, self.features)
    }
}

/// A table from which translation starts. AArch64 has two (TTBR0, TTBR1), x86-64 one table with two canonical halves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// The virtual addresses that it translates.
    pub virt: VirtRange,
    /// Where its entry 0 is, or would be.
    pub table: PhysAddr,
    /// First level: index in the form's levels (an s390x ASCE may start at a lower one).
    pub level: usize,
    /// Which entries exist; `None` for all.
    pub entries: Option<Range<u32>>,
    /// Bits of an address that this root does not look at (top-byte-ignore); 0 if it looks at all. `virt` is what they
    /// are in an address without a tag.
    pub ignored: u64,
}

impl Root {
    /// `virt` without its tag, if this root translates it.
    #[must_use]
    pub fn untagged(&self, virt: VirtAddr) -> Option<VirtAddr> {
        let plain = VirtAddr((virt.0 & !self.ignored) | (self.virt.first().0 & self.ignored));
        self.virt.contains(plain).then_some(plain)
    }
}

/// A form and its roots.
#[derive(Clone, Debug)]
pub struct Radix {
    /// The scheme.
    pub form: Form,
    /// Its roots, by ascending virtual address, disjoint.
    pub roots: Vec<Root>,
}
