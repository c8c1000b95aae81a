//! Notes of ppc64 vCPUs, in QEMU's order.
//!
//! Layouts: linux `arch/powerpc/include/uapi/asm/{elf,ptrace}.h` (`struct elf_prstatus` with `pt_regs` at 112, 33
//! doublewords of floating point, `elf_vrregset_t`, `elf_vsrreghalf_t32`, `elf_evrreg_t`); sizes and offsets observed
//! in dumps of QEMU 10.0.2 (testdata/captures, tests/notes_*.txt). QEMU names all of them "CORE"; Linux names those
//! beyond floating point "LINUX" when it writes a core itself. Written as QEMU does, read under both names.

use guestdump_arch::{LayoutFor, NoteKind, NoteLayout, Row};

use crate::registers::{
    ACC, CR, CTR, DAR, DSISR, F0, FPSCR, LR, MSR, ORIG_R3, PC, R0, RESULT, SOFTE, SPEFSCR, TRAP, VR0, VRSAVE, VS0H,
    VSCR, XER,
};

/// NT_PRSTATUS: `pt_regs` from 112 on.
pub const PRSTATUS: NoteLayout = NoteLayout::checked(
    504,
    &[
        Row::pid(32),
        Row::regs(112, 8, R0, 32),
        Row::reg(368, 8, PC),
        Row::reg(376, 8, MSR),
        Row::reg(384, 8, ORIG_R3),
        Row::reg(392, 8, CTR),
        Row::reg(400, 8, LR),
        Row::reg(408, 8, XER),
        Row::reg(416, 8, CR),
        Row::reg(424, 8, SOFTE),
        Row::reg(432, 8, TRAP),
        Row::reg(440, 8, DAR),
        Row::reg(448, 8, DSISR),
        Row::reg(456, 8, RESULT),
    ],
);

/// NT_PRFPREG: the floating-point registers are the high halves of vector-scalar registers 0 to 31.
pub const FPREGS: NoteLayout = NoteLayout::checked(264, &[Row::regs(0, 8, F0, 32), Row::reg(256, 8, FPSCR)]);

/// NT_PPC_VMX: VSCR is word 3 of a vector, VRSAVE word 0 of another, in either byte order (linux
/// `arch/powerpc/kernel/ptrace/ptrace-altivec.c`). QEMU leaves VRSAVE 0.
pub const VMX: NoteLayout =
    NoteLayout::checked(544, &[Row::regs(0, 16, VR0, 32), Row::reg(524, 4, VSCR), Row::reg(528, 4, VRSAVE)]);

/// NT_PPC_VSX: the low halves of vector-scalar registers 0 to 31.
pub const VSX: NoteLayout = NoteLayout::checked(256, &[Row::regs(0, 8, VS0H, 32)]);

/// NT_PPC_SPE: no 64-bit processor has the 32 high words before the accumulator, but QEMU writes the note for each.
pub const SPE: NoteLayout = NoteLayout::checked(140, &[Row::reg(128, 8, ACC), Row::reg(136, 4, SPEFSCR)]);

const NT_PRSTATUS: u32 = 1;
const NT_PRFPREG: u32 = 2;
const NT_PPC_VMX: u32 = 0x100;
const NT_PPC_SPE: u32 = 0x101;
const NT_PPC_VSX: u32 = 0x102;

type FindLayout = fn(LayoutFor<'_>) -> Option<NoteLayout>;

/// A note that is written, and read where its name is QEMU's.
const fn core(n_type: u32, layout: FindLayout) -> NoteKind {
    NoteKind { name: "CORE", n_type, group: 0, always: n_type == NT_PRSTATUS, layout }
}

/// The same note under Linux's name: read, never written.
const fn linux(n_type: u32, layout: FindLayout) -> NoteKind {
    NoteKind { name: "LINUX", n_type, group: 0, always: false, layout }
}

/// All notes of a vCPU.
pub static KINDS: &[NoteKind] = &[
    core(NT_PRSTATUS, prstatus),
    core(NT_PRFPREG, |_| Some(FPREGS)),
    core(NT_PPC_VMX, |_| Some(VMX)),
    core(NT_PPC_VSX, |_| Some(VSX)),
    core(NT_PPC_SPE, |_| Some(SPE)),
    linux(NT_PPC_VMX, |what| only_read(what, VMX)),
    linux(NT_PPC_VSX, |what| only_read(what, VSX)),
    linux(NT_PPC_SPE, |what| only_read(what, SPE)),
];

fn prstatus(what: LayoutFor<'_>) -> Option<NoteLayout> {
    match what {
        LayoutFor::Registers(_) => Some(PRSTATUS),
        LayoutFor::Descriptor(desc, _) => (desc.len() == PRSTATUS.size()).then_some(PRSTATUS),
    }
}

fn only_read(what: LayoutFor<'_>, layout: NoteLayout) -> Option<NoteLayout> {
    matches!(what, LayoutFor::Descriptor(..)).then_some(layout)
}
