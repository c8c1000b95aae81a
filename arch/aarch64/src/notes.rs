//! Notes of AArch64 vCPUs.
//!
//! NT_PRSTATUS and NT_PRFPREG: `struct elf_prstatus` with `struct user_pt_regs` at 112, and `struct user_fpsimd_state`
//! (linux `arch/arm64/include/uapi/asm/ptrace.h`). The others are named "LINUX": NT_ARM_TLS, NT_ARM_SVE (`struct
//! user_sve_header` and the `SVE_PT_SVE_*` offsets of the same header; linux `Documentation/arch/arm64/sve.rst`, "NT_ARM_SVE")
//! and NT_ARM_PAC_MASK (`struct user_pac_mask`). QEMU 10.0.2 writes the first two and NT_ARM_SVE
//! (testdata/captures); the others are written when their registers are known.
//!
//! V registers are the low halves of Z registers. NT_PRFPREG has the V registers, or, where a source knows only Z
//! registers, the low 16 bytes of those. NT_ARM_SVE needs Z registers: what is above V cannot be made up.

use guestdump_arch::{Endian, LayoutFor, NoteKind, NoteLayout, Reg, Registers, Row};

use crate::registers::{FPSR, P0, PAUTH_DMASK, TPIDR, TPIDR2, V0, VG, VL, VL_LARGEST, VL_MAX, X0, Z0};

/// NT_PRSTATUS. A vCPU in AArch32 state has its registers in the AArch64 view (Arm ARM D1, "Mapping of the
/// general-purpose registers between the Execution states").
pub const PRSTATUS: NoteLayout = NoteLayout::checked(
    392,
    &[
        Row::pid(32),
        // x0 to x30, sp, pc, pstate: the list's order is that of `struct user_pt_regs`.
        Row::regs(112, 8, X0, 34),
        // pr_fpvalid: QEMU says 1 of every vCPU.
        Row::constant(384, 4, 1),
    ],
);

/// NT_PRFPREG whose 32 vector registers are the low 16 bytes of those from `first` on.
const fn prfpreg(first: Reg) -> [Row; 2] {
    [Row::regs(0, 16, first, 32), Row::regs(512, 4, FPSR, 2)]
}

/// NT_PRFPREG from V registers.
pub const PRFPREG: NoteLayout = NoteLayout::checked(528, &prfpreg(V0));
/// NT_PRFPREG from Z registers.
pub const PRFPREG_FROM_Z: NoteLayout = NoteLayout::checked(528, &prfpreg(Z0));

/// NT_ARM_TLS of a CPU without SME.
pub const TLS: NoteLayout = NoteLayout::checked(8, &[Row::reg(0, 8, TPIDR)]);
/// NT_ARM_TLS with TPIDR2_EL0, of a CPU with SME.
pub const TLS_WITH_TPIDR2: NoteLayout = NoteLayout::checked(16, &[Row::regs(0, 8, TPIDR, 2)]);

/// NT_ARM_PAC_MASK: `data_mask`, `insn_mask`.
pub const PAC_MASK: NoteLayout = NoteLayout::checked(16, &[Row::regs(0, 8, PAUTH_DMASK, 2)]);

/// All notes of a vCPU, in the order of the kernel's own core dumps.
pub static KINDS: &[NoteKind] = &[
    NoteKind { name: "CORE", n_type: 1, group: 0, always: true, layout: |what| sized(what, &PRSTATUS) },
    NoteKind { name: "CORE", n_type: 2, group: 0, always: false, layout: fp },
    NoteKind { name: "LINUX", n_type: 0x401, group: 0, always: false, layout: tls },
    NoteKind { name: "LINUX", n_type: 0x405, group: 0, always: false, layout: sve },
    NoteKind { name: "LINUX", n_type: 0x406, group: 0, always: false, layout: |what| sized(what, &PAC_MASK) },
];

/// The layout, unless a descriptor has another size.
fn sized(what: LayoutFor<'_>, layout: &NoteLayout) -> Option<NoteLayout> {
    match what {
        LayoutFor::Descriptor(desc, _) if desc.len() != layout.size() => None,
        LayoutFor::Descriptor(..) | LayoutFor::Registers(_) => Some(layout.clone()),
    }
}

/// Whether any of `count` registers is known.
fn any_known(registers: &Registers, first: Reg, count: u16) -> bool {
    (first.0..first.0.saturating_add(count)).any(|reg| registers.bytes(Reg(reg)).is_some())
}

fn fp(what: LayoutFor<'_>) -> Option<NoteLayout> {
    match what {
        LayoutFor::Registers(registers) if !any_known(registers, V0, 32) && any_known(registers, Z0, 32) => {
            Some(PRFPREG_FROM_Z)
        }
        what => sized(what, &PRFPREG),
    }
}

fn tls(what: LayoutFor<'_>) -> Option<NoteLayout> {
    match what {
        LayoutFor::Registers(registers) if registers.bytes(TPIDR2).is_none() => Some(TLS),
        LayoutFor::Registers(_) => Some(TLS_WITH_TPIDR2),
        LayoutFor::Descriptor(desc, _) => [TLS, TLS_WITH_TPIDR2].into_iter().find(|tls| tls.size() == desc.len()),
    }
}

/// A vector length in bytes that SVE can have: a multiple of 16, up to 256.
fn vector_length(bytes: u64) -> Option<u16> {
    let bytes = u16::try_from(bytes).ok()?;
    (bytes > 0 && bytes <= VL_LARGEST && bytes.is_multiple_of(16)).then_some(bytes)
}

/// NT_ARM_SVE: of each vCPU with its own vector length, which is not that of another.
fn sve(what: LayoutFor<'_>) -> Option<NoteLayout> {
    match what {
        LayoutFor::Registers(registers) => {
            let in_units = || registers.get(VG).and_then(|vg| vg.checked_mul(8));
            let vl = registers.get(VL).or_else(in_units).and_then(vector_length)?;
            let longest = registers.get(VL_MAX).and_then(vector_length).filter(|longest| *longest >= vl);
            any_known(registers, Z0, 32).then(|| sve_layout(vl, longest.unwrap_or(vl), false)).flatten()
        }
        LayoutFor::Descriptor(desc, endian) => {
            let field = |at: usize, len: usize| desc.get(at..at.checked_add(len)?).map(|bytes| endian.get(bytes));
            let vl = vector_length(field(8, 2)?)?;
            let longest = vector_length(field(10, 2)?).filter(|longest| *longest >= vl)?;
            // Without SVE_PT_REGS_SVE the payload is another: `struct user_fpsimd_state`.
            let holds_sve = field(12, 2)? & 1 != 0;
            sve_layout(vl, longest, true).filter(|sve| holds_sve && sve.size() == desc.len())
        }
    }
}

/// `SVE_PT_SVE_FPSR_OFFSET` and `SVE_PT_SIZE` for a vector length in bytes.
fn sve_ends(vl: u32) -> (u32, u32) {
    let registers = 32 * vl + 17 * (vl / 8);
    let fpsr = (SVE_REGISTERS + registers).next_multiple_of(16);
    (fpsr, (fpsr + 8).next_multiple_of(16))
}

/// `SVE_PT_REGS_OFFSET`: the header is 16 bytes.
const SVE_REGISTERS: u32 = 16;

/// The header in the dump's byte order; Z, P and FFR lowest byte first whatever that is, as SVE's own STR stores them (Arm
/// ARM C8, "STR (vector)", "STR (predicate)"); fpsr and fpcr in the dump's again.
///
/// Read from a descriptor, the lengths are registers. For one that is to be written they are what was settled on: a
/// source may know only one of them, or know it as vg.
fn sve_layout(vl: u16, longest: u16, to_read: bool) -> Option<NoteLayout> {
    let ((fpsr, size), (_, max_size)) = (sve_ends(vl.into()), sve_ends(longest.into()));
    let length = |at, reg, value: u16| {
        if to_read { Row::reg(at, 2, reg) } else { Row::constant(at, 2, value.into()) }
    };
    let predicates = SVE_REGISTERS + 32 * u32::from(vl);
    let rows = vec![
        Row::constant(0, 4, size.into()),
        Row::constant(4, 4, max_size.into()),
        length(8, VL, vl),
        length(10, VL_MAX, longest),
        Row::constant(12, 2, 1),
        Row::regs(SVE_REGISTERS, vl, Z0, 32).in_order(Endian::Little),
        Row::regs(predicates, vl / 8, P0, 17).in_order(Endian::Little),
        Row::regs(fpsr, 4, FPSR, 2),
    ];
    NoteLayout::computed(usize::try_from(size).ok()?, rows)
}
