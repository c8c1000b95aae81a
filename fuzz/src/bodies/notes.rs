//! Notes: descriptors of vCPUs for every architecture and kind, their framing, and the text of VMCOREINFO.

use std::sync::Arc;

use guestdump_core::arch::{
    self, Arch, DumpInfo, Endian, GuestFacts, KernelFacts, LayoutFor, NoteKind, Registers, Vcpu,
};
use guestdump_core::block::BlockMemory;
use guestdump_core::format::read::split_notes;
use guestdump_core::guest::{Guest, Note, Past, vcpus_from_notes};
use guestdump_core::plan::notes::NoteArea;
use guestdump_core::vmcoreinfo::{Origin, Vmcoreinfo};

use super::feed::Feed;
use super::memory_use::bounded;

/// What decoding understands, encoding says again; and note areas survive their framing. The first two bytes say whose
/// notes.
pub fn notes(data: &[u8]) {
    let feed = &mut Feed(data);
    let arch = feed.pick(arch::ALL);
    let endian = Some(feed.pick(arch.identity().endians));
    let facts = GuestFacts { vcpus: &[], ram: &[], endian, machine_page_size: None, kernel: None };
    let info = arch.dump_info(&facts).expect("a byte order that it has");
    for kind in arch.notes(&info) {
        descriptor(arch, kind, &info, feed.0);
    }
    framing(arch, &info, feed.0);
}

fn descriptor(arch: &'static dyn Arch, kind: &NoteKind, info: &DumpInfo, desc: &[u8]) {
    let Some(layout) = (kind.layout)(LayoutFor::Descriptor(desc, info.endian)) else { return };
    let mut registers = Registers::unknown(arch.registers());
    let pid = layout.decode(desc, &mut registers, info.endian);
    let id = pid.unwrap_or(1).wrapping_sub(1);
    let Some(again) = kind.encode(id, &registers, info.endian) else {
        // Too short to say what must be known, or of a kind that is read only.
        return assert!(!kind.always);
    };
    let layout = (kind.layout)(LayoutFor::Descriptor(&again, info.endian)).expect("our own note");
    assert_eq!(layout.size(), again.len());
    let mut twice = Registers::unknown(arch.registers());
    let pid_again = layout.decode(&again, &mut twice, info.endian);
    assert!(pid.is_none() || pid == pid_again);
    for (def, value) in registers.known() {
        let found = twice.find(def.name).and_then(|reg| twice.bytes(reg));
        assert_eq!(found, Some(value), "{} of {} {:#x}", def.name, kind.name, kind.n_type);
    }
    assert_eq!(kind.encode(id, &twice, info.endian), Some(again));
}

fn framing(arch: &'static dyn Arch, info: &DumpInfo, data: &[u8]) {
    let (list, _) = bounded(data.len(), 16, 4096, || split_notes(data, info.endian));
    let vcpus = bounded(data.len(), 160, 65536, || vcpus_from_notes(arch, info, &list));
    let guest = guest(arch, info.endian, vcpus, Some(list.clone()));
    let area = NoteArea::of(&guest, info);
    assert_eq!(split_notes(&area.bytes, info.endian), (list, true), "framed anew");
    // From registers: every vCPU again, and every register that any note holds.
    let Guest { vcpus, .. } = guest;
    let made = self::guest(arch, info.endian, vcpus, None);
    let area = NoteArea::of(&made, info);
    let (list, whole) = split_notes(&area.bytes, info.endian);
    assert!(whole && list.len() == area.list.len());
    assert_eq!(vcpus_from_notes(arch, info, &list).len(), made.vcpus.len());
}

fn guest(arch: &'static dyn Arch, endian: Endian, vcpus: Vec<Vcpu>, notes: Option<Vec<Note>>) -> Guest {
    let (endian, memory) = (Some(endian), Arc::new(BlockMemory::default()));
    let (machine_page_size, blocks, vmcoreinfo, banner, remarks) = (None, Vec::new(), None, None, Vec::new());
    Guest {
        arch,
        endian,
        machine_page_size,
        blocks,
        memory,
        vcpus,
        notes,
        vmcoreinfo,
        banner,
        remarks,
        past: Past::default(),
    }
}

/// VMCOREINFO: every key of the text and a few others.
pub fn vmcoreinfo(data: &[u8]) {
    let info = Vmcoreinfo::new(data.to_vec(), Origin::Given);
    let mut seen = std::collections::BTreeSet::new();
    for line in data.split(|byte| *byte == b'\n').take(40) {
        let Some(at) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (Ok(key), Ok(value)) = (str::from_utf8(&line[..at]), str::from_utf8(&line[at + 1..])) else { continue };
        if seen.insert(key) {
            assert_eq!(info.text(key), Some(value.trim_end()), "the first line of that key");
        }
        if let Some((kind, name)) = key.strip_suffix(')').and_then(|key| key.split_once('(')) {
            numbers(&info, kind, name);
        }
    }
    assert!(info.page_size().is_none_or(|size| size.is_power_of_two() && (4096..=1 << 18).contains(&size)));
    for name in ["", "phys_base", "a)b"] {
        let _ = (info.number(name), info.symbol(name), info.decimal("OFFSET", name));
    }
}

/// A number is what its text says, in one of the notations.
fn numbers(info: &Vmcoreinfo, kind: &str, name: &str) {
    let text = info.text(&format!("{kind}({name})")).expect("this key has a text");
    let says = |value: String| text.trim_start_matches(['+', '0']) == value.trim_start_matches('0');
    if let Some(value) = info.decimal(kind, name) {
        assert!(says(value.to_string()), "{text} is not {value}");
    }
    if kind == "SYMBOL"
        && let Some(value) = info.symbol(name)
    {
        let digits = text.strip_prefix("0x").unwrap_or(text).trim_start_matches(['+', '0']).to_lowercase();
        assert_eq!(digits, format!("{:x}", value.0).trim_start_matches('0'));
    }
}
