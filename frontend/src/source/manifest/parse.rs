//! The meaning of a manifest's text: [`parse`] looks at nothing but the text.
//!
//! Files that it names are opened in `resolve.rs`. The grammar is documented in `FORMAT.md`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use guestdump_arch::{Arch, ArchError, Endian, Reg, RegDef, Registers, Vcpu};
use guestdump_core::arch;
use guestdump_core::block::BlockKind;
use toml::de::DeTable;

use super::error::{ManifestError, Problem};
use super::keys::{CPU, MEMORY, TOP, VMCOREINFO, closest};
use super::table::{At, Fault, Table, Value};
use crate::number::{NumberError, shortened};

/// Highest number of a vCPU: `pr_pid` is one more, and an int.
const MAX_CPU_ID: u64 = 0x7fff_fffe;

/// Where the bytes of a block are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Zeros,
    File { path: At<String>, offset: u64 },
}

/// A `[[memory]]` table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MemoryEntry {
    pub at: usize,
    pub start: At<u64>,
    /// `None`: to the end of the file.
    pub length: Option<At<u64>>,
    pub content: Content,
    pub kind: BlockKind,
    pub name: String,
}

/// What `[vmcoreinfo]` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum VmcoreinfoFrom {
    /// Nothing: the memory may be searched.
    Search,
    Nowhere,
    Memory {
        note: At<u64>,
        size: Option<u64>,
    },
    File(At<String>),
}

/// A manifest that makes sense by itself.
#[derive(Debug)]
pub struct Manifest {
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) arch: &'static dyn Arch,
    pub(super) endian: Option<Endian>,
    pub(super) page_size: Option<u32>,
    pub(super) memory: Vec<MemoryEntry>,
    pub(super) cpus: Vec<Vcpu>,
    pub(super) vmcoreinfo: VmcoreinfoFrom,
}

/// Reads the text of a manifest. Errors call it `guest.toml`.
///
/// # Errors
/// [`ManifestError::Invalid`].
pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
    parse_as(text, Path::new("guest.toml"))
}

/// Reads the text of a manifest that errors call `file`.
///
/// # Errors
/// [`ManifestError::Invalid`].
pub fn parse_as(text: &str, file: &Path) -> Result<Manifest, ManifestError> {
    let syntax = |error: toml::de::Error| Fault {
        key: String::new(),
        at: error.span().map_or(text.len(), |span| span.start),
        problem: Problem::Syntax(error.message().to_owned()),
    };
    let document = DeTable::parse(text).map_err(syntax);
    document.and_then(|document| manifest(document.get_ref(), text, file)).map_err(|fault| fault.in_file(text, file))
}

fn manifest(document: &DeTable<'_>, text: &str, file: &Path) -> Result<Manifest, Fault> {
    let top = Table::top(document, &TOP)?;
    let (arch, endian) = arch_and_order(&top)?;
    let page_size = top.get("page-size").map(|value| page_size(&value)).transpose()?;
    let memory: Vec<MemoryEntry> = top.tables("memory", &MEMORY)?.iter().map(memory_entry).collect::<Result<_, _>>()?;
    if memory.is_empty() {
        return Err(top.missing("memory", Problem::NoMemory));
    }
    let cpus = cpus(arch, &top.tables("cpu", &CPU)?)?;
    let vmcoreinfo = top.table("vmcoreinfo", &VMCOREINFO)?;
    let vmcoreinfo = vmcoreinfo.map_or(Ok(VmcoreinfoFrom::Search), |table| vmcoreinfo_from(&table))?;
    Ok(Manifest { file: file.to_owned(), text: text.to_owned(), arch, endian, page_size, memory, cpus, vmcoreinfo })
}

/// The architecture, and the byte order that its name or `byte-order` says.
fn arch_and_order(top: &Table<'_>) -> Result<(&'static dyn Arch, Option<Endian>), Fault> {
    let arch_value = top.need("arch")?;
    let name = arch_value.text()?.value;
    let (arch, by_name) = arch::by_name(name).ok_or_else(|| arch_value.fault(unknown_arch(name)))?;
    let Some(value) = top.get("byte-order") else { return Ok((arch, by_name)) };
    let byte_order = match value.text()?.value {
        "little" => Endian::Little,
        "big" => Endian::Big,
        other => return Err(value.fault(Problem::UnknownByteOrder(shortened(other)))),
    };
    let id = arch.identity();
    match by_name {
        Some(by_name) if by_name != byte_order => {
            Err(value.fault(Problem::ByteOrderContradiction { byte_order, arch: name.to_owned(), by_name }))
        }
        _ if !id.endians.contains(&byte_order) => {
            Err(value.fault(ArchError::ByteOrder { arch: id.name, endian: byte_order }.into()))
        }
        _ => Ok((arch, Some(byte_order))),
    }
}

fn unknown_arch(name: &str) -> Problem {
    let ids = || arch::ALL.iter().map(|arch| arch.identity());
    let known = ids().map(|id| id.name).chain(ids().flat_map(|id| id.aliases.iter().map(|alias| alias.0)));
    Problem::UnknownArch { name: shortened(name), closest: closest(name, known) }
}

fn page_size(value: &Value<'_>) -> Result<u32, Fault> {
    let bytes = value.bytes()?.value;
    let size = u32::try_from(bytes).ok().filter(|size| size.is_power_of_two() && (4096..=1 << 18).contains(size));
    size.ok_or_else(|| value.fault(Problem::PageSize(bytes)))
}

fn memory_entry(table: &Table<'_>) -> Result<MemoryEntry, Fault> {
    let start = table.need("start")?.bytes()?;
    let length = table.get("length").map(|value| value.bytes().map(|length| (length, value))).transpose()?;
    if let Some((At { value: 0, .. }, value)) = &length {
        return Err(value.fault(Problem::NoBytes));
    }
    let length = length.map(|(length, _)| length);
    let content = content(table, length.is_some())?;
    let kind = table.get("kind").map_or(Ok(BlockKind::Ram), |value| match value.text()?.value {
        "ram" => Ok(BlockKind::Ram),
        "device" => Ok(BlockKind::Device),
        other => Err(value.fault(Problem::UnknownKind(shortened(other)))),
    })?;
    let name = match (table.get("name"), &content) {
        (Some(name), _) => name.text()?.value.to_owned(),
        (None, Content::File { path, .. }) => path.value.clone(),
        (None, Content::Zeros) => table.name(),
    };
    Ok(MemoryEntry { at: table.at, start, length, content, kind, name })
}

/// Where a block's bytes are: in `file` from `offset` on, or nowhere.
fn content(table: &Table<'_>, has_length: bool) -> Result<Content, Fault> {
    let zero = table.get("zero").map_or(Ok(false), |value| value.boolean())?;
    let file = table.get("file").map(|value| value.text()).transpose()?;
    let offset = table.get("offset").map(|value| value.bytes().map(|offset| (offset.value, value))).transpose()?;
    match (file, zero, offset) {
        (Some(_), true, _) => Err(table.fault(Problem::FileOrZero { both: true })),
        (None, false, _) => Err(table.fault(Problem::FileOrZero { both: false })),
        (None, true, Some((_, value))) => Err(value.fault(Problem::OffsetWithoutFile)),
        (None, true, None) if !has_length => Err(table.missing("length", Problem::ZerosWithoutLength)),
        (None, true, None) => Ok(Content::Zeros),
        (Some(path), false, offset) => Ok(Content::File {
            path: At { value: path.value.to_owned(), at: path.at },
            offset: offset.map_or(0, |(offset, _)| offset),
        }),
    }
}

/// The vCPUs, by number.
fn cpus(arch: &'static dyn Arch, tables: &[Table<'_>]) -> Result<Vec<Vcpu>, Fault> {
    let mut index_of: HashMap<u32, usize> = HashMap::new();
    let mut cpus = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let id = cpu_id(table, index)?;
        if let Some(other) = index_of.insert(id, index) {
            return Err(id_fault(table, Problem::SameCpu { id, other }));
        }
        let registers = match table.get("registers") {
            Some(value) => registers(arch, &value)?,
            None => Registers::unknown(arch.registers()),
        };
        cpus.push(Vcpu { id, registers });
    }
    cpus.sort_by_key(|cpu| cpu.id);
    Ok(cpus)
}

fn cpu_id(table: &Table<'_>, index: usize) -> Result<u32, Fault> {
    let id = table.get("id").map_or(Ok(index as u64), |value| value.bytes().map(|id| id.value))?;
    let small = u32::try_from(id).ok().filter(|_| id <= MAX_CPU_ID);
    small.ok_or_else(|| id_fault(table, Problem::CpuId(id)))
}

/// A problem of a vCPU's number, which may be written or not.
fn id_fault(table: &Table<'_>, problem: Problem) -> Fault {
    match table.get("id") {
        Some(value) => value.fault(problem),
        None => table.fault(problem),
    }
}

fn registers(arch: &'static dyn Arch, table: &Value<'_>) -> Result<Registers, Fault> {
    let mut registers = Registers::unknown(arch.registers());
    for (name, value) in table.entries()? {
        let at_name = |problem| Fault { key: value.path.clone(), at: name.at, problem };
        let found = registers.find(name.value).and_then(|reg| Some((reg, arch.registers().get(usize::from(reg.0))?)));
        let (reg, def) = found.ok_or_else(|| at_name(unknown_register(arch, name.value)))?;
        if registers.bytes(reg).is_some() {
            return Err(at_name(Problem::RegisterTwice { register: def.name }));
        }
        set(&mut registers, reg, def, &value)?;
    }
    Ok(registers)
}

fn set(registers: &mut Registers, reg: Reg, def: &RegDef, value: &Value<'_>) -> Result<(), Fault> {
    let width = usize::from(def.width);
    let bytes = value.wide(width)?.map_err(|error| {
        value.fault(match error {
            NumberError::TooLarge { text, .. } => Problem::TooWide { register: def.name, width, value: text },
            other => Problem::Number(other),
        })
    })?;
    registers.set_part(reg, 0, &bytes);
    Ok(())
}

fn unknown_register(arch: &'static dyn Arch, name: &str) -> Problem {
    let known: Vec<&'static str> = arch.registers().iter().map(|def| def.name).collect();
    let aliases = arch.registers().iter().flat_map(|def| def.aliases.iter().copied());
    let closest = closest(name, known.iter().copied().chain(aliases));
    Problem::UnknownRegister { arch: arch.identity().name, name: shortened(name), closest, known }
}

fn vmcoreinfo_from(table: &Table<'_>) -> Result<VmcoreinfoFrom, Fault> {
    let note = table.get("at").map(|value| value.bytes()).transpose()?;
    let size = table.get("size").map(|value| value.bytes().map(|size| (size.value, value))).transpose()?;
    let file = table.get("file").map(|value| value.text()).transpose()?;
    let search = table.get("search").map(|value| value.boolean()).transpose()?;
    if let (None, Some((_, value))) = (&note, &size) {
        return Err(value.fault(Problem::SizeWithoutAt));
    }
    match (note, file, search) {
        (Some(note), None, None) => Ok(VmcoreinfoFrom::Memory { note, size: size.map(|(size, _)| size) }),
        (None, Some(path), None) => Ok(VmcoreinfoFrom::File(At { value: path.value.to_owned(), at: path.at })),
        (None, None, Some(true)) => Ok(VmcoreinfoFrom::Search),
        (None, None, Some(false)) => Ok(VmcoreinfoFrom::Nowhere),
        (note, file, search) => {
            let count = [note.is_some(), file.is_some(), search.is_some()].into_iter().filter(|given| *given).count();
            Err(table.fault(Problem::VmcoreinfoPlaces(count)))
        }
    }
}
