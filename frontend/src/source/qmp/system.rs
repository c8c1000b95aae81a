//! Registers that QEMU's notes leave out and address translation needs: from the gdbstub, and from the saved device state
//! what that leaves out as well.
//!
//! A register of the gdbstub is one of ours if it has its name or alias; the first of a name counts (QEMU 10.0.2 repeats
//! registers of ppc64 with old values). Only integers are taken, and only what no note gave: those that the notes do not
//! have, and those that are zero in them, for QEMU leaves zero what it does not fill. The general registers, which are in
//! both, tell the byte order of the stub, and that its vCPU is the note's.

use std::collections::BTreeSet;
use std::time::Instant;

use guestdump_core::arch::{Arch, Endian, Registers, Vcpu};

use super::client::Client;
use super::error::QmpError;
use super::gdbstub::{StubError, with_stub};
use super::saved;
use crate::source::gdb::{self, GdbError, Register};

/// Widest register that is taken, in bytes. Vectors come with the notes or not at all.
const WIDEST_BYTES: usize = 8;

/// Whether the translation of some vCPU is not known.
pub(super) fn is_lacking(arch: &dyn Arch, vcpus: &[Vcpu]) -> bool {
    vcpus.iter().any(|vcpu| arch.paging(vcpu).is_err() || arch.kernel_paging(vcpu).is_err())
}

/// Adds what can be had of a guest that stands still. What cannot stays unknown, with a remark.
///
/// # Errors
/// [`QmpError`] if the monitor fails; a refusal is a remark.
pub(super) fn complete(
    client: &mut Client,
    arch: &dyn Arch,
    vcpus: &mut [Vcpu],
    processes: &[u32],
) -> Result<Vec<String>, QmpError> {
    let begin = Instant::now();
    let limit = client.timeouts.reply;
    let mut remarks = Vec::new();
    match with_stub(client, processes, limit, |gdb| add_from_stub(gdb, vcpus)) {
        Ok(added) => {
            let micros = begin.elapsed().as_micros();
            remarks.push(format!("{} registers from QEMU's gdbstub, in {micros} us", added.count));
            remarks.extend(
                added.strangers.iter().map(|id| format!("QEMU's gdbstub does not show vCPU {id} as its notes do")),
            );
        }
        Err(StubError::Monitor(error)) if !matches!(error, QmpError::Command { .. }) => return Err(error),
        Err(error) => remarks.push(format!("registers that QEMU's notes leave out are not known: {error}")),
    }
    if is_lacking(arch, vcpus) {
        remarks.extend(add_from_state(client, vcpus)?);
    }
    Ok(remarks)
}

fn add_from_state(client: &mut Client, vcpus: &mut [Vcpu]) -> Result<Option<String>, QmpError> {
    let begin = Instant::now();
    match saved::add(client, vcpus) {
        Ok(names) if names.is_empty() => Ok(None),
        Ok(names) => {
            let micros = begin.elapsed().as_micros();
            let names = match names.as_slice() {
                [first, .., last] if names.len() > 3 => format!("{} registers ({first} to {last})", names.len()),
                few => few.join(", "),
            };
            Ok(Some(format!("{names} from QEMU's saved device state, in {micros} us")))
        }
        Err(error @ (QmpError::Command { .. } | QmpError::State(_))) => {
            Ok(Some(format!("QEMU's saved device state is not known: {error}")))
        }
        Err(error) => Err(error),
    }
}

/// What a stub gave.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Added {
    /// Registers of all vCPUs together.
    count: usize,
    /// vCPUs that it does not have, or not with these registers.
    strangers: Vec<u32>,
}

fn add_from_stub(gdb: &mut gdb::Client, vcpus: &mut [Vcpu]) -> Result<Added, GdbError> {
    let described = gdb.description()?;
    let threads = gdb.threads()?;
    let mut added = Added::default();
    for vcpu in vcpus {
        // pr_pid and the thread's number are both the vCPU's index plus one.
        let thread = threads.iter().find(|thread| thread.number == u64::from(vcpu.id) + 1);
        let general = match thread {
            Some(thread) => {
                gdb.select(thread)?;
                gdb.general()?
            }
            None => Vec::new(),
        };
        match byte_order(&described, &general, &vcpu.registers) {
            Some(endian) => added.count += add_unknown(gdb, &described, endian, &mut vcpu.registers)?,
            None => added.strangers.push(vcpu.id),
        }
    }
    Ok(added)
}

fn add_unknown(
    gdb: &mut gdb::Client,
    described: &[Register],
    endian: Endian,
    registers: &mut Registers,
) -> Result<usize, GdbError> {
    let mut count = 0;
    let mut seen = BTreeSet::new();
    for register in described.iter().filter(|register| is_integer(register)) {
        let Some(reg) = registers.find(&register.name).filter(|reg| !seen.contains(reg)) else { continue };
        let before = registers.bytes(reg).map(<[u8]>::to_vec);
        if before.as_deref().is_some_and(|bytes| !is_zero(bytes)) {
            continue;
        }
        let Some(mut bytes) = gdb.register(register.number)? else { continue };
        if endian == Endian::Big {
            bytes.reverse();
        }
        // One that is wider than it can be is another register.
        if registers.set_named(&register.name, &bytes).is_ok() {
            seen.insert(reg);
            count += usize::from(before.as_deref() != registers.bytes(reg));
        }
    }
    Ok(count)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn is_integer(register: &Register) -> bool {
    register.bits.is_multiple_of(8)
        && usize::try_from(register.bits / 8).is_ok_and(|bytes| (1..=WIDEST_BYTES).contains(&bytes))
}

/// The byte order in which most of the general registers are what the notes say; `None` if they are not, in either.
fn byte_order(described: &[Register], general: &[u8], registers: &Registers) -> Option<Endian> {
    let (mut little, mut big, mut all) = (0, 0, 0);
    for (register, shown) in in_general(described, general) {
        let known = registers.find(&register.name).and_then(|reg| registers.bytes(reg));
        let Some(known) = known.and_then(|known| known.get(..shown.len())).filter(|_| is_integer(register)) else {
            continue;
        };
        // What reads the same from both ends tells nothing.
        if known.iter().eq(known.iter().rev()) {
            continue;
        }
        all += 1;
        little += usize::from(known == shown);
        big += usize::from(known.iter().rev().eq(shown));
    }
    let (most, endian) = if little > big { (little, Endian::Little) } else { (big, Endian::Big) };
    (most * 2 > all).then_some(endian)
}

/// The registers that `general` has, and their bytes: they lie one behind the other in the order of numbers.
fn in_general<'a>(described: &'a [Register], general: &'a [u8]) -> Vec<(&'a Register, &'a [u8])> {
    let mut sorted: Vec<&Register> = described.iter().collect();
    sorted.sort_by_key(|register| register.number);
    let (mut out, mut rest) = (Vec::new(), general);
    for register in sorted {
        let bytes = usize::try_from(register.bits.div_ceil(8)).unwrap_or(usize::MAX);
        let Some((shown, behind)) = rest.split_at_checked(bytes) else { break };
        out.push((register, shown));
        rest = behind;
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use guestdump_core::arch::RegDef;

    use super::*;
    use crate::source::gdb::packet;

    /// A list of no architecture.
    static DEFS: &[RegDef] = &[
        RegDef::new("pc", 8),
        RegDef::new("flags", 4),
        RegDef::aliased("root", &["ROOT_EL1"], 8),
        RegDef::new("pid", 4),
        RegDef::new("wide", 16),
        RegDef::new("mode", 8),
        RegDef::new("fault", 8),
        RegDef::new("link", 8),
    ];
    const XML: &str = "<reg name='pc' bitsize='64'/><reg name='flags' bitsize='32'/>\
        <reg name='ROOT_EL1' bitsize='64' regnum='300'/><reg name='pid' bitsize='64'/><reg name='wide' bitsize='128'/>\
        <reg name='pc' bitsize='64'/><reg name='mode' bitsize='8'/><reg name='other' bitsize='64'/>\
        <reg name='fault' bitsize='64' regnum='310'/><reg name='link' bitsize='64'/><reg name='fault' bitsize='64'/>\
        <reg name='link' bitsize='64'/>";

    fn vcpu(id: u32, pc: u64, flags: u64) -> Vcpu {
        let mut registers = Registers::unknown(DEFS);
        for (name, value) in [("pc", pc), ("flags", flags)] {
            registers.set(registers.find(name).unwrap(), value);
        }
        Vcpu { id, registers }
    }

    /// A stub with two vCPUs of these general registers.
    fn stub(general: [&'static str; 2]) -> gdb::Client {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let (mut buffer, mut current) = ([0; 4096], 0);
            while let Ok(received @ 1..) = theirs.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..received]).into_owned();
                let Some(asked) = text.trim_start_matches('+').strip_prefix('$') else { continue };
                let asked = asked.split_once('#').unwrap().0;
                let xml = format!("l{XML}");
                let reply = match asked {
                    "qfThreadInfo" => "mp01.01,p01.02",
                    "qsThreadInfo" => "l",
                    "Hgp01.01" | "Hgp01.02" => {
                        current = usize::from(asked.ends_with('2'));
                        "OK"
                    }
                    "g" => general[current],
                    "p12c" => "1122334455667788",
                    "p12d" => ["0700000000000000", "0000000100000007"][current],
                    "p130" => "E14",
                    "p136" => ["efbe000000000000", "000000000000beef"][current],
                    "p137" => "0000000000000000",
                    asked if asked.starts_with("qSupported") => "qXfer:features:read+",
                    asked if asked.starts_with("qXfer") => &xml,
                    other => panic!("asked for {other}"),
                };
                theirs.write_all(&packet::frame(reply)).unwrap();
            }
        });
        gdb::Client::start(ours, Duration::from_secs(5)).unwrap()
    }

    #[test]
    fn registers_are_added_in_the_byte_order_that_the_notes_show() {
        // The first vCPU is little-endian at this moment, the second big-endian.
        let mut stub = stub(["0010000000000000d3000060", "000000000000beef600000d3"]);
        let mut vcpus = [vcpu(0, 0x1000, 0x6000_00d3), vcpu(1, 0xbeef, 0x6000_00d3)];
        let added = add_from_stub(&mut stub, &mut vcpus).unwrap();
        // root, fault and link of both; the second pid is wider than it can be.
        assert_eq!(added, Added { count: 7, strangers: Vec::new() });
        let named = |index: usize, name: &str| vcpus[index].registers.get_named(name);
        assert_eq!((named(0, "root"), named(0, "pid")), (Some(0x8877_6655_4433_2211), Some(7)));
        assert_eq!((named(1, "root"), named(1, "pid")), (Some(0x1122_3344_5566_7788), None));
        assert_eq!((named(0, "mode"), named(0, "wide"), named(0, "pc")), (None, None, Some(0x1000)));
    }

    #[test]
    fn what_is_zero_in_the_notes_is_asked_for_once() {
        let mut stub = stub(["0010000000000000d3000060", "000000000000beef600000d3"]);
        let mut vcpus = [vcpu(0, 0x1000, 0x6000_00d3), vcpu(1, 0xbeef, 0x6000_00d3)];
        for (vcpu, fault) in vcpus.iter_mut().zip([0, 5]) {
            for (name, value) in [("fault", fault), ("link", 0)] {
                vcpu.registers.set(vcpu.registers.find(name).unwrap(), value);
            }
        }
        let added = add_from_stub(&mut stub, &mut vcpus).unwrap();
        // Zero that stays zero is not counted; the stub fails if it is asked for the second of a name.
        assert_eq!(added, Added { count: 4, strangers: Vec::new() });
        let named = |index: usize, name: &str| vcpus[index].registers.get_named(name);
        assert_eq!((named(0, "fault"), named(1, "fault")), (Some(0xbeef), Some(5)));
        assert_eq!((named(0, "link"), named(1, "link")), (Some(0), Some(0)));
    }

    #[test]
    fn a_vcpu_with_other_registers_than_its_notes_is_a_stranger() {
        let mut stub = stub(["0010000000000000d3000060", "00100000"]);
        let mut vcpus = [vcpu(0, 0x1008, 0x6000_00d4), vcpu(1, 0x1000, 1), vcpu(2, 0x1000, 0x6000_00d3)];
        let before = vcpus.clone();
        let added = add_from_stub(&mut stub, &mut vcpus).unwrap();
        assert_eq!((added, vcpus), (Added { count: 0, strangers: vec![0, 1, 2] }, before));
    }
}
