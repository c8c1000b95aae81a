//! Register lists and register values.
//!
//! An architecture has one list of registers; names are those of gdb's target descriptions, extended where gdb has
//! none. A value is held as a little-endian integer of its definition's width, however wide: vector registers too.
//! Which registers exist lives with each architecture.

use thiserror::Error;

/// Where QEMU's saved device state has a register: as a big-endian integer in a part (a subsection) of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Saved {
    /// Name of the part.
    pub part: &'static str,
    /// Its version: another may have other fields.
    pub version: u32,
    /// Bytes of the part before the register.
    pub offset: u16,
    /// The section whose part it is, where each vCPU has one, whose instance is the vCPU. The vCPUs share the part otherwise.
    pub section: Option<&'static str>,
}

/// One register of an architecture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegDef {
    /// Name, as gdb's target description has it where it has it.
    pub name: &'static str,
    /// Other names that a manifest may use.
    pub aliases: &'static [&'static str],
    /// Width in bytes; the largest one where it varies (an SVE Z register: 256).
    pub width: u16,
    /// Where QEMU's saved device state has it, for one that QEMU tells in no other way.
    pub saved_as: Option<Saved>,
}

impl RegDef {
    /// A register without aliases.
    #[must_use]
    pub const fn new(name: &'static str, width: u16) -> Self {
        Self::aliased(name, &[], width)
    }

    /// A register with aliases.
    #[must_use]
    pub const fn aliased(name: &'static str, aliases: &'static [&'static str], width: u16) -> Self {
        Self { name, aliases, width, saved_as: None }
    }

    /// The same register, to be found in QEMU's saved device state.
    #[must_use]
    pub const fn saved_as(self, saved: Saved) -> Self {
        Self { saved_as: Some(saved), ..self }
    }
}

/// Index of a register in its architecture's list. Inside an architecture crate these are named constants; outside,
/// registers are found by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Reg(pub u16);

/// Why a register cannot be set.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RegisterError {
    /// No register of that name.
    #[error("no register {name}")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The value needs more bytes than the register has.
    #[error("value {value} of register {name} is wider than its {width} bytes")]
    TooWide {
        /// The register.
        name: &'static str,
        /// Its width in bytes.
        width: u16,
        /// The value, in hexadecimal.
        value: String,
    },
}

/// The registers of one vCPU: for each of a list, a value or "not known".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registers {
    defs: &'static [RegDef],
    values: Vec<Option<Box<[u8]>>>,
}

impl Registers {
    /// All registers of `defs`, none of them known.
    #[must_use]
    pub fn unknown(defs: &'static [RegDef]) -> Self {
        Self { defs, values: vec![None; defs.len()] }
    }

    /// The list that these values belong to.
    #[must_use]
    pub const fn defs(&self) -> &'static [RegDef] {
        self.defs
    }

    /// The register called `name`, by name or alias.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Reg> {
        let named = |def: &RegDef| def.name == name || def.aliases.contains(&name);
        self.defs.iter().position(named).and_then(|index| u16::try_from(index).ok()).map(Reg)
    }

    /// The low eight bytes of a register, if it is known.
    #[must_use]
    pub fn get(&self, reg: Reg) -> Option<u64> {
        self.bytes(reg).map(|bytes| crate::abi::Endian::Little.get(bytes.get(..8).unwrap_or(bytes)))
    }

    /// All bytes of a register, least significant first, if it is known.
    #[must_use]
    pub fn bytes(&self, reg: Reg) -> Option<&[u8]> {
        self.values.get(usize::from(reg.0))?.as_deref()
    }

    /// By name: the low eight bytes, if there is such a register and it is known.
    #[must_use]
    pub fn get_named(&self, name: &str) -> Option<u64> {
        self.find(name).and_then(|reg| self.get(reg))
    }

    /// Sets a register to an integer, cut to its width; nothing happens for a register that is not in the list.
    pub fn set(&mut self, reg: Reg, value: u64) {
        self.set_part(reg, 0, &value.to_le_bytes());
    }

    /// Sets the bytes of a register from byte `at` on (0 is the least significant); the others keep their value, or
    /// are zero if none was known. Bytes beyond the register are cut.
    pub fn set_part(&mut self, reg: Reg, at: usize, bytes: &[u8]) {
        let index = usize::from(reg.0);
        let (Some(def), Some(value)) = (self.defs.get(index), self.values.get_mut(index)) else { return };
        let value = value.get_or_insert_with(|| vec![0; usize::from(def.width)].into());
        value.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    }

    /// Sets a register by name from little-endian bytes.
    ///
    /// # Errors
    /// [`RegisterError`] if there is no such register, or a non-zero byte does not fit.
    pub fn set_named(&mut self, name: &str, le_bytes: &[u8]) -> Result<(), RegisterError> {
        let reg = self.find(name).ok_or_else(|| RegisterError::Unknown { name: name.to_owned() })?;
        if let Some(def) = self.defs.get(usize::from(reg.0))
            && le_bytes.iter().skip(usize::from(def.width)).any(|byte| *byte != 0)
        {
            let digits: String = le_bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
            let value = format!("0x{}", digits.trim_start_matches('0'));
            return Err(RegisterError::TooWide { name: def.name, width: def.width, value });
        }
        self.set_part(reg, 0, le_bytes);
        Ok(())
    }

    /// Definition and value of every known register, in list order.
    pub fn known(&self) -> impl Iterator<Item = (&'static RegDef, &[u8])> {
        self.defs.iter().zip(&self.values).filter_map(|(def, value)| Some((def, value.as_deref()?)))
    }
}

/// One virtual CPU: its number and what is known of its registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vcpu {
    /// Index of the vCPU, from 0. Its `pr_pid` is this plus one.
    pub id: u32,
    /// Its registers.
    pub registers: Registers,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFS: &[RegDef] = &[RegDef::new("a", 8), RegDef::aliased("half", &["h"], 4), RegDef::new("v0", 16)];

    #[test]
    fn values_are_cut_to_the_register_or_refused() {
        let mut regs = Registers::unknown(DEFS);
        regs.set(Reg(1), 0x1_2345_6789);
        assert_eq!(regs.get_named("h"), Some(0x2345_6789));
        assert_eq!(regs.get_named("a"), None);
        let wide = regs.set_named("half", &[0, 0, 0, 0, 1]);
        assert_eq!(wide.unwrap_err().to_string(), "value 0x100000000 of register half is wider than its 4 bytes");
        assert_eq!(regs.set_named("z", &[1]).unwrap_err().to_string(), "no register z");
    }

    #[test]
    fn parts_of_wide_registers_keep_the_rest() {
        let mut regs = Registers::unknown(DEFS);
        regs.set_part(Reg(2), 8, &[1, 2]);
        regs.set_part(Reg(2), 0, &[9]);
        assert_eq!(regs.bytes(Reg(2)), Some(&[9, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!(regs.known().count(), 1);
    }
}
