//! `guestdump info`: what a kernel engineer asks of a dump first, on one screen.

mod readers;
mod text;
pub(super) mod vcpu;
mod zeros;

use std::path::Path;
use std::sync::Arc;

use guestdump_arch::Class;
use guestdump_core::format::elf::read::{Headers, headers};
use guestdump_core::format::read::{self, Dump};
use guestdump_core::format::{Container, DumpFile, ReadError, read_part};
use guestdump_core::guest::Guest;
use guestdump_core::kernel::{self, Utsname};
use guestdump_core::verify::{Audit, Content, audit};
use serde_json::{Map, Value, json};

use super::args::InfoArgs;
use super::{CliError, Exit, print, threads};
use crate::source::{SourceError, dump};
use readers::{Facts, refusals};
use zeros::Zeros;

/// Runs the command.
pub fn run(args: &InfoArgs) -> Result<Exit, CliError> {
    let failed = |source| SourceError::Dump { path: args.file.clone(), source };
    let mut shown = Shown::open(&args.file)?.map_err(failed)?;
    if args.count {
        shown.count(threads(args.threads)?)?;
    }
    let out = if args.json { format!("{}\n", shown.json()) } else { text::screen(&shown, args) };
    print(&out)?;
    Ok(Exit::Done)
}

/// What is shown of a dump.
struct Shown {
    dump: Dump,
    elf: Option<Headers>,
    audit: Audit,
    file_bytes: u64,
    bad_section_names: bool,
    /// The guest that the dump is of, with VMCOREINFO found in its memory where the dump has no note.
    guest: Option<Guest>,
    utsname: Option<Utsname>,
    zeros: Zeros,
    /// What all of the memory is made of, if it was asked for.
    content: Option<Content>,
}

impl Shown {
    fn open(path: &Path) -> Result<Result<Self, ReadError>, SourceError> {
        let file = dump::file(path)?;
        Ok(Self::of(file))
    }

    fn of(file: Arc<dyn DumpFile>) -> Result<Self, ReadError> {
        let dump = read::open(Arc::clone(&file))?;
        let plain_elf = dump.container == Container::Elf && !dump.flattened;
        let elf = if plain_elf { Some(headers(file.as_ref())?) } else { None };
        let bad_section_names = elf.as_ref().is_some_and(|elf| bad_section_names(file.as_ref(), elf) == Some(true));
        let audit = audit(Arc::clone(&file))?;
        let mut guest = match dump.arch {
            Some(arch) => Some(read::open(Arc::clone(&file))?.into_guest(Some(arch))?),
            None => None,
        };
        guest.iter_mut().for_each(kernel::find_vmcoreinfo);
        let utsname = guest.as_ref().map(|guest| kernel::utsname(guest, ""));
        let zeros = Zeros::of(&dump, &audit);
        let (file_bytes, content) = (file.len(), None);
        Ok(Self { dump, elf, audit, file_bytes, bad_section_names, guest, utsname, zeros, content })
    }

    fn facts(&self) -> Facts<'_> {
        let linear_map = self.guest.as_ref().and_then(kernel::linear_map);
        Facts { dump: &self.dump, elf: self.elf.as_ref(), bad_section_names: self.bad_section_names, linear_map }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.dump.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    /// Format, byte order and class in words.
    fn kind(&self) -> String {
        let kind = match self.dump.container {
            Container::Elf => "ELF core",
            Container::Kdump => "kdump-compressed",
        };
        let flat = if self.dump.flattened { ", flattened" } else { "" };
        let arch = self.dump.arch.map_or("unknown architecture", |arch| arch.identity().name);
        let class = guestdump_core::plan::class_name(self.dump.class);
        format!("{kind}{flat}, {arch}, {}, {class}", self.dump.endian.name())
    }

    /// Who wrote the file, as far as its marks tell.
    fn writer(&self) -> &'static str {
        if self.dump.notes.iter().any(|note| note.name == b"ERASEINFO") {
            return "makedumpfile (it has an ERASEINFO note)";
        }
        let far = self.elf.as_ref().is_some_and(|elf| elf.class == Class::Elf64 && elf.phoff > 64);
        if far {
            return "QEMU 7.2 or newer (section headers before the program headers)";
        }
        if self.dump.container == Container::Kdump && self.dump.dump_level > 1 {
            return "a page filter, such as makedumpfile's (dump_level above 1)";
        }
        let unnamed = self.field("release").is_some_and(str::is_empty);
        if self.dump.container == Container::Kdump && unnamed {
            return "QEMU (the header's utsname is empty)";
        }
        let qemu = self.dump.notes.iter().any(|note| note.name == b"QEMU");
        if qemu { "not QEMU itself, from a guest of QEMU" } else { "no writer leaves such marks" }
    }

    fn memory_bytes(&self) -> u64 {
        self.dump.ranges.iter().map(|range| range.len()).sum()
    }

    /// Pages of a kdump: all of memory, and those that are not in the file.
    fn pages(&self) -> Option<(u64, u64)> {
        let all = self.memory_bytes() / u64::from(self.dump.page_size?);
        let stored: u64 = self.dump.stored.iter().map(|stored| stored.1).sum();
        Some((all, all.saturating_sub(stored)))
    }

    /// What is missing or odd, for people.
    fn warnings(&self) -> Vec<String> {
        let mut out = self.dump.warnings.clone();
        out.extend(self.audit.problems.iter().filter(|problem| !self.dump.warnings.contains(problem)).cloned());
        let found = self.guest.as_ref().and_then(|guest| guest.vmcoreinfo.as_ref());
        match (&self.dump.vmcoreinfo, found) {
            (None, None) => out.push("no VMCOREINFO: drgn refuses such a dump".to_owned()),
            (None, Some(info)) => out.push(format!("no VMCOREINFO note; one was {}", info.origin())),
            _ => {}
        }
        let kernel = self.dump.vmcoreinfo.as_ref().and_then(|info| info.release());
        if let (Some(header), Some(kernel)) = (self.field("release").filter(|text| !text.is_empty()), kernel)
            && header != kernel
        {
            out.push(format!("the header's release is {header}, VMCOREINFO's is {kernel}"));
        }
        out
    }

    fn json(&self) -> Value {
        let guest = self.guest.as_ref();
        let info = guest.and_then(|guest| guest.vmcoreinfo.as_ref());
        let vcpus =
            guest.iter().flat_map(|guest| guest.vcpus.iter().map(|vcpu| vcpu::json(guest.arch_of_dump(), vcpu)));
        let name = |note: &guestdump_core::guest::Note| String::from_utf8_lossy(&note.name).into_owned();
        let notes = self.dump.notes.iter();
        let notes = notes.map(|note| json!({"name": name(note), "type": note.n_type, "length": note.desc.len()}));
        let facts = self.facts();
        let fields = self.dump.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into()));
        let ranges = self.dump.ranges.iter().map(|range| json!({"start": range.start().0, "length": range.len()}));
        let stored = self.dump.stored.iter().map(|(codec, count)| json!({"codec": codec, "pages": count}));
        json!({
            "schema": 1,
            "kind": self.kind(),
            "writer": self.writer(),
            "arch": guest.map(|guest| guest.arch_of_dump().identity().name),
            "byte_order": self.dump.endian.name(),
            "flattened": self.dump.flattened,
            "file_bytes": self.file_bytes,
            "memory_bytes": self.memory_bytes(),
            "page_size": self.dump.page_size,
            "pages_missing": self.pages().map(|pages| pages.1),
            "zero_bytes": self.zeros.bytes(),
            "frames": self.content.as_ref().map(zeros::frames_json),
            "pages_shared": self.dump.page_size.map(|_| self.audit.shared_pages),
            "release": info.and_then(|info| info.release()),
            "kernel_offset": info.and_then(|info| info.kernel_offset()),
            "crash_time": info.and_then(|info| info.crash_time()),
            "header": fields.collect::<Map<String, Value>>(),
            "stored": stored.collect::<Vec<_>>(),
            "memory": ranges.collect::<Vec<_>>(),
            "notes": notes.collect::<Vec<_>>(),
            "vcpus": vcpus.collect::<Vec<_>>(),
            "vmcoreinfo": info.map(|info| String::from_utf8_lossy(info.bytes())),
            "vmcoreinfo_from": info.map(|info| info.origin().to_string()),
            "refused_by": refusals(&facts).map(|rule| json!({"reader": rule.reader, "why": rule.why})).collect::<Vec<_>>(),
            "warnings": self.warnings(),
        })
    }
}

/// Whether the names of an ELF file's sections are longer than the file; `None` if it has no sections.
fn bad_section_names(file: &dyn DumpFile, elf: &Headers) -> Option<bool> {
    // e_shoff; e_shentsize, e_shnum, e_shstrndx; sh_size (System V ABI, chapter 4).
    let (word, at_shoff, at_counts, at_size) = match elf.class {
        Class::Elf64 => (8, 40, 58, 32),
        Class::Elf32 => (4, 32, 46, 20),
    };
    let int = |at: u64, len: u64| read_part(file, "section headers", at, len).ok().map(|bytes| elf.endian.get(&bytes));
    let (table, count) = (int(at_shoff, word)?, int(at_counts + 2, 2)?);
    if table == 0 || count == 0 {
        return None;
    }
    let names = table.checked_add(int(at_counts, 2)?.checked_mul(int(at_counts + 4, 2)?)?)?;
    Some(int(names.checked_add(at_size)?, word)? > file.len())
}
