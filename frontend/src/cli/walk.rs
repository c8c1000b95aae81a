//! `guestdump walk`: how one address is translated, entry by entry; or everything that is mapped.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;

use guestdump_core::arch::paging::form::Rights;
use guestdump_core::arch::paging::mappings::{Limits, Mapping, Shared, Visitor};
use guestdump_core::arch::paging::survey::Survey;
use guestdump_core::arch::paging::walk::{Step, WalkError, Walker};
use guestdump_core::arch::paging::{Hole, Span, Target};
use guestdump_core::arch::{Paging, PhysAddr, Space, Vcpu, VirtAddr, VirtRange};
use guestdump_core::guest::Guest;
use guestdump_core::kernel;
use guestdump_core::plan::mapped::ADDRESSES;
use serde_json::{Value, json};

use super::args::WalkArgs;
use super::{CliError, Exit, print, request};
use crate::number::parse_bytes;
use crate::source::{self, Purpose};

/// Runs the command.
pub fn run(args: &WalkArgs) -> Result<Exit, CliError> {
    let number = |text: &String| parse_bytes(text).map_err(|source| CliError::Number { option: "ADDR", source });
    let address = args.address.as_ref().map(number).transpose()?.map(VirtAddr);
    // One walk takes no time. A list may go to somebody who stops reading: a guest must not stand still for that.
    let purpose = if address.is_some() { Purpose::Dump } else { Purpose::Look };
    let request = request::source_named(&args.source, args.arch.as_deref(), purpose)?;
    let opened = source::open(&request)?;
    let result = walk(args, address, &opened.guest);
    // A guest that was stopped goes on before anything else is said.
    opened.session.finish()?;
    result
}

fn walk(args: &WalkArgs, address: Option<VirtAddr>, guest: &Guest) -> Result<Exit, CliError> {
    let vcpu = vcpu(guest, args.cpu)?;
    let space = space(guest, vcpu, args.space.as_deref())?;
    let name = space.name;
    let paging = space.paging.map_err(|error| CliError::Plan(error.into()))?;
    let scene = Scene { guest, vcpu: vcpu.id, space: name, paging: &paging };
    match address {
        Some(virt) => scene.one(virt, args.json),
        None => scene.all(args.json),
    }
}

fn vcpu(guest: &Guest, wanted: Option<u32>) -> Result<&Vcpu, CliError> {
    let all: Vec<String> = guest.vcpus.iter().map(|vcpu| vcpu.id.to_string()).collect();
    let known = match wanted {
        None => guest.vcpus.first(),
        Some(id) => guest.vcpus.iter().find(|vcpu| vcpu.id == id),
    };
    known.ok_or_else(|| {
        let what = wanted.map_or("the guest has no vCPUs".to_owned(), |id| format!("--cpu {id}: no such vCPU"));
        CliError::Usage(what, Some(format!("there are: {}", all.join(", "))).filter(|_| !all.is_empty()))
    })
}

fn space(guest: &Guest, vcpu: &Vcpu, wanted: Option<&str>) -> Result<Space, CliError> {
    let mut spaces = kernel::spaces(guest, vcpu);
    let names: Vec<&str> = spaces.iter().map(|space| space.name).collect();
    let at = match wanted {
        None => Some(0).filter(|_| !spaces.is_empty()),
        Some(name) => names.iter().position(|known| *known == name),
    };
    let missing = || {
        let what = format!("--space {}: vCPU {} has no such address space", wanted.unwrap_or_default(), vcpu.id);
        CliError::Usage(what, Some(format!("there are: {}", names.join(", "))))
    };
    Ok(spaces.swap_remove(at.ok_or_else(missing)?))
}

/// An address space that is looked at.
struct Scene<'a> {
    guest: &'a Guest,
    vcpu: u32,
    space: &'static str,
    paging: &'a Paging,
}

/// What a hole is, for people.
fn hole(hole: Hole) -> String {
    match hole {
        Hole::NoRoot => "no table translates this address".to_owned(),
        Hole::NotPresent { level, index, raw } => format!("not present: level {level}, entry {index} is {raw:#x}"),
        Hole::OutOfTable { level, index } => format!("entry {index} is outside of the table of level {level}"),
        Hole::Invalid { level, index, raw } => format!("invalid: level {level}, entry {index} is {raw:#x}"),
        Hole::TableAbsent { level, table } => format!("the table of level {level} at {table} is not in RAM"),
    }
}

fn step_json(step: &Step) -> Value {
    let fields: serde_json::Map<String, Value> =
        step.fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    json!({"level": step.level, "name": step.name, "table": step.table.0, "index": step.index, "raw": step.raw,
        "says": step.says, "fields": fields, "rights": step.rights.to_string()})
}

impl Scene<'_> {
    fn failed(&self, error: WalkError) -> CliError {
        CliError::Walk { vcpu: self.vcpu, space: self.space, source: error }
    }

    /// Name of the form, for people.
    fn form(&self) -> &'static str {
        match self.paging.radix() {
            Some(radix) => radix.form.name,
            None if self.paging.is_on() => "hashed",
            None => "off",
        }
    }

    fn one(&self, virt: VirtAddr, as_json: bool) -> Result<Exit, CliError> {
        let mut walker = Walker::new(self.paging, self.guest.memory.as_ref());
        let (steps, span) = walker.steps(virt).map_err(|error| self.failed(error))?;
        let rights = steps.iter().fold(Rights::ALL, |all, step| all.and(step.rights));
        let phys = span.phys(virt);
        // Without tables everything is allowed; where they end early there is nothing to allow.
        let rights = phys.map(|_| rights.to_string());
        if as_json {
            let virtual_span = json!({"first": span.virt.first().0, "last": span.virt.last().0});
            let why = if let Target::Hole(why) = span.target { Some(hole(why)) } else { None };
            let line = json!({"schema": 1, "vcpu": self.vcpu, "space": self.space, "form": self.form(), "virt": virt.0,
                "phys": phys.map(|at| at.0), "span": virtual_span, "rights": rights, "hole": why,
                "ram": phys.map(|at| self.is_ram(at)), "steps": steps.iter().map(step_json).collect::<Vec<_>>()});
            print(&format!("{line}\n"))?;
        } else {
            print(&self.text(virt, &steps, span, rights.as_deref()))?;
        }
        Ok(Exit::Done)
    }

    fn is_ram(&self, at: PhysAddr) -> bool {
        self.guest.blocks.iter().any(|block| block.range.contains(at))
    }

    fn text(&self, virt: VirtAddr, steps: &[Step], span: Span, rights: Option<&str>) -> String {
        let mut out = format!("vCPU {}, {} space, {}\n", self.vcpu, self.space, self.form());
        for step in steps {
            let raw = step.raw.map_or("-".to_owned(), |raw| format!("{raw:#018x}"));
            let set = step.fields.iter().filter(|field| field.1 != 0);
            let fields: Vec<String> = set.map(|(name, value)| format!("{name}={value:#x}")).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{:<22} {}[{}]  {raw}  {}", step.name, step.table, step.index, step.says);
            let _ = writeln!(out, "{:<22} {}  {}", "", step.rights, fields.join(" "));
        }
        let _ = match (span.phys(virt), span.target) {
            (Some(at), _) => {
                let kind = if self.is_ram(at) { "" } else { ", which is no memory of this guest" };
                writeln!(out, "{virt} is at {at}{kind}; {}, {}", rights.unwrap_or_default(), span.virt)
            }
            (None, Target::Hole(why)) => writeln!(out, "{virt} is not mapped: {}; nor is {}", hole(why), span.virt),
            (None, Target::Phys(_)) => writeln!(out, "{virt} is not mapped"),
        };
        out
    }

    /// Everything that is mapped, as it is found.
    fn all(&self, as_json: bool) -> Result<Exit, CliError> {
        let memory = self.guest.memory.as_ref();
        let mut printer = Printer::new(self, as_json);
        printer.head();
        let mut survey = Survey::new(Limits { addresses: ADDRESSES, ..Limits::default() });
        let bound = match self.paging.is_on() {
            true => survey.visit(self.paging, memory, &mut printer).err(),
            false => self.untranslated(&mut printer),
        };
        printer
            .end(bound.map(|bound| format!("vCPU {}, {} space: {bound}", self.vcpu, self.space)), survey.entries_read())
    }

    /// The few spans of a space without tables.
    fn untranslated(&self, printer: &mut Printer<'_>) -> Option<guestdump_core::arch::paging::mappings::Bound> {
        let mut walker = Walker::new(self.paging, self.guest.memory.as_ref());
        let mut next = Some(VirtAddr(0));
        while let Some(Ok(span)) = next.map(|virt| walker.span_at(virt)) {
            if let Target::Phys(phys) = span.target {
                let _ = printer.mapping(Mapping { virt: span.virt, phys, rights: Rights::ALL });
            }
            next = span.virt.next();
        }
        None
    }
}

/// Prints mappings while they are found: there may be many.
struct Printer<'a> {
    scene: &'a Scene<'a>,
    as_json: bool,
    out: BufWriter<io::Stdout>,
    failed: Option<io::Error>,
    mappings: u64,
    shared: u64,
    first_shared: Option<Shared>,
    absent: u64,
    unreadable: u64,
    first_unreadable: Option<String>,
}

impl<'a> Printer<'a> {
    fn new(scene: &'a Scene<'a>, as_json: bool) -> Self {
        let out = BufWriter::new(io::stdout());
        let (failed, first_shared, first_unreadable) = (None, None, None);
        Self {
            scene,
            as_json,
            out,
            failed,
            mappings: 0,
            shared: 0,
            first_shared,
            absent: 0,
            unreadable: 0,
            first_unreadable,
        }
    }

    fn put(&mut self, line: &str) {
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{line}").err();
        }
    }

    fn head(&mut self) {
        let Scene { vcpu, space, .. } = *self.scene;
        let form = self.scene.form();
        let line = if self.as_json {
            json!({"schema": 1, "event": "space", "vcpu": vcpu, "space": space, "form": form}).to_string()
        } else {
            format!("vCPU {vcpu}, {space} space, {form}: first and last address, physical address, size, rights")
        };
        self.put(&line);
    }

    fn end(mut self, bound: Option<String>, entries_read: u64) -> Result<Exit, CliError> {
        let incomplete = bound.is_some() || self.unreadable > 0;
        if self.as_json {
            let like = self.first_shared.map(|first| json!({"virt": first.virt.first().0, "like": first.like.0}));
            let line = json!({"event": "summary", "mappings": self.mappings, "entries_read": entries_read,
                "shared": self.shared, "first_shared": like, "tables_absent": self.absent,
                "entries_unreadable": self.unreadable, "stopped": bound, "incomplete": incomplete});
            self.put(&line.to_string());
        }
        let written = self.out.flush();
        if let Some(source) = self.failed.or(written.err()) {
            return Err(CliError::Io { what: "standard output", source });
        }
        if let Some(first) = self.first_shared {
            eprintln!(
                "note: {} more places of tables that are told for {ADDRESSES} already, the first at {}: as at {}",
                self.shared, first.virt, first.like
            );
        }
        if let Some(bound) = bound {
            eprintln!("warning: {bound}");
        }
        if let Some(first) = self.first_unreadable {
            eprintln!("warning: {} entries of page tables could not be read: {first}", self.unreadable);
        }
        Ok(if incomplete { Exit::Incomplete } else { Exit::Done })
    }
}

impl Visitor for Printer<'_> {
    fn mapping(&mut self, Mapping { virt, phys, rights }: Mapping) -> ControlFlow<()> {
        self.mappings += 1;
        let size = u128::from(virt.len_minus_one()) + 1;
        let line = if self.as_json {
            json!({"event": "mapping", "virt": virt.first().0, "last": virt.last().0, "phys": phys.0,
                "rights": rights.to_string()})
            .to_string()
        } else {
            let (first, last) = (virt.first().0, virt.last().0);
            format!("{first:#018x} {last:#018x}  {:#014x}  {size:#14x}  {rights}", phys.0)
        };
        self.put(&line);
        // Nobody reads on: nothing more need be found.
        if self.failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn shared(&mut self, shared: Shared) {
        self.shared += 1;
        self.first_shared.get_or_insert(shared);
    }

    fn absent(&mut self, _virt: VirtRange, _table: PhysAddr, _level: u8) {
        self.absent += 1;
    }

    fn unreadable(&mut self, _virt: VirtRange, error: &WalkError) {
        self.unreadable += 1;
        self.first_unreadable.get_or_insert_with(|| error.to_string());
    }
}
