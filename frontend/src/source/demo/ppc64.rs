//! The sample for ppc64: a little-endian pseries guest, memory from 0 on, video RAM behind a gap.
//!
//! The trees are Linux's with pages of 4 KiB (linux `arch/powerpc/include/asm/book3s/64/radix-4k.h`). Values of registers
//! are those that Linux 6.1 has at these places.

use guestdump_arch::paging::form::Level;
use guestdump_core::block::BlockKind;

use super::build::{Fill, IDLE, IMAGE, Piece, STACK_LEN, STACKS, TABLES, USER_PAGES};
use super::{Demo, Link};

const BLOCKS: &[(u64, u64, BlockKind, &str)] =
    &[(0, 5 << 20, BlockKind::Ram, "ppc_spapr.ram"), (7 << 20, 1 << 20, BlockKind::Device, "vga.vram")];
/// `sc 1`, the hypervisor call that waits; `blr`.
const SC_BLR: &[u8] = &[0x22, 0x00, 0x00, 0x44, 0x20, 0x00, 0x80, 0x4e];
const SC_LEN: u64 = 4;

/// Linux on ppc64.
pub(super) const PPC64: Demo = Demo {
    name: "ppc64",
    summary: "6 MiB, little-endian, radix trees, one vCPU idle in the kernel, one in user mode",
    blocks: BLOCKS,
    main: 0,
    elsewhere: ELSEWHERE,
    image_virt: LINEAR + IMAGE,
    linear_virt: LINEAR,
    linear_page_shift: 21,
    user_virt: USER,
    entry,
    empty_entry: 0,
    idle: SC_BLR,
    registers,
    vmcoreinfo: String::new,
};

/// PAGE_OFFSET.
const LINEAR: u64 = 0xc000_0000_0000_0000;
/// Where ld puts programs.
const USER: u64 = 0x1000_0000;

/// The kernel's root directory, the first table; then that of the process.
const ROOT: u64 = IMAGE + TABLES;
const USER_ROOT: u64 = ROOT + (8 << ROOT_BITS);
const ROOT_BITS: u64 = 13;

/// The process table, of one page, and its entries: RTS for 52 bits, root directory, index bits.
const PROCESS_TABLE: u64 = 0x8000;
const PID: u64 = 1;
const fn process(root: u64) -> [u8; 8] {
    (0x4000_0000_0000_00a0 | root | ROOT_BITS).to_be_bytes()
}
const KERNEL_ENTRY: [u8; 8] = process(ROOT);
const USER_ENTRY: [u8; 8] = process(USER_ROOT);
const ELSEWHERE: &[Piece] = &[
    Piece { at: PROCESS_TABLE, len: 8, fill: Fill::Repeated(&KERNEL_ENTRY) },
    Piece { at: PROCESS_TABLE + 16 * PID, len: 8, fill: Fill::Repeated(&USER_ENTRY) },
    Piece { at: 7 << 20, len: 80 * 25 * 2, fill: Fill::Repeated(b"g\x07u\x07e\x07s\x07t\x07 \x07") },
];

/// Power ISA 3.0B, book III, "Radix Tree Translation": every directory below the root has 512 entries.
fn entry(_level: &Level, link: Link, at: u64) -> u64 {
    const VALID: u64 = 1 << 63;
    const LEAF: u64 = 1 << 62;
    const DIRECTORY_BITS: u64 = 9;
    const REFERENCED_CHANGED: u64 = 0x180;
    const READ_WRITE_EXECUTE: u64 = 7;
    const PRIVILEGED: u64 = 8;
    let page = VALID | LEAF | at | REFERENCED_CHANGED | READ_WRITE_EXECUTE;
    match link {
        Link::Table => VALID | at | DIRECTORY_BITS,
        Link::Kernel => page | PRIVILEGED,
        Link::User => page,
    }
}

type Values = Vec<(String, u64)>;

fn values(values: &[(&str, u64)]) -> Values {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

/// 32 registers, with values that tell each from all others.
fn numbered(stem: &str, end: &str, value: impl Fn(u64) -> u64) -> Values {
    (0..32).map(|n| (format!("{stem}{n}{end}"), value(n))).collect()
}

/// What both vCPUs have.
fn system(vcpu: u64) -> Values {
    let mut all = numbered("f", "", |n| (n + 1) * 0x0101_0101_0101_0101 + (vcpu << 63));
    all.extend(numbered("vs", "h", |n| (n + 1) * 0x0011_0011_0011_0011));
    all.extend(numbered("vr", "", |n| (n + 1) * 0x0303_0303_0303_0303 + (vcpu << 63)));
    all.extend(values(&[
        ("xer", 0x2000_0000),
        ("fpscr", 0),
        ("vscr", 0x1_0000),
        ("vrsave", 0),
        ("acc", 0),
        ("spefscr", 0),
        ("orig_r3", 0),
        ("softe", 1),
        ("trap", 0),
        ("dar", USER + 0x2000),
        ("dsisr", 0x4000_0000),
        ("result", 0),
        ("pvr", 0x4e_1202),
        ("hid0", 0),
        // ILE, AIL 3, UPRT, HR.
        ("lpcr", 0x3d3_f408),
        ("ptcr", 0),
        ("pidr", PID),
        ("prtbl", PROCESS_TABLE),
        ("radix_root", ROOT),
        ("radix_root_user", USER_ROOT),
    ]));
    all
}

fn registers() -> Vec<Values> {
    let image = LINEAR + IMAGE;
    let idle = |n| match n {
        1 => LINEAR + STACKS + STACK_LEN - 256,
        n => n * 0x0101_0101_0101_0101,
    };
    let user = |n| match n {
        1 => USER + USER_PAGES * 0x1000 - 256,
        n => n * 0x1010,
    };
    // SF, VEC, VSX, EE, FP, ME, IR, DR, RI, LE; the second is in problem state (PR).
    let in_kernel = values(&[
        ("pc", image + IDLE + SC_LEN),
        ("msr", 0x8000_0000_0280_b033),
        ("cr", 0x4400_0882),
        ("lr", image + IDLE + 0x100),
        ("ctr", image + IDLE),
    ]);
    let in_user = values(&[
        ("pc", USER + 0x10),
        ("msr", 0x8000_0000_0280_f033),
        ("cr", 0x2200_2800),
        ("lr", USER + 0x20),
        ("ctr", 3),
    ]);
    let vcpu = |id, own: Values, general: Values| own.into_iter().chain(general).chain(system(id)).collect();
    vec![vcpu(0, in_kernel, numbered("r", "", idle)), vcpu(1, in_user, numbered("r", "", user))]
}
