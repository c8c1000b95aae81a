//! `guestdump info`: everything that a dump says.

use std::fmt::Write;

use guestdump_core::arch::Registers;
use guestdump_core::format::Container;
use guestdump_core::format::read::Dump;
use guestdump_core::guest::{Guest, Note};
use serde_json::{Map, Value, json};

use super::args::InfoArgs;
use super::{CliError, Exit, print};
use crate::source::{SourceError, dump};

/// What is shown of a dump.
struct Shown {
    kind: String,
    head: Vec<(&'static str, String)>,
    stored: Vec<(String, u64)>,
    warnings: Vec<String>,
    notes: Vec<Note>,
    guest: Option<Guest>,
    ranges: Vec<(u64, u64)>,
    vmcoreinfo: Option<String>,
}

/// Runs the command.
pub fn run(args: &InfoArgs) -> Result<Exit, CliError> {
    let dump = dump::read(&args.file)?;
    let shown = shown(dump).map_err(|source| SourceError::Dump { path: args.file.clone(), source })?;
    let out = if args.json { format!("{}\n", json(&shown)) } else { text(&shown) };
    print(&out)?;
    Ok(Exit::Done)
}

fn shown(dump: Dump) -> Result<Shown, guestdump_core::format::ReadError> {
    let kind = match dump.container {
        Container::Elf => "ELF core",
        Container::Kdump => "kdump-compressed",
    };
    let flat = if dump.flattened { ", flattened" } else { "" };
    let arch = dump.arch.map_or("unknown architecture", |arch| arch.identity().name);
    let class = guestdump_core::plan::class_name(dump.class);
    let mut shown = Shown {
        kind: format!("{kind}{flat}, {arch}, {}, {class}", dump.endian.name()),
        head: dump.fields.clone(),
        stored: dump.stored.clone(),
        warnings: dump.warnings.clone(),
        notes: dump.notes.clone(),
        ranges: dump.ranges.iter().map(|range| (range.start().0, range.len())).collect(),
        vmcoreinfo: dump.vmcoreinfo.as_ref().map(|info| String::from_utf8_lossy(info.bytes()).into_owned()),
        guest: None,
    };
    if shown.vmcoreinfo.is_none() {
        shown.warnings.push("no VMCOREINFO: drgn refuses such a dump".to_owned());
    }
    if dump.arch.is_some() {
        shown.guest = Some(dump.into_guest(None)?);
    }
    Ok(shown)
}

/// Registers as hexadecimal numbers.
fn registers(registers: &Registers) -> Vec<(&'static str, String)> {
    let hex = |bytes: &[u8]| {
        let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
        let short = digits.trim_start_matches('0');
        format!("0x{}", if short.is_empty() { "0" } else { short })
    };
    registers.known().map(|(def, bytes)| (def.name, hex(bytes))).collect()
}

fn text(shown: &Shown) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", shown.kind);
    for (name, value) in shown.head.iter().filter(|field| !field.1.is_empty()) {
        let _ = writeln!(out, "  {name:<18} {value}");
    }
    for (codec, count) in &shown.stored {
        let _ = writeln!(out, "  pages stored {codec:<5} {count}");
    }
    let _ = writeln!(out, "memory: {} bytes", shown.ranges.iter().map(|range| range.1).sum::<u64>());
    for (start, len) in &shown.ranges {
        let _ = writeln!(out, "  {start:#018x}  {len:#14x}");
    }
    let _ = writeln!(out, "notes: {}", shown.notes.len());
    for note in &shown.notes {
        let name = String::from_utf8_lossy(&note.name);
        let _ = writeln!(out, "  {name:<10}  type {:#x}  {} bytes", note.n_type, note.desc.len());
    }
    for vcpu in shown.guest.iter().flat_map(|guest| &guest.vcpus) {
        let _ = writeln!(out, "vCPU {}:", vcpu.id);
        for line in registers(&vcpu.registers).chunks(4) {
            let cells: Vec<String> = line.iter().map(|(name, value)| format!("{name:>9} {value:<18}")).collect();
            let _ = writeln!(out, "  {}", cells.join(" ").trim_end());
        }
    }
    if let Some(info) = &shown.vmcoreinfo {
        let _ = writeln!(out, "VMCOREINFO: {} bytes", info.len());
        for line in info.lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    for warning in &shown.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

fn json(shown: &Shown) -> Value {
    let vcpus: Vec<Value> = shown
        .guest
        .iter()
        .flat_map(|guest| &guest.vcpus)
        .map(|vcpu| {
            let values = registers(&vcpu.registers);
            let map: Map<String, Value> = values.into_iter().map(|(name, hex)| (name.to_owned(), hex.into())).collect();
            json!({"id": vcpu.id, "registers": map})
        })
        .collect();
    let notes: Vec<Value> = shown
        .notes
        .iter()
        .map(
            |note| json!({"name": String::from_utf8_lossy(&note.name), "type": note.n_type, "length": note.desc.len()}),
        )
        .collect();
    let fields: Map<String, Value> =
        shown.head.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
    json!({
        "schema": 1,
        "kind": shown.kind,
        "arch": shown.guest.as_ref().map(|guest| guest.arch_of_dump().identity().name),
        "header": fields,
        "stored": shown.stored.iter().map(|(codec, count)| json!({"codec": codec, "pages": count})).collect::<Vec<_>>(),
        "memory": shown.ranges.iter().map(|(start, len)| json!({"start": start, "length": len})).collect::<Vec<_>>(),
        "notes": notes,
        "vcpus": vcpus,
        "vmcoreinfo": shown.vmcoreinfo,
        "warnings": shown.warnings,
    })
}
