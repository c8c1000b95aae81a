//! Registers that only QEMU's saved device state has. It comes from `xen-save-devices-state`, which needs no Xen, leaves
//! RAM out and, told that the guest is not live, a stopped guest as it is (observed with QEMU 10.0.2, on all machines).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};

use guestdump_core::arch::{RegDef, Saved, Vcpu};
use memchr::memmem;
use rustix::fs::MemfdFlags;
use serde_json::{Value, json};

use super::client::Client;
use super::error::QmpError;

/// Longest state that is searched, in bytes. A pseries guest's has a few megabytes, or with a hashed page table that much
/// of it: a 128th of its RAM.
const MAX_STATE_BYTES: u64 = 1 << 30;
/// The byte before a section of the state, which has a number of four bytes, its name's length, its name, an instance and a
/// version of four bytes each.
const SECTION: u8 = 4;
/// The byte before a part (a subsection) of a section, which has its name's length, its name, and a version of four bytes.
const PART: u8 = 5;
const WORD: usize = 4;

/// Sets registers that are not known from the saved state, if there are any that it has; gives their names.
///
/// # Errors
/// [`QmpError`] if the monitor refuses, or the state cannot be kept.
pub(super) fn add(client: &mut Client, vcpus: &mut [Vcpu]) -> Result<Vec<&'static str>, QmpError> {
    let wanted = wanted(vcpus);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    Ok(set(&state(client)?, &wanted, vcpus))
}

/// Registers that some vCPU lacks, and where they are.
fn wanted(vcpus: &[Vcpu]) -> Vec<(&'static RegDef, Saved)> {
    let Some(first) = vcpus.first() else { return Vec::new() };
    let lacking = |name: &str| vcpus.iter().any(|vcpu| vcpu.registers.get_named(name).is_none());
    let defs = first.registers.defs().iter().filter_map(|def| Some((def, def.saved_as?)));
    defs.filter(|(def, _)| lacking(def.name)).collect()
}

/// Sets what the state has of `wanted`; gives the names. Each part is searched once.
fn set(state: &[u8], wanted: &[(&'static RegDef, Saved)], vcpus: &mut [Vcpu]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for same in wanted.chunk_by(|(_, one), (_, other)| Saved { offset: 0, ..*one } == Saved { offset: 0, ..*other }) {
        let Some((_, saved)) = same.first() else { continue };
        let parts = parts(state, saved);
        for (def, saved) in same {
            let mut is_found = false;
            for vcpu in vcpus.iter_mut() {
                let Some(value) = value(&parts, saved, vcpu.id, usize::from(def.width)) else { continue };
                if let Some(reg) = vcpu.registers.find(def.name).filter(|reg| vcpu.registers.get(*reg).is_none()) {
                    vcpu.registers.set_part(reg, 0, &value.iter().rev().copied().collect::<Vec<_>>());
                    is_found = true;
                }
            }
            found.extend(is_found.then_some(def.name));
        }
    }
    found
}

fn state(client: &mut Client) -> Result<Vec<u8>, QmpError> {
    let memory = rustix::fs::memfd_create("guestdump-state", MemfdFlags::CLOEXEC).map_err(io::Error::from);
    let memory = File::from(memory.map_err(QmpError::State)?);
    // QEMU takes a descriptor that is for writing only.
    let to_write = File::options().write(true).open(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    let pending = client.send("add-fd", Value::Null, Some(to_write.map_err(QmpError::State)?.as_fd()))?;
    let reply = client.wait(pending, client.timeouts.reply)?;
    let Some(set) = reply.get("fdset-id").and_then(Value::as_u64) else {
        let reply = super::wire::excerpt(reply.to_string().as_bytes());
        return Err(QmpError::Reply { command: "add-fd", what: "fdset-id", reply });
    };
    let arguments = json!({ "filename": format!("/dev/fdset/{set}"), "live": false });
    let saved = client.call("xen-save-devices-state", arguments);
    let removed = client.call("remove-fd", json!({ "fdset-id": set }));
    let mut state = Vec::new();
    // Our place in the file is our own: QEMU's is that of another opening.
    let read = (&memory).take(MAX_STATE_BYTES).read_to_end(&mut state);
    // QEMU 7.2 keeps a removed descriptor until the guest runs.
    let emptied = memory.set_len(0);
    saved.and(removed)?;
    read.and(emptied).map_err(QmpError::State)?;
    Ok(state)
}

/// A part of the state.
struct Part<'a> {
    /// Instance of the section that it is in, if the section is the wanted one.
    vcpu: Option<u32>,
    /// What is behind its head: it, and the rest of the state.
    content: &'a [u8],
}

/// All parts of a name and version.
fn parts<'a>(state: &'a [u8], saved: &Saved) -> Vec<Part<'a>> {
    let Ok(len) = u8::try_from(saved.part.len()) else { return Vec::new() };
    let head = [&[PART, len], saved.part.as_bytes(), &saved.version.to_be_bytes()].concat();
    let found = memmem::find_iter(state, &head).filter_map(|at| state.split_at_checked(at));
    let part = |(before, part): (&[u8], &'a [u8])| {
        let vcpu = saved.section.and_then(|section| instance(before, section));
        Some(Part { vcpu, content: part.strip_prefix(head.as_slice())? })
    };
    found.filter_map(part).collect()
}

/// The instance of the last section of a name that starts in `before`.
fn instance(before: &[u8], section: &str) -> Option<u32> {
    let name = [&[u8::try_from(section.len()).ok()?], section.as_bytes()].concat();
    let mut heads = memmem::rfind_iter(before, &name);
    let at = heads.find(|at| at.checked_sub(1 + WORD).and_then(|head| before.get(head)) == Some(&SECTION))?;
    before.get(at + name.len()..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// The big-endian bytes of a vCPU's register, if one part has it, or several that agree.
fn value<'a>(parts: &[Part<'a>], saved: &Saved, vcpu: u32, width: usize) -> Option<&'a [u8]> {
    let own = parts.iter().filter(|part| saved.section.is_none() || part.vcpu == Some(vcpu));
    let offset = usize::from(saved.offset);
    let mut values = own.map(|part| part.content.get(offset..offset + width));
    let first = values.next()??;
    values.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestdump_core::arch::Registers;

    static DEFS: &[RegDef] = &[
        RegDef::new("other", 8),
        RegDef::new("table", 8).saved_as(Saved { part: "spapr_patb_entry", version: 1, offset: 0, section: None }),
        RegDef::new("slb0", 16).saved_as(Saved { part: "cpu/slb", version: 2, offset: 0, section: Some("cpu") }),
        RegDef::new("slb1", 16).saved_as(Saved { part: "cpu/slb", version: 2, offset: 16, section: Some("cpu") }),
    ];

    /// From the state of a pseries guest with Linux 6.1, of QEMU 10.0.2: the part, and the head of the next.
    const TABLE: &[u8] = b"\x7e\x00\x05\x10spapr_patb_entry\0\0\0\x01\x80\0\0\0\x1e\0\0\x0c\x05\x0espapr/cap";

    /// From that of a powernv8 guest: the heads of a vCPU's section and of its part, and two entries.
    fn slb(instance: u8, vsid: u8) -> Vec<u8> {
        let head = [&b"\x04\0\0\0\x03\x03cpu\0\0\0"[..], &[instance], b"\0\0\0\x05 registers "].concat();
        let entry = |esid: u8| [&b"\xc0\0\0\0"[..], &[8 + esid], b"\0\0\0\x40\x0e\xa1\xb2\x17\0\x05", &[vsid]].concat();
        [&head[..], b"\x05\x07cpu/slb\0\0\0\x02", &entry(0), &entry(1), b"~\0"].concat()
    }

    /// What two vCPUs know then, of whom one knows a register already.
    fn known(state: &[u8]) -> (Vec<&'static str>, Vec<[Option<u64>; 3]>) {
        let mut vcpus: Vec<Vcpu> = (0..2).map(|id| Vcpu { id, registers: Registers::unknown(DEFS) }).collect();
        vcpus[1].registers.set_named("table", &[5]).unwrap();
        let found = set(state, &wanted(&vcpus), &mut vcpus);
        let names = ["table", "slb0", "slb1"];
        (found, vcpus.iter().map(|vcpu| names.map(|name| vcpu.registers.get_named(name))).collect())
    }

    const ENTRY: Option<u64> = Some(0x8000_0000_1e00_000c);

    #[test]
    fn a_part_is_found_by_its_whole_name() {
        assert_eq!(known(TABLE), (vec!["table"], vec![[ENTRY, None, None], [Some(5), None, None]]));
        for state in [&TABLE[..31], &TABLE[..30], b"", b"\x05\x0fspapr_patb_entr\0\0\0\x01 12345678"] {
            assert_eq!(known(state), (vec![], vec![[None; 3], [Some(5), None, None]]));
        }
        // Another version.
        let mut newer = TABLE.to_vec();
        newer[23] = 2;
        assert_eq!(known(&newer).0, [""; 0]);
    }

    #[test]
    fn parts_that_differ_say_nothing() {
        assert_eq!(known(&[TABLE, TABLE].concat()).0, ["table"]);
        let mut other = TABLE.to_vec();
        other[31] = 0xd;
        assert_eq!(known(&[TABLE, &other].concat()).0, [""; 0]);
    }

    #[test]
    fn parts_of_vcpus_are_theirs() {
        let low = |vsid: u64| Some(0x400e_a1b2_1700_0500 | vsid);
        let (found, values) = known(&[slb(1, 0x11), slb(0, 0x10)].concat());
        assert_eq!(found, ["slb0", "slb1"]);
        assert_eq!(values, [[None, low(0x10), low(0x10)], [Some(5), low(0x11), low(0x11)]]);
        // Cut off in the second entry; of a vCPU that is none; two of one vCPU that differ; a section that is none.
        let one = slb(0, 0x10);
        assert_eq!(known(&one[..one.len() - 3]), (vec!["slb0"], vec![[None, low(0x10), None], [Some(5), None, None]]));
        assert_eq!(known(&slb(2, 0)).0, [""; 0]);
        assert_eq!(known(&[slb(0, 1), slb(0, 2)].concat()).0, [""; 0]);
        assert_eq!(known(&one[1..]).0, [""; 0]);
    }

    #[test]
    fn high_and_low_doublewords_are_in_place() {
        let mut vcpus = [Vcpu { id: 0, registers: Registers::unknown(DEFS) }];
        set(&slb(0, 0x10), &wanted(&vcpus.clone()), &mut vcpus);
        let registers = &vcpus[0].registers;
        let bytes = registers.bytes(registers.find("slb1").unwrap()).unwrap();
        assert_eq!(bytes, 0xc000_0000_0900_0000_400e_a1b2_1700_0510_u128.to_le_bytes());
    }
}
