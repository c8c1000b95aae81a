//! Notes of riscv64 vCPUs: NT_PRSTATUS and no other.
//!
//! `struct elf_prstatus` with `struct user_regs_struct` at 112 (linux `arch/riscv/include/uapi/asm/ptrace.h`: pc in the place
//! of x0, then ra to t6), as observed in a dump of QEMU 10.0.2 (testdata/notes). QEMU writes no note with floating-point,
//! vector, or control and status registers: such a dump does not say where the page tables are.

use guestdump_arch::{LayoutFor, NoteKind, NoteLayout, Row};

use crate::registers::{PC, RA};

/// NT_PRSTATUS.
pub const PRSTATUS: NoteLayout =
    NoteLayout::checked(376, &[Row::pid(32), Row::reg(112, 8, PC), Row::regs(120, 8, RA, 31)]);

/// All notes of a vCPU.
pub static KINDS: &[NoteKind] =
    &[NoteKind { name: "CORE", n_type: 1, group: 0, always: true, layout: |what| of_size(PRSTATUS, what) }];

/// The layout, unless there is a descriptor of another size: that of a 32-bit guest has 204 bytes.
fn of_size(layout: NoteLayout, what: LayoutFor<'_>) -> Option<NoteLayout> {
    match what {
        LayoutFor::Registers(_) => Some(layout),
        LayoutFor::Descriptor(desc, _) => (desc.len() == layout.size()).then_some(layout),
    }
}
