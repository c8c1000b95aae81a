//! The picture as SVG: one rectangle for each run of cells that look alike.

use std::fmt::Write;

use guestdump_core::verify::{Cell, Kind};
use indicatif::HumanBytes;

use super::scene::{Line, Scene, words};

/// Size of a cell, room for addresses at the left, height of a hole, in pixels.
const CELL: (u64, u64) = (8, 12);
const LEFT: u64 = 128;
const HOLE: u64 = 26;
const TOP: u64 = 8;

/// Colours of the kinds, in their order: the cells of HTML and SVG, on light and on dark ground.
pub const COLOURS: [(u8, u8, u8); 5] =
    [(0xd5, 0xda, 0xe1), (0x2f, 0x7e, 0xc7), (0xd9, 0x2d, 0x6b), (0x8a, 0x8f, 0x98), (0x10, 0x10, 0x10)];
/// Colour of the kernel's frame, and of the marks of page tables.
pub const KERNEL: &str = "#f08c00";
pub const ROOT: &str = "#12a150";

/// A kind's colour as in CSS.
pub fn colour(kind: Kind) -> String {
    let at = Kind::ALL.iter().position(|one| *one == kind).unwrap_or(0);
    css(COLOURS.get(at).copied().unwrap_or_default())
}

fn css((red, green, blue): (u8, u8, u8)) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// What a cell's frames give when mixed. In steps, so that neighbours are often equal.
fn mixed(cell: &Cell) -> String {
    const STEPS: u64 = 16;
    let all = cell.total().max(1);
    // Damage of one page in a thousand must be seen.
    if cell.frames.last().is_some_and(|damaged| *damaged > 0) {
        return colour(Kind::Damaged);
    }
    let shares: Vec<u64> = cell.frames.iter().map(|frames| (frames * STEPS).div_ceil(all)).collect();
    let sum = shares.iter().sum::<u64>().max(1);
    let mix = |part: fn(&(u8, u8, u8)) -> u8| {
        let parts = shares.iter().zip(&COLOURS).map(|(share, colour)| share * u64::from(part(colour)));
        u8::try_from(parts.sum::<u64>() / sum).unwrap_or(u8::MAX)
    };
    css((mix(|colour| colour.0), mix(|colour| colour.1), mix(|colour| colour.2)))
}

/// Text for XML and HTML: also of what guests and users call things.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// A file of its own.
pub fn file(scene: &Scene) -> String {
    let style = "<style>text{font:11px ui-monospace,monospace;fill:#444}</style>";
    let ground = "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>";
    drawn(scene, &format!("{ground}{style}{}", legend(scene)), TOP + LEGEND)
}

/// Height of the legend.
const LEGEND: u64 = 44;

/// What the guest is and what the colours mean.
fn legend(scene: &Scene) -> String {
    let totals = scene.totals();
    let all = totals.iter().sum::<u64>().max(1);
    let shares = Kind::ALL.into_iter().zip(totals).filter(|kind| kind.1 > 0);
    let percent = |frames: u64| format!(" {:.1} %", frames as f64 * 100.0 / all as f64);
    let mut keys: Vec<(String, String)> =
        shares.map(|(kind, frames)| (colour(kind), format!("{}{}", kind.name(), percent(frames)))).collect();
    keys.extend(scene.kernel.map(|_| (KERNEL.to_owned(), "kernel image".to_owned())));
    if !scene.roots.is_empty() {
        keys.push((ROOT.to_owned(), "page-table roots".to_owned()));
    }
    let (bytes, cell, row) = (HumanBytes(scene.bytes()), HumanBytes(scene.cell_bytes), HumanBytes(scene.row_bytes()));
    let what = format!("{}: {} {}, {bytes}; a cell is {cell}, a row {row}", scene.source, scene.arch, scene.release);
    let mut out = format!("<text x=\"{LEFT}\" y=\"18\">{}</text>", escaped(&what));
    for (index, (colour, words)) in keys.iter().enumerate() {
        let x = LEFT + index as u64 * 165;
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<path d=\"M{x} 28h10v10h-10z\" fill=\"{colour}\"/><text x=\"{}\" y=\"37\">{words}</text>",
            x + 15
        );
    }
    out
}

/// The element, for a page that has its own legend.
pub fn element(scene: &Scene) -> String {
    drawn(scene, "", TOP)
}

/// The element with `head` as its first children, and rows from `y` on.
fn drawn(scene: &Scene, head: &str, mut y: u64) -> String {
    let mut body = String::new();
    for line in scene.lines() {
        // Writing to a String cannot fail.
        let _ = match line {
            Line::Hole(len) => hole(&mut body, scene, &mut y, len),
            Line::Row(start, cells) => row(&mut body, scene, &mut y, start, cells),
        };
    }
    let (width, height) = (LEFT + scene.columns * CELL.0 + 8, y + TOP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">{head}{body}</svg>\n"
    )
}

fn hole(out: &mut String, scene: &Scene, y: &mut u64, len: u64) -> std::fmt::Result {
    let (middle, width) = (*y + HOLE / 2, scene.columns * CELL.0);
    let (start, end, text) = (LEFT, LEFT + width, LEFT + width / 2);
    write!(out, "<path d=\"M{start} {middle}H{end}\" stroke=\"#9aa0a6\" stroke-dasharray=\"2 4\"/>")?;
    write!(out, "<text x=\"{text}\" y=\"{}\" text-anchor=\"middle\" class=\"hole\">", middle - 3)?;
    writeln!(out, "{} without memory</text>", HumanBytes(len))?;
    *y += HOLE;
    Ok(())
}

fn row(out: &mut String, scene: &Scene, y: &mut u64, start: u64, cells: &[Cell]) -> std::fmt::Result {
    let at = *y;
    writeln!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{start:#x}</text>", LEFT - 8, at + CELL.1 - 2)?;
    let alike = |a: &Cell, b: &Cell| {
        let marks = |cell: &Cell| (mixed(cell), scene.is_kernel(cell), scene.roots_in(cell));
        a.range.end() == b.range.start() && a.frames == b.frames && marks(a) == marks(b)
    };
    for run in cells.chunk_by(alike) {
        let Some(first) = run.first() else { continue };
        let (x, width) = (LEFT + scene.column(first.range.start()) * CELL.0, run.len() as u64 * CELL.0);
        let title = escaped(&run_words(scene, run));
        let height = CELL.1 - 1;
        write!(out, "<rect x=\"{x}\" y=\"{at}\" width=\"{width}\" height=\"{height}\" fill=\"{}\">", mixed(first))?;
        writeln!(out, "<title>{title}</title></rect>")?;
        if scene.is_kernel(first) {
            // Drawn over the cells; the cells keep their titles.
            let bar = at + height - 3;
            writeln!(out, "<path d=\"M{x} {bar}h{width}v3h-{width}z\" fill=\"{KERNEL}\" pointer-events=\"none\"/>")?;
        }
        if !scene.roots_in(first).is_empty() {
            let (middle, radius) = (x + CELL.0 / 2, 4);
            write!(out, "<circle cx=\"{middle}\" cy=\"{}\" r=\"{radius}\" fill=\"{ROOT}\" ", at + CELL.1 / 2)?;
            writeln!(out, "stroke=\"#fff\" stroke-width=\"1.5\" pointer-events=\"none\"/>")?;
        }
    }
    *y += CELL.1;
    Ok(())
}

/// The words of a run of equal cells, for all of its addresses.
fn run_words(scene: &Scene, run: &[Cell]) -> String {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return String::new() };
    let range = guestdump_arch::PhysRange::between(first.range.start(), last.range.end());
    let frames = first.frames.map(|frames| frames * run.len() as u64);
    words(scene, &Cell { range, frames })
}
