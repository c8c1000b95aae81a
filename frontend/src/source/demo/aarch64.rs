//! The sample for aarch64: memory from 1 GiB on as QEMU's `virt` machine has it, and a RAM-backed PCI BAR below.
//!
//! Image and linear map are at random addresses, as with KASLR, so that `PHYS_OFFSET` is below zero. The vCPUs have SVE, and
//! each a vector length of its own. Values of system registers are those of Debian's Linux 6.1 (Arm ARM, D24.2 for their
//! fields).

use guestdump_arch::paging::form::Level;
use guestdump_core::block::BlockKind;

use super::build::{Fill, IDLE, IMAGE, Piece, STACK_LEN, STACKS, TABLES, USER_PAGES};
use super::{Demo, Link};

const MAIN: u64 = 1 << 30;
const BAR: u64 = 0x1000_0000;
const BLOCKS: &[(u64, u64, BlockKind, &str)] =
    &[(BAR, 1 << 20, BlockKind::Device, "ivshmem"), (MAIN, 6 << 20, BlockKind::Ram, "mach-virt.ram")];
const ELSEWHERE: &[Piece] = &[Piece { at: BAR, len: 256, fill: Fill::Repeated(b"guest ") }];
/// `dsb sy; wfi; ret`, as in `cpu_do_idle`.
const DSB_WFI_RET: &[u8] = &[0x9f, 0x3f, 0x03, 0xd5, 0x7f, 0x20, 0x03, 0xd5, 0xc0, 0x03, 0x5f, 0xd6];
const DSB_WFI_LEN: u64 = 8;

/// Linux on arm64.
pub(super) const AARCH64: Demo = Demo {
    name: "aarch64",
    summary: "7 MiB, 4 KiB pages, 48 bits, one vCPU idle in the kernel, one in user mode",
    blocks: BLOCKS,
    main: MAIN,
    elsewhere: ELSEWHERE,
    image_virt: IMAGE_VIRT,
    linear_virt: LINEAR,
    linear_page_shift: 21,
    user_virt: USER,
    entry,
    empty_entry: 0,
    idle: DSB_WFI_RET,
    registers,
    vmcoreinfo,
};

/// Somewhere in the upper half of the kernel's addresses, above UNMOVED.
const IMAGE_VIRT: u64 = 0xffff_a4e8_b9d0_0000;
/// Where the image of Linux 6.1 is without KASLR (`KIMAGE_VADDR`).
const UNMOVED: u64 = 0xffff_8000_0800_0000;
/// Physical address 0 in the linear map, which starts at `PAGE_OFFSET`.
const LINEAR: u64 = 0xffff_2000_0000_0000;
const PAGE_OFFSET: u64 = 0xffff_0000_0000_0000;
/// Where position-independent programs are.
const USER: u64 = 0xaaaa_c000_0000;
const ROOT: u64 = MAIN + IMAGE + TABLES;

/// Arm ARM, D8.3.1; memory attributes as Linux has them: normal memory, inner shareable.
fn entry(level: &Level, link: Link, at: u64) -> u64 {
    const TABLE_OR_PAGE: u64 = 3;
    const BLOCK: u64 = 1;
    const USER_ACCESS: u64 = 1 << 6;
    const SHAREABLE_ACCESSED: u64 = 7 << 8;
    const NOT_GLOBAL: u64 = 1 << 11;
    const PRIVILEGED_EXECUTE_NEVER: u64 = 1 << 53;
    const EXECUTE_NEVER: u64 = 1 << 54;
    let leaf = if level.shift > 12 { BLOCK } else { TABLE_OR_PAGE } | SHAREABLE_ACCESSED;
    match link {
        Link::Table => at | TABLE_OR_PAGE,
        Link::Kernel => at | leaf | EXECUTE_NEVER,
        Link::User => at | leaf | USER_ACCESS | NOT_GLOBAL | PRIVILEGED_EXECUTE_NEVER,
    }
}

fn vmcoreinfo() -> String {
    [
        "NUMBER(VA_BITS)=48\n".to_owned(),
        format!("NUMBER(kimage_voffset)={:#x}\n", IMAGE_VIRT - (MAIN + IMAGE)),
        format!("NUMBER(PHYS_OFFSET)={:#x}\n", PAGE_OFFSET.wrapping_sub(LINEAR)),
        "NUMBER(TCR_EL1_T1SZ)=0x10\n".to_owned(),
        format!("KERNELOFFSET={:x}\n", IMAGE_VIRT - UNMOVED),
        "NUMBER(KERNELPACMASK)=0x0\n".to_owned(),
    ]
    .concat()
}

type Values = Vec<(String, u64)>;

fn values(values: &[(&str, u64)]) -> Values {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

/// `stem0` and on, with values that tell each from all others.
fn numbered(stem: &str, count: u64, value: impl Fn(u64) -> u64) -> Values {
    (0..count).map(|n| (format!("{stem}{n}"), value(n))).collect()
}

/// Vector registers: of Z registers only what V registers have too is not zero.
fn vectors(vcpu: u64) -> Values {
    let vl = 16 << vcpu;
    let vector = |n| (n + 1) * 0x0101_0101_0101_0101 + (vcpu << 63);
    let mut all = numbered("v", 32, vector);
    all.extend(numbered("z", 32, vector));
    all.extend(numbered("p", 16, |n| 0x1111 >> (n % 4)));
    all.extend(values(&[("ffr", 0xffff), ("fpsr", 0), ("fpcr", 0), ("vl", vl), ("vl_max", 64), ("vg", vl / 8)]));
    all
}

/// What both vCPUs have: the kernel's tables and modes. There is no EL2.
fn system(vcpu: u64) -> Values {
    values(&[
        ("pauth_dmask", 0x007f_0000_0000_0000),
        ("pauth_cmask", 0x007f_0000_0000_0000),
        ("tpidr", vcpu * (USER + 0x3000)),
        ("tpidr2", 0),
        ("sctlr_el1", 0x0200_0000_34f4_d91d),
        ("tcr_el1", 0x0050_0074_b550_3510),
        ("ttbr0_el1", ROOT),
        ("ttbr1_el1", ROOT | 0x8a << 48),
        ("mair_el1", 0x0004_0044_ffff),
        ("id_aa64mmfr0_el1", 0x1124),
        ("hcr_el2", 0),
        ("sctlr_el2", 0),
        ("tcr_el2", 0),
        ("ttbr0_el2", 0),
        ("ttbr1_el2", 0),
    ])
}

fn registers() -> Vec<Values> {
    let stack = LINEAR + MAIN + STACKS + STACK_LEN - 16;
    let idle = |n| match n {
        29 => stack,
        30 => IMAGE_VIRT + IDLE + 0x100,
        n => n * 0x0101_0101_0101_0101,
    };
    let user = |n| match n {
        29 => USER + USER_PAGES * 0x1000 - 16,
        30 => USER + 0x20,
        n => n * 0x1010,
    };
    // EL1h with interrupts masked, behind the instruction; EL0t.
    let in_kernel = values(&[("sp", stack), ("pc", IMAGE_VIRT + IDLE + DSB_WFI_LEN), ("cpsr", 0x6000_00c5)]);
    let in_user = values(&[("sp", USER + USER_PAGES * 0x1000 - 16), ("pc", USER + 0x10), ("cpsr", 0x6000_1000)]);
    let vcpu = |id, state: Values, general: Values| {
        general.into_iter().chain(state).chain(vectors(id)).chain(system(id)).collect()
    };
    vec![vcpu(0, in_kernel, numbered("x", 31, idle)), vcpu(1, in_user, numbered("x", 31, user))]
}
