//! Notes of AArch64 as QEMU wrote them, with every field in its place, in both byte orders and of every vector length.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use std::collections::BTreeSet;

use common::monitor;
use guestdump_aarch64::ARCH;
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::{NoteFixture, golden_notes, note_stream};
use guestdump_arch::{Arch, DumpInfo, Endian, GuestFacts, LayoutFor, NoteKind, Registers, Vcpu};

/// The notes of a guest with a Cortex-A57, and of one with SVE: fixture and monitor's text of the same stop.
const CAPTURES: [(&str, &str); 2] = [
    ("notes/aarch64.txt", "captures/aarch64/registers_-a.txt"),
    ("../arch/aarch64/tests/sve/notes.txt", "../arch/aarch64/tests/sve/registers_-a.txt"),
];

const SVE: u32 = 0x405;

fn info(endian: Endian) -> DumpInfo {
    let facts = GuestFacts { vcpus: &[], ram: &[], endian: Some(endian), machine_page_size: None, kernel: None };
    ARCH.dump_info(&facts).unwrap()
}

fn kind(name: &str, n_type: u32) -> &'static NoteKind {
    let mut kinds = ARCH.notes(&info(Endian::Little)).iter();
    kinds.find(|kind| (kind.name, kind.n_type) == (name, n_type)).unwrap()
}

#[test]
fn notes_of_qemu_survive_decoding_and_encoding() {
    for (notes, _) in CAPTURES {
        golden_notes(&ARCH, &NoteFixture::parse(&read(notes)));
    }
}

#[test]
fn notes_say_what_the_monitor_said() {
    for ((notes, text), compared) in CAPTURES.into_iter().zip([34 + 32 + 2, 34 + 2 + 32 + 16 + 1]) {
        let (_, vcpus) = NoteFixture::parse(&read(notes)).vcpus(&ARCH);
        let printed = monitor(&read(text));
        assert_eq!((vcpus.len(), printed.len()), (2, 2));
        for (vcpu, printed) in vcpus.iter().zip(&printed) {
            let mut seen = BTreeSet::new();
            for (def, value) in vcpu.registers.known() {
                if let Some(expected) = printed.get(def.name) {
                    assert_eq!(value[..expected.len()], expected[..], "{}", def.name);
                    assert!(value[expected.len()..].iter().all(|byte| *byte == 0), "{}", def.name);
                    seen.insert(def.name);
                }
            }
            let left: Vec<_> = printed.keys().filter(|name| !seen.contains(&***name)).collect();
            assert_eq!((seen.len(), left), (compared, vec![]), "{text}");
        }
    }
}

/// The monitor prints Z registers where there are such: V registers are their low halves.
#[test]
fn v_registers_of_qemu_are_the_low_bytes_of_its_z_registers() {
    let (_, vcpus) = NoteFixture::parse(&read(CAPTURES[1].0)).vcpus(&ARCH);
    for vcpu in vcpus {
        let registers = &vcpu.registers;
        let bytes = |name: String| registers.bytes(registers.find(&name).unwrap()).unwrap();
        assert_eq!((registers.get_named("vl"), registers.get_named("vl_max")), (Some(64), Some(256)));
        for i in 0..32 {
            assert_eq!(bytes(format!("v{i}")), &bytes(format!("z{i}"))[..16]);
        }
    }
}

/// A vCPU whose every register spells its name, padded with dots.
fn spelled() -> Registers {
    let mut registers = Registers::unknown(ARCH.registers());
    for def in ARCH.registers() {
        let mut tag = def.name.replace("pauth_", "").replace("tpidr", "tp").into_bytes();
        tag.resize(usize::from(def.width), b'.');
        registers.set_named(def.name, &tag).unwrap();
    }
    registers
}

/// Puts `name`, padded to `width`, at `at`: reversed in a big-endian note.
fn field(desc: &mut [u8], at: usize, width: usize, name: &str, endian: Endian) {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(width, b'.');
    if endian == Endian::Big {
        bytes.reverse();
    }
    desc[at..at + width].copy_from_slice(&bytes);
}

fn number(desc: &mut [u8], at: usize, width: usize, value: u32, endian: Endian) {
    let bytes = if endian == Endian::Big { value.to_be_bytes() } else { value.to_le_bytes() };
    let part = if endian == Endian::Big { &bytes[4 - width..] } else { &bytes[..width] };
    desc[at..at + width].copy_from_slice(part);
}

/// `struct elf_prstatus`: pr_pid at 32, x0 to x30 from 112 on, sp at 360, pc at 368, pstate at 376, pr_fpvalid at 384.
#[test]
fn every_field_of_prstatus_holds_its_own_name() {
    for endian in [Endian::Little, Endian::Big] {
        let mut expected = vec![0; 392];
        number(&mut expected, 32, 4, 7, endian);
        (0..31).for_each(|i| field(&mut expected, 112 + 8 * i, 8, &format!("x{i}"), endian));
        field(&mut expected, 360, 8, "sp", endian);
        field(&mut expected, 368, 8, "pc", endian);
        field(&mut expected, 376, 8, "cpsr", endian);
        number(&mut expected, 384, 4, 1, endian);
        assert_eq!(kind("CORE", 1).encode(6, &spelled(), endian).unwrap(), expected);
    }
}

/// `struct user_fpsimd_state`, `struct user_pac_mask`, and the two registers of NT_ARM_TLS.
#[test]
fn every_field_of_the_small_notes_holds_its_own_name() {
    for endian in [Endian::Little, Endian::Big] {
        let mut fp = vec![0; 528];
        (0..32).for_each(|i| field(&mut fp, 16 * i, 16, &format!("v{i}"), endian));
        field(&mut fp, 512, 4, "fpsr", endian);
        field(&mut fp, 516, 4, "fpcr", endian);
        let mut pac = vec![0; 16];
        field(&mut pac, 0, 8, "dmask", endian);
        field(&mut pac, 8, 8, "cmask", endian);
        let mut tls = vec![0; 16];
        field(&mut tls, 0, 8, "tp", endian);
        field(&mut tls, 8, 8, "tp2", endian);
        for (name, n_type, expected) in [("CORE", 2, fp), ("LINUX", 0x406, pac), ("LINUX", 0x401, tls)] {
            assert_eq!(kind(name, n_type).encode(6, &spelled(), endian).unwrap(), expected, "{n_type:#x}");
        }
    }
}

/// The spelled registers of a vCPU with these vector lengths; of registers as wide as the vCPU has them.
fn with_vectors(vl: u16, vl_max: u16) -> Registers {
    let spelled = spelled();
    let mut registers = Registers::unknown(ARCH.registers());
    for (def, value) in spelled.known() {
        let family = def.name.starts_with(['z', 'p']) && def.width > 8 || def.name == "ffr";
        let width = if def.width == 256 { vl } else { vl / 8 };
        let value = if family { &value[..usize::from(width)] } else { value };
        registers.set_named(def.name, value).unwrap();
    }
    registers.set_named("vl", &vl.to_le_bytes()).unwrap();
    registers.set_named("vl_max", &vl_max.to_le_bytes()).unwrap();
    registers
}

/// Sizes of NT_ARM_SVE that QEMU writes, by vector length in units of 16 bytes.
const SIZES: [(u16, u32); 6] = [(1, 592), (2, 1136), (3, 1680), (4, 2224), (8, 4400), (16, 8768)];

#[test]
fn every_field_of_sve_holds_its_own_name_at_every_vector_length() {
    for endian in [Endian::Little, Endian::Big] {
        for (vq, size) in SIZES {
            let (vl, registers) = (usize::from(vq) * 16, with_vectors(vq * 16, 256));
            let mut expected = vec![0; size as usize];
            number(&mut expected, 0, 4, size, endian);
            number(&mut expected, 4, 4, 8768, endian);
            number(&mut expected, 8, 2, u32::from(vq) * 16, endian);
            number(&mut expected, 10, 2, 256, endian);
            number(&mut expected, 12, 2, 1, endian);
            // Z, P and FFR are in the same order whatever that of the dump is.
            (0..32).for_each(|i| field(&mut expected, 16 + vl * i, vl, &format!("z{i}"), Endian::Little));
            let predicate = |i: usize| if i == 16 { "ffr".to_owned() } else { format!("p{i}") };
            for i in 0..17 {
                let (at, width) = (16 + 32 * vl + vl / 8 * i, vl / 8);
                let name = predicate(i);
                field(&mut expected, at, width, &name[..name.len().min(width)], Endian::Little);
            }
            let end = (16 + 546 * usize::from(vq)).div_ceil(16) * 16;
            field(&mut expected, end, 4, "fpsr", endian);
            field(&mut expected, end + 4, 4, "fpcr", endian);
            let desc = kind("LINUX", SVE).encode(6, &registers, endian).unwrap();
            assert_eq!(desc, expected, "{vq} {endian:?}");
            // And back: all that the note holds.
            let layout = (kind("LINUX", SVE).layout)(LayoutFor::Descriptor(&desc, endian)).unwrap();
            let mut back = Registers::unknown(ARCH.registers());
            layout.decode(&desc, &mut back, endian);
            assert_eq!(back.known().count(), 32 + 17 + 2 + 2);
            back.known().for_each(|(def, value)| {
                assert_eq!(registers.bytes(registers.find(def.name).unwrap()), Some(value), "{}", def.name);
            });
        }
    }
}

#[test]
fn each_vcpu_has_sve_notes_of_its_own_length() {
    for endian in [Endian::Little, Endian::Big] {
        let lengths = [(16, 256), (64, 64), (256, 256), (32, 128)];
        let vcpu = |(id, (vl, longest))| Vcpu { id, registers: with_vectors(vl, longest) };
        let vcpus: Vec<_> = (0..).zip(lengths).map(vcpu).collect();
        let info = info(endian);
        let stream = note_stream(&ARCH, &info, &vcpus);
        let sizes: Vec<_> = stream.iter().filter(|note| note.n_type == SVE).map(|note| note.desc.len()).collect();
        assert_eq!(sizes, [592, 2224, 8768, 1136]);
        let fixture = NoteFixture { class: info.class, endian, machine: info.machine, notes: stream.clone() };
        let (again, back) = fixture.vcpus(&ARCH);
        assert_eq!((again, note_stream(&ARCH, &info, &back)), (info, stream));
        let lengths_back =
            back.iter().map(|vcpu| vcpu.registers.get_named("vl").zip(vcpu.registers.get_named("vl_max")));
        assert!(lengths_back.eq(lengths.map(|(vl, longest)| Some((vl.into(), longest.into())))));
    }
}

#[test]
fn gdbs_vg_says_the_vector_length_where_vl_is_not_known() {
    let mut registers = Registers::unknown(ARCH.registers());
    let encode = |registers: &Registers| kind("LINUX", SVE).encode(0, registers, Endian::Little);
    registers.set_named("vg", &[8]).unwrap();
    assert_eq!(encode(&registers), None, "no Z register is known");
    registers.set_named("z3", &[1]).unwrap();
    let desc = encode(&registers).unwrap();
    assert_eq!((desc.len(), &desc[8..12]), (2224, &[64, 0, 64, 0][..]));
    registers.set_named("vl_max", &[128]).unwrap();
    assert_eq!(encode(&registers).unwrap()[4..12], [0x30, 0x11, 0, 0, 64, 0, 128, 0]);
    for senseless in [&[0][..], &[1], &[33], &[0xff; 8]] {
        registers.set_named("vg", &[0; 8]).unwrap();
        registers.set_named("vg", senseless).unwrap();
        assert_eq!(encode(&registers), None, "{senseless:?}");
    }
}

/// Where only Z registers are known, NT_PRFPREG is made of them; where only V registers are, there is no NT_ARM_SVE.
#[test]
fn v_and_z_registers_stand_in_for_each_other_as_far_as_they_can() {
    let mut only_z = Registers::unknown(ARCH.registers());
    only_z.set_named("vl", &[32]).unwrap();
    only_z.set_named("z1", &(1..=32).collect::<Vec<u8>>()).unwrap();
    let desc = kind("CORE", 2).encode(0, &only_z, Endian::Little).unwrap();
    assert_eq!(desc[16..32], (1..=16).collect::<Vec<u8>>());
    let mut only_v = Registers::unknown(ARCH.registers());
    assert_eq!(kind("CORE", 2).encode(0, &only_v, Endian::Little), None);
    only_v.set_named("vl", &[32]).unwrap();
    only_v.set_named("q1", &[9; 16]).unwrap();
    assert_eq!(kind("CORE", 2).encode(0, &only_v, Endian::Little).unwrap()[16..32], [9; 16]);
    assert_eq!(kind("LINUX", SVE).encode(0, &only_v, Endian::Little), None);
    // Both known: each note has its own.
    only_z.set_named("v1", &[9; 16]).unwrap();
    assert_eq!(kind("CORE", 2).encode(0, &only_z, Endian::Little).unwrap()[16..32], [9; 16]);
}

#[test]
fn a_cpu_without_sme_has_a_short_tls_note() {
    let mut registers = Registers::unknown(ARCH.registers());
    registers.set_named("TPIDR_EL0", &[1, 2]).unwrap();
    assert_eq!(kind("LINUX", 0x401).encode(0, &registers, Endian::Big).unwrap(), [0, 0, 0, 0, 0, 0, 2, 1]);
}

#[test]
fn hostile_sve_descriptors_are_none_of_ours() {
    let good = kind("LINUX", SVE).encode(0, &with_vectors(32, 64), Endian::Little).unwrap();
    let layout = |desc: &[u8], endian| (kind("LINUX", SVE).layout)(LayoutFor::Descriptor(desc, endian));
    assert!(layout(&good, Endian::Little).is_some());
    assert!(layout(&good, Endian::Big).is_none());
    for len in (0..good.len()).chain([good.len() + 1, good.len() + 544]) {
        let mut desc = good.clone();
        desc.resize(len, 0);
        assert!(layout(&desc, Endian::Little).is_none(), "{len} bytes");
    }
    // vl, vl_max, flags.
    for (at, value) in [(8, 0), (8, 16), (8, 33), (8, 48), (8, 272), (8, 0xffff), (8, 0x8000)] {
        assert!(layout(&patched(&good, at, value), Endian::Little).is_none(), "vl {value}");
        assert!(layout(&patched(&good, at + 2, value), Endian::Little).is_none() || value == 48, "vl_max {value}");
    }
    assert!(layout(&patched(&good, 12, 0), Endian::Little).is_none(), "SVE_PT_REGS_FPSIMD");
    assert!(layout(&patched(&good, 12, 3), Endian::Little).is_some(), "SVE_PT_VL_INHERIT");
}

fn patched(desc: &[u8], at: usize, value: u16) -> Vec<u8> {
    let mut desc = desc.to_vec();
    desc[at..at + 2].copy_from_slice(&value.to_le_bytes());
    desc
}

#[test]
fn descriptors_of_other_sizes_are_none_of_ours() {
    for (name, n_type, sizes) in
        [("CORE", 1, &[392][..]), ("CORE", 2, &[528]), ("LINUX", 0x401, &[8, 16]), ("LINUX", 0x406, &[16])]
    {
        for size in 0..600 {
            let layout = (kind(name, n_type).layout)(LayoutFor::Descriptor(&vec![0; size], Endian::Little));
            assert_eq!(layout.is_some(), sizes.contains(&size), "{n_type:#x} of {size}");
        }
    }
}
