//! The samples for x86: a PC whose low memory ends at 640 KiB, with video RAM above it and the main block from 1 MiB
//! on.
//!
//! Values of registers are those that Linux 6.1 has at these places (Intel SDM volume 3A, 2.5 for control registers;
//! flags of descriptors are bits 8 to 23 of their second word).

use guestdump_arch::paging::form::Level;
use guestdump_core::block::BlockKind;

use super::build::{Fill, IDLE, IMAGE, Piece, STACK_LEN, STACKS, TABLES};
use super::{Demo, Link};

const MAIN: u64 = 1 << 20;
const BLOCKS: &[(u64, u64, BlockKind, &str)] = &[
    (0, 0xa_0000, BlockKind::Ram, "pc.ram (low)"),
    (0xa_0000, 0x2_0000, BlockKind::Device, "vga.vram"),
    (MAIN, 5 << 20, BlockKind::Ram, "pc.ram"),
];
/// Interrupt vectors of the BIOS, and a text screen: light grey on black.
const ELSEWHERE: &[Piece] = &[
    Piece { at: 0, len: 1024, fill: Fill::Repeated(&[0x53, 0xff, 0x00, 0xf0]) },
    Piece { at: 0xb_8000, len: 80 * 25 * 2, fill: Fill::Repeated(b"g\x07u\x07e\x07s\x07t\x07 \x07") },
];
/// `sti; hlt; ret`.
const STI_HLT_RET: &[u8] = &[0xfb, 0xf4, 0xc3];

/// Linux on x86-64.
pub(super) const X86_64: Demo = Demo {
    name: "x86_64",
    summary: "6 MiB, 4-level paging, one vCPU idle in the kernel, one in user mode",
    blocks: BLOCKS,
    main: MAIN,
    elsewhere: ELSEWHERE,
    image_virt: IMAGE_64,
    linear_virt: LINEAR_64,
    linear_page_shift: 21,
    user_virt: USER_64,
    entry,
    empty_entry: 0,
    idle: STI_HLT_RET,
    registers: registers_64,
    vmcoreinfo: vmcoreinfo_64,
};

/// Linux on i386 with PAE.
pub(super) const I386: Demo = Demo {
    name: "i386",
    summary: "6 MiB, PAE paging, one vCPU idle in the kernel, one in user mode",
    image_virt: LINEAR_32 + MAIN + IMAGE,
    linear_virt: LINEAR_32,
    user_virt: USER_32,
    registers: registers_32,
    vmcoreinfo: || "CONFIG_X86_PAE=y\n".to_owned(),
    ..X86_64
};

/// 16 MiB above where a kernel without KASLR is: the image is mapped higher than it lies, so that phys_base is
/// negative.
const IMAGE_64: u64 = UNMOVED_64 + 0x100_0000;
const UNMOVED_64: u64 = 0xffff_ffff_8100_0000;
/// `__START_KERNEL_map`.
const KERNEL_MAP_64: u64 = 0xffff_ffff_8000_0000;
/// `page_offset_base` without KASLR.
const LINEAR_64: u64 = 0xffff_8880_0000_0000;
const USER_64: u64 = 0x40_0000;
/// PAGE_OFFSET.
const LINEAR_32: u64 = 0xc000_0000;
const USER_32: u64 = 0x0804_8000;

/// Intel SDM volume 3A, tables 5-8 to 5-11 (PAE) and 5-15 to 5-20 (4-level).
fn entry(level: &Level, link: Link, at: u64) -> u64 {
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 1 << 1;
    const USER: u64 = 1 << 2;
    const ACCESSED_DIRTY: u64 = 3 << 5;
    const LARGE: u64 = 1 << 7;
    const GLOBAL: u64 = 1 << 8;
    // The four entries of a PAE root have no other bits: they are reserved.
    if level.bits == 2 {
        return at | PRESENT;
    }
    let large = if level.shift > 12 { LARGE } else { 0 };
    let bits = match link {
        Link::Table => WRITABLE | USER | ACCESSED_DIRTY,
        Link::Kernel => WRITABLE | ACCESSED_DIRTY | GLOBAL | large,
        Link::User => WRITABLE | USER | ACCESSED_DIRTY | large,
    };
    at | PRESENT | bits
}

fn vmcoreinfo_64() -> String {
    let phys_base = (MAIN + IMAGE).cast_signed() - (IMAGE_64 - KERNEL_MAP_64).cast_signed();
    [
        format!("NUMBER(phys_base)={phys_base}\n"),
        format!("SYMBOL(init_top_pgt)={:x}\n", IMAGE_64 + TABLES),
        "NUMBER(pgtable_l5_enabled)=0\n".to_owned(),
        format!("KERNELOFFSET={:x}\n", IMAGE_64 - UNMOVED_64),
        "NUMBER(KERNEL_IMAGE_SIZE)=1073741824\nNUMBER(sme_mask)=0\n".to_owned(),
    ]
    .concat()
}

type Values = Vec<(String, u64)>;
/// Name, selector, base, limit, flags.
type Segment = (&'static str, u64, u64, u64, u64);

fn values(values: &[(&str, u64)]) -> Values {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn segments(segments: &[Segment]) -> Values {
    let registers = |&(name, selector, base, limit, flags): &Segment| {
        let suffixed = |suffix: &str, value| (format!("{name}{suffix}"), value);
        [suffixed("", selector), suffixed("_base", base), suffixed("_limit", limit), suffixed("_flags", flags)]
    };
    segments.iter().flat_map(registers).collect()
}

/// Address of the last but one word of a vCPU's stack, in the linear map.
const fn stack(linear: u64, vcpu: u64) -> u64 {
    linear + MAIN + STACKS + (vcpu + 1) * STACK_LEN - 16
}

const ROOT: u64 = MAIN + IMAGE + TABLES;
/// Behind `hlt`.
const IDLE_RETURN: u64 = IDLE + 2;
const DATA: u64 = 0xcf_f300;
const UNUSED: u64 = 0;

/// What both vCPUs have: the kernel's tables and modes.
fn system_64(vcpu: u64) -> Values {
    let gdt = 0xffff_fe00_0000_1000 + vcpu * 0x3_b000;
    values(&[
        ("orig_rax", u64::MAX),
        ("gdt_base", gdt),
        ("gdt_limit", 0x7f),
        ("idt_base", 0xffff_fe00_0000_0000),
        ("idt_limit", 0xfff),
        ("cr0", 0x8005_0033),
        ("cr2", USER_64 + 0x1000),
        ("cr3", ROOT),
        ("cr4", 0x6f0),
        ("efer", 0xd01),
        ("a20", 1),
    ])
}

fn registers_64() -> Vec<Values> {
    let kernel_gs = |vcpu: u64| LINEAR_64 + MAIN + 0x8_0000 + vcpu * 0x1000;
    let idle = values(&[
        ("rax", IMAGE_64 + IDLE),
        ("rbx", 0),
        ("rcx", 0x4000_0000_0000_0000),
        ("rdx", 1),
        ("rsi", 0x83),
        ("rdi", 0x1e0c),
        ("rsp", stack(LINEAR_64, 0)),
        ("rbp", IMAGE_64 + 0x8_0000),
        ("rip", IMAGE_64 + IDLE_RETURN),
        ("eflags", 0x246),
        ("k_gs_base", 0),
    ]);
    let user = values(&[
        ("rax", 0x21),
        ("rbx", 0xb0b0),
        ("rcx", USER_64 + 0x20),
        ("rdx", 0xd0d0),
        ("rsi", USER_64 + 0x2000),
        ("rdi", 1),
        ("rsp", USER_64 + 0x3ff0),
        ("rbp", USER_64 + 0x3ff8),
        ("rip", USER_64 + 0x10),
        ("eflags", 0x202),
        ("k_gs_base", kernel_gs(1)),
    ]);
    let numbered = |vcpu: u64| (8..16).map(move |r| (format!("r{r}"), r * 0x0101_0101_0101_0101 + (vcpu << 63)));
    let kernel_segments = segments(&[
        ("cs", 0x10, 0, 0xffff_ffff, 0xaf_9b00),
        ("ss", 0x18, 0, 0xffff_ffff, 0xcf_9300),
        ("gs", 0, kernel_gs(0), 0xffff_ffff, UNUSED),
    ]);
    let user_segments = segments(&[
        ("cs", 0x33, 0, 0xffff_ffff, 0xaf_fb00),
        ("ss", 0x2b, 0, 0xffff_ffff, DATA),
        ("gs", 0, 0, 0xffff_ffff, UNUSED),
    ]);
    let other_segments = |vcpu: u64| {
        segments(&[
            ("ds", 0, 0, 0xffff_ffff, UNUSED),
            ("es", 0, 0, 0xffff_ffff, UNUSED),
            ("fs", 0, vcpu * (USER_64 + 0x3000), 0xffff_ffff, UNUSED),
            ("ldt", 0, 0, 0xffff_ffff, 0xc0_0000),
            ("tr", 0x40, 0xffff_fe00_0000_3000 + vcpu * 0x3_b000, 0x206f, 0x8b00),
        ])
    };
    let vcpu = |vcpu, own: Values, segments: Values| {
        own.into_iter()
            .chain(numbered(vcpu))
            .chain(segments)
            .chain(other_segments(vcpu))
            .chain(system_64(vcpu))
            .collect()
    };
    vec![vcpu(0, idle, kernel_segments), vcpu(1, user, user_segments)]
}

/// What both vCPUs have: the kernel's tables and modes.
fn system_32(vcpu: u64) -> Values {
    values(&[
        ("orig_eax", 0xffff_ffff),
        ("gdt_base", 0xff40_1000 + vcpu * 0x3_8000),
        ("gdt_limit", 0xff),
        ("idt_base", 0xff40_0000),
        ("idt_limit", 0x7ff),
        ("cr0", 0x8005_0033),
        ("cr2", USER_32 + 0x1000),
        ("cr3", ROOT),
        ("cr4", 0x6f0),
        ("efer", 0x800),
        ("a20", 1),
    ])
}

fn registers_32() -> Vec<Values> {
    let image = LINEAR_32 + MAIN + IMAGE;
    let idle = values(&[
        ("eax", image + IDLE),
        ("ebx", 0),
        ("ecx", 0x4000_0000),
        ("edx", 1),
        ("esi", 0x83),
        ("edi", 0x1e0c),
        ("esp", stack(LINEAR_32, 0)),
        ("ebp", image + 0x8_0000),
        ("eip", image + IDLE_RETURN),
        ("eflags", 0x246),
    ]);
    let user = values(&[
        ("eax", 0x21),
        ("ebx", 0xb0b0),
        ("ecx", USER_32 + 0x20),
        ("edx", 0xd0d0),
        ("esi", USER_32 + 0x2000),
        ("edi", 1),
        ("esp", USER_32 + 0x3ff0),
        ("ebp", USER_32 + 0x3ff8),
        ("eip", USER_32 + 0x10),
        ("eflags", 0x202),
    ]);
    let kernel_segments = segments(&[
        ("cs", 0x60, 0, 0xffff_ffff, 0xcf_9b00),
        ("ss", 0x68, 0, 0xffff_ffff, 0xcf_9300),
        ("fs", 0xd8, 0x3a_0000, 0xffff_ffff, 0x8f_9300),
    ]);
    let user_segments = segments(&[
        ("cs", 0x73, 0, 0xffff_ffff, 0xcf_fb00),
        ("ss", 0x7b, 0, 0xffff_ffff, DATA),
        ("fs", 0, 0, 0, UNUSED),
    ]);
    let other_segments = |vcpu: u64| {
        segments(&[
            ("ds", 0x7b, 0, 0xffff_ffff, DATA),
            ("es", 0x7b, 0, 0xffff_ffff, DATA),
            ("gs", 0x33 * vcpu, vcpu * (USER_32 + 0x3000), 0xffff_ffff * vcpu, vcpu * DATA),
            ("ldt", 0, 0, 0, 0x8200),
            ("tr", 0x80, 0xff40_3000 + vcpu * 0x3_8000, 0x206b, 0x8b00),
        ])
    };
    let vcpu = |vcpu, own: Values, segments: Values| {
        own.into_iter().chain(segments).chain(other_segments(vcpu)).chain(system_32(vcpu)).collect()
    };
    vec![vcpu(0, idle, kernel_segments), vcpu(1, user, user_segments)]
}
