//! Registers that only QEMU's saved device state has. It comes from `xen-save-devices-state`, which needs no Xen, leaves
//! RAM out and, told that the guest is not live, a stopped guest as it is (observed with QEMU 10.0.2, on all machines).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};

use guestdump_core::arch::Vcpu;
use rustix::fs::MemfdFlags;
use serde_json::{Value, json};

use super::client::Client;
use super::error::QmpError;

/// Longest state that is searched, in bytes. A pseries guest's has a few megabytes, or with a hashed page table that much
/// of it: a 128th of its RAM.
const MAX_STATE_BYTES: u64 = 1 << 30;
/// The byte before a part (a subsection) of the state, which has its name's length, its name, and a version of four bytes.
const PART: u8 = 5;

/// Sets registers that are not known from the saved state, if there are any that it has; gives their names.
///
/// # Errors
/// [`QmpError`] if the monitor refuses, or the state cannot be kept.
pub(super) fn add(client: &mut Client, vcpus: &mut [Vcpu]) -> Result<Vec<&'static str>, QmpError> {
    let mut found = Vec::new();
    let wanted = wanted(vcpus);
    if wanted.is_empty() {
        return Ok(found);
    }
    let state = state(client)?;
    for (name, part) in wanted {
        let Some(value) = find(&state, part) else { continue };
        found.push(name);
        for registers in vcpus.iter_mut().map(|vcpu| &mut vcpu.registers) {
            if let Some(reg) = registers.find(name).filter(|reg| registers.get(*reg).is_none()) {
                registers.set(reg, value);
            }
        }
    }
    Ok(found)
}

/// Registers that some vCPU lacks, and their parts.
fn wanted(vcpus: &[Vcpu]) -> Vec<(&'static str, &'static str)> {
    let Some(first) = vcpus.first() else { return Vec::new() };
    let lacking = |name: &str| vcpus.iter().any(|vcpu| vcpu.registers.get_named(name).is_none());
    let defs = first.registers.defs().iter().filter_map(|def| Some((def.name, def.saved_as?)));
    defs.filter(|(name, _)| lacking(name)).collect()
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

/// The first eight bytes of the part called `name`, big-endian, if there is one, or several that agree.
fn find(state: &[u8], name: &str) -> Option<u64> {
    const VERSION_BYTES: usize = 4;
    let head = [&[PART, u8::try_from(name.len()).ok()?], name.as_bytes()].concat();
    let parts = state.iter().enumerate().filter(|(_, byte)| **byte == PART);
    let behind = parts.filter_map(|(at, _)| state.get(at..)?.strip_prefix(head.as_slice()));
    let mut values = behind.map(|it| it.get(VERSION_BYTES..)?.first_chunk().copied().map(u64::from_be_bytes));
    let first = values.next()??;
    values.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the state of a pseries guest with Linux 6.1, of QEMU 10.0.2: the part, and the head of the next.
    const STATE: &[u8] = b"\x7e\x00\x05\x10spapr_patb_entry\0\0\0\x01\x80\0\0\0\x1e\0\0\x0c\x05\x0espapr/cap";

    #[test]
    fn a_part_is_found_by_its_whole_name() {
        assert_eq!(find(STATE, "spapr_patb_entry"), Some(0x8000_0000_1e00_000c));
        assert_eq!(find(STATE, "spapr_patb_entr"), None);
        assert_eq!(find(STATE, "spapr/ca"), None);
        assert_eq!(find(&STATE[..31], "spapr_patb_entry"), None);
        assert_eq!(find(&STATE[..30], "spapr_patb_entry"), None);
        assert_eq!(find(b"", "x"), None);
    }

    #[test]
    fn parts_that_differ_say_nothing() {
        let twice = |second: &[u8]| find(&[STATE, second].concat(), "spapr_patb_entry");
        assert_eq!(twice(STATE), Some(0x8000_0000_1e00_000c));
        let mut other = STATE.to_vec();
        other[30] = 0xd;
        assert_eq!(twice(&other), None);
    }
}
