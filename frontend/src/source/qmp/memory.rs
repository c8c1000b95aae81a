//! From QEMU's memory blocks to bytes: what each block is, where QEMU's process has it, how it is read.

use guestdump_arch::{PhysAddr, PhysMemory as _, PhysRange};
use guestdump_core::block::{self, Backing, Block, BlockKind, BlockMemory};
use serde_json::Value;

use super::client::Client;
use super::error::QmpError;
use super::head::Load;
use super::replies::{self, HostAddress, MemoryBackend};
use crate::source::process::{Process, ProcessError};

/// What tells RAM from the memory of devices.
#[derive(Debug, Default)]
pub(super) struct Devices {
    backends: Vec<MemoryBackend>,
    bars: Vec<PhysRange>,
}

impl Devices {
    /// Asks QEMU for it. Machines without PCI may not know `query-pci`.
    pub(super) fn ask(client: &mut Client) -> Result<Self, QmpError> {
        let backends = replies::memory_backends(&client.call("query-memdev", Value::Null)?);
        let bars = match client.call("query-pci", Value::Null) {
            Ok(reply) => replies::pci_bars(&reply),
            Err(QmpError::Command { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { backends, bars })
    }

    /// Whether some RAM can be read through QEMU's process only.
    pub(super) fn any_private(&self) -> bool {
        self.backends.iter().any(|backend| !backend.share)
    }

    /// RAM is what a memory backend holds, unless a PCI device shows it in a BAR (ivshmem). Old machine types name a
    /// region by its backend's whole path.
    fn kind(&self, range: PhysRange, region: &str) -> BlockKind {
        let id = region.strip_prefix("/objects/").unwrap_or(region);
        let in_bar = self.bars.iter().any(|bar| !bar.intersect(range).is_empty());
        let is_ram = self.backends.iter().any(|backend| backend.id == id) && !in_bar;
        if is_ram { BlockKind::Ram } else { BlockKind::Device }
    }
}

/// A block, and where QEMU has it.
#[derive(Clone, Debug)]
pub(super) struct HostBlock {
    block: Block,
    hva: u64,
}

/// Finds the blocks in QEMU. A block of its dump is contiguous in its process, and of one memory region; so two
/// addresses are enough, and the second is only asked for to notice a map that changed.
pub(super) fn locate(client: &mut Client, loads: &[Load], devices: &Devices) -> Result<Vec<HostBlock>, QmpError> {
    loads.iter().map(|load| locate_one(client, load, devices)).collect()
}

fn locate_one(client: &mut Client, load: &Load, devices: &Devices) -> Result<HostBlock, QmpError> {
    let Load { start, len_bytes, .. } = *load;
    let first = ask(client, start)?;
    let last = PhysAddr(start.0.saturating_add(len_bytes - 1));
    let expected = HostAddress { hva: first.hva.saturating_add(len_bytes - 1), region: first.region.clone() };
    let found = ask(client, last)?;
    let range = PhysRange::new(start, len_bytes).filter(|_| found == expected);
    let said = || format!("{} at {:#x}", found.region, found.hva);
    let range = range.ok_or_else(|| QmpError::MapChanged { addr: last.0, said: said() })?;
    let kind = devices.kind(range, &first.region);
    Ok(HostBlock { block: Block { range, kind, name: first.region }, hva: first.hva })
}

fn ask(client: &mut Client, addr: PhysAddr) -> Result<HostAddress, QmpError> {
    let text = client.human(&format!("gpa2hva {:#x}", addr.0))?;
    replies::parse_gpa2hva(&text).ok_or_else(|| QmpError::MapChanged { addr: addr.0, said: text.trim().to_owned() })
}

/// A guest's memory in a process.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) blocks: Vec<Block>,
    pub(super) memory: BlockMemory,
    pub(super) remarks: Vec<String>,
}

/// Puts the blocks together from what a process has mapped.
///
/// # Errors
/// [`QmpError`] if it has not mapped them, or we may not read its RAM. Memory of devices that we may not read is kept:
/// few dumps want it.
pub(super) fn open(process: &Process, located: &[HostBlock]) -> Result<Found, QmpError> {
    let mut ranges: Vec<(PhysRange, Box<dyn Backing>)> = Vec::new();
    let mut remarks = Vec::new();
    let mut probed = false;
    for HostBlock { block, hva } in located {
        for window in process.windows(*hva, block.range.len())? {
            let addr = block.range.start().0 + window.offset;
            let range = PhysRange::new(PhysAddr(addr), window.len_bytes).unwrap_or(block.range);
            if window.remote && block.kind == BlockKind::Ram && !probed {
                process.probe(hva.saturating_add(window.offset))?;
                probed = true;
            }
            let kind = if block.kind == BlockKind::Ram { "RAM" } else { "device memory" };
            remarks.push(format!("{range} {kind} {}: {}", block.name, window.how));
            ranges.push((range, window.backing));
        }
    }
    let blocks = block::sorted(located.iter().map(|located| located.block.clone()).collect())?;
    Ok(Found { blocks, memory: BlockMemory::new(ranges), remarks })
}

/// Compares memory as we read it with what QEMU has shown of it.
///
/// # Errors
/// [`QmpError::OtherMemory`] if it differs, [`QmpError::Process`] if it cannot be read.
pub(super) fn compare(found: &Found, pid: u32, sample: &(PhysAddr, Vec<u8>)) -> Result<(), QmpError> {
    let (addr, bytes) = sample;
    let mut ours = vec![0; bytes.len()];
    let tried = format!("read {} bytes of guest memory at {addr}", bytes.len());
    match found.memory.read(*addr, &mut ours) {
        Ok(true) if ours == *bytes => Ok(()),
        Ok(_) => Err(QmpError::OtherMemory { pid, addr: addr.0, len: bytes.len() }),
        Err(guestdump_arch::MemoryError::Unreadable { cause, .. }) => Err(ProcessError::new(pid, tried, cause).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_what_a_backend_holds_outside_of_bars() {
        let range = |start| PhysRange::new(PhysAddr(start), 0x1000).unwrap();
        let backends = ["pc.ram", "iv", "d0"].map(|id| MemoryBackend { id: id.to_owned(), share: true }).to_vec();
        let devices = Devices { backends, bars: vec![range(0xfe00_0000)] };
        assert_eq!(devices.kind(range(0), "pc.ram"), BlockKind::Ram);
        assert_eq!(devices.kind(range(0x1_0000_0000), "/objects/d0"), BlockKind::Ram);
        assert_eq!(devices.kind(range(0xfe00_0000), "iv"), BlockKind::Device);
        assert_eq!(devices.kind(range(0xfffc_0000), "pc.bios"), BlockKind::Device);
    }
}
