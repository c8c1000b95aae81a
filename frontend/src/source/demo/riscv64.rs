//! The sample for riscv64: memory from 2 GiB on as QEMU's `virt` machine has it, and a RAM-backed PCI BAR below.
//!
//! The layout is that of Linux 6.4 and later without KASLR: image and linear map are apart. Values of registers are those that such a
//! kernel has at these places (The RISC-V Instruction Set Manual, Volume II: 3.1.6 mstatus, 4.1.11 satp, 4.4 Sv39).

use guestdump_arch::paging::form::Level;
use guestdump_core::block::BlockKind;

use super::build::{Fill, IDLE, IMAGE, Piece, STACK_LEN, STACKS, TABLES, USER_PAGES};
use super::{Demo, Link};

const MAIN: u64 = 2 << 30;
const BAR: u64 = 1 << 30;
const BLOCKS: &[(u64, u64, BlockKind, &str)] =
    &[(BAR, 1 << 20, BlockKind::Device, "ivshmem"), (MAIN, 6 << 20, BlockKind::Ram, "riscv_virt_board.ram")];
const ELSEWHERE: &[Piece] = &[Piece { at: BAR, len: 256, fill: Fill::Repeated(b"guest ") }];
/// `wfi; ret`, as in `wait_for_interrupt`.
const WFI_RET: &[u8] = &[0x73, 0x00, 0x50, 0x10, 0x67, 0x80, 0x00, 0x00];
const WFI_LEN: u64 = 4;

/// Linux on riscv64.
pub(super) const RISCV64: Demo = Demo {
    name: "riscv64",
    summary: "7 MiB, Sv39, one vCPU idle in the kernel, one in user mode",
    blocks: BLOCKS,
    main: MAIN,
    elsewhere: ELSEWHERE,
    image_virt: KERNEL_LINK_ADDR,
    linear_virt: PAGE_OFFSET - MAIN,
    linear_page_shift: 21,
    user_virt: USER,
    entry,
    empty_entry: 0,
    idle: WFI_RET,
    registers,
    vmcoreinfo,
};

/// The last 2 GiB of addresses; modules end where they start.
const KERNEL_LINK_ADDR: u64 = 0xffff_ffff_8000_0000;
/// `PAGE_OFFSET_L3`, where the linear map has the first byte of RAM.
const PAGE_OFFSET: u64 = 0xffff_ffd6_0000_0000;
/// Where ld puts programs.
const USER: u64 = 0x1_0000;
const ROOT: u64 = MAIN + IMAGE + TABLES;

/// 4.3.1: the page number is in bits 53:10. Bits are V, R, W, X, U, G, A, D from 0 on.
fn entry(_level: &Level, link: Link, at: u64) -> u64 {
    const VALID: u64 = 1;
    const KERNEL: u64 = 0xef;
    const USER: u64 = 0xdf;
    let bits = match link {
        Link::Table => VALID,
        Link::Kernel => KERNEL,
        Link::User => USER,
    };
    at >> 2 | bits
}

fn vmcoreinfo() -> String {
    [
        "NUMBER(VA_BITS)=39\n".to_owned(),
        format!("NUMBER(phys_ram_base)={MAIN}\n"),
        format!("NUMBER(PAGE_OFFSET)={PAGE_OFFSET:#x}\n"),
        format!("NUMBER(MODULES_END)={KERNEL_LINK_ADDR:#x}\n"),
        format!("NUMBER(KERNEL_LINK_ADDR)={KERNEL_LINK_ADDR:#x}\n"),
        format!("NUMBER(va_kernel_pa_offset)={:#x}\n", KERNEL_LINK_ADDR - (MAIN + IMAGE)),
    ]
    .concat()
}

type Values = Vec<(String, u64)>;

fn values(values: &[(&str, u64)]) -> Values {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

/// x0 to x31, with values that tell each from all others, but for the stack pointer and the return address.
fn general(ra: u64, sp: u64, other: impl Fn(u64) -> u64) -> Values {
    let of = |n| match n {
        0 => 0,
        1 => ra,
        2 => sp,
        n => other(n),
    };
    (0..32).map(|n| (format!("x{n}"), of(n))).collect()
}

fn registers() -> Vec<Values> {
    const SV39: u64 = 8 << 60;
    /// SXL and UXL: 64 bits.
    const WIDE: u64 = 0xa_0000_0000;
    const SPIE_SIE: u64 = 0x22;
    let satp = SV39 | ROOT >> 12;
    let stack = PAGE_OFFSET + STACKS + STACK_LEN - 16;
    let idle = general(KERNEL_LINK_ADDR + IDLE + 0x100, stack, |n| n * 0x0101_0101_0101_0101);
    let user = general(USER + 0x20, USER + USER_PAGES * 0x1000 - 16, |n| n * 0x1010);
    // Supervisor mode, behind the instruction; user mode.
    let in_kernel = [("pc", KERNEL_LINK_ADDR + IDLE + WFI_LEN), ("priv", 1), ("mstatus", WIDE), ("satp", satp)];
    let in_user = [("pc", USER + 0x10), ("priv", 0), ("mstatus", WIDE | SPIE_SIE), ("satp", satp)];
    vec![[idle, values(&in_kernel)].concat(), [user, values(&in_user)].concat()]
}
