//! How a guest's C compiler lays bytes out: byte order, ELF class, placement of struct members.
//!
//! A struct is declared once, as a list of members; [`CAbi`] places it for a guest. Which structs exist is the
//! business of the formats.

use thiserror::Error;

/// Byte order of a guest's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Endian {
    /// Least significant byte first (ELFDATA2LSB).
    Little,
    /// Most significant byte first (ELFDATA2MSB).
    Big,
}

impl Endian {
    /// Puts the low `out.len()` bytes of `value` into `out`; longer outputs are extended with zeros.
    pub fn put(self, value: u64, out: &mut [u8]) {
        self.put_le_bytes(&value.to_le_bytes(), out);
    }

    /// Puts an integer given as little-endian bytes into `out`, cut or extended with zeros at its high end.
    pub fn put_le_bytes(self, value: &[u8], out: &mut [u8]) {
        let digits = value.iter().copied().chain(core::iter::repeat(0));
        match self {
            Self::Little => out.iter_mut().zip(digits).for_each(|(byte, digit)| *byte = digit),
            Self::Big => out.iter_mut().rev().zip(digits).for_each(|(byte, digit)| *byte = digit),
        }
    }

    /// The integer in `bytes`, of which at most the low eight count.
    #[must_use]
    pub fn get(self, bytes: &[u8]) -> u64 {
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        match self {
            Self::Little => bytes.iter().rev().fold(0, add),
            Self::Big => bytes.iter().fold(0, add),
        }
    }

    /// The integer in `bytes` as little-endian bytes, written to `out` and extended with zeros.
    pub fn get_le_bytes(self, bytes: &[u8], out: &mut [u8]) {
        match self {
            Self::Little => Self::Little.put_le_bytes(bytes, out),
            Self::Big => {
                let digits = bytes.iter().rev().copied().chain(core::iter::repeat(0));
                out.iter_mut().zip(digits).for_each(|(byte, digit)| *byte = digit);
            }
        }
    }

    /// "little-endian" or "big-endian".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        }
    }
}

/// Class of an ELF file: width of its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    /// ELFCLASS32.
    Elf32,
    /// ELFCLASS64.
    Elf64,
}

/// The three numbers that decide where a C compiler of the guest puts the members of a struct.
///
/// Checked against gcc's `offsetof` for the kdump headers: i386 is `{4, 4}`, 32-bit ARM and ppc `{4, 8}`, all 64-bit
/// guests `{8, 8}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct CAbi {
    /// `sizeof(long)`, in bytes: 4 or 8.
    pub word: u8,
    /// `_Alignof(uint64_t)` inside a struct, in bytes: 4 or 8.
    pub u64_align: u8,
    /// Byte order.
    pub endian: Endian,
}

/// Type of a struct member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CType {
    /// `char[n]`.
    Chars(u16),
    /// `int32_t` or `uint32_t`.
    Int,
    /// `long` or `unsigned long`.
    Long,
    /// `uint64_t`.
    U64,
}

/// A member of a C struct: its C name and type.
pub type CField = (&'static str, CType);

/// Where one member lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// C name of the member.
    pub name: &'static str,
    /// Offset in the struct, in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// A name that is no member of the struct: an error of the program, not of its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("struct has no member {0}")]
pub struct NoMember(pub &'static str);

/// A C struct placed for one guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CStruct {
    endian: Endian,
    fields: Vec<Placed>,
    size: usize,
}

impl CAbi {
    fn size_and_align(self, kind: CType) -> (usize, usize) {
        match kind {
            CType::Chars(n) => (usize::from(n), 1),
            CType::Int => (4, 4),
            CType::Long => (usize::from(self.word), usize::from(self.word)),
            CType::U64 => (8, usize::from(self.u64_align)),
        }
    }

    /// Places `fields` in their order, each aligned as its type asks, and rounds the size up to the largest alignment.
    #[must_use]
    pub fn place(self, fields: &[CField]) -> CStruct {
        let mut end = 0_usize;
        let mut widest = 1_usize;
        let mut placed = Vec::with_capacity(fields.len());
        for &(name, kind) in fields {
            let (size, align) = self.size_and_align(kind);
            let offset = end.next_multiple_of(align);
            placed.push(Placed { name, offset, size });
            end = offset.saturating_add(size);
            widest = widest.max(align);
        }
        CStruct { endian: self.endian, fields: placed, size: end.next_multiple_of(widest) }
    }
}

impl CStruct {
    /// `sizeof` the struct, in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// All members, in order.
    #[must_use]
    pub fn fields(&self) -> &[Placed] {
        &self.fields
    }

    /// Where `name` lies.
    ///
    /// # Errors
    /// [`NoMember`] if the struct has no such member.
    pub fn field(&self, name: &'static str) -> Result<Placed, NoMember> {
        self.fields.iter().copied().find(|field| field.name == name).ok_or(NoMember(name))
    }

    /// Puts integer `value` into member `name` of `bytes`.
    ///
    /// # Errors
    /// [`NoMember`] if there is no such member or `bytes` ends before it.
    pub fn put(&self, bytes: &mut [u8], name: &'static str, value: u64) -> Result<(), NoMember> {
        self.endian.put(value, self.slice_mut(bytes, name)?);
        Ok(())
    }

    /// Copies `text` into member `name`, cut to its size, the rest zero.
    ///
    /// # Errors
    /// As [`CStruct::put`].
    pub fn put_chars(&self, bytes: &mut [u8], name: &'static str, text: &[u8]) -> Result<(), NoMember> {
        Endian::Little.put_le_bytes(text, self.slice_mut(bytes, name)?);
        Ok(())
    }

    /// The integer in member `name`.
    ///
    /// # Errors
    /// As [`CStruct::put`].
    pub fn get(&self, bytes: &[u8], name: &'static str) -> Result<u64, NoMember> {
        Ok(self.endian.get(self.chars(bytes, name)?))
    }

    /// The bytes of member `name`.
    ///
    /// # Errors
    /// As [`CStruct::put`].
    pub fn chars<'b>(&self, bytes: &'b [u8], name: &'static str) -> Result<&'b [u8], NoMember> {
        let field = self.field(name)?;
        bytes.get(field.offset..field.offset.saturating_add(field.size)).ok_or(NoMember(name))
    }

    fn slice_mut<'b>(&self, bytes: &'b mut [u8], name: &'static str) -> Result<&'b mut [u8], NoMember> {
        let field = self.field(name)?;
        bytes.get_mut(field.offset..field.offset.saturating_add(field.size)).ok_or(NoMember(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &[CField] = &[
        ("tag", CType::Chars(5)),
        ("n", CType::Int),
        ("base", CType::Long),
        ("off", CType::U64),
        ("last", CType::Int),
    ];

    fn offsets(word: u8, u64_align: u8) -> (Vec<usize>, usize) {
        let placed = CAbi { word, u64_align, endian: Endian::Little }.place(MIXED);
        (placed.fields().iter().map(|field| field.offset).collect(), placed.size())
    }

    // Expected numbers are gcc's offsetof/sizeof for the same struct on x86_64, -m32 and 32-bit ARM.
    #[test]
    fn members_are_placed_as_c_compilers_do() {
        assert_eq!(offsets(8, 8), (vec![0, 8, 16, 24, 32], 40));
        assert_eq!(offsets(4, 4), (vec![0, 8, 12, 16, 24], 28));
        assert_eq!(offsets(4, 8), (vec![0, 8, 12, 16, 24], 32));
    }

    #[test]
    fn integers_take_the_byte_order_and_cut_high_digits() {
        let mut out = [0xff; 4];
        Endian::Big.put(0x1122_3344_5566, &mut out);
        assert_eq!(out, [0x33, 0x44, 0x55, 0x66]);
        assert_eq!(Endian::Big.get(&out), 0x3344_5566);
        Endian::Little.put(0x1122, &mut out);
        assert_eq!(out, [0x22, 0x11, 0, 0]);
        let mut digits = [0; 6];
        Endian::Big.get_le_bytes(&[1, 2, 3, 4], &mut digits);
        assert_eq!(digits, [4, 3, 2, 1, 0, 0]);
    }
}
