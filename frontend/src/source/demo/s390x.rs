//! The sample for s390x: memory from 0 on, and a shared segment (DCSS) behind a gap.
//!
//! The layout is that of Linux 6.10 and later, where image and linear map are apart from what they map. Values of
//! registers are those that such a kernel has at these places (z/Architecture Principles of Operation, chapters 3 and 4).

use guestdump_arch::paging::form::Level;
use guestdump_core::block::BlockKind;

use super::build::{Fill, IDLE, IMAGE, NOTE, Piece, STACK_LEN, STACKS, TABLES, USER_PAGES};
use super::{Demo, Link};

const BLOCKS: &[(u64, u64, BlockKind, &str)] =
    &[(0, 5 << 20, BlockKind::Ram, "s390.ram"), (6 << 20, 1 << 20, BlockKind::Device, "dcss")];
/// Low storage says where the note is: linux `arch/s390/include/asm/lowcore.h`, `vmcore_info`.
const LOWCORE: &[Piece] = &[Piece { at: 0xe0c, len: 8, fill: Fill::Repeated(&NOTE.to_be_bytes()) }];
/// `lpswe 160(%r15)`: an enabled wait PSW is there; `br %r14`.
const LPSWE_BR: &[u8] = &[0xb2, 0xb2, 0xf0, 0xa0, 0x07, 0xfe];
const LPSWE_LEN: u64 = 4;

/// Linux on s390x.
pub(super) const S390X: Demo = Demo {
    name: "s390x",
    summary: "6 MiB, region-third table, one vCPU idle in the kernel, one in user mode",
    blocks: BLOCKS,
    main: 0,
    elsewhere: LOWCORE,
    image_virt: IMAGE_VIRT,
    linear_virt: LINEAR,
    linear_page_shift: 20,
    user_virt: USER,
    entry,
    empty_entry: INVALID_REGION_OR_SEGMENT | INVALID_PAGE,
    idle: LPSWE_BR,
    registers,
    vmcoreinfo,
};

/// `CONFIG_KERNEL_IMAGE_BASE` of a 3-level kernel; the image's own first address is TEXT_OFFSET, 1 MiB.
const KERNEL_OFFSET: u64 = 0x3ff_e000_0000;
const IMAGE_VIRT: u64 = KERNEL_OFFSET + IMAGE;
/// `__identity_base`, as a kernel with a random one may have it.
const LINEAR: u64 = 0x40_0000_0000;
/// Where ld puts programs.
const USER: u64 = 0x100_0000;
/// The image, and so its first table, is at the same offset in memory.
const ROOT: u64 = IMAGE + TABLES;

/// Bit 58 of region-table and segment-table entries, bit 53 of page-table entries.
const INVALID_REGION_OR_SEGMENT: u64 = 0x20;
const INVALID_PAGE: u64 = 0x400;

/// Principles of Operation, chapter 3, "Region-Table Entries" to "Page-Table Entries".
fn entry(level: &Level, link: Link, at: u64) -> u64 {
    const REGION_THIRD: u64 = 1 << 2;
    const WHOLE_TABLE: u64 = 3;
    const FORMAT: u64 = 0x400;
    match (level.shift, link) {
        (31, _) => at | REGION_THIRD | WHOLE_TABLE,
        (20, Link::Kernel | Link::User) => at | FORMAT,
        _ => at,
    }
}

fn vmcoreinfo() -> String {
    format!("SAMODE31=0\nEAMODE31=0\nIDENTITYBASE={LINEAR:x}\nKERNELOFFSET={KERNEL_OFFSET:x}\nKERNELOFFPHYS=0\n")
}

type Values = Vec<(String, u64)>;

fn values(values: &[(&str, u64)]) -> Values {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

/// `stem0` to `stem15`, or another range, with values that tell each from all others.
fn numbered(stem: &str, numbers: core::ops::Range<u64>, end: &str, value: impl Fn(u64) -> u64) -> Values {
    numbers.map(|n| (format!("{stem}{n}{end}"), value(n))).collect()
}

/// Designation type 1 (region-third table), length 3.
const ASCE: u64 = ROOT | 1 << 2 | 3;
/// Both vCPUs have low storage at absolute 0: a real kernel gives each a prefix of its own, and one of them no less.
const PREFIX: u64 = 0;

/// Control registers: enhanced DAT is bit 40 of the first.
fn control() -> Values {
    let of = |n| match n {
        0 => 0x1494_6a10,
        1 | 7 | 13 => ASCE,
        4 => 0xffff,
        6 => 0x3000_0000,
        8 => 0x8000,
        14 => 0xdb00_0000,
        _ => 0,
    };
    numbered("cr", 0..16, "", of)
}

/// What both vCPUs have.
fn system(vcpu: u64) -> Values {
    let mut all = control();
    all.extend(numbered("acr", 0..16, "", |n| if n < 2 { 0x3ff * vcpu * n } else { 0 }));
    all.extend(numbered("f", 0..16, "", |n| (n + 1) * 0x0101_0101_0101_0101 + (vcpu << 63)));
    all.extend(numbered("v", 0..16, "l", |n| (n + 1) * 0x0011_0011_0011_0011));
    all.extend(numbered("v", 16..32, "", |n| n * 0x0101_0101_0101_0101));
    all.extend(values(&[
        ("fpc", 0),
        ("gs_reserved", 0),
        ("gsd", 0),
        ("gssm", 0),
        ("gsepla", 0),
        ("prefix", PREFIX),
        ("cputm", 0x1f40_0000_6811_cba2),
        ("ckc", 0xe39f_374c_5c50_5747 + vcpu),
        ("todpr", vcpu),
    ]));
    all
}

fn registers() -> Vec<Values> {
    let stack = LINEAR + STACKS + STACK_LEN - 256;
    let idle = |n| match n {
        14 => IMAGE_VIRT + IDLE + 0x100,
        15 => stack,
        n => n * 0x0101_0101_0101_0101,
    };
    let user = |n| match n {
        14 => USER + 0x20,
        15 => USER + USER_PAGES * 0x1000 - 160,
        n => n * 0x1010,
    };
    // Wait state in home space behind the instruction; problem state in primary space.
    let idle_psw = values(&[("pswm", 0x0706_c001_8000_0000), ("pswa", IMAGE_VIRT + IDLE + LPSWE_LEN)]);
    let user_psw = values(&[("pswm", 0x0705_0001_8000_0000), ("pswa", USER + 0x10)]);
    let vcpu = |id, psw: Values, general: Values| psw.into_iter().chain(general).chain(system(id)).collect();
    vec![vcpu(0, idle_psw, numbered("r", 0..16, "", idle)), vcpu(1, user_psw, numbered("r", 0..16, "", user))]
}
