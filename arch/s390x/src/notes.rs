//! Notes of s390x vCPUs, in the order in which QEMU writes them.
//!
//! NT_PRSTATUS and NT_FPREGSET: `struct elf_prstatus` and `s390_fp_regs` of Linux on s390 (`s390_regs` at 112: PSW,
//! general and access registers). The others: linux `include/uapi/linux/elf.h`, NT_S390_*; content as the kernel's regsets of
//! these names have it. All as observed in dumps of QEMU 10.0.2 (testdata/captures). A dump that the guest's own kernel
//! wrote has the same layouts.
//!
//! QEMU's TCG keeps the condition code (PSW bits 18 and 19) apart, and the mask in its NT_PRSTATUS may hold an old one.

use guestdump_arch::{LayoutFor, NoteKind, NoteLayout, Row};

use crate::registers::{ACR0, CKC, CPUTM, CR0, F0, FPC, GS_RESERVED, PREFIX, PSWM, R0, TODPR, V0L, V16};

/// NT_PRSTATUS.
pub const PRSTATUS: NoteLayout = NoteLayout::checked(
    336,
    &[Row::pid(32), Row::regs(112, 8, PSWM, 2), Row::regs(128, 8, R0, 16), Row::regs(256, 4, ACR0, 16)],
);
/// NT_FPREGSET: four bytes of padding behind the floating-point control.
pub const FPREGSET: NoteLayout = NoteLayout::checked(136, &[Row::reg(0, 4, FPC), Row::regs(8, 8, F0, 16)]);
/// NT_S390_TIMER.
pub const TIMER: NoteLayout = NoteLayout::checked(8, &[Row::reg(0, 8, CPUTM)]);
/// NT_S390_TODCMP.
pub const TODCMP: NoteLayout = NoteLayout::checked(8, &[Row::reg(0, 8, CKC)]);
/// NT_S390_TODPREG.
pub const TODPREG: NoteLayout = NoteLayout::checked(4, &[Row::reg(0, 4, TODPR)]);
/// NT_S390_CTRS.
pub const CTRS: NoteLayout = NoteLayout::checked(128, &[Row::regs(0, 8, CR0, 16)]);
/// NT_S390_PREFIX.
pub const PREFIX_NOTE: NoteLayout = NoteLayout::checked(4, &[Row::reg(0, 4, PREFIX)]);
/// NT_S390_VXRS_LOW: the right halves of vector registers 0 to 15, whose left halves are in NT_FPREGSET.
pub const VXRS_LOW: NoteLayout = NoteLayout::checked(128, &[Row::regs(0, 8, V0L, 16)]);
/// NT_S390_VXRS_HIGH: vector registers 16 to 31.
pub const VXRS_HIGH: NoteLayout = NoteLayout::checked(256, &[Row::regs(0, 16, V16, 16)]);
/// NT_S390_GS_CB.
pub const GS_CB: NoteLayout = NoteLayout::checked(32, &[Row::regs(0, 8, GS_RESERVED, 4)]);

/// A note that is written if any of its registers is known.
const fn linux(n_type: u32, layout: fn(LayoutFor<'_>) -> Option<NoteLayout>) -> NoteKind {
    NoteKind { name: "LINUX", n_type, group: 0, always: false, layout }
}

/// All notes of a vCPU.
pub static KINDS: &[NoteKind] = &[
    NoteKind { name: "CORE", n_type: 1, group: 0, always: true, layout: |what| of_size(PRSTATUS, what) },
    NoteKind { name: "CORE", n_type: 2, group: 0, always: false, layout: |what| of_size(FPREGSET, what) },
    linux(0x305, |what| of_size(PREFIX_NOTE, what)),
    linux(0x304, |what| of_size(CTRS, what)),
    linux(0x301, |what| of_size(TIMER, what)),
    linux(0x302, |what| of_size(TODCMP, what)),
    linux(0x303, |what| of_size(TODPREG, what)),
    linux(0x309, |what| of_size(VXRS_LOW, what)),
    linux(0x30a, |what| of_size(VXRS_HIGH, what)),
    linux(0x30b, |what| of_size(GS_CB, what)),
];

/// The layout, unless there is a descriptor of another size.
fn of_size(layout: NoteLayout, what: LayoutFor<'_>) -> Option<NoteLayout> {
    match what {
        LayoutFor::Registers(_) => Some(layout),
        LayoutFor::Descriptor(desc, _) => (desc.len() == layout.size()).then_some(layout),
    }
}
