//! Notes of ppc64 as QEMU wrote them in both byte orders, and with every field in its place.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use common::{monitor, vcpu};
use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::{NoteFixture, golden_notes, note_stream};
use guestdump_arch::{Arch, Class, Content, DumpInfo, Endian, GuestFacts, LayoutFor, Registers, Vcpu};
use guestdump_ppc64::ARCH;

const BIG: &str = include_str!("notes_big.txt");
const LITTLE: &str = include_str!("notes_little.txt");

fn info(vcpus: &[Vcpu], endian: Option<Endian>) -> DumpInfo {
    let facts = GuestFacts { vcpus, ram: &[], endian, machine_page_size: None, kernel: None };
    ARCH.dump_info(&facts).unwrap()
}

fn fixtures() -> [NoteFixture; 3] {
    [read("notes/ppc64le.txt").as_str(), BIG, LITTLE].map(NoteFixture::parse)
}

#[test]
fn notes_of_qemu_survive_decoding_and_encoding() {
    for fixture in fixtures() {
        golden_notes(&ARCH, &fixture);
    }
    assert_eq!(fixtures().map(|fixture| fixture.endian), [Endian::Little, Endian::Big, Endian::Little]);
}

/// In no note, or 0 in QEMU's.
const NOT_IN_NOTES: [&str; 6] = ["dar", "dsisr", "hid0", "lpcr", "ptcr", "pvr"];

#[test]
fn notes_say_what_the_monitor_said() {
    let fixture = NoteFixture::parse(&read("notes/ppc64le.txt"));
    let printed = monitor::parse(&read("captures/ppc64le/registers_-a.txt"));
    let (_, vcpus) = fixture.vcpus(&ARCH);
    assert_eq!((vcpus.len(), printed.len()), (2, 2));
    for (vcpu, printed) in vcpus.iter().zip(&printed) {
        // GPRs and FPRs, then NIP, LR, CTR, XER, MSR, CR, FPSCR.
        assert_eq!(printed.len(), 64 + 7 + NOT_IN_NOTES.len());
        for (name, value) in printed.iter().filter(|(name, _)| !NOT_IN_NOTES.contains(&name.as_str())) {
            assert_eq!(vcpu.registers.get_named(name), Some(*value), "{name} of vCPU {}", vcpu.id);
        }
    }
}

/// The registers as gdb set them before QEMU wrote the notes: the head of `notes_big.txt`.
#[test]
fn notes_say_what_gdb_had_set() {
    for fixture in [BIG, LITTLE].map(NoteFixture::parse) {
        let (_, vcpus) = fixture.vcpus(&ARCH);
        for (n, vcpu) in (1_u64..).zip(&vcpus) {
            let get = |name: &str| vcpu.registers.get_named(name).unwrap();
            for i in 0..32_u64 {
                assert_eq!(get(&format!("r{i}")), 0xa000_0000_0000_1122 + (n << 48) + (i << 16));
                assert_eq!(get(&format!("f{i}")), f64::to_bits((i + 100 * n) as f64 + 0.5));
                let word = |k: u64| (0x1020_3040 * (k + 1) % (1 << 31)) + i + 0x100 * n;
                let vector = (0..4).fold(0_u128, |sum, k| sum << 32 | u128::from(word(k)));
                for name in [format!("vr{i}"), format!("vs{}", i + 32)] {
                    let reg = vcpu.registers.find(&name).unwrap();
                    assert_eq!(vcpu.registers.bytes(reg), Some(&vector.to_le_bytes()[..]), "{name}");
                }
                let half = |k: u64| 0x5060_0000 + k * 0x1_0000 + i + 0x100 * n;
                assert_eq!(get(&format!("vs{i}h")), half(2) << 32 | half(3));
            }
            let others = ["pc", "lr", "ctr", "xer", "cr", "fpscr", "vscr"].map(get);
            let set =
                [0x10_0200, 0xc000_0000_dead_beef, 0x1234_5678_90ab_cdef, 0x2004_0005, 0x4800_0284, 0x2000, 0x1_0001];
            assert_eq!(others, set);
        }
    }
}

/// `pr_pid` at 32, `pr_reg` from 112 on: 32 general registers of eight bytes, then these (struct elf_prstatus,
/// pt_regs).
const PRSTATUS: &[(usize, &[u8])] = &[
    (32, &[0, 0, 0, 7]),
    (368, b"pc......"),
    (376, b"msr....."),
    (384, b"orig_r3."),
    (392, b"ctr....."),
    (400, b"lr......"),
    (408, b"xer....."),
    (416, b"\0\0\0\0cr.."),
    (424, b"softe..."),
    (432, b"trap...."),
    (440, b"dar....."),
    (448, b"dsisr..."),
    (456, b"result.."),
];
const FPREGS: &[(usize, &[u8])] = &[(256, b"fpscr...")];
const VMX: &[(usize, &[u8])] = &[(524, b"vscr"), (528, b"vrsa")];
const SPE: &[(usize, &[u8])] = &[(128, b"acc....."), (136, b"spef")];

/// Type and size of each note, where it has 32 registers of the same kind (offset, width, name), and its other fields.
type Expected = (u32, usize, Option<(usize, usize, &'static str)>, &'static [(usize, &'static [u8])]);
const NOTES: [Expected; 5] = [
    (1, 504, Some((112, 8, "r")), PRSTATUS),
    (2, 264, Some((0, 8, "f")), FPREGS),
    (0x100, 544, Some((0, 16, "vr")), VMX),
    (0x102, 256, Some((0, 8, "vs*h")), &[]),
    (0x101, 140, None, SPE),
];

/// A register's name, padded with dots or cut to its width.
fn tag(name: &str, width: usize) -> Vec<u8> {
    let mut tag = name.as_bytes().to_vec();
    tag.resize(width, b'.');
    tag
}

/// A vCPU whose every register reads as its name, most significant byte first.
fn spelled() -> Registers {
    let mut registers = Registers::unknown(ARCH.registers());
    for def in ARCH.registers() {
        let mut tag = tag(def.name, usize::from(def.width));
        tag.reverse();
        registers.set_named(def.name, &tag).unwrap();
    }
    registers
}

/// The descriptor in a byte order; zero where there is no field.
fn literal((_, size, numbered, fields): Expected, endian: Endian) -> Vec<u8> {
    let mut all: Vec<(usize, Vec<u8>)> = fields.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect();
    if let Some((first, width, name)) = numbered {
        let name = |i| if name == "vs*h" { format!("vs{i}h") } else { format!("{name}{i}") };
        all.extend((0..32).map(|i| (first + i * width, tag(&name(i), width))));
    }
    let mut desc = vec![0; size];
    for (at, mut bytes) in all {
        if endian == Endian::Little {
            bytes.reverse();
        }
        desc[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    desc
}

/// Bytes as text, for a failure that can be read.
fn show(desc: &[u8]) -> Vec<String> {
    desc.chunks(8).enumerate().map(|(i, bytes)| format!("{:3}: {}", i * 8, bytes.escape_ascii())).collect()
}

#[test]
fn every_field_holds_its_own_name() {
    let registers = spelled();
    for endian in [Endian::Big, Endian::Little] {
        let stream = note_stream(&ARCH, &info(&[], Some(endian)), &[Vcpu { id: 6, registers: registers.clone() }]);
        assert_eq!(stream.len(), NOTES.len());
        for (note, expected) in stream.iter().zip(NOTES) {
            assert_eq!((&*note.name, note.n_type), ("CORE", expected.0));
            assert_eq!(show(&note.desc), show(&literal(expected, endian)), "{:#x} {}", note.n_type, endian.name());
        }
    }
}

#[test]
fn a_note_is_written_only_if_something_in_it_is_known() {
    let kinds = |values| {
        let stream = note_stream(&ARCH, &info(&[], Some(Endian::Big)), &[vcpu(values)]);
        stream.into_iter().map(|note| note.n_type).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&[]), [1]);
    assert_eq!(kinds(&[("vs40", 1)]), [1, 0x100]);
    assert_eq!(kinds(&[("vrsave", 1), ("vs0h", 1), ("fpr3", 1)]), [1, 2, 0x100, 0x102]);
}

/// Linux names them so when it writes a core itself; QEMU does not.
#[test]
fn vector_notes_are_read_under_the_name_of_linux_too() {
    let mut fixture = NoteFixture::parse(BIG);
    let (_, theirs) = fixture.vcpus(&ARCH);
    for note in fixture.notes.iter_mut().filter(|note| note.n_type >= 0x100) {
        note.name = "LINUX".to_owned();
    }
    assert_eq!(fixture.vcpus(&ARCH).1, theirs);
}

#[test]
fn a_prstatus_of_another_size_is_none_of_ours() {
    let prstatus = &ARCH.notes(&info(&[], None))[0];
    for size in [0, 328, 336, 392, 503, 505] {
        assert!((prstatus.layout)(LayoutFor::Descriptor(&vec![0; size], Endian::Big)).is_none(), "{size}");
    }
}

/// A VMX note of older kernels ends behind VSCR's vector.
#[test]
fn a_shorter_note_is_read_as_far_as_it_goes() {
    let kinds = ARCH.notes(&info(&[], None));
    let vmx = kinds.iter().find(|kind| kind.n_type == 0x100).unwrap();
    let desc = &literal(NOTES[2], Endian::Big)[..528];
    let layout = (vmx.layout)(LayoutFor::Descriptor(desc, Endian::Big)).unwrap();
    assert!(layout.rows().iter().all(|row| !matches!(row.content, Content::Pid)));
    let mut registers = Registers::unknown(ARCH.registers());
    layout.decode(desc, &mut registers, Endian::Big);
    assert_eq!(registers.get_named("vscr"), Some(u64::from(u32::from_be_bytes(*b"vscr"))));
    assert_eq!(registers.get_named("vrsave"), None);
}

const PVR_POWER8: (&str, u64) = ("pvr", 0x4d_0200);
const PVR_POWER9: (&str, u64) = ("pvr", 0x4e_1202);
const HV: (&str, u64) = ("msr", 0x9000_0000_0000_0000);

/// The first five as QEMU 10.0.2 decided for pseries (power9), powernv9 and powernv8 with these registers.
#[test]
fn byte_order_follows_the_interrupts_of_the_first_vcpu() {
    let cases: [(&[(&str, u64)], Endian); 10] = [
        (&[("msr", 0x3000), ("lpcr", 0x3_f008), PVR_POWER9], Endian::Big),
        (&[("msr", 0x3000), ("lpcr", 0x203_f008), PVR_POWER9], Endian::Little),
        (&[HV, ("hid0", 1 << 59), ("lpcr", 0xc), PVR_POWER9], Endian::Little),
        (&[HV, ("hid0", 0), ("lpcr", 1 << 25), PVR_POWER9], Endian::Big),
        (&[HV, ("hid0", 1 << 44), ("lpcr", 0xc), PVR_POWER8], Endian::Little),
        (&[HV, ("hid0", 1 << 59), PVR_POWER8], Endian::Big),
        (&[("msr", 0x8000_0000_0280_b033)], Endian::Little),
        (&[("msr", 0x8000_0000_0280_b032)], Endian::Big),
        (&[("lpcr", 1 << 25)], Endian::Little),
        (&[], Endian::Big),
    ];
    for (registers, endian) in cases {
        let vcpus = [vcpu(registers), vcpu(&[("msr", 1), ("lpcr", 1 << 25)])];
        let found = info(&vcpus, None);
        let uts = if endian == Endian::Little { "ppc64le" } else { "ppc64" };
        assert_eq!((found.endian, found.abi.endian, found.uts_machine), (endian, endian, uts), "{registers:x?}");
        let told = info(&vcpus, Some(Endian::Little));
        assert_eq!((told.endian, told.machine, told.class), (Endian::Little, 21, Class::Elf64));
    }
}

#[test]
fn names_tell_the_byte_order_where_they_do() {
    let aliases = ARCH.identity().aliases;
    let of = |name: &str| aliases.iter().find(|alias| alias.0 == name).map(|alias| alias.1);
    assert_eq!([of("ppc64le"), of("ppc64el"), of("powerpc64le")], [Some(Some(Endian::Little)); 3]);
    assert_eq!([of("ppc64be"), of("powerpc64"), of("ppc64")], [Some(Some(Endian::Big)), Some(None), None]);
}
