//! A live QEMU, through its QMP monitor: registers, notes and memory map in QEMU's own words, memory past QEMU from its
//! process or its RAM file.
//!
//! | file | what |
//! |---|---|
//! | `wire`, `client` | the protocol: lines, messages; one connection |
//! | `replies`, `head` | what QEMU says: monitor replies, the head of an ELF dump (pure functions) |
//! | `capture` | the head of a dump, through a pipe |
//! | `system`, `gdbstub`, `saved` | registers that notes leave out: from the gdbstub, from the saved device state |
//! | `memory` | blocks: RAM or device, where in QEMU's process, how read |
//! | `pause`, `guard` | stopping a guest so that it runs again whatever happens |
//!
//! Everything that can be refused is refused before the guest is stopped.

mod capture;
mod client;
mod error;
mod gdbstub;
mod guard;
pub mod head;
mod memory;
mod pause;
pub mod replies;
mod saved;
mod system;
pub mod wire;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use guestdump_core::arch::{self, Arch, ArchError, DumpInfo, GuestFacts, Vcpu};
use guestdump_core::guest::{Completed, Guest, Note, Past, complete_notes, vcpus_from_notes};
use guestdump_core::vmcoreinfo::{self, Origin, Vmcoreinfo};
use serde_json::{Value, json};

pub use client::Timeouts;
pub use error::QmpError;
pub use guard::{ARGUMENT as RESUME_GUARD_ARGUMENT, resume_guard_main};

use self::capture::Capture;
use self::client::Client;
use self::head::Head;
use self::memory::{Devices, Found, HostBlock};
use self::pause::QmpSession;
use self::replies::Status;
use super::process::{Process, peer_pid, process_of_thread};
use super::{Opened, Purpose};

/// A QEMU that listens for a QMP client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QmpSource {
    /// The socket of its monitor.
    pub socket: PathBuf,
    /// The program that runs [`resume_guard_main`] when it is started with [`RESUME_GUARD_ARGUMENT`]: our own
    /// executable. Without one, a guest stays stopped if we are killed while we dump it.
    pub watchdog: Option<PathBuf>,
    /// How long to wait for QEMU.
    pub timeouts: Timeouts,
}

/// What is known of a QEMU before its guest is touched.
#[derive(Debug)]
struct Machine {
    arch: &'static dyn Arch,
    target: String,
    page_size: Option<u32>,
    status: Status,
    devices: Devices,
    /// Processes that may be QEMU, the likeliest first.
    processes: Vec<u32>,
    remarks: Vec<String>,
}

impl QmpSource {
    /// A source with the usual timeouts.
    #[must_use]
    pub fn new(socket: PathBuf, watchdog: Option<PathBuf>) -> Self {
        Self { socket, watchdog, timeouts: Timeouts::default() }
    }

    /// Opens the guest. For a dump it stands still until the session ends; a look holds it for milliseconds.
    ///
    /// # Errors
    /// [`QmpError`]; a guest that ran before runs again then.
    pub fn open(&self, purpose: Purpose) -> Result<Opened, QmpError> {
        let mut client = Client::connect(&self.socket, self.timeouts)?;
        let mut machine = Machine::ask(&mut client)?;
        let mut session = QmpSession::new(client, self.socket.clone());
        if purpose == Purpose::Dump {
            session.hold(machine.status.is_live(), self.watchdog.clone())?;
            machine.remarks.extend(self.pause_remarks(&session, &machine.status));
        }
        let stands_still = purpose == Purpose::Dump || !machine.status.is_live();
        let mut captured = capture::capture(&mut session.client)?;
        if !stands_still && machine.status.running {
            session.add_pause(captured.took);
        }
        let mut vcpus = machine.vcpus(&mut session.client, &captured.head)?;
        if system::is_lacking(machine.arch, &vcpus) {
            // A debugger's connection would stop a guest that runs, and what it says must be of the notes' moment.
            if !stands_still {
                session.hold(true, self.watchdog.clone())?;
                captured = capture::capture(&mut session.client)?;
                vcpus = machine.vcpus(&mut session.client, &captured.head)?;
            }
            machine.complete(&mut session.client, &mut captured.head, &mut vcpus)?;
            if !stands_still {
                session.let_run()?;
            }
        }
        let guest = machine.guest(&mut session.client, captured, vcpus, stands_still)?;
        Ok(Opened { guest, session: Box::new(session) })
    }

    fn pause_remarks(&self, session: &QmpSession, before: &Status) -> Vec<String> {
        if !session.has_stopped() {
            let before = if before.is_live() { "stopped by itself meanwhile" } else { &before.name };
            return vec![format!("the guest is {before} and stays so")];
        }
        let mut remarks = vec!["the guest was stopped and runs again afterwards".to_owned()];
        if self.watchdog.is_none() {
            remarks.push("there is no resume guard: if this process is killed, the guest stays stopped".to_owned());
        }
        remarks
    }
}

impl Machine {
    /// Asks all that can be asked while the guest runs, and refuses what can be refused.
    fn ask(client: &mut Client) -> Result<Self, QmpError> {
        let target = text(client, "query-target", Value::Null, "/arch")?;
        let arch = arch::by_qemu_target(&target).ok_or_else(|| unknown_target(&target))?;
        let status = pause::status(client)?;
        let migrate = client.call("query-migrate", Value::Null)?;
        let dump = client.call("query-dump", Value::Null)?;
        if let Some(refusal) = replies::refusal(&status, &migrate, &dump) {
            return Err(QmpError::Refused(refusal));
        }
        let machine = text(client, "qom-get", json!({ "path": "/machine", "property": "type" }), "").ok();
        let devices = Devices::ask(client)?;
        let processes = processes(client, devices.any_private())?;
        let name = machine.as_deref().unwrap_or("of unknown type");
        let mut remarks = vec![format!("QEMU {}, target {target}, machine {name}", client.version)];
        remarks.extend(confidential(client));
        let page_size = replies::dump_page_size(&target, machine.as_deref());
        Ok(Self { arch, target, page_size, status, devices, processes, remarks })
    }

    /// The vCPUs, as far as the notes and the human monitor know them.
    fn vcpus(&self, client: &mut Client, head: &Head) -> Result<Vec<Vcpu>, QmpError> {
        if arch::by_elf_machine(head.machine).is_none() {
            return Err(QmpError::UnknownMachine { target: self.target.clone(), machine: head.machine });
        }
        let mut vcpus = vcpus_from_notes(self.arch, &self.info(head)?, &head.notes);
        if vcpus.is_empty() {
            return Err(QmpError::NoVcpus { notes: head.notes.len(), arch: self.arch.identity().name });
        }
        number_apart(&mut vcpus);
        add_shown(client, &mut vcpus)?;
        Ok(vcpus)
    }

    /// What a dump with these notes looks like.
    fn info(&self, head: &Head) -> Result<DumpInfo, ArchError> {
        let (endian, machine_page_size) = (Some(head.endian), self.page_size);
        self.arch.dump_info(&GuestFacts { vcpus: &[], ram: &[], endian, machine_page_size, kernel: None })
    }

    /// Adds registers that the notes leave out: to the vCPUs, and to the notes.
    fn complete(&mut self, client: &mut Client, head: &mut Head, vcpus: &mut [Vcpu]) -> Result<(), QmpError> {
        let remarks = system::complete(client, self.arch, vcpus, &self.processes)?;
        self.remarks.extend(remarks);
        let info = self.info(head)?;
        self.remarks.extend(said(&complete_notes(self.arch, &info, &mut head.notes, vcpus)));
        Ok(())
    }

    /// Puts the guest together.
    fn guest(
        mut self,
        client: &mut Client,
        captured: Capture,
        vcpus: Vec<Vcpu>,
        stands_still: bool,
    ) -> Result<Guest, QmpError> {
        let Capture { head, sample, took } = captured;
        let sample = sample.filter(|_| stands_still);
        let located = memory::locate(client, &head.loads, &self.devices)?;
        let Found { blocks, memory, remarks } = self.memory(&located, sample.as_ref())?;
        let (vmcoreinfo, head) = take_vmcoreinfo(head);
        let endian = Some(head.endian);
        let counts = format!("vCPUs: {}, notes: {}, blocks: {}", vcpus.len(), head.notes.len(), blocks.len());
        let micros = took.as_micros();
        self.remarks.push(format!("{counts}, from the head of QEMU's own dump, in {micros} us"));
        self.remarks.extend(remarks);
        let (arch, memory, notes) = (self.arch, Arc::new(memory), Some(head.notes));
        let (machine_page_size, remarks) = (self.page_size, self.remarks);
        let (banner, past) = (None, Past::default());
        Ok(Guest { arch, endian, machine_page_size, blocks, memory, vcpus, notes, vmcoreinfo, banner, remarks, past })
    }

    /// The memory of the first process that has it; else what was wrong with the likeliest.
    fn memory(&mut self, located: &[HostBlock], sample: Option<&(arch::PhysAddr, Vec<u8>)>) -> Result<Found, QmpError> {
        let mut first = None;
        for pid in &self.processes {
            match memory_of(*pid, located, sample) {
                Ok(found) => {
                    self.remarks.push(format!("memory of process {pid}"));
                    return Ok(found);
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or(QmpError::NoPeer))
    }
}

fn memory_of(pid: u32, located: &[HostBlock], sample: Option<&(arch::PhysAddr, Vec<u8>)>) -> Result<Found, QmpError> {
    let found = memory::open(&Process::open(pid)?, located)?;
    if let Some(sample) = sample {
        memory::compare(&found, pid, sample)?;
    }
    Ok(found)
}

/// A text in the reply to a command.
fn text(client: &mut Client, command: &'static str, arguments: Value, at: &str) -> Result<String, QmpError> {
    let reply = client.call(command, arguments)?;
    let found = reply.pointer(at).and_then(Value::as_str).map(str::to_owned);
    let shown = || wire::excerpt(reply.to_string().as_bytes());
    found.ok_or_else(|| QmpError::Reply { command, what: "text", reply: shown() })
}

/// A warning for guests whose memory is kept from their host (SEV-SNP, TDX, s390x protected guests).
fn confidential(client: &mut Client) -> Option<String> {
    let arguments = json!({ "path": "/machine", "property": "confidential-guest-support" });
    let object = text(client, "qom-get", arguments, "").ok().filter(|object| !object.is_empty())?;
    Some(format!("the guest is confidential ({object}): of its private memory, the dump holds ciphertext or zeros"))
}

fn unknown_target(target: &str) -> QmpError {
    let known: Vec<&str> = arch::ALL.iter().flat_map(|arch| arch.identity().qemu_targets).copied().collect();
    QmpError::UnknownTarget { target: target.to_owned(), known: known.join(", ") }
}

/// Processes that may be QEMU: the one that listens at the socket, unless a manager opened it for QEMU; and the one with
/// the vCPUs' threads, unless these are numbers of another pid namespace. All of them unreadable is an error now, while
/// the guest still runs; `remote` says that their memory itself will have to be read.
fn processes(client: &mut Client, remote: bool) -> Result<Vec<u32>, QmpError> {
    let peer = peer_pid(client.stream()).map_err(|cause| QmpError::Broken { during: "SO_PEERCRED", cause })?;
    let thread = match client.call("query-cpus-fast", Value::Null) {
        Ok(reply) => reply.pointer("/0/thread-id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()),
        Err(QmpError::Command { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut found: Vec<u32> = peer.into_iter().chain(thread.and_then(process_of_thread)).collect();
    found.dedup();
    let may_read = |pid: &u32| Process::open(*pid).and_then(|it| if remote { it.probe_any() } else { Ok(()) });
    let tried: Vec<_> = found.iter().map(may_read).collect();
    if tried.iter().any(Result::is_ok) {
        return Ok(found);
    }
    Err(tried.into_iter().find_map(Result::err).map_or(QmpError::NoPeer, QmpError::from))
}

/// In what the notes are not QEMU's.
fn said(completed: &Completed) -> Vec<String> {
    let added: Vec<String> = completed.added.iter().map(|(name, n_type)| format!("{name} 0x{n_type:x}")).collect();
    let notes =
        (!added.is_empty()).then(|| format!("notes that QEMU leaves out, added to each vCPU: {}", added.join(", ")));
    let fields = completed.fields;
    let fields = (fields > 0).then(|| format!("{fields} fields that are zero in QEMU's notes, filled"));
    notes.into_iter().chain(fields).collect()
}

/// VMCOREINFO is the guest's word, not a vCPU's.
fn take_vmcoreinfo(mut head: Head) -> (Option<Vmcoreinfo>, Head) {
    let is_it = |note: &Note| note.name == vmcoreinfo::NOTE_NAME;
    let found = head.notes.iter().find(|note| is_it(note)).map(|note| note.desc.clone());
    head.notes.retain(|note| !is_it(note));
    (found.map(|text| Vmcoreinfo::new(text, Origin::HandedOver)), head)
}

/// Gives vCPUs the numbers of their places where those of the notes cannot be: QEMU 7.2 has the same pr_pid for all of ppc64,
/// and that of s390x in its host's byte order.
fn number_apart(vcpus: &mut [Vcpu]) {
    /// More than any machine of QEMU has vCPUs, and less than a small number with its bytes turned around.
    const MOST: u32 = 1 << 15;
    let numbers: BTreeSet<u32> = vcpus.iter().map(|vcpu| vcpu.id).filter(|id| *id < MOST).collect();
    if numbers.len() < vcpus.len() {
        vcpus.iter_mut().zip(0..).for_each(|(vcpu, place)| vcpu.id = place);
    }
}

/// QEMU's notes for x86 leave EFER and the A20 line out; the human monitor shows them.
fn add_shown(client: &mut Client, vcpus: &mut [Vcpu]) -> Result<(), QmpError> {
    const EFER: &str = "efer";
    if vcpus.iter().all(|vcpu| vcpu.registers.find(EFER).is_none()) {
        return Ok(());
    }
    let found = match client.human("info registers -a") {
        Ok(text) => replies::parse_shown(&text),
        Err(QmpError::Command { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    for vcpu in vcpus {
        for (_, name, value) in found.iter().filter(|(id, ..)| *id == vcpu.id) {
            if let Some(reg) = vcpu.registers.find(name) {
                vcpu.registers.set(reg, *value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vcpus_have_numbers_that_can_be() {
        let numbered = |ids: [u32; 3]| {
            let registers = arch::Registers::unknown(&[]);
            let mut vcpus = ids.map(|id| Vcpu { id, registers: registers.clone() });
            number_apart(&mut vcpus);
            vcpus.map(|vcpu| vcpu.id)
        };
        assert_eq!(numbered([0, 0, 0]), [0, 1, 2]);
        assert_eq!(numbered([1, 4, 2]), [1, 4, 2]);
        assert_eq!(numbered([0x00ff_ffff, 0x01ff_ffff, 0x02ff_ffff]), [0, 1, 2]);
    }
}
