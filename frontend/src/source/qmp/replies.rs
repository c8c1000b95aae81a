//! What QEMU's replies mean: text of the human monitor and small JSON objects. Pure functions; no I/O, no panics.
//!
//! Observed with QEMU 7.2 and 10.0.2; the texts in the tests are theirs.

use core::fmt;

use guestdump_arch::{PhysAddr, PhysRange};
use serde_json::Value;

/// Where QEMU has a guest-physical address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostAddress {
    /// Address in QEMU's process.
    pub hva: u64,
    /// Name of the memory region.
    pub region: String,
}

/// Reads the reply to `gpa2hva`: `Host virtual address for 0x1000 (pc.ram) is 0x7f0a6c000000`. Everything else ("No
/// memory is mapped at address ...", "Memory at address ... is not RAM") is `None`.
#[must_use]
pub fn parse_gpa2hva(text: &str) -> Option<HostAddress> {
    let (_, named) = text.trim().strip_prefix("Host virtual address for 0x")?.split_once(" (")?;
    // The name may hold anything, so it ends at the last parenthesis.
    let (region, hva) = named.rsplit_once(") is 0x")?;
    Some(HostAddress { hva: u64::from_str_radix(hva, 16).ok()?, region: region.to_owned() })
}

/// Registers that `info registers -a` shows and no note has: how the text begins, in hexadecimal, and the name.
const SHOWN: [(&str, &str); 2] = [("EFER=", "efer"), ("A20=", "a20")];

/// What is [`SHOWN`] of each vCPU in the text of `info registers -a`: the vCPU's number, name and value.
#[must_use]
pub fn parse_shown(text: &str) -> Vec<(u32, &'static str, u64)> {
    let mut found = Vec::new();
    let mut cpu = None;
    for line in text.lines() {
        if let Some(number) = line.trim().strip_prefix("CPU#") {
            cpu = number.parse::<u32>().ok();
        }
        for (start, name) in SHOWN {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(start));
            let value = value.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            found.extend(cpu.zip(value).map(|(cpu, value)| (cpu, name, value)));
        }
    }
    found
}

/// What `query-status` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// QEMU's name of the run state.
    pub name: String,
    /// Whether vCPUs run.
    pub running: bool,
}

impl Status {
    /// Reads the reply.
    #[must_use]
    pub fn parse(reply: &Value) -> Option<Self> {
        let name = reply.get("status")?.as_str()?.to_owned();
        Some(Self { name, running: reply.get("running")?.as_bool()? })
    }

    /// Whether time goes on for the guest: one in a suspended state may wake up by itself.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.running || self.name == "suspended"
    }
}

/// Why a guest is not to be touched now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Its run state says that its memory is on the move.
    State(String),
    /// `query-migrate` does.
    Migration(String),
    /// Somebody dumps it.
    Dump,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(name) => write!(f, "its state is {name}"),
            Self::Migration(status) => write!(f, "a migration is {status}"),
            Self::Dump => f.write_str("QEMU is writing a dump of it"),
        }
    }
}

/// Run states in which memory is written or read by something that is not the guest.
const MOVING: [&str; 5] = ["inmigrate", "finish-migrate", "save-vm", "restore-vm", "colo"];
/// What `query-migrate` says when nothing moves.
const SETTLED: [&str; 4] = ["none", "completed", "failed", "cancelled"];

/// Whether the guest must be left alone, from the replies to `query-status`, `query-migrate` and `query-dump`.
#[must_use]
pub fn refusal(status: &Status, migrate: &Value, dump: &Value) -> Option<Refusal> {
    if MOVING.contains(&status.name.as_str()) {
        return Some(Refusal::State(status.name.clone()));
    }
    let migration = migrate.get("status").and_then(Value::as_str).unwrap_or("none");
    if !SETTLED.contains(&migration) {
        return Some(Refusal::Migration(migration.to_owned()));
    }
    let dumping = dump.get("status").and_then(Value::as_str) == Some("active");
    dumping.then_some(Refusal::Dump)
}

/// A memory backend of `query-memdev`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryBackend {
    /// Its id, which is the name of its memory region.
    pub id: String,
    /// Whether what the guest writes goes to a file that others can read.
    pub share: bool,
}

/// The memory backends in the reply to `query-memdev`: machine RAM, also where no backend was asked for (`pc.ram`,
/// `mach-virt.ram`, ...), DIMMs, virtio-mem; but not firmware and the memory of devices.
#[must_use]
pub fn memory_backends(reply: &Value) -> Vec<MemoryBackend> {
    let backend = |memdev: &Value| {
        let share = memdev.get("share").and_then(Value::as_bool).unwrap_or(false);
        Some(MemoryBackend { id: memdev.get("id")?.as_str()?.to_owned(), share })
    };
    reply.as_array().into_iter().flatten().filter_map(backend).collect()
}

/// The memory BARs in the reply to `query-pci`, behind bridges as well. A BAR that is not mapped has address -1.
#[must_use]
pub fn pci_bars(reply: &Value) -> Vec<PhysRange> {
    let mut bars = Vec::new();
    // serde_json nests at most 128 levels deep, and so does this.
    collect_bars(reply, &mut bars);
    bars
}

fn collect_bars(value: &Value, bars: &mut Vec<PhysRange>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_bars(item, bars)),
        Value::Object(object) => {
            bars.extend(bar(value));
            object.values().for_each(|item| collect_bars(item, bars));
        }
        _ => {}
    }
}

fn bar(region: &Value) -> Option<PhysRange> {
    region.get("bar")?;
    let is_memory = region.get("type")?.as_str()? == "memory";
    let (start, len) = (region.get("address")?.as_u64()?, region.get("size")?.as_u64()?);
    PhysRange::new(PhysAddr(start), len).filter(|range| is_memory && !range.is_empty())
}

/// Page size of kdump files that QEMU prescribes, from its target and the type of its `/machine`, as observed with
/// 10.0.2. `None` where the machine decides and is not known.
#[must_use]
pub fn dump_page_size(target: &str, machine: Option<&str>) -> Option<u32> {
    match target {
        "aarch64" => Some(64 << 10),
        "ppc64" => machine.map(|name| if name.starts_with("pseries-") { 64 << 10 } else { 4 << 10 }),
        _ => Some(4 << 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn gpa2hva_gives_address_and_region() {
        let at = |hva, region: &str| Some(HostAddress { hva, region: region.to_owned() });
        let parse = parse_gpa2hva;
        assert_eq!(parse("Host virtual address for 0x0 (pc.ram) is 0x7fb72fe00000\n"), at(0x7fb7_2fe0_0000, "pc.ram"));
        assert_eq!(parse("Host virtual address for 0xc0000 (a (b) is 0x1) is 0x10\r\n"), at(16, "a (b) is 0x1"));
        for text in [
            "No memory is mapped at address 0x40000000\n",
            "Memory at address 0xfee00000 is not RAM\n",
            "number too large\nTry \"help gpa2hva\" for more information\n",
            "Host virtual address for 0x0 (pc.ram) is 0x\n",
            "Host virtual address for 0x0 (pc.ram",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_notes_leave_out_is_found_for_each_vcpu() {
        let text = "\r\nCPU#0\r\nRAX=ffffffffa9259180 RBX=0000000000000000\r\nEFER=0000000000000d01\r\nFCW=037f\r\n\r\n\
            CPU#1\r\nEAX=00000000\r\nEIP=08173584 EFL=00000282 [--S----] CPL=3 II=0 A20=1 SMM=0 HLT=0\r\nDR6=00000000ffff0ff0 DR7=0000000000000400\r\nEFER=0000000000000000\r\n";
        assert_eq!(parse_shown(text), [(0, "efer", 0xd01), (1, "a20", 1), (1, "efer", 0)]);
        assert_eq!(parse_shown("\nCPU#0\nR00=00000000 R01=00000000\n"), []);
        assert_eq!(parse_shown("EFER=1\nCPU#x\nEFER=1\nCPU#9\nEFER=zz"), []);
    }

    #[test]
    fn moving_guests_are_refused_by_name() {
        let status = |name: &str| Status { name: name.to_owned(), running: false };
        let (none, idle) = (json!({}), json!({"total": 0, "status": "none", "completed": 0}));
        assert_eq!(refusal(&status("paused"), &none, &idle), None);
        assert_eq!(refusal(&status("paused"), &json!({"status": "completed"}), &idle), None);
        let said = |refused: Option<Refusal>| refused.unwrap().to_string();
        assert_eq!(said(refusal(&status("inmigrate"), &none, &idle)), "its state is inmigrate");
        assert_eq!(said(refusal(&status("running"), &json!({"status": "setup"}), &idle)), "a migration is setup");
        assert_eq!(
            said(refusal(&status("paused"), &none, &json!({"status": "active"}))),
            "QEMU is writing a dump of it"
        );
    }

    #[test]
    fn bars_are_found_behind_bridges_and_only_where_mapped() {
        let regions = json!([
            {"prefetch": true, "mem_type_64": true, "bar": 2, "size": 1_048_576, "address": 4_261_412_864_u64, "type": "memory"},
            {"bar": 4, "size": 32, "address": 49216, "type": "io"},
            {"prefetch": false, "mem_type_64": false, "bar": 6, "size": 65536, "address": -1, "type": "memory"},
        ]);
        let bridge = json!({"pci_bridge": {"devices": [{"slot": 1, "regions": regions}]}, "regions": []});
        let bars = pci_bars(&json!([{"bus": 0, "devices": [bridge]}]));
        assert_eq!(bars, [PhysRange::new(PhysAddr(0xfe00_0000), 1 << 20).unwrap()]);
        assert_eq!(pci_bars(&json!(7)), []);
    }

    #[test]
    fn backends_and_page_sizes() {
        let backend = |id: &str, share| MemoryBackend { id: id.to_owned(), share };
        let reply = json!([{"share": true, "id": "rigram"}, {"size": 1}, {"id": "d0"}]);
        assert_eq!(memory_backends(&reply), [backend("rigram", true), backend("d0", false)]);
        assert_eq!(dump_page_size("aarch64", None), Some(65536));
        assert_eq!(dump_page_size("ppc64", Some("pseries-10.0-machine")), Some(65536));
        assert_eq!(dump_page_size("ppc64", Some("powernv9-machine")), Some(4096));
        assert_eq!((dump_page_size("ppc64", None), dump_page_size("s390x", None)), (None, Some(4096)));
    }
}
