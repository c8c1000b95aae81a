//! The picture as SVG: one rectangle for each run of cells that look alike.

use std::collections::BTreeSet;
use std::fmt::Write;

use guestdump_core::verify::{Cell, Kind};

use super::scene::{Line, Scene, size, words};

/// Size of a cell, room for addresses at the left, height of a hole, in pixels.
const CELL: (u64, u64) = (8, 12);
const LEFT: u64 = 128;
const HOLE: u64 = 26;
const TOP: u64 = 8;

type Rgb = (u8, u8, u8);
/// Colours of the kinds, in their order, on light ground.
const LIGHT: [Rgb; 5] =
    [(0xd5, 0xda, 0xe1), (0x2f, 0x7e, 0xc7), (0xd9, 0x2d, 0x6b), (0x8a, 0x8f, 0x98), (0x10, 0x10, 0x10)];
/// The same on dark ground: what there is most of does not shine, and damage does.
const DARK: [Rgb; 5] =
    [(0x30, 0x36, 0x40), (0x3b, 0x8e, 0xdc), (0xe0, 0x45, 0x80), (0x76, 0x7e, 0x89), (0xff, 0xff, 0xff)];
/// Colour of the kernel's bar, and of the marks of page tables.
pub const KERNEL: &str = "#f08c00";
pub const ROOT: &str = "#12a150";

fn css((red, green, blue): Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// A kind's colour as in CSS, if [`colours`] are there.
pub fn colour(kind: Kind) -> String {
    format!("var(--{})", kind.name())
}

/// A style that gives every kind its colour.
pub fn colours() -> String {
    let all = |palette: &[Rgb; 5]| {
        let named = Kind::ALL.iter().zip(palette);
        named.map(|(kind, colour)| format!("--{}:{};", kind.name(), css(*colour))).collect::<String>()
    };
    format!(":root{{{}}}@media(prefers-color-scheme:dark){{:root{{{}}}}}", all(&LIGHT), all(&DARK))
}

/// How a cell is mixed of kinds, in sixteenths: neighbours are often equal.
type Mix = [u64; 5];

fn mix(cell: &Cell) -> Mix {
    const STEPS: u64 = 16;
    let all = cell.total().max(1);
    // Damage of one page in a thousand must be seen.
    match cell.frames {
        [.., damaged] if damaged > 0 => [0, 0, 0, 0, STEPS],
        frames => frames.map(|frames| (frames * STEPS).div_ceil(all)),
    }
}

fn mixed(shares: &Mix, palette: &[Rgb; 5]) -> String {
    let sum = shares.iter().sum::<u64>().max(1);
    let part = |part: fn(&Rgb) -> u8| {
        let parts = shares.iter().zip(palette).map(|(share, colour)| share * u64::from(part(colour)));
        u8::try_from(parts.sum::<u64>() / sum).unwrap_or(u8::MAX)
    };
    css((part(|colour| colour.0), part(|colour| colour.1), part(|colour| colour.2)))
}

/// The mixes of a picture. A cell's class is `m` and the number of its mix.
struct Mixes(BTreeSet<Mix>);

impl Mixes {
    fn of(scene: &Scene) -> Self {
        Self(scene.cells.iter().map(mix).collect())
    }

    fn number(&self, cell: &Cell) -> usize {
        self.0.range(..mix(cell)).count()
    }

    fn style(&self) -> String {
        let rules = |palette| {
            let rules = self.0.iter().enumerate();
            rules.map(|(number, shares)| format!(".m{number}{{fill:{}}}", mixed(shares, palette))).collect::<String>()
        };
        format!("{}@media(prefers-color-scheme:dark){{{}}}", rules(&LIGHT), rules(&DARK))
    }
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
    const STYLE: &str = "text{font:11px ui-monospace,monospace;fill:#444}.ground{fill:#fff}\
        @media(prefers-color-scheme:dark){text{fill:#aab2bb}.ground{fill:#0d1117}}";
    let ground = "<rect width=\"100%\" height=\"100%\" class=\"ground\"/>";
    drawn(scene, &format!("<style>{STYLE}{}</style>{ground}{}", colours(), legend(scene)), TOP + LEGEND)
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
    let (bytes, cell, row) = (size(scene.bytes()), size(scene.cell_bytes), size(scene.row_bytes()));
    let what = format!("{}: {} {}, {bytes}; a cell is {cell}, a row {row}", scene.source, scene.arch, scene.release);
    let mut out = format!("<text x=\"{LEFT}\" y=\"18\">{}</text>", escaped(&what));
    let mut x = LEFT;
    for (colour, words) in &keys {
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<path d=\"M{x} 28h10v10h-10z\" style=\"fill:{colour}\"/><text x=\"{}\" y=\"37\">{words}</text>",
            x + 15
        );
        // A character of the fonts at this size is up to 7 wide.
        x += 15 + words.len() as u64 * 7 + 12;
    }
    out
}

/// The element, for a page that has its own legend.
pub fn element(scene: &Scene) -> String {
    drawn(scene, "", TOP)
}

/// The element with `head` as its first children, and rows from `y` on.
fn drawn(scene: &Scene, head: &str, mut y: u64) -> String {
    let mixes = Mixes::of(scene);
    let mut body = String::new();
    for line in scene.lines() {
        // Writing to a String cannot fail.
        let _ = match line {
            Line::Hole(len) => hole(&mut body, scene, &mut y, len),
            Line::Row(start, cells) => row(&mut body, scene, &mixes, &mut y, start, cells),
        };
    }
    let (width, height) = (LEFT + scene.columns * CELL.0 + 8, y + TOP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\"><style>{}</style>{head}{body}</svg>\n",
        mixes.style()
    )
}

fn hole(out: &mut String, scene: &Scene, y: &mut u64, len: u64) -> std::fmt::Result {
    let (middle, width) = (*y + HOLE / 2, scene.columns * CELL.0);
    let (start, end, text) = (LEFT, LEFT + width, LEFT + width / 2);
    write!(out, "<path d=\"M{start} {middle}H{end}\" stroke=\"#9aa0a6\" stroke-dasharray=\"2 4\"/>")?;
    write!(out, "<text x=\"{text}\" y=\"{}\" text-anchor=\"middle\" class=\"hole\">", middle - 3)?;
    writeln!(out, "{} without memory</text>", size(len))?;
    *y += HOLE;
    Ok(())
}

fn row(out: &mut String, scene: &Scene, mixes: &Mixes, y: &mut u64, start: u64, cells: &[Cell]) -> std::fmt::Result {
    let (at, height) = (*y, CELL.1 - 1);
    writeln!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{start:#x}</text>", LEFT - 8, at + CELL.1 - 2)?;
    let alike = |a: &Cell, b: &Cell| {
        let marks = |cell: &Cell| (scene.is_kernel(cell), scene.roots_in(cell));
        a.range.end() == b.range.start() && a.frames == b.frames && marks(a) == marks(b)
    };
    // Over all cells of the row; the cells keep their titles.
    let mut marks = String::new();
    for run in cells.chunk_by(alike) {
        let Some(first) = run.first() else { continue };
        let (x, width) = (LEFT + scene.column(first.range.start()) * CELL.0, run.len() as u64 * CELL.0);
        let (class, title) = (mixes.number(first), escaped(&run_words(scene, run)));
        write!(out, "<rect x=\"{x}\" y=\"{at}\" width=\"{width}\" height=\"{height}\" class=\"m{class}\">")?;
        writeln!(out, "<title>{title}</title></rect>")?;
        mark(&mut marks, scene, first, (x, at), width)?;
    }
    *y += CELL.1;
    write!(out, "{marks}")
}

/// What is drawn over a run of cells like `cell`.
fn mark(out: &mut String, scene: &Scene, cell: &Cell, (x, y): (u64, u64), width: u64) -> std::fmt::Result {
    if scene.is_kernel(cell) {
        let bar = y + CELL.1 - 4;
        write!(out, "<path d=\"M{x} {bar}h{width}v3h-{width}z\" fill=\"{KERNEL}\" class=\"kernel\" ")?;
        writeln!(out, "pointer-events=\"none\"/>")?;
    }
    if !scene.roots_in(cell).is_empty() {
        let (middle, radius) = (x + CELL.0 / 2, 4);
        write!(out, "<circle cx=\"{middle}\" cy=\"{}\" r=\"{radius}\" fill=\"{ROOT}\" ", y + CELL.1 / 2)?;
        writeln!(out, "stroke=\"#fff\" stroke-width=\"1.5\" pointer-events=\"none\"/>")?;
    }
    Ok(())
}

/// The words of a run of equal cells, for all of its addresses.
fn run_words(scene: &Scene, run: &[Cell]) -> String {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return String::new() };
    let range = guestdump_arch::PhysRange::between(first.range.start(), last.range.end());
    let frames = first.frames.map(|frames| frames * run.len() as u64);
    words(scene, &Cell { range, frames })
}
