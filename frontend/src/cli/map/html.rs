//! The picture as a page of its own: no script, font or image from elsewhere.

use std::fmt::Write;

use guestdump_core::verify::{FRAME, Kind};

use super::scene::{Scene, size};
use super::svg::{KERNEL, ROOT, colour, colours, element, escaped};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1f2328;--dim:#656d76;--ground:#fff;--line:#d0d7de}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#8d96a0;--ground:#0d1117;--line:#30363d}}
body{font:14px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--ground);margin:24px auto;padding:0 16px;max-width:1180px}
h1{font-size:20px;margin:0 0 2px}p{margin:0 0 14px;color:var(--dim)}
.bar{display:flex;height:14px;border-radius:4px;overflow:hidden;margin:0 0 12px}
.keys{display:flex;flex-wrap:wrap;gap:6px 22px;margin:0 0 14px}.keys i{display:inline-block;width:12px;height:12px;border-radius:3px;margin:0 6px -1px 0}
.keys b{font-weight:600}#picture{border:1px solid var(--line);border-radius:6px;padding:8px;overflow-x:auto}svg{display:block}
svg text{font:11px ui-monospace,monospace;fill:var(--dim)}svg rect:hover{stroke:var(--ink);stroke-width:1.5}
#at{position:sticky;bottom:0;margin-top:10px;background:var(--ground);border-top:1px solid var(--line);padding:8px 2px;font:12px ui-monospace,monospace;min-height:1.5em}
table{border-collapse:collapse;margin:14px 40px 0 0;display:inline-table;vertical-align:top}td,th{padding:2px 14px 2px 0;text-align:left;font-variant-numeric:tabular-nums}
th{color:var(--dim);font-weight:500}td{font-family:ui-monospace,monospace;font-size:12px}";

/// Shows the words of the cell under the pointer at once; without scripts they are its tooltip.
const SCRIPT: &str = "\
const at=document.getElementById('at');document.querySelector('svg').addEventListener('mouseover',e=>{\
const t=e.target.querySelector&&e.target.querySelector('title');if(t)at.textContent=t.textContent})";

/// The page.
pub fn page(scene: &Scene) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut out, scene);
    let _ = keys(&mut out, scene);
    let _ = writeln!(out, "<div id=\"picture\">{}</div>", element(scene));
    out.push_str("<div id=\"at\">Point at a cell.</div>\n");
    let _ = tables(&mut out, scene);
    let _ = writeln!(out, "<script>{SCRIPT}</script></body></html>");
    out
}

fn head(out: &mut String, scene: &Scene) -> std::fmt::Result {
    let name = escaped(&scene.source);
    writeln!(out, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: memory</title>")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width\">")?;
    writeln!(out, "<style>{STYLE}{}</style></head><body><h1>{name}</h1>", colours())?;
    let release = if scene.release.is_empty() { String::new() } else { format!(", Linux {}", escaped(&scene.release)) };
    let (bytes, cell, row) = (size(scene.bytes()), size(scene.cell_bytes), size(scene.row_bytes()));
    writeln!(out, "<p>{}{release}: {bytes} of guest-physical memory. A cell is {cell}, a row {row}.</p>", scene.arch)
}

fn keys(out: &mut String, scene: &Scene) -> std::fmt::Result {
    let totals = scene.totals();
    let all = totals.iter().sum::<u64>().max(1);
    let shares: Vec<(Kind, u64)> = Kind::ALL.into_iter().zip(totals).filter(|kind| kind.1 > 0).collect();
    let percent = |frames: u64| frames as f64 * 100.0 / all as f64;
    write!(out, "<div class=\"bar\">")?;
    for (kind, frames) in &shares {
        write!(out, "<span style=\"width:{:.3}%;background:{}\"></span>", percent(*frames), colour(*kind))?;
    }
    write!(out, "</div>\n<div class=\"keys\">")?;
    for (kind, frames) in &shares {
        let bytes = size(frames * FRAME as u64);
        write!(out, "<span><i style=\"background:{}\"></i><b>{}</b> ", colour(*kind), kind.name())?;
        writeln!(out, "{bytes}, {:.1} %</span>", percent(*frames))?;
    }
    if let Some(kernel) = scene.kernel {
        let bytes = size(kernel.len());
        writeln!(out, "<span><i style=\"background:{KERNEL}\"></i><b>kernel image</b> {bytes}</span>")?;
    }
    if !scene.roots.is_empty() {
        let mark = "border-radius:50%";
        writeln!(
            out,
            "<span><i style=\"background:{ROOT};{mark}\"></i><b>page-table roots</b> {}</span>",
            scene.roots.len()
        )?;
    }
    writeln!(out, "</div>")
}

/// Rows of tables are cut off at this number, and say so.
const ROWS: usize = 64;

fn tables(out: &mut String, scene: &Scene) -> std::fmt::Result {
    writeln!(out, "<table><tr><th>memory</th><th></th></tr>")?;
    for range in scene.ranges.iter().take(ROWS) {
        writeln!(out, "<tr><td>{range}</td><td>{}</td></tr>", size(range.len()))?;
    }
    if scene.ranges.len() > ROWS {
        writeln!(out, "<tr><td>and {} more</td></tr>", scene.ranges.len() - ROWS)?;
    }
    writeln!(out, "</table>")?;
    if let Some(kernel) = scene.kernel {
        writeln!(
            out,
            "<table><tr><th>kernel image, to its last known symbol</th></tr><tr><td>{kernel}</td></tr></table>"
        )?;
    }
    if scene.roots.is_empty() {
        return Ok(());
    }
    writeln!(out, "<table><tr><th>vCPU</th><th>page tables at</th></tr>")?;
    for root in scene.roots.iter().take(ROWS) {
        writeln!(out, "<tr><td>{}</td><td>{:#x}</td></tr>", root.vcpu, root.at)?;
    }
    if scene.roots.len() > ROWS {
        writeln!(out, "<tr><td>and {} more</td></tr>", scene.roots.len() - ROWS)?;
    }
    writeln!(out, "</table>")
}
