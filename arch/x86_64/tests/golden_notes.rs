//! Notes of x86-64 as QEMU wrote them, with every field in its place, and those of vCPUs that are not in long mode.
#![allow(clippy::unwrap_used, reason = "code of tests")]

#[path = "../../i386/tests/common/mod.rs"]
mod common;

use common::notes::{decode, literal, say_what_the_monitor_said, show, spelled};
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::{NoteFixture, golden_notes, note_stream};
use guestdump_arch::{Arch, Class, DumpInfo, Endian, GuestFacts, LayoutFor, Registers, Vcpu};
use guestdump_x86_64::ARCH;

/// The last three are vCPUs outside of long mode: i386-pae-5g ran in qemu-system-x86_64.
const CAPTURES: [&str; 5] = ["x86_64", "x86_64-4level", "i386", "i386-pae", "i386-pae-5g"];

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

/// Offsets of NT_PRSTATUS for x86-64: `pr_pid` at 32, `pr_reg` from 112 (struct elf_prstatus, user_regs_struct).
const PRSTATUS: &[(usize, &[u8])] = &[
    (32, &[7, 0, 0, 0]),
    (112, b"r15....."),
    (120, b"r14....."),
    (128, b"r13....."),
    (136, b"r12....."),
    (144, b"rbp....."),
    (152, b"rbx....."),
    (160, b"r11....."),
    (168, b"r10....."),
    (176, b"r9......"),
    (184, b"r8......"),
    (192, b"rax....."),
    (200, b"rcx....."),
    (208, b"rdx....."),
    (216, b"rsi....."),
    (224, b"rdi....."),
    (232, b"orax...."),
    (240, b"rip....."),
    (248, b"cs.."),
    (256, b"efl....."),
    (264, b"rsp....."),
    (272, b"ss.."),
    (280, b"fsB....."),
    (288, b"gsB....."),
    (296, b"ds.."),
    (304, b"es.."),
    (312, b"fs.."),
    (320, b"gs.."),
];

/// Offsets of the "QEMU" note: eight bytes for each general register from 8 on, segments of 24 bytes from 152 on
/// (selector, limit, flags, four of padding, base), control registers from 392 on, kernel_gs_base.
const QEMU: &[(usize, &[u8])] = &[
    (0, &[1, 0, 0, 0]),
    (4, &[0xb8, 1, 0, 0]),
    (8, b"rax....."),
    (16, b"rbx....."),
    (24, b"rcx....."),
    (32, b"rdx....."),
    (40, b"rsi....."),
    (48, b"rdi....."),
    (56, b"rsp....."),
    (64, b"rbp....."),
    (72, b"r8......"),
    (80, b"r9......"),
    (88, b"r10....."),
    (96, b"r11....."),
    (104, b"r12....."),
    (112, b"r13....."),
    (120, b"r14....."),
    (128, b"r15....."),
    (136, b"rip....."),
    (144, b"efl....."),
    (152, b"cs..csL.csF."),
    (168, b"csB....."),
    (176, b"ds..dsL.dsF."),
    (192, b"dsB....."),
    (200, b"es..esL.esF."),
    (216, b"esB....."),
    (224, b"fs..fsL.fsF."),
    (240, b"fsB....."),
    (248, b"gs..gsL.gsF."),
    (264, b"gsB....."),
    (272, b"ss..ssL.ssF."),
    (288, b"ssB....."),
    (296, b"ldt.ldtLldtF"),
    (312, b"ldtB...."),
    (320, b"tr..trL.trF."),
    (336, b"trB....."),
    (348, b"gdtL"),
    (360, b"gdtB...."),
    (372, b"idtL"),
    (384, b"idtB...."),
    (392, b"cr0....."),
    (408, b"cr2....."),
    (416, b"cr3....."),
    (424, b"cr4....."),
    (432, b"kgsB...."),
];

/// NT_PRSTATUS of the same vCPU outside of long mode: the low halves, at i386's offsets.
const PRSTATUS_32: &[(usize, &[u8])] = &[
    (24, &[7, 0, 0, 0]),
    (72, b"rbx."),
    (76, b"rcx."),
    (80, b"rdx."),
    (84, b"rsi."),
    (88, b"rdi."),
    (92, b"rbp."),
    (96, b"rax."),
    (100, b"ds"),
    (104, b"es"),
    (108, b"fs"),
    (112, b"gs"),
    (116, b"orax"),
    (120, b"rip."),
    (124, b"cs"),
    (128, b"efl."),
    (132, b"rsp."),
    (136, b"ss"),
];

const LMA: u64 = 1 << 10;

fn info(vcpus: &[Vcpu]) -> DumpInfo {
    let facts = GuestFacts { vcpus, ram: &[], endian: None, machine_page_size: None, kernel: None };
    ARCH.dump_info(&facts).unwrap()
}

/// The spelled registers with EFER or LMA as given.
fn vcpu(id: u32, name: &str, value: u64) -> Vcpu {
    let mut registers = spelled(&ARCH);
    // EFER too spells its name otherwise, which says something of LMA.
    let efer = if name == "efer" { value } else { 0 };
    registers.set_named("efer", &efer.to_le_bytes()).unwrap();
    registers.set_named(name, &value.to_le_bytes()).unwrap();
    Vcpu { id, registers }
}

#[test]
fn every_field_holds_its_own_name() {
    for (efer, prstatus) in [(LMA, literal(336, PRSTATUS)), (0, literal(144, PRSTATUS_32))] {
        let registers = vcpu(6, "efer", efer).registers;
        for (kind, expected) in ARCH.notes(&info(&[])).iter().zip([prstatus, literal(440, QEMU)]) {
            let desc = kind.encode(6, &registers, Endian::Little).unwrap();
            assert_eq!(show(&desc), show(&expected), "{}", kind.name);
        }
    }
}

#[test]
fn lma_says_the_mode_where_efer_is_not_known_and_only_there() {
    let prstatus = &ARCH.notes(&info(&[]))[0];
    let size = |efer: Option<u64>, lma: Option<u64>| {
        let mut registers = Registers::unknown(ARCH.registers());
        for (name, value) in [("efer", efer), ("lma", lma)] {
            value.into_iter().for_each(|value| registers.set_named(name, &value.to_le_bytes()).unwrap());
        }
        prstatus.encode(0, &registers, Endian::Little).unwrap().len()
    };
    assert_eq!([size(None, Some(0)), size(None, Some(1)), size(None, None)], [144, 336, 336]);
    assert_eq!([size(Some(0xd01), Some(0)), size(Some(0x101), Some(1)), size(Some(0), None)], [336, 144, 144]);
}

#[test]
fn each_vcpu_of_a_mixed_guest_has_the_prstatus_of_its_mode() {
    for (first, machine) in [(LMA, 62), (0, 3)] {
        let vcpus = [vcpu(0, "efer", first), vcpu(1, "efer", LMA - first), vcpu(2, "efer", first)];
        let info = info(&vcpus);
        assert_eq!((info.machine, info.class == Class::Elf64), (machine, machine == 62));
        let stream = note_stream(&ARCH, &info, &vcpus);
        let sizes: Vec<_> = stream.iter().map(|note| (&*note.name, note.n_type, note.desc.len())).collect();
        let of = |efer| ("CORE", 1, if efer == LMA { 336 } else { 144 });
        let qemu = ("QEMU", 0, 440);
        assert_eq!(sizes, [of(first), of(LMA - first), of(first), qemu, qemu, qemu]);
        let fixture = NoteFixture { class: info.class, endian: info.endian, machine, notes: stream.clone() };
        let (again, back) = fixture.vcpus(&ARCH);
        assert_eq!((again, note_stream(&ARCH, &info, &back)), (info, stream));
        let modes: Vec<_> = back.iter().map(|vcpu| vcpu.registers.get_named("lma")).collect();
        let lma = |efer: u64| Some(efer >> 10);
        assert_eq!(modes, [lma(first), lma(LMA - first), lma(first)]);
    }
}

#[test]
fn an_older_qemu_note_without_kernel_gs_base_is_read_as_far_as_it_goes() {
    let kind = &ARCH.notes(&info(&[]))[1];
    let desc = &literal(440, QEMU)[..432];
    let registers = decode(&ARCH, &info(&[]), kind, desc);
    assert_eq!(registers.get_named("k_gs_base"), None);
    assert_eq!(registers.get_named("cr4"), Some(u64::from_le_bytes(*b"cr4.....")));
}

#[test]
fn a_prstatus_of_neither_size_is_none_of_ours() {
    let prstatus = &ARCH.notes(&info(&[]))[0];
    for size in [0, 143, 145, 335, 337, 392] {
        assert!((prstatus.layout)(LayoutFor::Descriptor(&vec![0; size], Endian::Little)).is_none(), "{size}");
    }
}
