//! An existing dump: what a reader found in it, whichever format it has, and the guest that can be made of it.

use std::io;
use std::sync::Arc;

use guestdump_arch::{Arch, Class, Endian, LayoutFor, PhysMemory, PhysRange};

use super::flattened::{self, Assembled};
use super::{Container, DumpFile, ReadError, elf, kdump, read_there};
use crate::block::{Backing, Block, BlockKind, ShortRead};
use crate::guest::{Guest, Note, Past, vcpus_from_notes};
use crate::vmcoreinfo::{self, Origin, Vmcoreinfo};

/// A dump that was opened.
#[derive(Debug)]
pub struct Dump {
    /// What it is.
    pub container: Container,
    /// Whether it is wrapped in records.
    pub flattened: bool,
    /// Byte order of its headers.
    pub endian: Endian,
    /// Class of its headers.
    pub class: Class,
    /// Architecture, where the file says it or its notes show it.
    pub arch: Option<&'static dyn Arch>,
    /// Memory that it holds, ascending and disjoint.
    pub ranges: Vec<PhysRange>,
    /// That memory.
    pub memory: Arc<dyn PhysMemory>,
    /// All notes but VMCOREINFO.
    pub notes: Vec<Note>,
    /// VMCOREINFO.
    pub vmcoreinfo: Option<Vmcoreinfo>,
    /// Page size, for kdump files.
    pub page_size: Option<u32>,
    /// Header fields by their C names, for people.
    pub fields: Vec<(&'static str, String)>,
    /// How pages are stored, by codec name, for kdump files.
    pub stored: Vec<(String, u64)>,
    /// What is damaged in it or missing.
    pub warnings: Vec<String>,
    /// Pages of which kinds it may lack, by what it says of itself: makedumpfile's levels.
    pub dump_level: u8,
    /// Whether memory was left out of it on purpose. Its memory says of such bytes that they are excluded
    /// ([`guestdump_arch::Presence::Excluded`]), and reads of them give `false`.
    pub filtered: bool,
}

/// The level of a dump that lacks pages and does not say of which kinds.
pub const UNKNOWN_LEVEL: u8 = 31;

/// Opens a dump, recognised by its content.
///
/// # Errors
/// [`ReadError`].
pub fn open(file: Arc<dyn DumpFile>) -> Result<Dump, ReadError> {
    let (file, flat) = unwrapped(file)?;
    Ok(marked(open_plain(file)?, flat))
}

/// Opens the files of a split set (makedumpfile --split) as one dump, in any order; one file is opened as [`open`] does.
///
/// # Errors
/// [`ReadError`]; [`ReadError::Set`] for a file that does not belong to the others.
pub fn open_set(files: Vec<Arc<dyn DumpFile>>) -> Result<Dump, ReadError> {
    let mut flat = None;
    let mut plain: Vec<Arc<dyn DumpFile>> = Vec::with_capacity(files.len());
    for file in files {
        let (file, this) = unwrapped(file)?;
        flat = match (flat, this) {
            (None, this) => this,
            (Some(all), this) => Some(all && this.unwrap_or(true)),
        };
        plain.push(file);
    }
    if plain.len() == 1 {
        return plain
            .pop()
            .map_or_else(|| Err(ReadError::Set { number: 1, why: "it is not there" }), open_plain)
            .map(|dump| marked(dump, flat));
    }
    Ok(marked(kdump::read::open_set(plain)?, flat))
}

/// The dump in a flattened file, and whether that has its end record; any other file as it is.
pub(crate) fn unwrapped(file: Arc<dyn DumpFile>) -> Result<(Arc<dyn DumpFile>, Option<bool>), ReadError> {
    let start = read_there(file.as_ref(), 0, flattened::SIGNATURE.len() as u64)?;
    if start.as_slice() != flattened::SIGNATURE {
        return Ok((file, None));
    }
    let assembled = Assembled::new(file)?;
    let complete = assembled.complete();
    Ok((Arc::new(assembled), Some(complete)))
}

fn marked(mut dump: Dump, flat: Option<bool>) -> Dump {
    dump.flattened = flat.is_some();
    if flat == Some(false) {
        dump.warnings.push("the flattened file has no end record: it was cut".to_owned());
    }
    dump
}

/// Files that people have beside dumps, by their first bytes. None of them is read.
static OTHERS: &[(&[u8], &str)] = &[
    (b"sadump\0\0", "a sadump file"),
    (b"\xed\x23\x8f\x61\x73\x01\x19\xa8", "an LKCD dump"),
    (b"\xa8\x19\x01\x73\x61\x8f\x23\xed", "an LKCD dump"),
    (b"\xa8\x19\x01\x73\x61\x8f\x23\xfd", "a stand-alone dump of s390"),
    (b"PAGEDU64", "a Windows crash dump"),
    (b"PAGEDUMP", "a Windows crash dump"),
    (b"QEVM", "a saved state of QEMU"),
    (b"LibvirtQemudSave", "a guest saved by libvirt"),
    (b"QFI\xfb", "a qcow2 disk image"),
    (b"\x1f\x8b", "a file compressed with gzip"),
    (b"\xfd7zXZ\0", "a file compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "a file compressed with zstd"),
];

fn open_plain(file: Arc<dyn DumpFile>) -> Result<Dump, ReadError> {
    let start = read_there(file.as_ref(), 0, 16)?;
    if start.starts_with(&object::elf::ELFMAG) {
        return elf::read::open(file);
    }
    if start.starts_with(kdump::layout::SIGNATURE) {
        return kdump::read::open(file);
    }
    if start.is_empty() {
        return Err(ReadError::Other { what: "an empty file" });
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(ReadError::Other { what });
    }
    let start: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Err(ReadError::Unrecognised { start: start.join(" ") })
}

/// Bytes of a dump file as a block of memory.
#[derive(Debug)]
pub(super) struct FilePart {
    pub file: Arc<dyn DumpFile>,
    pub offset: u64,
    /// Bytes that the file should have; the rest is zero. Those that it lacks cannot be read.
    pub len: u64,
}

impl Backing for FilePart {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        let stored = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (file, zeros) = buf.split_at_mut(stored);
        zeros.fill(0);
        if file.is_empty() {
            return Ok(());
        }
        let short = |cause: io::Error| ShortRead { done: 0, cause };
        self.file.read_at(self.offset.saturating_add(offset), file).map_err(short)
    }

    fn extent_at(&self, offset: u64, limit_bytes: u64) -> (bool, u64) {
        let stored = self.len.saturating_sub(offset).min(limit_bytes);
        if stored == 0 {
            return (false, limit_bytes);
        }
        let at = self.offset.saturating_add(offset);
        match (self.file.zeros_at(at), self.file.data_at(at)) {
            // Nothing is there: behind the end of a file that was cut.
            (0, 0) => (true, stored),
            (0, data) => (true, data.min(stored)),
            (zeros, _) => (false, zeros.min(stored)),
        }
    }
}

/// More notes than this are not kept: 4096 vCPUs with ten notes each have fewer.
const MAX_NOTES: usize = 1 << 17;

/// Splits a note area. A note that sticks out, or one too many, ends it.
#[must_use]
pub fn split_notes(bytes: &[u8], endian: Endian) -> (Vec<Note>, bool) {
    let mut notes = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 12 {
        if notes.len() >= MAX_NOTES {
            return (notes, false);
        }
        let word = |i: usize| rest.get(4 * i..4 * i + 4).map_or(0, |bytes| endian.get(bytes));
        let (name_len, desc_len) = (word(0) as usize, word(1) as usize);
        let Ok(n_type) = u32::try_from(word(2)) else { return (notes, false) };
        let name_end = 12_usize.saturating_add(name_len);
        let desc_at = name_end.next_multiple_of(4);
        let desc_end = desc_at.saturating_add(desc_len);
        let (Some(name), Some(desc)) = (rest.get(12..name_end), rest.get(desc_at..desc_end)) else {
            return (notes, false);
        };
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        notes.push(Note { name, n_type, desc: desc.to_vec() });
        rest = rest.get(desc_end.next_multiple_of(4)..).unwrap_or_default();
    }
    (notes, true)
}

/// Takes VMCOREINFO out of notes: the last one, where there are several, for that is where a writer puts its own.
pub(super) fn take_vmcoreinfo(notes: &mut Vec<Note>) -> Option<Vmcoreinfo> {
    let at = notes.iter().rposition(|note| note.name == vmcoreinfo::NOTE_NAME && note.n_type == 0)?;
    Some(Vmcoreinfo::new(notes.remove(at).desc, Origin::Note))
}

/// The architecture whose note layouts fit most of `notes`.
pub(super) fn arch_of_notes(notes: &[Note], endian: Endian) -> Option<&'static dyn Arch> {
    let fits = |arch: &'static dyn Arch| {
        let facts = crate::arch::GuestFacts {
            vcpus: &[],
            ram: &[],
            endian: Some(endian),
            machine_page_size: None,
            kernel: None,
        };
        let info = arch.dump_info(&facts).ok()?;
        let known = notes.iter().filter(|note| {
            arch.notes(&info).iter().any(|kind| {
                kind.name.as_bytes() == note.name
                    && kind.n_type == note.n_type
                    && (kind.layout)(LayoutFor::Descriptor(&note.desc, endian))
                        .is_some_and(|layout| layout.size() == note.desc.len())
            })
        });
        Some((known.count(), arch)).filter(|found| found.0 > 0)
    };
    let best = crate::arch::ALL.iter().copied().filter_map(fits);
    // The first of equals: a table's order is that of preference.
    best.fold(None, |best: Option<(usize, &'static dyn Arch)>, next| match best {
        Some(best) if best.0 >= next.0 => Some(best),
        _ => Some(next),
    })
    .map(|found| found.1)
}

/// The blocks of a range: firmware, if it starts in the window that a machine has for devices; RAM may follow on that
/// without a gap (above 4 GiB of a PC).
fn blocks(range: PhysRange, devices: Option<PhysRange>) -> impl Iterator<Item = Block> {
    let device = match devices.filter(|window| window.contains(range.start())) {
        Some(window) => window.intersect(range),
        None => PhysRange::between(range.start(), range.start()),
    };
    let ram = PhysRange::between(device.end(), range.end());
    let device = Block { range: device, kind: BlockKind::Device, name: "firmware or device".to_owned() };
    let ram = Block { range: ram, kind: BlockKind::Ram, name: "memory".to_owned() };
    [device, ram].into_iter().filter(|block| !block.range.is_empty())
}

impl Dump {
    /// Whether a hypervisor wrote it: only notes named QEMU say so.
    #[must_use]
    pub fn is_of_hypervisor(&self) -> bool {
        self.notes.iter().any(|note| note.name == b"QEMU")
    }

    /// Whether the kernel saved it when it crashed (kexec), /proc/vmcore or what a filter made of that: the kernel notes the
    /// time just before. `pr_pid` of such a dump is the task that a CPU ran, and does not number it.
    #[must_use]
    pub fn is_of_kernel(&self) -> bool {
        let crashed = self.vmcoreinfo.as_ref().is_some_and(|info| info.crash_time().is_some());
        crashed && !self.is_of_hypervisor()
    }

    /// The guest that this dump describes.
    ///
    /// # Errors
    /// [`ReadError::Machine`] if its architecture is not known.
    pub fn into_guest(self, arch: Option<&'static dyn Arch>) -> Result<Guest, ReadError> {
        let Some(arch) = arch.or(self.arch) else {
            let known = crate::arch::names().join(", ");
            return Err(ReadError::Machine { machine: "unknown".to_owned(), known });
        };
        let devices = arch.device_window().filter(|_| self.is_of_hypervisor());
        let of_kernel = self.is_of_kernel();
        let blocks = self.ranges.iter().flat_map(|range| blocks(*range, devices)).collect();
        let mut guest = Guest {
            arch,
            endian: Some(self.endian),
            machine_page_size: self.page_size,
            blocks,
            memory: self.memory,
            vcpus: Vec::new(),
            notes: None,
            vmcoreinfo: self.vmcoreinfo,
            banner: None,
            remarks: Vec::new(),
            past: Past { dump_level: self.dump_level, filtered: self.filtered, damage: self.warnings },
        };
        if let Ok(info) = guest.dump_info(&self.ranges) {
            guest.vcpus = vcpus_from_notes(arch, &info, &self.notes);
        }
        if of_kernel {
            (0..).zip(&mut guest.vcpus).for_each(|(number, vcpu)| vcpu.id = number);
        }
        guest.notes = Some(self.notes).filter(|notes| !notes.is_empty());
        Ok(guest)
    }
}
