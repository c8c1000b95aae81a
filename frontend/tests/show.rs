//! `guestdump map`, `info`, `verify` and `dmesg` as a user meets them.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn guestdump(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guestdump"));
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = guestdump(args);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {output:?}"))
}

/// A dump of the sample guest, in a folder of its own.
fn dump(folder: &tempfile::TempDir, name: &str, format: &str) -> String {
    let path = folder.path().join(name).to_str().unwrap().to_owned();
    let output = guestdump(&["dump", "demo:x86_64", "-o", &path, "--format", format]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    path
}

#[test]
fn equal_dumps_of_every_format_have_one_digest() {
    let folder = tempfile::tempdir().unwrap();
    let elf = dump(&folder, "reference", "elf");
    let expected = json(&["verify", &elf, "--json"])["dumps"][0]["digest"].clone();
    assert_eq!(expected.as_str().unwrap().len(), 64);
    for format in guestdump_core::format::ALL {
        let file = dump(&folder, format.name, format.name);
        let found = json(&["verify", &file, "--against", &elf, "--json", "--threads", "3"]);
        assert_eq!((&found["schema"], &found["verdict"]), (&1.into(), &"sound".into()), "{found}");
        assert_eq!(found["dumps"][0]["digest"], expected, "{}", format.name);
    }
    assert_eq!(guestdump(&["verify", &elf]).status.code(), Some(0));
}

#[test]
fn what_differs_has_exit_status_4_and_what_is_damaged_3() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (dump(&folder, "one", "elf"), folder.path().join("other"));
    let mut bytes = fs::read(&one).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&other, &bytes).unwrap();
    let other = other.to_str().unwrap();
    let output = guestdump(&["verify", &one, "--against", other]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.contains("memory      1 frames, the first byte at 0x") && said.ends_with("sound, but different\n"),
        "{said}"
    );
    fs::write(other, &bytes[..last - 100]).unwrap();
    let output = guestdump(&["verify", other]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    assert!(
        text(&output.stdout).contains("101 bytes of memory lie behind the end of the file"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(guestdump(&["verify", &one, "--threads", "0"]).status.code(), Some(2));
}

#[test]
fn info_is_one_screen_and_names_who_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let file = dump(&folder, "vmcore", "kdump-zstd");
    let said = text(&guestdump(&["info", &file]).stdout);
    assert!(said.lines().count() <= 40, "{said}");
    for wanted in
        ["kdump-compressed, flattened, x86_64, little-endian", "refused by    gdb", "vCPUs         2", "cut", "zstd"]
    {
        assert!(said.contains(wanted) == (wanted != "cut"), "{wanted}: {said}");
    }
    assert!(!said.contains("r15"), "registers were not asked for: {said}");
    assert!(text(&guestdump(&["info", &file, "--registers"]).stdout).contains("r15"));
    assert!(text(&guestdump(&["info", &file, "--notes"]).stdout).contains("type 0x1  336 bytes"));
    let found = json(&["info", &file, "--json"]);
    let readers: Vec<&str> =
        found["refused_by"].as_array().unwrap().iter().map(|row| row["reader"].as_str().unwrap()).collect();
    assert_eq!(readers, ["gdb", "readelf", "makedumpfile", "libkdumpfile", "makedumpfile"]);
}

/// Rectangles of a picture: x, y, width.
fn rectangles(svg: &str) -> Vec<(u64, u64, u64)> {
    let number = |part: &str, name: &str| {
        let at = part.split_once(&format!(" {name}=\"")).unwrap().1;
        at.split('"').next().unwrap().parse().unwrap()
    };
    svg.split("<rect")
        .skip(1)
        .filter(|part| part.contains("<title>"))
        .map(|part| (number(part, "x"), number(part, "y"), number(part, "width")))
        .collect()
}

#[test]
fn pictures_cover_every_cell_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["map.html", "map.svg"] {
        let output = guestdump(&["map", "demo:x86_64", "-o", &path(name)]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let picture = fs::read_to_string(path(name)).unwrap();
        assert!(!picture.contains("src=") && !picture.contains("href="), "something from elsewhere");
        let mut cells: Vec<(u64, u64)> = Vec::new();
        for (x, y, width) in rectangles(&picture) {
            cells.extend((0..width / 8).map(|column| (y, x + column * 8)));
        }
        let count = cells.len();
        cells.sort_unstable();
        cells.dedup();
        assert!(count > 16 && cells.len() == count, "{count} cells, {} places", cells.len());
    }
    assert_eq!(guestdump(&["map", "demo:x86_64", "-o", &path("map.svg")]).status.code(), Some(2), "it exists");
    assert!(guestdump(&["map", "demo:x86_64", "-o", &path("map.svg"), "--force"]).status.success());
    assert_eq!(guestdump(&["map", "demo:x86_64", "-o", &path("map.png")]).status.code(), Some(2));
}

#[test]
fn the_terminal_gets_no_colour_through_a_pipe() {
    let said = guestdump(&["map", "demo:s390x"]).stdout;
    assert!(!said.contains(&0x1b), "{}", text(&said));
    let found = json(&["map", "demo:s390x", "--json"]);
    let frames: u64 = found["frames"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let memory: u64 = found["memory"].as_array().unwrap().iter().map(|range| range["length"].as_u64().unwrap()).sum();
    assert_eq!(frames * 4096, memory);
}

#[test]
fn a_guest_without_a_log_is_told_so() {
    let output = guestdump(&["dmesg", "demo:x86_64"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("neither SYMBOL(prb) nor SYMBOL(log_buf)"), "{said}");
}
