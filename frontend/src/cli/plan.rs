//! `guestdump plan`: what a dump would contain. Its text is what most tests compare.

use std::fmt::Write;

use guestdump_core::guest::Guest;
use guestdump_core::kernel::UtsOrigin;
use guestdump_core::plan::{Body, Plan, class_name};
use serde_json::{Value, json};

use super::args::PlanArgs;
use super::{CliError, Exit, mapped, print, request};
use crate::source::{self, Purpose};

/// Runs the command.
pub fn run(args: &PlanArgs) -> Result<Exit, CliError> {
    let options = request::plan(&args.plan, true)?;
    let opened = source::open(&request::source(&args.plan, Purpose::Look)?)?;
    let plan = Plan::new(&opened.guest, &options)?;
    let out = if args.json { format!("{}\n", json(&plan, &opened.guest)) } else { text(&plan, &opened.guest) };
    opened.session.finish()?;
    print(&out)?;
    Ok(Exit::Done)
}

fn uts_from(origin: UtsOrigin) -> &'static str {
    match origin {
        UtsOrigin::Memory => "the guest's memory",
        UtsOrigin::Vmcoreinfo => "VMCOREINFO",
        UtsOrigin::Banner => "the kernel's banner",
        UtsOrigin::Unknown => "the architecture alone",
    }
}

/// The plan as text.
fn text(plan: &Plan, guest: &Guest) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut out, plan, guest);
    let _ = memory(&mut out, plan);
    let _ = notes(&mut out, plan);
    let _ = body(&mut out, plan);
    if !plan.excluded.is_empty() {
        let _ = writeln!(out, "left out      {} bytes, by the dump that is the source", plan.excluded_bytes());
    }
    for damage in &guest.past.damage {
        let _ = writeln!(out, "damage        {damage}");
    }
    for remark in &guest.remarks {
        let _ = writeln!(out, "remark        {remark}");
    }
    out
}

fn head(out: &mut String, plan: &Plan, guest: &Guest) -> std::fmt::Result {
    let info = &plan.info;
    writeln!(out, "format        {}", plan.format.name)?;
    let dump_arch = guest.arch_of_dump().identity().name;
    let of = if dump_arch == guest.arch.identity().name {
        String::new()
    } else {
        format!(" (machine {})", guest.arch.identity().name)
    };
    writeln!(out, "architecture  {dump_arch}{of}, {}, {}", info.endian.name(), class_name(info.class))?;
    writeln!(out, "page size     {} (from {})", info.page_size, info.page_size_from)?;
    writeln!(out, "phys_base     {}", info.phys_base)?;
    let uts = &plan.utsname;
    let words = ["sysname", "nodename", "release", "version", "machine"].map(|name| uts.text(name));
    writeln!(out, "utsname       {} (from {})", words.join(" ").trim(), uts_from(uts.origin))?;
    match &guest.vmcoreinfo {
        Some(info) => writeln!(out, "VMCOREINFO    {} bytes, {}", info.bytes().len(), info.origin()),
        None => writeln!(out, "VMCOREINFO    not found"),
    }
}

fn memory(out: &mut String, plan: &Plan) -> std::fmt::Result {
    writeln!(out, "memory        {} bytes in {} ranges", plan.memory_bytes(), plan.ranges.len())?;
    for (range, name) in plan.ranges.iter().zip(&plan.names) {
        writeln!(out, "  {:#018x}  {:#14x}  {name}", range.start().0, range.len())?;
    }
    for block in &plan.left_out {
        writeln!(
            out,
            "  {:#018x}  {:#14x}  {} (device, left out)",
            block.range.start().0,
            block.range.len(),
            block.name
        )?;
    }
    Ok(())
}

fn notes(out: &mut String, plan: &Plan) -> std::fmt::Result {
    writeln!(out, "notes         {} bytes, {} vCPUs", plan.notes.bytes.len(), plan.vcpus)?;
    for (name, n_type, len) in &plan.notes.list {
        writeln!(out, "  {name:<10}  type {n_type:#x}  {len} bytes")?;
    }
    Ok(())
}

fn body(out: &mut String, plan: &Plan) -> std::fmt::Result {
    match &plan.body {
        Body::Elf(layout) => {
            writeln!(out, "segments      {}", layout.segments.len())?;
            let mapped = plan.mapped.as_ref();
            for line in mapped.map(mapped::lines).unwrap_or_default() {
                writeln!(out, "paging        {line}")?;
            }
            for line in mapped.map(mapped::warnings).unwrap_or_default() {
                writeln!(out, "warning       {line}")?;
            }
            for load in &layout.segments {
                let (phys, len) = (load.phys.start().0, load.phys.len());
                writeln!(
                    out,
                    "  p_offset {:#x}  p_vaddr {:#x}  p_paddr {phys:#x}  p_filesz {len:#x}",
                    load.offset, load.virt
                )?;
            }
            writeln!(out, "file          {} bytes", layout.file_len)
        }
        Body::Kdump(layout) => {
            writeln!(
                out,
                "pages         {} of {} bytes, max_mapnr {:#x}",
                layout.pages, layout.page_size, layout.max_mapnr
            )?;
            writeln!(out, "bitmaps       at {:#x}, {} bytes each", layout.bitmap_offset, layout.bitmap_len)?;
            writeln!(out, "descriptors   at {:#x}", layout.desc_offset)?;
            writeln!(out, "page data     at {:#x}", layout.data_offset)?;
            writeln!(out, "file          at most {} bytes", layout.longest())
        }
    }
}

fn json(plan: &Plan, guest: &Guest) -> Value {
    let ranges: Vec<Value> = plan
        .ranges
        .iter()
        .zip(&plan.names)
        .map(|(range, name)| json!({"start": range.start().0, "length": range.len(), "name": name}))
        .collect();
    let left_out: Vec<Value> = plan
        .left_out
        .iter()
        .map(|block| json!({"start": block.range.start().0, "length": block.range.len(), "name": block.name}))
        .collect();
    let notes: Vec<Value> = plan
        .notes
        .list
        .iter()
        .map(|(name, n_type, len)| json!({"name": name, "type": n_type, "length": len}))
        .collect();
    let segments = if let Body::Elf(layout) = &plan.body { Some(layout.segments.len()) } else { None };
    json!({
        "schema": 1,
        "format": plan.format.name,
        "arch": guest.arch_of_dump().identity().name,
        "byte_order": plan.info.endian.name(),
        "class": class_name(plan.info.class),
        "page_size": plan.info.page_size,
        "phys_base": plan.info.phys_base,
        "release": plan.utsname.text("release"),
        "vmcoreinfo": guest.vmcoreinfo.as_ref().map(|info| info.origin().to_string()),
        "vcpus": plan.vcpus,
        "memory_bytes": plan.memory_bytes(),
        "memory": ranges,
        "left_out": left_out,
        "excluded_bytes": plan.excluded_bytes(),
        "source_damage": guest.past.damage,
        "notes": notes,
        "segments": segments,
        "paging": plan.mapped.as_ref().map(mapped::json),
        "file_bytes_at_most": plan.file_len(),
        "remarks": guest.remarks,
    })
}
