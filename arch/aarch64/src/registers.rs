//! Registers of AArch64.
//!
//! Names are those of gdb's `aarch64-core.xml`, `aarch64-fpu.xml`, `aarch64-sve.xml`, `aarch64-pauth.xml` and
//! `aarch64-tls.xml`; system registers have the Arm ARM's names in lower case, with the names of the
//! `system-registers.xml` that QEMU 10.0.2 hands to gdb as aliases (SCTLR_EL1 is plain `SCTLR` there). gdb has `vg`, the
//! vector length in units of eight bytes; `vl` and `vl_max`, in bytes, are the fields of NT_ARM_SVE. An integer may be
//! wider than gdb has it (cpsr) where a note has room for more.
//!
//! v0 to v31 are the low 16 bytes of z0 to z31, and are held apart from them: a source that knows one does not
//! necessarily know the other.

use guestdump_arch::{Reg, RegDef};

/// Bytes of the longest vector register that SVE allows: 2048 bits (Arm ARM, B1 "SVE vector registers").
pub const VL_LARGEST: u16 = 256;

macro_rules! registers {
    (
        $($x:literal)*, $($head:expr)*; $($v:literal)*, $($fp:expr)*; $($z:literal)*; $($p:literal)*, $($rest:expr)*;
        $($name:literal $($alias:literal)*;)*
    ) => {
        &[
            $(RegDef::new(concat!("x", $x), 8),)*
            $($head,)*
            $(RegDef::aliased(concat!("v", $v), &[concat!("q", $v)], 16),)*
            $($fp,)*
            $(RegDef::new(concat!("z", $z), VL_LARGEST),)*
            $(RegDef::new(concat!("p", $p), VL_LARGEST / 8),)*
            $($rest,)*
            $(RegDef::aliased($name, &[$($alias),*], 8),)*
        ]
    };
}

/// All registers.
pub static REGISTERS: &[RegDef] = registers!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28,
    RegDef::aliased("x29", &["fp"], 8)
    RegDef::aliased("x30", &["lr"], 8)
    RegDef::new("sp", 8)
    RegDef::new("pc", 8)
    RegDef::aliased("cpsr", &["pstate"], 8);
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31,
    RegDef::new("fpsr", 4)
    RegDef::new("fpcr", 4);
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31;
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15,
    RegDef::new("ffr", VL_LARGEST / 8)
    RegDef::new("vl", 2)
    RegDef::new("vl_max", 2);
    "vg";
    "pauth_dmask";
    "pauth_cmask";
    "tpidr" "tpidr_el0" "TPIDR_EL0";
    "tpidr2" "tpidr2_el0" "TPIDR2_EL0";
    "sctlr_el1" "SCTLR_EL1" "SCTLR";
    "tcr_el1" "TCR_EL1";
    "ttbr0_el1" "TTBR0_EL1";
    "ttbr1_el1" "TTBR1_EL1";
    "hcr_el2" "HCR_EL2";
    "sctlr_el2" "SCTLR_EL2";
    "tcr_el2" "TCR_EL2";
    "ttbr0_el2" "TTBR0_EL2";
    "ttbr1_el2" "TTBR1_EL2";
    "mair_el1" "MAIR_EL1";
    "id_aa64mmfr0_el1" "ID_AA64MMFR0_EL1";
);

macro_rules! indices {
    ($($(#[$doc:meta])* $name:ident = $index:expr;)*) => { $($(#[$doc])* pub const $name: Reg = Reg($index);)* };
}

indices! {
    /// x0; x1 to x30, sp, pc and cpsr follow.
    X0 = 0;
    /// PSTATE in the form of SPSR_EL1, which gdb calls cpsr.
    CPSR = 33;
    /// v0; v1 to v31, fpsr and fpcr follow.
    V0 = 34;
    /// Floating-point status; fpcr follows.
    FPSR = 66;
    /// z0; z1 to z31 follow.
    Z0 = 68;
    /// p0; p1 to p15 and ffr follow.
    P0 = 100;
    /// Vector length of SVE at the vCPU's exception level now, in bytes.
    VL = 117;
    /// The longest that the vCPU has, in bytes.
    VL_MAX = 118;
    /// Vector length in units of eight bytes.
    VG = 119;
    /// Bits of a data address that hold a pointer authentication code; the mask for code addresses follows.
    PAUTH_DMASK = 120;
    /// TPIDR_EL0, the thread pointer; tpidr2 follows.
    TPIDR = 122;
    /// TPIDR2_EL0, of SME.
    TPIDR2 = 123;
    /// SCTLR_EL1.
    SCTLR_EL1 = 124;
    /// TCR_EL1.
    TCR_EL1 = 125;
    /// TTBR0_EL1.
    TTBR0_EL1 = 126;
    /// TTBR1_EL1.
    TTBR1_EL1 = 127;
    /// HCR_EL2.
    HCR_EL2 = 128;
    /// SCTLR_EL2.
    SCTLR_EL2 = 129;
    /// TCR_EL2.
    TCR_EL2 = 130;
    /// TTBR0_EL2.
    TTBR0_EL2 = 131;
    /// TTBR1_EL2.
    TTBR1_EL2 = 132;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_those_of_the_names() {
        let named = [
            ("x0", X0),
            ("cpsr", CPSR),
            ("v0", V0),
            ("fpsr", FPSR),
            ("z0", Z0),
            ("p0", P0),
            ("vl", VL),
            ("vl_max", VL_MAX),
            ("vg", VG),
            ("pauth_dmask", PAUTH_DMASK),
            ("tpidr", TPIDR),
            ("tpidr2", TPIDR2),
            ("sctlr_el1", SCTLR_EL1),
            ("tcr_el1", TCR_EL1),
            ("ttbr0_el1", TTBR0_EL1),
            ("ttbr1_el1", TTBR1_EL1),
            ("hcr_el2", HCR_EL2),
            ("sctlr_el2", SCTLR_EL2),
            ("tcr_el2", TCR_EL2),
            ("ttbr0_el2", TTBR0_EL2),
            ("ttbr1_el2", TTBR1_EL2),
        ];
        for (name, reg) in named {
            assert_eq!(REGISTERS[usize::from(reg.0)].name, name);
        }
    }

    #[test]
    fn families_follow_their_first() {
        for (letter, first, count) in [("x", X0, 31), ("v", V0, 32), ("z", Z0, 32), ("p", P0, 16)] {
            for i in 0..count {
                assert_eq!(REGISTERS[usize::from(first.0 + i)].name, format!("{letter}{i}"));
            }
        }
        let after = |reg: Reg, count: usize| REGISTERS[usize::from(reg.0) + count].name;
        assert_eq!([after(X0, 31), after(X0, 32), after(V0, 33), after(P0, 16)], ["sp", "pc", "fpcr", "ffr"]);
        assert_eq!([after(PAUTH_DMASK, 1), after(TPIDR, 1)], ["pauth_cmask", "tpidr2"]);
    }
}
