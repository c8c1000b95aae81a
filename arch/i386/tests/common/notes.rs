//! Notes of captures against the monitor's text of the same stop, and notes in which every field spells its own name.

use std::collections::BTreeSet;

use guestdump_arch::conformance::NoteFixture;
use guestdump_arch::conformance::judges::read;
use guestdump_arch::{Arch, DumpInfo, LayoutFor, NoteKind, Registers};

use super::monitor::{self, Printed};

/// What no note and no line of the monitor holds: Linux's orig_ax, EFER and KERNEL_GS_BASE; LMA is looked at apart.
const NOT_PRINTED: [&str; 5] = ["orig_eax", "orig_rax", "efer", "lma", "k_gs_base"];

/// The fixture made from a capture, and what the monitor said of each vCPU at the same stop.
pub fn capture(name: &str) -> (NoteFixture, Vec<Printed>) {
    let fixture = NoteFixture::parse(&read(&format!("notes/{name}.txt")));
    (fixture, monitor::parse(&read(&format!("captures/{name}/registers_-a.txt"))))
}

fn known_equal(registers: &Registers, printed: &Printed, what: &str) -> BTreeSet<&'static str> {
    let mut compared = BTreeSet::new();
    for (def, _) in registers.known().filter(|(def, _)| !NOT_PRINTED.contains(&def.name)) {
        // The monitor of a 32-bit vCPU does not print what only a 64-bit one has: zero.
        let expected = printed.get(def.name).or_else(|| printed.get(&def.name.replacen('r', "e", 1)));
        // The monitor cuts flags to the bits of attributes (23:8). TCG keeps the descriptor's whole high word, which has
        // bits of the base too, and that is what goes into the note (0x08dff357 for 0x00dff300).
        let cut = if def.name.ends_with("_flags") { 0x00ff_ff00 } else { u64::MAX };
        let value = registers.get_named(def.name).map(|value| value & cut);
        assert_eq!(value, Some(expected.copied().unwrap_or(0)), "{what}: {} is {value:#x?}", def.name);
        compared.extend(expected.map(|_| def.name));
    }
    compared
}

/// Each note alone, and all notes of a vCPU together, say what the monitor said.
pub fn say_what_the_monitor_said(arch: &dyn Arch, name: &str) {
    let (fixture, printed) = capture(name);
    let (info, vcpus) = fixture.vcpus(arch);
    assert_eq!(vcpus.len(), printed.len(), "{name}");
    for kind in arch.notes(&info) {
        for (desc, printed) in fixture.of_kind(kind).zip(&printed) {
            let alone = decode(arch, &info, kind, desc);
            assert!(known_equal(&alone, printed, &format!("{name} {}", kind.name)).len() >= 16);
        }
    }
    for (vcpu, printed) in vcpus.iter().zip(&printed) {
        let compared = known_equal(&vcpu.registers, printed, name);
        // Everything that the monitor printed was compared, but for EFER, of which a dump knows LMA alone.
        let left: Vec<_> = printed.keys().filter(|name| !has(&compared, name)).collect();
        assert_eq!(left, ["efer"], "{name}: printed and not in a note");
        let lma = printed["efer"] >> 10 & 1;
        assert_eq!(vcpu.registers.get_named("lma"), Some(lma), "{name}");
    }
}

/// Whether a printed name was compared; eax is the monitor's name for rax of a 32-bit vCPU.
fn has(compared: &BTreeSet<&str>, name: &str) -> bool {
    compared.contains(name) || compared.contains(&*name.replacen('e', "r", 1))
}

/// What one descriptor says.
pub fn decode(arch: &dyn Arch, info: &DumpInfo, kind: &NoteKind, desc: &[u8]) -> Registers {
    let mut registers = Registers::unknown(arch.registers());
    let layout = (kind.layout)(LayoutFor::Descriptor(desc, info.endian)).expect("a layout");
    layout.decode(desc, &mut registers, info.endian);
    registers
}

/// A vCPU whose every register spells a tag: the name, padded with dots or shortened to the register's width, so that no
/// two are alike (`rax.....`, `csL.` for cs_limit).
pub fn spelled(arch: &dyn Arch) -> Registers {
    let mut registers = Registers::unknown(arch.registers());
    let mut seen = BTreeSet::new();
    for def in arch.registers().iter().filter(|def| def.width >= 4) {
        let short = def.name.replace("_base", "B").replace("_limit", "L").replace("_flags", "F").replace("orig_", "o");
        let mut tag = short.replace("k_gsB", "kgsB").replace("eflags", "efl").into_bytes();
        tag.resize(usize::from(def.width), b'.');
        assert!(seen.insert(tag.clone()), "{} spells the same as another", def.name);
        registers.set_named(def.name, &tag).unwrap();
    }
    registers
}

/// A descriptor from literal fields; zero elsewhere.
pub fn literal(size: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut desc = vec![0; size];
    for (at, bytes) in fields {
        desc[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    desc
}

/// Bytes as text, for a failure that can be read.
pub fn show(desc: &[u8]) -> Vec<String> {
    desc.chunks(8).enumerate().map(|(i, bytes)| format!("{:3}: {}", i * 8, bytes.escape_ascii())).collect()
}
