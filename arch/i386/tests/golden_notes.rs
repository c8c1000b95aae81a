//! Notes of i386 as QEMU wrote them, and with every field in its place.

mod common;

use common::notes::{literal, say_what_the_monitor_said, show, spelled};
use common::oracle;
use guestdump_arch::conformance::judges::{PYTHON, read, runs};
use guestdump_arch::conformance::{NoteFixture, golden_notes};
use guestdump_arch::{Arch, Class, Endian, GuestFacts, LayoutFor, PhysAddr, PhysRange};
use guestdump_i386::ARCH;

const CAPTURES: [&str; 3] = ["i386", "i386-pae", "i386-pae-5g"];

#[test]
fn fixtures_are_what_the_captures_give() {
    if runs(PYTHON, &["-c", "import json"]) {
        assert!(oracle::script("notes/from_capture.py", &["--check"]));
    }
}

#[test]
fn notes_of_qemu_survive_decoding_and_encoding() {
    for name in CAPTURES {
        golden_notes(&ARCH, &NoteFixture::parse(&read(&format!("notes/{name}.txt"))));
    }
}

#[test]
fn notes_say_what_the_monitor_said() {
    for name in CAPTURES {
        say_what_the_monitor_said(&ARCH, name);
    }
}

/// Offsets of NT_PRSTATUS for i386: `pr_pid` at 24, `pr_reg` from 72 (struct elf_prstatus, user_regs_struct).
const PRSTATUS: &[(usize, &[u8])] = &[
    (24, &[7, 0, 0, 0]),
    (72, b"ebx."),
    (76, b"ecx."),
    (80, b"edx."),
    (84, b"esi."),
    (88, b"edi."),
    (92, b"ebp."),
    (96, b"eax."),
    (100, b"ds"),
    (104, b"es"),
    (108, b"fs"),
    (112, b"gs"),
    (116, b"oeax"),
    (120, b"eip."),
    (124, b"cs"),
    (128, b"efl."),
    (132, b"esp."),
    (136, b"ss"),
];

/// Offsets of the "QEMU" note: eight bytes for each general register from 8 on, segments of 24 bytes from 152 on
/// (selector, limit, flags, four of padding, base), control registers from 392 on.
const QEMU: &[(usize, &[u8])] = &[
    (0, &[1, 0, 0, 0]),
    (4, &[0xb8, 1, 0, 0]),
    (8, b"eax."),
    (16, b"ebx."),
    (24, b"ecx."),
    (32, b"edx."),
    (40, b"esi."),
    (48, b"edi."),
    (56, b"esp."),
    (64, b"ebp."),
    (136, b"eip."),
    (144, b"efl."),
    (152, b"cs..csL.csF."),
    (168, b"csB."),
    (176, b"ds..dsL.dsF."),
    (192, b"dsB."),
    (200, b"es..esL.esF."),
    (216, b"esB."),
    (224, b"fs..fsL.fsF."),
    (240, b"fsB."),
    (248, b"gs..gsL.gsF."),
    (264, b"gsB."),
    (272, b"ss..ssL.ssF."),
    (288, b"ssB."),
    (296, b"ldt.ldtLldtF"),
    (312, b"ldtB"),
    (320, b"tr..trL.trF."),
    (336, b"trB."),
    (348, b"gdtL"),
    (360, b"gdtB"),
    (372, b"idtL"),
    (384, b"idtB"),
    (392, b"cr0."),
    (408, b"cr2."),
    (416, b"cr3."),
    (424, b"cr4."),
];

#[test]
fn every_field_holds_its_own_name() {
    let facts = GuestFacts { vcpus: &[], ram: &[], endian: None, machine_page_size: None, kernel: None };
    let info = ARCH.dump_info(&facts).unwrap();
    let kinds = ARCH.notes(&info);
    let named: Vec<_> = kinds.iter().map(|kind| (kind.name, kind.n_type, kind.group)).collect();
    assert_eq!(named, [("CORE", 1, 0), ("QEMU", 0, 1)]);
    let registers = spelled(&ARCH);
    for (kind, expected) in kinds.iter().zip([literal(144, PRSTATUS), literal(440, QEMU)]) {
        let desc = kind.encode(6, &registers, info.endian).unwrap();
        assert_eq!(show(&desc), show(&expected), "{}", kind.name);
    }
}

#[test]
fn a_prstatus_of_another_size_is_none_of_ours() {
    let facts = GuestFacts { vcpus: &[], ram: &[], endian: None, machine_page_size: None, kernel: None };
    let prstatus = &ARCH.notes(&ARCH.dump_info(&facts).unwrap())[0];
    for size in [0, 143, 145, 336] {
        assert!((prstatus.layout)(LayoutFor::Descriptor(&vec![0; size], Endian::Little)).is_none(), "{size}");
    }
}

#[test]
fn the_class_follows_the_end_of_memory() {
    for (end, class) in [(1_u64 << 29, Class::Elf32), (1 << 32, Class::Elf32), ((1 << 32) + 1, Class::Elf64)] {
        let ram = [PhysRange::new(PhysAddr(0), end).unwrap()];
        let facts = GuestFacts { vcpus: &[], ram: &ram, endian: None, machine_page_size: None, kernel: None };
        let info = ARCH.dump_info(&facts).unwrap();
        assert_eq!((info.machine, info.class, info.page_size), (3, class, 4096));
    }
}
