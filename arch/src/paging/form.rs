//! A translation scheme as data: levels, entry size and byte order, and a function that decodes one entry.
//!
//! The byte order here is that of the tables and may differ from the dump's: Linux on ppc64le keeps big-endian tables.

use core::fmt;
use core::ops::Range;

use crate::abi::Endian;
use crate::addr::{PhysAddr, VirtRange};

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

/// Decodes an entry of `level` (0 at the root) whose index uses address bits from `shift` up.
pub type Decode = fn(form: &Form, level: usize, shift: u8, raw: u64) -> Entry;

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
}

/// A form and its roots.
#[derive(Clone, Debug)]
pub struct Radix {
    /// The scheme.
    pub form: Form,
    /// Its roots, by ascending virtual address, disjoint.
    pub roots: Vec<Root>,
}
