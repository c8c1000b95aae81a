//! Note layouts as rows: size, encoding and decoding of a note's descriptor all come from the same table.
//!
//! The rows of each architecture live with it. How notes are framed and ordered in a file is the business of core.

use std::borrow::Cow;

use crate::abi::Endian;
use crate::register::{Reg, Registers};

/// What a row holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// `pr_pid`: the vCPU's index plus one.
    Pid,
    /// A number that is always the same.
    Const(u64),
    /// Registers from `first` on, one for each element, each from byte `from_byte` of the register (0 is its least
    /// significant).
    Registers {
        /// Register of element 0; element i holds register `first + i`.
        first: Reg,
        /// First byte taken of each register.
        from_byte: u16,
    },
}

/// One row of a layout: `count` elements of `width` bytes, `stride` bytes apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Offset of the first element in the descriptor, in bytes.
    pub offset: u32,
    /// Width of an element, in bytes.
    pub width: u16,
    /// Number of elements.
    pub count: u16,
    /// Bytes from one element to the next; not below `width`.
    pub stride: u16,
    /// What the elements hold.
    pub content: Content,
    /// Byte order, if it is not the dump's.
    pub endian: Option<Endian>,
}

impl Row {
    const fn of(offset: u32, width: u16, content: Content) -> Self {
        Self { offset, width, count: 1, stride: width, content, endian: None }
    }

    /// The vCPU's pid, four bytes.
    #[must_use]
    pub const fn pid(offset: u32) -> Self {
        Self::of(offset, 4, Content::Pid)
    }

    /// A constant of `width` bytes, at most eight.
    #[must_use]
    pub const fn constant(offset: u32, width: u16, value: u64) -> Self {
        Self::of(offset, width, Content::Const(value))
    }

    /// The low `width` bytes of a register.
    #[must_use]
    pub const fn reg(offset: u32, width: u16, reg: Reg) -> Self {
        Self::regs(offset, width, reg, 1)
    }

    /// The low `width` bytes of `count` registers that follow each other in the list, packed.
    #[must_use]
    pub const fn regs(offset: u32, width: u16, first: Reg, count: u16) -> Self {
        let row = Self::of(offset, width, Content::Registers { first, from_byte: 0 });
        Self { count, ..row }
    }

    /// The same row, but each element starts at byte `from_byte` of its register.
    #[must_use]
    pub const fn from_byte(self, from_byte: u16) -> Self {
        match self.content {
            Content::Registers { first, .. } => Self { content: Content::Registers { first, from_byte }, ..self },
            Content::Pid | Content::Const(_) => self,
        }
    }

    /// The same row with elements `stride` bytes apart.
    #[must_use]
    pub const fn stride(self, stride: u16) -> Self {
        Self { stride, ..self }
    }

    /// The same row in a byte order that is not the dump's.
    #[must_use]
    pub const fn in_order(self, endian: Endian) -> Self {
        Self { endian: Some(endian), ..self }
    }

    const fn end(&self) -> usize {
        let last = self.count.saturating_sub(1) as usize * self.stride as usize;
        self.offset as usize + last + self.width as usize
    }

    const fn fits(&self) -> bool {
        self.count > 0 && self.width > 0 && self.stride >= self.width
    }

    /// Byte ranges of the elements with their numbers.
    fn elements(&self) -> impl Iterator<Item = (u16, core::ops::Range<usize>)> + use<> {
        let (offset, width, stride) = (self.offset as usize, usize::from(self.width), usize::from(self.stride));
        (0..self.count).map(move |i| {
            let start = offset.saturating_add(usize::from(i).saturating_mul(stride));
            (i, start..start.saturating_add(width))
        })
    }
}

/// Layout of one descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteLayout {
    size: usize,
    rows: Cow<'static, [Row]>,
    implies: &'static [(Reg, u64)],
}

impl NoteLayout {
    /// A layout known when the program is built. A row that overlaps another, is out of order or out of size stops the
    /// build: use it in a `const`.
    ///
    /// ```
    /// use guestdump_arch::{NoteLayout, Reg, Row};
    /// const LAYOUT: NoteLayout = NoteLayout::checked(24, &[Row::pid(4), Row::regs(8, 8, Reg(0), 2)]);
    /// assert_eq!(LAYOUT.size(), 24);
    /// ```
    ///
    /// Two rows that share a byte:
    /// ```compile_fail,E0080
    /// use guestdump_arch::{NoteLayout, Reg, Row};
    /// const LAYOUT: NoteLayout = NoteLayout::checked(24, &[Row::pid(5), Row::regs(8, 8, Reg(0), 2)]);
    /// assert_eq!(LAYOUT.size(), 24);
    /// ```
    ///
    /// A row that ends behind the descriptor:
    /// ```compile_fail,E0080
    /// use guestdump_arch::{NoteLayout, Reg, Row};
    /// const LAYOUT: NoteLayout = NoteLayout::checked(23, &[Row::pid(4), Row::regs(8, 8, Reg(0), 2)]);
    /// assert_eq!(LAYOUT.size(), 23);
    /// ```
    ///
    /// Elements that overlap each other:
    /// ```compile_fail,E0080
    /// use guestdump_arch::{NoteLayout, Reg, Row};
    /// const LAYOUT: NoteLayout = NoteLayout::checked(24, &[Row::pid(4), Row::regs(8, 8, Reg(0), 2).stride(7)]);
    /// assert_eq!(LAYOUT.size(), 24);
    /// ```
    #[must_use]
    pub const fn checked(size: usize, rows: &'static [Row]) -> Self {
        Self::implying(size, rows, &[])
    }

    /// As [`NoteLayout::checked`], for a note whose mere presence says what some registers hold: a 64-bit NT_PRSTATUS
    /// is written only for a vCPU in long mode.
    #[must_use]
    #[allow(clippy::panic, clippy::indexing_slicing, reason = "evaluated when the program is built")]
    pub const fn implying(size: usize, rows: &'static [Row], implies: &'static [(Reg, u64)]) -> Self {
        let mut end = 0;
        let mut i = 0;
        while i < rows.len() {
            assert!(rows[i].fits(), "a row needs elements, and a stride of at least their width");
            assert!(rows[i].offset as usize >= end, "rows overlap or are out of order");
            end = rows[i].end();
            i += 1;
        }
        assert!(end <= size, "a row ends behind the descriptor");
        Self { size, rows: Cow::Borrowed(rows), implies }
    }

    /// A layout whose size is known only at run time (SVE registers). `None` if a row overlaps another, is out of
    /// order or out of size.
    #[must_use]
    pub fn computed(size: usize, rows: Vec<Row>) -> Option<Self> {
        let mut end = 0;
        for row in &rows {
            if !row.fits() || (row.offset as usize) < end {
                return None;
            }
            end = row.end();
        }
        (end <= size).then_some(Self { size, rows: Cow::Owned(rows), implies: &[] })
    }

    /// Size of the descriptor, in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The rows, by ascending offset.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The descriptor for a vCPU: registers that are not known, and bytes that no row names, are zero.
    #[must_use]
    pub fn encode(&self, vcpu_id: u32, registers: &Registers, endian: Endian) -> Vec<u8> {
        let mut desc = vec![0; self.size];
        for row in self.rows.iter() {
            let endian = row.endian.unwrap_or(endian);
            for (i, range) in row.elements() {
                let Some(out) = desc.get_mut(range) else { continue };
                match row.content {
                    Content::Pid => endian.put(u64::from(vcpu_id).wrapping_add(1), out),
                    Content::Const(value) => endian.put(value, out),
                    Content::Registers { first, from_byte } => {
                        let bytes = registers.bytes(Reg(first.0.wrapping_add(i))).unwrap_or_default();
                        endian.put_le_bytes(bytes.get(usize::from(from_byte)..).unwrap_or_default(), out);
                    }
                }
            }
        }
        desc
    }

    /// Puts what `desc` says into `registers`, and gives the pid if the layout has one. Rows behind the end of a
    /// shorter descriptor say nothing.
    pub fn decode(&self, desc: &[u8], registers: &mut Registers, endian: Endian) -> Option<u32> {
        let mut pid = None;
        for &(reg, value) in self.implies {
            registers.set(reg, value);
        }
        for row in self.rows.iter() {
            let endian = row.endian.unwrap_or(endian);
            for (i, range) in row.elements() {
                let Some(bytes) = desc.get(range) else { continue };
                match row.content {
                    Content::Pid => pid = u32::try_from(endian.get(bytes)).ok(),
                    Content::Const(_) => {}
                    Content::Registers { first, from_byte } => {
                        let mut value = vec![0; bytes.len()];
                        endian.get_le_bytes(bytes, &mut value);
                        registers.set_part(Reg(first.0.wrapping_add(i)), usize::from(from_byte), &value);
                    }
                }
            }
        }
        pid
    }

    /// Puts registers into those elements of `desc` whose bytes are all zero, and gives the number of elements that are
    /// not zero any more. Nothing else is touched: a writer leaves zero what it does not know.
    pub fn fill(&self, desc: &mut [u8], registers: &Registers, endian: Endian) -> usize {
        let mut filled = 0;
        for row in self.rows.iter() {
            let Content::Registers { first, from_byte } = row.content else { continue };
            let endian = row.endian.unwrap_or(endian);
            for (i, range) in row.elements() {
                let Some(out) = desc.get_mut(range).filter(|out| is_zero(out)) else { continue };
                let bytes = registers.bytes(Reg(first.0.wrapping_add(i))).unwrap_or_default();
                endian.put_le_bytes(bytes.get(usize::from(from_byte)..).unwrap_or_default(), out);
                filled += usize::from(!is_zero(out));
            }
        }
        filled
    }

    /// Whether any register of the layout is known.
    #[must_use]
    pub fn any_known(&self, registers: &Registers) -> bool {
        self.rows.iter().any(|row| match row.content {
            Content::Registers { first, .. } => {
                (0..row.count).any(|i| registers.bytes(Reg(first.0.wrapping_add(i))).is_some())
            }
            Content::Pid | Content::Const(_) => false,
        })
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// From what a layout is to be found.
#[derive(Clone, Copy, Debug)]
pub enum LayoutFor<'a> {
    /// A vCPU whose note is to be written.
    Registers(&'a Registers),
    /// A descriptor that was read, in the given byte order.
    Descriptor(&'a [u8], Endian),
}

/// One kind of per-vCPU note.
#[derive(Clone, Copy, Debug)]
pub struct NoteKind {
    /// Name without its NUL: "CORE", "LINUX", "QEMU".
    pub name: &'static str,
    /// `n_type`.
    pub n_type: u32,
    /// Notes of group 0 of all vCPUs come first, then those of group 1: QEMU writes its own notes behind the others.
    pub group: u8,
    /// Whether the note is written even if no register in it is known (NT_PRSTATUS counts the vCPUs of a dump).
    pub always: bool,
    /// The layout, or `None` if this vCPU has no such note or the descriptor cannot be one.
    pub layout: fn(LayoutFor<'_>) -> Option<NoteLayout>,
}

impl NoteKind {
    /// The descriptor of this note for a vCPU, or `None` if the vCPU has none.
    #[must_use]
    pub fn encode(&self, vcpu_id: u32, registers: &Registers, endian: Endian) -> Option<Vec<u8>> {
        let layout = (self.layout)(LayoutFor::Registers(registers))?;
        (self.always || layout.any_known(registers)).then(|| layout.encode(vcpu_id, registers, endian))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::RegDef;
    use proptest::prelude::*;

    const DEFS: &[RegDef] = &[
        RegDef::new("r0", 8),
        RegDef::new("r1", 8),
        RegDef::new("r2", 8),
        RegDef::new("v", 16),
        RegDef::new("unused", 4),
    ];
    const LAYOUT: NoteLayout = NoteLayout::checked(
        64,
        &[
            Row::pid(0),
            Row::constant(4, 4, 440),
            Row::regs(8, 8, Reg(0), 3),
            Row::reg(32, 8, Reg(3)).from_byte(8),
            Row::reg(44, 16, Reg(3)).in_order(Endian::Little),
        ],
    );

    #[test]
    fn rows_land_where_they_say() {
        let mut regs = Registers::unknown(DEFS);
        regs.set(Reg(1), 0x0102_0304_0506_0708);
        regs.set_part(Reg(3), 8, &[0xaa]);
        let desc = LAYOUT.encode(6, &regs, Endian::Big);
        assert_eq!(desc[..8], [0, 0, 0, 7, 0, 0, 1, 0xb8]);
        assert_eq!(desc[16..24], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(desc[32..40], [0, 0, 0, 0, 0, 0, 0, 0xaa]);
        assert_eq!(
            (desc[44 + 8], desc.iter().map(|b| u32::from(*b)).sum::<u32>()),
            (0xaa, 7 + 1 + 0xb8 + 36 + 2 * 0xaa)
        );
    }

    #[test]
    fn only_elements_that_are_zero_are_filled() {
        let mut regs = Registers::unknown(DEFS);
        for (reg, value) in [(0, 0x11), (1, 0x22), (3, 0x33)] {
            regs.set(Reg(reg), value);
        }
        // r0 is there already, r2 is not known, the high half of v is zero; pid and constant stay zero.
        let mut desc = vec![0; 60];
        desc[8] = 0x99;
        assert_eq!(LAYOUT.fill(&mut desc, &regs, Endian::Big), 2);
        let mut expected = vec![0; 60];
        (expected[8], expected[23], expected[44]) = (0x99, 0x22, 0x33);
        assert_eq!(desc, expected);
        // Elements behind the end of a shorter descriptor do not exist.
        let mut cut = vec![0; 44];
        assert_eq!(LAYOUT.fill(&mut cut, &regs, Endian::Little), 2);
        assert_eq!((cut[8], cut[16], cut.iter().filter(|byte| **byte != 0).count()), (0x11, 0x22, 2));
    }

    #[test]
    fn computed_layouts_are_checked_too() {
        assert!(NoteLayout::computed(8, vec![Row::pid(0), Row::pid(2)]).is_none());
        assert!(NoteLayout::computed(8, vec![Row::pid(6)]).is_none());
        assert!(NoteLayout::computed(8, vec![Row::regs(0, 4, Reg(0), 2).stride(3)]).is_none());
        assert!(NoteLayout::computed(8, vec![Row::pid(0), Row::pid(4)]).is_some());
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(bytes in proptest::collection::vec(any::<u8>(), 40), big: bool, pid in 0_u32..9999) {
            let endian = if big { Endian::Big } else { Endian::Little };
            let mut regs = Registers::unknown(DEFS);
            for (i, chunk) in bytes[..24].chunks(8).enumerate() {
                regs.set_part(Reg(i as u16), 0, chunk);
            }
            regs.set_part(Reg(3), 0, &bytes[24..]);
            let mut back = Registers::unknown(DEFS);
            let desc = LAYOUT.encode(pid, &regs, endian);
            prop_assert_eq!(LAYOUT.decode(&desc, &mut back, endian), Some(pid + 1));
            prop_assert_eq!(back, regs);
        }
    }
}
