//! `guestdump map`: a picture of guest-physical memory, in the terminal or as HTML or SVG that needs nothing else.

mod html;
mod scene;
mod svg;
mod terminal;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use guestdump_core::kernel::find_vmcoreinfo;
use serde_json::{Map, Value, json};

use super::args::MapArgs;
use super::{CliError, Exit, print, request};
use crate::source::{self, Opened, Purpose};
use guestdump_core::verify::Kind;
use scene::Scene;

/// What is written to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Picture {
    Html,
    Svg,
}

/// Runs the command.
pub fn run(args: &MapArgs) -> Result<Exit, CliError> {
    let picture = args.output.as_deref().map(picture).transpose()?;
    let refuse = |path: &Path| {
        let hint = Some("--force overwrites it".to_owned());
        CliError::Usage(format!("{} exists", path.display()), hint)
    };
    if let Some(path) = args.output.as_deref().filter(|path| !args.force && path.exists()) {
        return Err(refuse(path));
    }
    let request = request::source_named(&args.source, args.arch.as_deref(), Purpose::Look)?;
    let Opened { mut guest, session } = source::open(&request)?;
    find_vmcoreinfo(&mut guest);
    let (columns, most) = if args.output.is_some() { (128, 128 * 80) } else { (64, 64 * 24) };
    let scene = Scene::of(&args.source, &guest, columns, most);
    session.finish()?;
    match (picture, &args.output) {
        (Some(picture), Some(path)) => write(path, &drawn(picture, &scene), args.force)?,
        _ if args.json => print(&format!("{}\n", as_json(&scene)))?,
        _ => print(&terminal::draw(&scene, colour()))?,
    }
    Ok(Exit::Done)
}

fn picture(path: &Path) -> Result<Picture, CliError> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html" | "htm") => Ok(Picture::Html),
        Some("svg") => Ok(Picture::Svg),
        _ if path == Path::new("-") => Ok(Picture::Html),
        _ => {
            let hint = Some("name it FILE.html or FILE.svg".to_owned());
            Err(CliError::Usage(format!("--output {}: what kind of picture?", path.display()), hint))
        }
    }
}

fn drawn(picture: Picture, scene: &Scene) -> String {
    match picture {
        Picture::Html => html::page(scene),
        Picture::Svg => svg::file(scene),
    }
}

/// Under its name only when it is whole.
fn write(path: &Path, text: &str, force: bool) -> Result<(), CliError> {
    if path == Path::new("-") {
        return print(text);
    }
    let failed = |source| CliError::Io { what: "the picture", source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".guestdump-").tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    let done = if force { file.persist(path).map(drop) } else { file.persist_noclobber(path).map(drop) };
    done.map_err(|error| failed(error.error))
}

/// On a terminal, unless NO_COLOR is set (no-color.org) or TERM says that it has none.
fn colour() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn as_json(scene: &Scene) -> Value {
    let kinds = |frames: &[u64; 5]| {
        let named = Kind::ALL.iter().zip(frames).filter(|kind| *kind.1 > 0);
        named.map(|(kind, count)| (kind.name().to_owned(), (*count).into())).collect::<Map<String, Value>>()
    };
    let cells = scene.cells.iter().map(|cell| json!({"start": cell.range.start().0, "frames": kinds(&cell.frames)}));
    let roots = scene.roots.iter().map(|root| json!({"vcpu": root.vcpu, "address": root.at}));
    json!({
        "schema": 1,
        "arch": scene.arch,
        "release": scene.release,
        "cell_bytes": scene.cell_bytes,
        "frame_bytes": guestdump_core::verify::FRAME,
        "frames": kinds(&scene.totals()),
        "memory": scene.ranges.iter().map(|range| json!({"start": range.start().0, "length": range.len()})).collect::<Vec<_>>(),
        "kernel": scene.kernel.map(|range| json!({"start": range.start().0, "length": range.len()})),
        "roots": roots.collect::<Vec<_>>(),
        "cells": cells.collect::<Vec<_>>(),
    })
}
