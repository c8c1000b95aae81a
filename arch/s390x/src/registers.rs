//! Registers of s390x.
//!
//! Names and order within a group are those of gdb's `s390x-core64.xml`, `s390-acr.xml`, `s390-fpr.xml`, `s390-vx.xml`,
//! `s390-gs.xml`, `s390-cr.xml` and `s390-virt.xml`, as QEMU 10.0.2 serves them. A vector register 0 to 15 is in two
//! parts there: `f0` is its left half (a floating-point register), `v0l` its right half. `todpr` is in no such file.

use guestdump_arch::{Reg, RegDef};

macro_rules! registers {
    ($($width:literal: $($name:literal)*;)*) => { &[$($(RegDef::new($name, $width),)*)*] };
}

/// All registers.
pub static REGISTERS: &[RegDef] = registers! {
    8: "pswm" "pswa";
    8: "r0" "r1" "r2" "r3" "r4" "r5" "r6" "r7" "r8" "r9" "r10" "r11" "r12" "r13" "r14" "r15";
    4: "acr0" "acr1" "acr2" "acr3" "acr4" "acr5" "acr6" "acr7"
       "acr8" "acr9" "acr10" "acr11" "acr12" "acr13" "acr14" "acr15";
    4: "fpc";
    8: "f0" "f1" "f2" "f3" "f4" "f5" "f6" "f7" "f8" "f9" "f10" "f11" "f12" "f13" "f14" "f15";
    8: "v0l" "v1l" "v2l" "v3l" "v4l" "v5l" "v6l" "v7l"
       "v8l" "v9l" "v10l" "v11l" "v12l" "v13l" "v14l" "v15l";
    16: "v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23"
        "v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31";
    8: "gs_reserved" "gsd" "gssm" "gsepla";
    8: "cr0" "cr1" "cr2" "cr3" "cr4" "cr5" "cr6" "cr7" "cr8" "cr9" "cr10" "cr11" "cr12" "cr13" "cr14" "cr15";
    8: "ckc" "cputm";
    4: "prefix" "todpr";
};

/// Mask half of the PSW; the address half follows.
pub const PSWM: Reg = Reg(0);
/// General register 0; the other fifteen follow.
pub const R0: Reg = Reg(2);
/// Access register 0; the other fifteen follow.
pub const ACR0: Reg = Reg(18);
/// Floating-point control.
pub const FPC: Reg = Reg(34);
/// Left half of vector register 0; those of 1 to 15 follow.
pub const F0: Reg = Reg(35);
/// Right half of vector register 0; those of 1 to 15 follow.
pub const V0L: Reg = Reg(51);
/// Vector register 16; those to 31 follow.
pub const V16: Reg = Reg(67);
/// First word of the guarded-storage control block; gsd, gssm and gsepla follow.
pub const GS_RESERVED: Reg = Reg(83);
/// Control register 0.
pub const CR0: Reg = Reg(87);
/// Clock comparator.
pub const CKC: Reg = Reg(103);
/// CPU timer.
pub const CPUTM: Reg = Reg(104);
/// Prefix.
pub const PREFIX: Reg = Reg(105);
/// TOD programmable register.
pub const TODPR: Reg = Reg(106);

/// Control register `number`, 0 to 15.
#[must_use]
pub const fn cr(number: u16) -> Reg {
    Reg(CR0.0 + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_those_of_the_list() {
        let named = [
            (PSWM, "pswm"),
            (R0, "r0"),
            (ACR0, "acr0"),
            (FPC, "fpc"),
            (F0, "f0"),
            (V0L, "v0l"),
            (V16, "v16"),
            (GS_RESERVED, "gs_reserved"),
            (CR0, "cr0"),
            (cr(15), "cr15"),
            (CKC, "ckc"),
            (CPUTM, "cputm"),
            (PREFIX, "prefix"),
            (TODPR, "todpr"),
        ];
        for (reg, name) in named {
            assert_eq!(REGISTERS[usize::from(reg.0)].name, name);
        }
    }
}
