//! The screen of `guestdump info`.

use std::collections::BTreeMap;
use std::fmt::Write;

use guestdump_arch::KernelFacts as _;
use guestdump_core::kernel::UtsOrigin;
use indicatif::HumanBytes;

use super::readers::refusals;
use super::zeros::frames_line;
use super::{InfoArgs, Shown, vcpu};
use crate::cli::dmesg::printable;

/// More ranges, vCPUs and kinds of notes than this are counted, not listed.
const LINES: usize = 12;

/// Everything for people.
pub(super) fn screen(shown: &Shown, args: &InfoArgs) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut out, shown);
    let _ = kernel(&mut out, shown);
    let _ = memory(&mut out, shown);
    let _ = vcpus(&mut out, shown, args.registers);
    let _ = notes(&mut out, shown, args.notes);
    let _ = judgement(&mut out, shown);
    out
}

fn head(out: &mut String, shown: &Shown) -> std::fmt::Result {
    writeln!(out, "{}", shown.kind())?;
    let (file, memory) = (shown.file_bytes, shown.memory_bytes());
    let ratio = memory as f64 / file.max(1) as f64;
    let ratio = if ratio > 1.05 { format!(" ({ratio:.1} to 1)") } else { String::new() };
    writeln!(out, "file          {} for {} of memory{ratio}", HumanBytes(file), HumanBytes(memory))?;
    writeln!(out, "written by    {}", shown.writer())?;
    let mut fields: Vec<String> = Vec::new();
    let wanted = [
        "header_version",
        "block_size",
        "phys_base",
        "dump_level",
        "max_mapnr_64",
        "nr_cpus",
        "e_phoff",
        "PT_LOAD segments",
    ];
    for name in wanted {
        fields.extend(shown.field(name).map(|value| format!("{name} {value}")));
    }
    writeln!(out, "header        {}", fields.join(", "))
}

fn kernel(out: &mut String, shown: &Shown) -> std::fmt::Result {
    if let Some(uts) = shown.utsname.as_ref().filter(|uts| uts.origin != UtsOrigin::Unknown) {
        let words = ["sysname", "release", "version", "machine"].map(|name| uts.text(name));
        let node = uts.text("nodename");
        let of = if node.is_empty() { String::new() } else { format!(" on {node}") };
        let words = printable(format!("{}{of}", words.join(" ").trim()).as_bytes());
        writeln!(out, "kernel        {words}")?;
    }
    let Some(info) = shown.guest.as_ref().and_then(|guest| guest.vmcoreinfo.as_ref()) else {
        return writeln!(out, "VMCOREINFO    none");
    };
    let mut more = String::new();
    if let Some(offset) = info.kernel_offset() {
        more += &format!("; KASLR {offset:#x}");
    }
    if let Some(base) = info.number("phys_base") {
        more += &format!("; phys_base {base}");
    }
    if let Some(time) = info.crash_time() {
        more += &format!("; crashed at {time} (seconds since 1970)");
    }
    writeln!(out, "VMCOREINFO    {} bytes, {}{more}", info.bytes().len(), info.origin())
}

fn memory(out: &mut String, shown: &Shown) -> std::fmt::Result {
    let ranges = &shown.dump.ranges;
    writeln!(out, "memory        {} bytes in {} ranges", shown.memory_bytes(), ranges.len())?;
    for range in ranges.iter().take(LINES) {
        writeln!(out, "  {:#014x}..{:#014x}  {}", range.start().0, range.end().0, HumanBytes(range.len()))?;
    }
    if ranges.len() > LINES {
        writeln!(out, "  and {} more, see --json", ranges.len() - LINES)?;
    }
    pages(out, shown)?;
    if let Some(zeros) = shown.zeros.line() {
        let more = if shown.content.is_none() { "; --count reads all and counts" } else { "" };
        writeln!(out, "zeros         {zeros}{more}")?;
    }
    match &shown.content {
        Some(content) => writeln!(out, "frames        {}", frames_line(content)),
        None => Ok(()),
    }
}

/// How a kdump's pages are stored.
fn pages(out: &mut String, shown: &Shown) -> std::fmt::Result {
    let (Some((all, missing)), Some(size)) = (shown.pages(), shown.dump.page_size) else { return Ok(()) };
    let codecs = shown.dump.stored.iter().map(|(codec, count)| match codec.as_str() {
        "none" => format!("{count} plain"),
        codec => format!("{count} in {codec}"),
    });
    let codecs: Vec<String> = codecs.collect();
    let shared = shown.audit.shared_pages;
    writeln!(out, "pages         {all} of {size} bytes: {}, {missing} missing or excluded", codecs.join(", "))?;
    if shared > 0 {
        writeln!(out, "              {shared} of them share their bytes with another one")?;
    }
    Ok(())
}

fn vcpus(out: &mut String, shown: &Shown, registers: bool) -> std::fmt::Result {
    let Some(guest) = &shown.guest else { return Ok(()) };
    writeln!(out, "vCPUs         {}", guest.vcpus.len())?;
    let most = if registers { usize::MAX } else { LINES };
    for one in guest.vcpus.iter().take(most) {
        writeln!(out, "{}", vcpu::summary(guest.arch_of_dump(), one).line())?;
        if registers {
            for line in vcpu::registers(&one.registers).chunks(4) {
                let cells: Vec<String> = line.iter().map(|(name, value)| format!("{name:>9} {value:<18}")).collect();
                writeln!(out, "       {}", cells.join(" ").trim_end())?;
            }
        }
    }
    if guest.vcpus.len() > most {
        writeln!(out, "  and {} more, see --registers", guest.vcpus.len() - most)?;
    }
    Ok(())
}

fn notes(out: &mut String, shown: &Shown, all: bool) -> std::fmt::Result {
    let notes = &shown.dump.notes;
    let mut kinds: BTreeMap<(&[u8], u32), usize> = BTreeMap::new();
    for note in notes {
        *kinds.entry((&note.name, note.n_type)).or_insert(0) += 1;
    }
    let word = |((name, n_type), count): (&(&[u8], u32), &usize)| {
        format!("{count} {} {n_type:#x}", String::from_utf8_lossy(name).escape_debug())
    };
    let words: Vec<String> = kinds.iter().take(LINES).map(word).collect();
    let more = if kinds.len() > LINES { format!(", {} other kinds", kinds.len() - LINES) } else { String::new() };
    writeln!(out, "notes         {}: {}{more}", notes.len(), words.join(", "))?;
    if !all {
        return Ok(());
    }
    for note in notes {
        let name = String::from_utf8_lossy(&note.name);
        writeln!(out, "  {:<10}  type {:#x}  {} bytes", name.escape_debug(), note.n_type, note.desc.len())?;
    }
    if let Some(info) = &shown.dump.vmcoreinfo {
        writeln!(out, "  VMCOREINFO  type 0x0  {} bytes", info.bytes().len())?;
        for line in String::from_utf8_lossy(info.bytes()).lines() {
            writeln!(out, "    {}", line.escape_debug())?;
        }
    }
    Ok(())
}

fn judgement(out: &mut String, shown: &Shown) -> std::fmt::Result {
    let facts = shown.facts();
    let mut head = "refused by    ";
    for rule in refusals(&facts) {
        writeln!(out, "{head}{:<13} {}", rule.reader, rule.why)?;
        head = "              ";
    }
    for skipped in &shown.audit.skipped {
        writeln!(out, "not checked   {skipped}")?;
    }
    for warning in shown.warnings() {
        writeln!(out, "warning: {}", printable(warning.as_bytes()))?;
    }
    Ok(())
}
