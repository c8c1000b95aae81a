//! Notes of 32-bit x86 vCPUs.
//!
//! NT_PRSTATUS: `struct elf_prstatus` of Linux on i386 (System V ABI, Intel386 supplement; linux `asm/elf.h`,
//! `user_regs_struct` at 72): 144 bytes. The "QEMU" note: `version` 1, `size` 440; offsets observed in dumps of QEMU
//! 10.0.2 (testdata/captures). Both are written for a vCPU that is not in long mode, whatever the class of the file.

use guestdump_arch::{LayoutFor, NoteKind, NoteLayout, Reg, Row};

use crate::registers::{
    AX, BP, BX, CR0, CR2, CR3, CS, CS_BASE, CS_FLAGS, CS_LIMIT, CX, DI, DS, DX, ES, FLAGS, FS, GDT_BASE, GDT_LIMIT, GS,
    IP, LMA, ORIG_AX, SI, SP, SS,
};

/// NT_PRSTATUS of a vCPU outside of long mode.
pub const PRSTATUS: NoteLayout = NoteLayout::implying(
    144,
    &[
        Row::pid(24),
        Row::regs(72, 4, BX, 3),
        Row::regs(84, 4, SI, 2),
        Row::reg(92, 4, BP),
        Row::reg(96, 4, AX),
        Row::reg(100, 2, DS),
        Row::reg(104, 2, ES),
        Row::reg(108, 2, FS),
        Row::reg(112, 2, GS),
        Row::reg(116, 4, ORIG_AX),
        Row::reg(120, 4, IP),
        Row::reg(124, 2, CS),
        Row::reg(128, 4, FLAGS),
        Row::reg(132, 4, SP),
        Row::reg(136, 2, SS),
    ],
    &[(LMA, 0)],
);

// The rows above take registers in the list's order.
const _: () = assert!(CX.0 == BX.0 + 1 && DX.0 == BX.0 + 2 && DI.0 == SI.0 + 1);

/// Rows of segment `i` of the "QEMU" note (cs ds es fs gs ss ldt tr): selector, limit, flags, padding, base.
#[doc(hidden)]
#[must_use]
pub const fn selector(i: u16) -> Row {
    Row::reg(152 + 24 * i as u32, 4, Reg(CS.0 + i))
}
#[doc(hidden)]
#[must_use]
pub const fn limit(i: u16) -> Row {
    Row::reg(156 + 24 * i as u32, 4, Reg(CS_LIMIT.0 + i))
}
#[doc(hidden)]
#[must_use]
pub const fn flags(i: u16) -> Row {
    Row::reg(160 + 24 * i as u32, 4, Reg(CS_FLAGS.0 + i))
}
#[doc(hidden)]
#[must_use]
pub const fn base(i: u16) -> Row {
    Row::reg(168 + 24 * i as u32, 8, Reg(CS_BASE.0 + i))
}

const _: () = assert!(GDT_BASE.0 == CS_BASE.0 + 8 && GDT_LIMIT.0 == CS_LIMIT.0 + 8);

/// Rows of the "QEMU" note; the given ones stand between rbp and rip (r8 to r15) and at the end (kernel_gs_base).
#[doc(hidden)]
#[macro_export]
macro_rules! qemu_rows {
    ($($middle:expr)?; $($end:expr)?) => {{
        use guestdump_arch::{Reg, Row};
        use $crate::notes::{base, flags, limit, selector};
        use $crate::registers::{AX, CR0, CR2, GDT_BASE, GDT_LIMIT, IP};
        &[
            Row::constant(0, 4, 1),
            Row::constant(4, 4, 440),
            Row::regs(8, 8, AX, 4),
            Row::regs(40, 8, Reg(4), 4),
            $($middle,)?
            Row::regs(136, 8, IP, 2),
            selector(0), limit(0), flags(0), base(0),
            selector(1), limit(1), flags(1), base(1),
            selector(2), limit(2), flags(2), base(2),
            selector(3), limit(3), flags(3), base(3),
            selector(4), limit(4), flags(4), base(4),
            selector(5), limit(5), flags(5), base(5),
            selector(6), limit(6), flags(6), base(6),
            selector(7), limit(7), flags(7), base(7),
            Row::reg(348, 4, GDT_LIMIT),
            Row::reg(360, 8, GDT_BASE),
            Row::reg(372, 4, Reg(GDT_LIMIT.0 + 1)),
            Row::reg(384, 8, Reg(GDT_BASE.0 + 1)),
            Row::reg(392, 8, CR0),
            Row::regs(408, 8, CR2, 3),
            $($end,)?
        ]
    }};
}

/// The "QEMU" note. Registers that a 32-bit vCPU lacks are zero.
pub const QEMU: NoteLayout = NoteLayout::checked(440, qemu_rows!(;));

const _: () = assert!(SP.0 == SI.0 + 2 && BP.0 == SI.0 + 3 && FLAGS.0 == IP.0 + 1 && CR0.0 + 1 == CR2.0);
const _: () = assert!(ES.0 == DS.0 + 1 && FS.0 == ES.0 + 1 && GS.0 == FS.0 + 1 && SS.0 == GS.0 + 1);

/// All notes of a 32-bit vCPU.
pub static KINDS: &[NoteKind] = &[
    NoteKind { name: "CORE", n_type: 1, group: 0, always: true, layout: prstatus },
    NoteKind { name: "QEMU", n_type: 0, group: 1, always: false, layout: qemu },
];

fn prstatus(what: LayoutFor<'_>) -> Option<NoteLayout> {
    match what {
        LayoutFor::Registers(_) => Some(PRSTATUS),
        LayoutFor::Descriptor(desc, _) => (desc.len() == PRSTATUS.size()).then_some(PRSTATUS),
    }
}

/// Readers take the control registers of a "QEMU" note for real, so that there is none without them.
#[must_use]
pub fn has_control_registers(what: LayoutFor<'_>) -> bool {
    match what {
        LayoutFor::Registers(registers) => registers.get(CR0).is_some() && registers.get(CR3).is_some(),
        LayoutFor::Descriptor(..) => true,
    }
}

fn qemu(what: LayoutFor<'_>) -> Option<NoteLayout> {
    has_control_registers(what).then_some(QEMU)
}
