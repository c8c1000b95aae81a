//! `guestdump formats` and `guestdump arches`: the tables, printed.

use std::fmt::Write;

use guestdump_core::arch;
use guestdump_core::format::{self, Container, Format};
use serde_json::{Value, json};

use super::{CliError, Exit, print};
use crate::source::demo;

/// Prints the table of formats.
pub fn formats(as_json: bool) -> Result<Exit, CliError> {
    let about = |format: &Format| format.codec().map_or("", |codec| codec.about());
    if as_json {
        let rows: Vec<Value> = format::ALL
            .iter()
            .map(|format| {
                json!({"name": format.name, "codec": format.codec, "flattened": format.flattened,
                    "needs_seek": format.needs_seek(), "kdump": format.container == Container::Kdump,
                    "about": format.about, "codec_about": about(format)})
            })
            .collect();
        print(&format!("{}\n", json!({"schema": 1, "formats": rows})))?;
        return Ok(Exit::Done);
    }
    let mut out = String::new();
    for format in format::ALL {
        let codec = if format.container == Container::Kdump { about(format) } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:<17} {:<45} {codec}", format.name, format.about);
    }
    print(out.trim_end_matches(' '))?;
    Ok(Exit::Done)
}

/// Prints the support matrix.
pub fn arches(as_json: bool) -> Result<Exit, CliError> {
    if as_json {
        let rows: Vec<Value> = arch::ALL.iter().map(|arch| row(*arch)).collect();
        print(&format!("{}\n", json!({"schema": 1, "arches": rows})))?;
        return Ok(Exit::Done);
    }
    print(&matrix())?;
    Ok(Exit::Done)
}

const HEAD: &str = "\
| architecture | also called | byte order | registers | notes | paging forms | page filter | live QEMU | sample |
|---|---|---|---|---|---|---|---|---|
";

/// Name and type of every note that a dump of this architecture can have.
fn notes(arch: &dyn arch::Arch) -> Vec<String> {
    let facts = arch::GuestFacts { vcpus: &[], ram: &[], endian: None, machine_page_size: None, kernel: None };
    let kinds = arch.dump_info(&facts).map(|info| arch.notes(&info)).unwrap_or_default();
    kinds.iter().map(|kind| format!("{} {:#x}", kind.name, kind.n_type)).collect()
}

/// The support matrix as a Markdown table; the README holds the same text.
#[must_use]
pub fn matrix() -> String {
    let mut out = String::from(HEAD);
    for arch in arch::ALL {
        let id = arch.identity();
        let aliases: Vec<&str> = id.aliases.iter().map(|alias| alias.0).collect();
        let orders: Vec<&str> = id.endians.iter().map(|endian| endian.name()).collect();
        let demo = if demo::names().contains(&id.name) { format!("demo:{}", id.name) } else { "-".to_owned() };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | zeros | qemu-system-{} | {demo} |",
            id.name,
            aliases.join(", "),
            orders.join(", "),
            arch.registers().len(),
            notes(*arch).join(", "),
            id.paging_forms.join(", "),
            id.qemu_targets.join(", qemu-system-"),
        );
    }
    out
}

fn row(arch: &dyn arch::Arch) -> Value {
    let id = arch.identity();
    json!({
        "name": id.name,
        "aliases": id.aliases.iter().map(|alias| alias.0).collect::<Vec<_>>(),
        "byte_orders": id.endians.iter().map(|endian| endian.name()).collect::<Vec<_>>(),
        "elf_machine": id.elf_machine,
        "qemu_targets": id.qemu_targets,
        "notes": notes(arch),
        "paging_forms": id.paging_forms,
        "page_filter": ["zero"],
        "registers": arch.registers().iter().map(|def| def.name).collect::<Vec<_>>(),
        "demo": demo::names().contains(&id.name),
    })
}
