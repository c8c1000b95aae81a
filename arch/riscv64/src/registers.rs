//! Registers of riscv64.
//!
//! Names are those of gdb's `riscv/64bit-cpu.xml` (the names that the calling convention gives), with the numbers x0 to
//! x31 as aliases; QEMU 10.0.2 hands the same file to gdb, `priv` in its `riscv-64bit-virtual.xml`, and control and status
//! registers in `riscv-csr.xml`. The order is gdb's.

use guestdump_arch::{Reg, RegDef};

macro_rules! registers {
    ($($name:literal $($alias:literal)*;)*) => { &[$(RegDef::aliased($name, &[$($alias),*], 8),)*] };
}

/// All registers.
pub static REGISTERS: &[RegDef] = registers! {
    "zero" "x0";
    "ra" "x1";
    "sp" "x2";
    "gp" "x3";
    "tp" "x4";
    "t0" "x5";
    "t1" "x6";
    "t2" "x7";
    "fp" "s0" "x8";
    "s1" "x9";
    "a0" "x10";
    "a1" "x11";
    "a2" "x12";
    "a3" "x13";
    "a4" "x14";
    "a5" "x15";
    "a6" "x16";
    "a7" "x17";
    "s2" "x18";
    "s3" "x19";
    "s4" "x20";
    "s5" "x21";
    "s6" "x22";
    "s7" "x23";
    "s8" "x24";
    "s9" "x25";
    "s10" "x26";
    "s11" "x27";
    "t3" "x28";
    "t4" "x29";
    "t5" "x30";
    "t6" "x31";
    "pc";
    "priv";
    "mstatus";
    "satp";
};

macro_rules! indices {
    ($($(#[$doc:meta])* $name:ident = $index:expr;)*) => { $($(#[$doc])* pub const $name: Reg = Reg($index);)* };
}

indices! {
    /// x1; x2 to x31 follow.
    RA = 1;
    /// The program counter.
    PC = 32;
    /// The privilege mode: 0 user, 1 supervisor, 3 machine; bit 2 is V (RISC-V External Debug Support 0.13.2, 4.9.1
    /// "Virtual Debug Registers: Privilege Mode").
    PRIV = 33;
    /// Machine status.
    MSTATUS = 34;
    /// Supervisor address translation and protection.
    SATP = 35;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_those_of_the_names() {
        let named = [("ra", RA), ("pc", PC), ("priv", PRIV), ("mstatus", MSTATUS), ("satp", SATP)];
        for (name, reg) in named {
            assert_eq!(REGISTERS[usize::from(reg.0)].name, name);
        }
    }

    #[test]
    fn the_number_of_a_register_is_its_place() {
        for (i, def) in REGISTERS.iter().take(32).enumerate() {
            assert_eq!(def.aliases.last(), Some(&format!("x{i}").as_str()), "{}", def.name);
        }
    }
}
