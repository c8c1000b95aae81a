//! Notes of riscv64 as QEMU wrote them, with every register in its place, and what a dump of such a guest looks like.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "code of tests")]

use guestdump_arch::conformance::judges::read;
use guestdump_arch::conformance::{NoteFixture, golden_notes};
use guestdump_arch::{Arch, DumpInfo, Endian, GuestFacts, LayoutFor, Registers, Vcpu};
use guestdump_riscv64::ARCH;

fn fixture() -> NoteFixture {
    NoteFixture::parse(&read("notes/riscv64-reset.txt"))
}

#[test]
fn notes_of_qemu_survive_decoding_and_encoding() {
    golden_notes(&ARCH, &fixture());
}

#[test]
fn every_register_is_where_qemu_has_it() {
    let (info, vcpus) = fixture().vcpus(&ARCH);
    assert_eq!((info.machine, info.endian, info.phys_base), (243, Endian::Little, 0));
    let [reset, named] = vcpus.as_slice() else { panic!("{vcpus:?}") };
    for i in 1..32 {
        assert_eq!(reset.registers.get_named(&format!("x{i}")), Some(0));
        let name = u64::from_le_bytes(format!("x{i:02}-set.").as_bytes().try_into().unwrap());
        assert_eq!(named.registers.get_named(&format!("x{i}")), Some(name), "x{i}");
    }
    assert_eq!(reset.registers.get_named("pc"), Some(0x1000));
    assert_eq!(named.registers.get_named("pc"), Some(0x1020));
    assert_eq!(reset.registers.known().count(), 32);
    // Names of the calling convention (RISC-V ELF psABI, "Register Convention").
    for (name, number) in [("ra", 1), ("sp", 2), ("t0", 5), ("s0", 8), ("fp", 8), ("s1", 9), ("a0", 10), ("a7", 17)]
        .into_iter()
        .chain([("s2", 18), ("s11", 27), ("t3", 28), ("t6", 31)])
    {
        assert_eq!(named.registers.find(name), named.registers.find(&format!("x{number}")), "{name}");
    }
    let error = ARCH.paging(named).unwrap_err().to_string();
    assert!(error.contains("satp"), "{error}");
}

#[test]
fn descriptors_of_other_sizes_are_none_of_ours() {
    let kinds = ARCH.notes(&info(None, None));
    assert_eq!(kinds.len(), 1);
    for size in [0, 204, 336, 375, 377, 392] {
        assert!((kinds[0].layout)(LayoutFor::Descriptor(&vec![0; size], Endian::Little)).is_none(), "{size}");
    }
}

fn info(mstatus: Option<u64>, endian: Option<Endian>) -> DumpInfo {
    let mut vcpus = [0, 1].map(|id| Vcpu { id, registers: Registers::unknown(ARCH.registers()) });
    if let Some(mstatus) = mstatus {
        vcpus[0].registers.set_named("mstatus", &mstatus.to_le_bytes()).unwrap();
    }
    // The second does not count.
    vcpus[1].registers.set_named("mstatus", &[0x40]).unwrap();
    ARCH.dump_info(&GuestFacts { vcpus: &vcpus, ram: &[], endian, machine_page_size: None, kernel: None }).unwrap()
}

#[test]
fn the_byte_order_is_the_sources_or_that_of_user_mode() {
    let cases = [
        (None, None, Endian::Little),
        (Some(0xa_0000_0000), None, Endian::Little),
        (Some(0x40), None, Endian::Big),
        (Some(0x40), Some(Endian::Little), Endian::Little),
        (None, Some(Endian::Big), Endian::Big),
        // SBE and MBE are not UBE.
        (Some(0x30_0000_0000), None, Endian::Little),
    ];
    for (mstatus, endian, expected) in cases {
        let info = info(mstatus, endian);
        assert_eq!((info.endian, info.page_size, info.uts_machine), (expected, 4096, "riscv64"), "{mstatus:?}");
    }
}
