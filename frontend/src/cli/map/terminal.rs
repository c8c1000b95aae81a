//! The picture in a terminal.

use std::fmt::Write;

use guestdump_core::verify::Kind;

use super::scene::{Line, Scene, dominant, size};

/// Character and colour (of 256) of a kind; what is no memory is blank.
const fn look(kind: Option<Kind>) -> (char, u8) {
    match kind {
        None => (' ', 0),
        Some(Kind::Zero) => ('·', 242),
        Some(Kind::Compressible) => ('▒', 74),
        Some(Kind::Incompressible) => ('█', 162),
        Some(Kind::Missing) => ('x', 245),
        Some(Kind::Damaged) => ('!', 196),
    }
}

const KERNEL: (char, u8) = ('K', 214);
const ROOT: (char, u8) = ('T', 227);

/// The whole picture.
pub fn draw(scene: &Scene, colour: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = lines(&mut out, scene, colour);
    let _ = legend(&mut out, scene, colour);
    out
}

fn put(out: &mut String, colour: bool, last: &mut u8, (character, shade): (char, u8)) {
    if colour && shade != *last && character != ' ' {
        *last = shade;
        out.push_str(&format!("\x1b[38;5;{shade}m"));
    }
    out.push(character);
}

fn plain(out: &mut String, colour: bool) {
    if colour {
        out.push_str("\x1b[0m");
    }
}

fn lines(out: &mut String, scene: &Scene, colour: bool) -> std::fmt::Result {
    let (cell, row) = (size(scene.cell_bytes), size(scene.row_bytes()));
    let release = if scene.release.is_empty() { String::new() } else { format!(", {}", scene.release) };
    writeln!(out, "{}: {}{release}, {} of memory", scene.source, scene.arch, size(scene.bytes()))?;
    writeln!(out, "a character is {cell}, a line {row}")?;
    for line in scene.lines() {
        match line {
            Line::Hole(len) => writeln!(out, "{:>16}  {}", "", format_args!("-- {} without memory --", size(len)))?,
            Line::Row(start, cells) => {
                write!(out, "{start:#016x}  ")?;
                let (mut next, mut last) = (0, 0);
                for cell in cells {
                    let column = scene.column(cell.range.start());
                    (next..column).for_each(|_| out.push(' '));
                    let shown = if !scene.roots_in(cell).is_empty() {
                        ROOT
                    } else if scene.is_kernel(cell) {
                        KERNEL
                    } else {
                        look(dominant(cell))
                    };
                    put(out, colour, &mut last, shown);
                    next = column + 1;
                }
                plain(out, colour);
                writeln!(out)?;
            }
        }
    }
    Ok(())
}

fn legend(out: &mut String, scene: &Scene, colour: bool) -> std::fmt::Result {
    let totals = scene.totals();
    let all = totals.iter().sum::<u64>().max(1);
    for (kind, frames) in Kind::ALL.iter().zip(totals).filter(|kind| kind.1 > 0) {
        put(out, colour, &mut 0, look(Some(*kind)));
        plain(out, colour);
        writeln!(out, " {:<15} {frames:>9} pages  {:>5.1} %", kind.name(), frames as f64 * 100.0 / all as f64)?;
    }
    if let Some(kernel) = scene.kernel {
        put(out, colour, &mut 0, KERNEL);
        plain(out, colour);
        writeln!(out, " kernel image    {kernel}")?;
    }
    for root in &scene.roots {
        put(out, colour, &mut 0, ROOT);
        plain(out, colour);
        writeln!(out, " page tables of vCPU {} at {:#x}", root.vcpu, root.at)?;
    }
    Ok(())
}
