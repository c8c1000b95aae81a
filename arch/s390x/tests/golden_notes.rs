//! Notes of s390x as QEMU wrote them, and with every field in its place.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use std::collections::BTreeSet;

use common::monitor;
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::{NoteFixture, golden_notes};
use guestdump_arch::{Arch, ArchError, Class, DumpInfo, Endian, GuestFacts, LayoutFor, Registers};
use guestdump_s390x::ARCH;

fn fixture() -> NoteFixture {
    NoteFixture::parse(&read("notes/s390x.txt"))
}

fn info(endian: Option<Endian>) -> Result<DumpInfo, ArchError> {
    ARCH.dump_info(&GuestFacts { vcpus: &[], ram: &[], endian, machine_page_size: None, kernel: None })
}

#[test]
fn notes_of_qemu_survive_decoding_and_encoding() {
    golden_notes(&ARCH, &fixture());
}

/// PSW bits 18 and 19.
const CONDITION_CODE: u64 = 3 << 44;

#[test]
fn notes_say_what_the_monitor_said() {
    let printed = monitor::parse(&read("captures/s390x/registers_-a.txt"));
    let (_, vcpus) = fixture().vcpus(&ARCH);
    assert_eq!((vcpus.len(), printed.len()), (2, 2));
    for (vcpu, printed) in vcpus.iter().zip(&printed) {
        let mut compared = 0;
        for (def, le) in vcpu.registers.known() {
            let Some(said) = printed.get(def.name) else { continue };
            let mut said: Vec<u8> = said.iter().rev().copied().collect();
            if def.name == "pswm" {
                // TCG computes the condition code late: the monitor merges it in, the note has an old one.
                let said = Endian::Little.get(&said);
                let noted = vcpu.registers.get_named("pswm").unwrap();
                assert_eq!(said & !CONDITION_CODE, noted & !CONDITION_CODE);
            } else {
                said.resize(le.len(), 0);
                assert_eq!(le, said, "{} of vCPU {}", def.name, vcpu.id);
            }
            compared += 1;
        }
        // PSW, general, control and 32 vector registers, of which sixteen are two.
        assert_eq!((compared, printed.len()), (2 + 16 + 16 + 48, 2 + 16 + 16 + 48));
        // What the monitor does not print.
        let silent: BTreeSet<&str> = vcpu.registers.known().map(|known| known.0.name).collect();
        let silent = silent.into_iter().filter(|name| !printed.contains_key(*name)).count();
        assert_eq!(silent, 16 + 1 + 4 + 4, "access registers, fpc, guarded storage, timers and prefix");
    }
}

#[test]
fn prefixes_of_the_capture_are_those_of_two_cpus() {
    let (_, vcpus) = fixture().vcpus(&ARCH);
    let prefixes: Vec<_> = vcpus.iter().map(|vcpu| vcpu.registers.get_named("prefix")).collect();
    assert_eq!(prefixes, [Some(0x019b_4000), Some(0x019b_6000)]);
}

/// A vCPU whose every register spells its own name, padded with dots, in the order in which it is read on paper.
fn spelled() -> Registers {
    let mut registers = Registers::unknown(ARCH.registers());
    let mut seen = BTreeSet::new();
    for def in ARCH.registers() {
        let short = def.name.replace("acr", "a").replace("prefix", "pfx").replace("todpr", "tdp").replace("gs_r", "gr");
        let mut tag = short.into_bytes();
        tag.resize(usize::from(def.width), b'.');
        assert!(seen.insert(tag.clone()), "{} spells the same as another", def.name);
        tag.reverse();
        registers.set_named(def.name, &tag).unwrap();
    }
    registers
}

/// `stem0......`, `stem1......` and so on.
fn numbered(stem: &str, numbers: core::ops::Range<u32>, end: &str, width: usize) -> Vec<u8> {
    numbers.flat_map(|n| format!("{:.<width$}", format!("{stem}{n}{end}")).into_bytes()).collect()
}

fn literal(size: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut desc = vec![0; size];
    for (at, bytes) in fields {
        desc[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    desc
}

#[test]
fn every_field_holds_its_own_name() {
    let general = numbered("r", 0..16, "", 8);
    let access = numbered("a", 0..16, "", 4);
    let floats = numbered("f", 0..16, "", 8);
    let expected: &[(&str, u32, Vec<u8>)] = &[
        (
            "CORE",
            1,
            literal(
                336,
                &[(32, &[0, 0, 0, 7]), (112, b"pswm...."), (120, b"pswa...."), (128, &general), (256, &access)],
            ),
        ),
        ("CORE", 2, literal(136, &[(0, b"fpc."), (8, &floats)])),
        ("LINUX", 0x305, b"pfx.".to_vec()),
        ("LINUX", 0x304, numbered("cr", 0..16, "", 8)),
        ("LINUX", 0x301, b"cputm...".to_vec()),
        ("LINUX", 0x302, b"ckc.....".to_vec()),
        ("LINUX", 0x303, b"tdp.".to_vec()),
        ("LINUX", 0x309, numbered("v", 0..16, "l", 8)),
        ("LINUX", 0x30a, numbered("v", 16..32, "", 16)),
        ("LINUX", 0x30b, b"greservegsd.....gssm....gsepla..".to_vec()),
    ];
    let info = info(None).unwrap();
    let mut registers = spelled();
    registers.set_named("gs_reserved", &b"greserve".iter().rev().copied().collect::<Vec<u8>>()).unwrap();
    let kinds = ARCH.notes(&info);
    assert_eq!(kinds.len(), expected.len());
    for (kind, (name, n_type, desc)) in kinds.iter().zip(expected) {
        assert_eq!((kind.name, kind.n_type, kind.group), (*name, *n_type, 0));
        let found = kind.encode(6, &registers, info.endian).unwrap();
        assert_eq!(found.escape_ascii().to_string(), desc.escape_ascii().to_string(), "{name} {n_type:#x}");
    }
}

#[test]
fn of_a_vcpu_of_which_nothing_is_known_there_is_prstatus_alone() {
    let info = info(None).unwrap();
    let nothing = Registers::unknown(ARCH.registers());
    let written: Vec<_> = ARCH
        .notes(&info)
        .iter()
        .filter_map(|kind| kind.encode(0, &nothing, info.endian))
        .map(|desc| desc.len())
        .collect();
    assert_eq!(written, [336]);
}

#[test]
fn a_descriptor_of_another_size_is_none_of_ours() {
    for kind in ARCH.notes(&info(None).unwrap()) {
        let size = (kind.layout)(LayoutFor::Registers(&Registers::unknown(ARCH.registers()))).unwrap().size();
        for (len, there) in [(size - 1, false), (size, true), (size + 1, false), (0, false)] {
            let layout = (kind.layout)(LayoutFor::Descriptor(&vec![0; len], Endian::Big));
            assert_eq!(layout.is_some(), there, "{:#x} of {len} bytes", kind.n_type);
        }
    }
}

#[test]
fn dumps_are_64_bit_and_big_endian() {
    let info = info(Some(Endian::Big)).unwrap();
    assert_eq!((info.machine, info.class, info.endian), (22, Class::Elf64, Endian::Big));
    assert_eq!((info.abi.word, info.abi.u64_align, info.page_size, info.uts_machine), (8, 8, 4096, "s390x"));
    let error = self::info(Some(Endian::Little)).unwrap_err();
    assert_eq!(error.to_string(), "s390x has no little-endian guests");
}
