//! Notes of x86-64 vCPUs.
//!
//! NT_PRSTATUS: `struct elf_prstatus` of Linux on x86-64 (linux `asm/elf.h`, `user_regs_struct` at 112): 336 bytes.
//! The "QEMU" note as observed in QEMU 10.0.2 (testdata/captures). A vCPU that is not in long mode has the notes of
//! i386, in the same dump.

use guestdump_arch::{LayoutFor, NoteKind, NoteLayout, Registers, Row};
use guestdump_i386::notes::{PRSTATUS as PRSTATUS_32, has_control_registers};
use guestdump_i386::registers::{
    AX, BP, BX, CS, CX, DI, DS, DX, EFER, ES, FLAGS, FS, FS_BASE, GS, GS_BASE, IP, LMA, ORIG_AX, SI, SP, SS,
};

use crate::registers::{K_GS_BASE, R8, r};

/// EFER.LMA.
pub(crate) const EFER_LMA: u64 = 1 << 10;

/// NT_PRSTATUS of a vCPU in long mode.
pub const PRSTATUS: NoteLayout = NoteLayout::implying(
    336,
    &[
        Row::pid(32),
        Row::reg(112, 8, r(15)),
        Row::reg(120, 8, r(14)),
        Row::reg(128, 8, r(13)),
        Row::reg(136, 8, r(12)),
        Row::reg(144, 8, BP),
        Row::reg(152, 8, BX),
        Row::reg(160, 8, r(11)),
        Row::reg(168, 8, r(10)),
        Row::reg(176, 8, r(9)),
        Row::reg(184, 8, r(8)),
        Row::reg(192, 8, AX),
        Row::reg(200, 8, CX),
        Row::reg(208, 8, DX),
        Row::reg(216, 8, SI),
        Row::reg(224, 8, DI),
        Row::reg(232, 8, ORIG_AX),
        Row::reg(240, 8, IP),
        Row::reg(248, 8, CS),
        Row::reg(256, 8, FLAGS),
        Row::reg(264, 8, SP),
        Row::reg(272, 8, SS),
        Row::reg(280, 8, FS_BASE),
        Row::reg(288, 8, GS_BASE),
        Row::reg(296, 8, DS),
        Row::reg(304, 8, ES),
        Row::reg(312, 8, FS),
        Row::reg(320, 8, GS),
    ],
    &[(LMA, 1)],
);

/// The "QEMU" note with all registers. Version 1 had 432 bytes before kernel_gs_base was added; a shorter note is read
/// as far as it goes.
pub const QEMU: NoteLayout =
    NoteLayout::checked(440, guestdump_i386::qemu_rows!(Row::regs(72, 8, R8, 8); Row::reg(432, 8, K_GS_BASE)));

/// All notes of a vCPU.
pub static KINDS: &[NoteKind] = &[
    NoteKind { name: "CORE", n_type: 1, group: 0, always: true, layout: prstatus },
    NoteKind { name: "QEMU", n_type: 0, group: 1, always: false, layout: qemu },
];

/// Whether a vCPU is in long mode, as far as its registers say.
#[must_use]
pub fn long_mode(registers: &Registers) -> Option<bool> {
    let efer = registers.get(EFER).map(|efer| efer & EFER_LMA != 0);
    efer.or_else(|| registers.get(LMA).map(|lma| lma != 0))
}

fn prstatus(what: LayoutFor<'_>) -> Option<NoteLayout> {
    match what {
        LayoutFor::Registers(registers) if long_mode(registers) == Some(false) => Some(PRSTATUS_32),
        LayoutFor::Registers(_) => Some(PRSTATUS),
        LayoutFor::Descriptor(desc, _) => {
            [PRSTATUS, PRSTATUS_32].into_iter().find(|layout| layout.size() == desc.len())
        }
    }
}

fn qemu(what: LayoutFor<'_>) -> Option<NoteLayout> {
    has_control_registers(what).then_some(QEMU)
}
