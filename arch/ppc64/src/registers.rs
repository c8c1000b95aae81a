//! Registers of ppc64.
//!
//! Names are those of gdb's `power64-core.xml`, `power-fpu.xml`, `power-altivec.xml`, `power-vsx.xml`, `power-spe.xml`
//! and `power64-linux.xml`; special-purpose registers that gdb has not are named as QEMU's gdbstub names them.
//! `softe` and `result` are no registers of the CPU but members of Linux's `pt_regs`.
//!
//! Vector-scalar registers: of vs0 to vs31 the high doubleword is f0 to f31 and the low one vs0h to vs31h (the h is
//! gdb's); vs32 to vs63 are vr0 to vr31.
//!
//! Three names are guestdump's own, for whoever knows where a guest's page tables are: a vCPU of a pseries guest tells
//! its hypervisor and nobody else. `prtbl` is the process table as doubleword 1 of a partition table entry has it
//! (address, and a size in the low five bits); `radix_root` is the address of the kernel's root page directory (Linux:
//! `swapper_pg_dir`), and `radix_root_user` that of the process that runs, both of 64 KiB.
//!
//! `slb0` to `slb63` are the entries of the segment lookaside buffer: the high eight bytes as RB of `slbmte` has them, with
//! ESID and V, the low eight as RS. Entries that a source does not name are not valid, if it names one.
//!
//! QEMU's gdbstub has neither `prtbl` nor the SLB, its saved device state has (observed with QEMU 10.0.2 and Linux 6.1. On
//! pseries, `spapr_patb_entry`: 800000001e00000c, where bit 63 says that the tables are radix trees. On powernv8, `cpu/slb`: for
//! each of 64 entries what the monitor's `info tlb` calls ESID, and VSID).

use guestdump_arch::{Reg, RegDef, Saved};

const PROCESS_TABLE: Saved = Saved { part: "spapr_patb_entry", version: 1, offset: 0, section: None };

const fn slb_entry(number: u16) -> Saved {
    Saved { part: "cpu/slb", version: 2, offset: 16 * number, section: Some("cpu") }
}

/// The list: numbered registers with a name of each, then the others.
macro_rules! ppc64_registers {
    ($($n:literal $as_vs:literal),*; $($slb:literal)*; $($others:expr),* $(,)?) => {
        &[
            $(RegDef::aliased(concat!("r", $n), &[concat!("gpr", $n)], 8),)*
            $(RegDef::aliased(concat!("f", $n), &[concat!("fpr", $n)], 8),)*
            $(RegDef::new(concat!("vs", $n, "h"), 8),)*
            $(RegDef::aliased(concat!("vr", $n), &[concat!("vs", $as_vs)], 16),)*
            $($others,)*
            $(RegDef::new(concat!("slb", $slb), 16).saved_as(slb_entry($slb)),)*
        ]
    };
}

/// Registers of a 64-bit Power processor.
pub static REGISTERS: &[RegDef] = ppc64_registers!(
    0 32, 1 33, 2 34, 3 35, 4 36, 5 37, 6 38, 7 39, 8 40, 9 41, 10 42, 11 43, 12 44, 13 45, 14 46, 15 47,
    16 48, 17 49, 18 50, 19 51, 20 52, 21 53, 22 54, 23 55, 24 56, 25 57, 26 58, 27 59, 28 60, 29 61, 30 62, 31 63;
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63;
    RegDef::aliased("pc", &["nip"], 8),
    RegDef::new("msr", 8),
    RegDef::aliased("cr", &["ccr"], 4),
    RegDef::aliased("lr", &["link"], 8),
    RegDef::new("ctr", 8),
    RegDef::new("xer", 8),
    RegDef::new("fpscr", 8),
    RegDef::new("vscr", 4),
    RegDef::new("vrsave", 4),
    RegDef::aliased("acc", &["spe_acc"], 8),
    RegDef::new("spefscr", 4),
    RegDef::aliased("orig_r3", &["orig_gpr3"], 8),
    RegDef::new("softe", 8),
    RegDef::new("trap", 8),
    RegDef::new("dar", 8),
    RegDef::new("dsisr", 8),
    RegDef::new("result", 8),
    RegDef::new("pvr", 4),
    RegDef::new("hid0", 8),
    RegDef::new("lpcr", 8),
    RegDef::new("ptcr", 8),
    RegDef::aliased("pidr", &["pid"], 4),
    RegDef::new("prtbl", 8).saved_as(PROCESS_TABLE),
    RegDef::new("radix_root", 8),
    RegDef::new("radix_root_user", 8),
    RegDef::new("sdr1", 8),
);

macro_rules! indices {
    ($($(#[$doc:meta])* $name:ident = $index:expr;)*) => { $($(#[$doc])* pub const $name: Reg = Reg($index);)* };
}

indices! {
    /// r0; r1 to r31 follow.
    R0 = 0;
    /// f0; f1 to f31 follow.
    F0 = 32;
    /// Low doubleword of vector-scalar register 0; those of 1 to 31 follow.
    VS0H = 64;
    /// vr0, which is vs32; vr1 to vr31 follow.
    VR0 = 96;
    /// Next instruction address.
    PC = 128;
    /// Machine state register.
    MSR = 129;
    /// Condition register.
    CR = 130;
    /// Link register.
    LR = 131;
    /// Count register.
    CTR = 132;
    /// Fixed-point exception register.
    XER = 133;
    /// Floating-point status and control.
    FPSCR = 134;
    /// Vector status and control.
    VSCR = 135;
    /// Which vector registers are in use, as software says.
    VRSAVE = 136;
    /// SPE accumulator.
    ACC = 137;
    /// SPE status and control.
    SPEFSCR = 138;
    /// r3 at system call entry, of `pt_regs`.
    ORIG_R3 = 139;
    /// Interrupts enabled as software sees it, of `pt_regs`.
    SOFTE = 140;
    /// Interrupt vector, of `pt_regs`.
    TRAP = 141;
    /// Data address register.
    DAR = 142;
    /// Data storage interrupt status.
    DSISR = 143;
    /// Result of a system call, of `pt_regs`.
    RESULT = 144;
    /// Processor version.
    PVR = 145;
    /// Hardware implementation dependent register 0.
    HID0 = 146;
    /// Logical partitioning control.
    LPCR = 147;
    /// Partition table control.
    PTCR = 148;
    /// Process id.
    PIDR = 149;
    /// Process table, where somebody knows it.
    PRTBL = 150;
    /// Root page directory of the kernel, where somebody knows it.
    RADIX_ROOT = 151;
    /// Root page directory of the process, where somebody knows it.
    RADIX_ROOT_USER = 152;
    /// Storage description register 1: where the hashed page table is.
    SDR1 = 153;
    /// Entry 0 of the SLB; the others follow.
    SLB0 = 154;
}

/// Entries of the SLB: of POWER5 to POWER7 64, of others fewer.
pub const SLB_ENTRIES: u16 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_name_what_they_say() {
        let named = [
            (R0, "r0"),
            (F0, "f0"),
            (VS0H, "vs0h"),
            (VR0, "vr0"),
            (PC, "pc"),
            (MSR, "msr"),
            (CR, "cr"),
            (LR, "lr"),
            (CTR, "ctr"),
            (XER, "xer"),
            (FPSCR, "fpscr"),
            (VSCR, "vscr"),
            (VRSAVE, "vrsave"),
            (ACC, "acc"),
            (SPEFSCR, "spefscr"),
            (ORIG_R3, "orig_r3"),
            (SOFTE, "softe"),
            (TRAP, "trap"),
            (DAR, "dar"),
            (DSISR, "dsisr"),
            (RESULT, "result"),
            (PVR, "pvr"),
            (HID0, "hid0"),
            (LPCR, "lpcr"),
            (PTCR, "ptcr"),
            (PIDR, "pidr"),
            (PRTBL, "prtbl"),
            (RADIX_ROOT, "radix_root"),
            (RADIX_ROOT_USER, "radix_root_user"),
            (SDR1, "sdr1"),
            (SLB0, "slb0"),
        ];
        for (reg, name) in named {
            assert_eq!(REGISTERS[usize::from(reg.0)].name, name);
        }
        assert_eq!(REGISTERS.len(), usize::from(SLB0.0 + SLB_ENTRIES));
        assert_eq!(REGISTERS[usize::from(SLB0.0) + 63].name, "slb63");
        let vs63 = &REGISTERS[usize::from(VR0.0) + 31];
        assert_eq!((vs63.name, vs63.aliases), ("vr31", &["vs63"][..]));
    }
}
