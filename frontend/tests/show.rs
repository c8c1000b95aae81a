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
fn a_split_set_is_verified_as_one_and_a_part_alone_is_incomplete() {
    let foreign = |name: &str| format!("{}/../testdata/foreign/makedumpfile-{name}", env!("CARGO_MANIFEST_DIR"));
    let (one, two) = (foreign("split-1"), foreign("split-2"));
    let found = json(&["verify", &two, &one, "--json"]);
    assert_eq!((&found["verdict"], &found["dumps"][0]["files"][1]), (&"sound".into(), &one.as_str().into()), "{found}");
    assert_eq!(guestdump(&["verify", &one, &two]).status.code(), Some(0));
    let against = guestdump(&["verify", &one, &two, "--against", &one, "--against", &two]);
    assert!(against.status.success() && text(&against.stdout).ends_with("sound and equal\n"));
    let alone = guestdump(&["verify", &two]);
    let said = text(&alone.stdout);
    assert_eq!(alone.status.code(), Some(3), "{said}");
    assert!(said.contains("are in no file: a part of the set is missing"), "{said}");
    // Nothing that can be read together at all.
    let other = guestdump(&["verify", &one, &foreign("c-d1")]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stderr).contains("file 2 is no part of the dump that file 1 is"), "{}", text(&other.stderr));
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

/// What each sample's kernel says between its first lines and its last one.
const LOGS: [(&str, &str, &[&str]); 6] = [
    (
        "x86_64",
        "6 MiB, 4-level paging, one vCPU idle in the kernel, one in user mode",
        &[
            "RAM: [mem 0x0000000000000000-0x000000000009ffff] pc.ram (low)",
            "device memory: [mem 0x00000000000a0000-0x00000000000bffff] vga.vram",
            "RAM: [mem 0x0000000000100000-0x00000000005fffff] pc.ram",
        ],
    ),
    (
        "i386",
        "6 MiB, PAE paging, one vCPU idle in the kernel, one in user mode",
        &[
            "RAM: [mem 0x0000000000000000-0x000000000009ffff] pc.ram (low)",
            "device memory: [mem 0x00000000000a0000-0x00000000000bffff] vga.vram",
            "RAM: [mem 0x0000000000100000-0x00000000005fffff] pc.ram",
        ],
    ),
    (
        "aarch64",
        "7 MiB, 4 KiB pages, 48 bits, one vCPU idle in the kernel, one in user mode",
        &[
            "device memory: [mem 0x0000000010000000-0x00000000100fffff] ivshmem",
            "RAM: [mem 0x0000000040000000-0x00000000405fffff] mach-virt.ram",
        ],
    ),
    (
        "ppc64",
        "6 MiB, little-endian, radix trees, one vCPU idle in the kernel, one in user mode",
        &[
            "RAM: [mem 0x0000000000000000-0x00000000004fffff] ppc_spapr.ram",
            "device memory: [mem 0x0000000000700000-0x00000000007fffff] vga.vram",
        ],
    ),
    (
        "s390x",
        "6 MiB, region-third table, one vCPU idle in the kernel, one in user mode",
        &[
            "RAM: [mem 0x0000000000000000-0x00000000004fffff] s390.ram",
            "device memory: [mem 0x0000000000600000-0x00000000006fffff] dcss",
        ],
    ),
    ("riscv64", "", &[]),
];

#[test]
fn samples_have_a_log_in_every_byte_order() {
    let folder = tempfile::tempdir().unwrap();
    for (name, summary, blocks) in LOGS {
        let sample = format!("demo:{name}");
        let said = text(&guestdump(&["dmesg", &sample]).stdout);
        let lines: Vec<&str> = said.lines().collect();
        let banner = "Linux version 6.1.0-demo (guestdump@demo) (rustc, no C) #1 SMP Thu Jan 1 00:00:00 UTC 1970";
        assert_eq!(lines[0], format!("[    0.000000] {banner}"), "{said}");
        assert_eq!(lines[1], "[    0.001000] This kernel never ran: guestdump has made it and all memory around it");
        assert_eq!(lines[2], format!("[    0.002000] Machine: demo:{name}"));
        let (last, middle) = lines[4..].split_last().unwrap();
        assert!(last.ends_with("] demo: a record that names its device"), "{said}");
        if !blocks.is_empty() {
            assert_eq!(lines[3], format!("               {summary}"));
            let heads = (3..).map(|number| format!("[    0.00{number}000] "));
            let expected: Vec<String> = heads.zip(blocks).map(|(head, line)| head + line).collect();
            assert_eq!(middle, expected);
        }
        // The same out of a dump of either kind.
        for format in ["elf", "kdump-raw-lzo"] {
            let file = folder.path().join(format!("{name}-{format}")).to_str().unwrap().to_owned();
            assert!(guestdump(&["dump", &sample, "-o", &file, "--format", format]).status.success());
            assert_eq!(text(&guestdump(&["dmesg", &file]).stdout), said, "{name} {format}");
        }
        let records = guestdump(&["dmesg", &sample, "--json"]).stdout;
        let records: Vec<Value> = text(&records).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let levels: Vec<u64> = records[1..].iter().map(|record| record["level"].as_u64().unwrap()).collect();
        assert!(levels.starts_with(&[5, 4, 6]) && levels.ends_with(&[6]), "{name}: {levels:?}");
        let device = &records.last().unwrap()["dict"];
        assert_eq!((&device["SUBSYSTEM"], &device["DEVICE"]), (&"platform".into(), &"+platform:demo".into()), "{name}");
    }
}

#[test]
fn a_guest_without_a_log_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("text"), "OSRELEASE=6.1.0\nPAGESIZE=4096\n").unwrap();
    let file = path("vmcore");
    assert!(guestdump(&["dump", "demo:riscv64", "-o", &file, "--vmcoreinfo", &path("text")]).status.success());
    let output = guestdump(&["dmesg", &file]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("neither SYMBOL(prb) nor SYMBOL(log_buf)"), "{said}");
}

#[test]
fn zeros_are_known_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let kdump = dump(&folder, "kdump", "kdump-raw-zlib");
    let elf = dump(&folder, "elf", "elf");
    let whole = json(&["info", &kdump, "--json", "--count", "--threads", "2"]);
    // Counted once more, by the bytes of the plain file's memory.
    let bytes = fs::read(&elf).unwrap();
    let memory = 0x10_0000 - 0x6_0000 + (5 << 20);
    let zeros = bytes[bytes.len() - memory..].chunks(4096).filter(|page| page.iter().all(|byte| *byte == 0)).count();
    assert!(zeros > 500);
    assert_eq!(whole["frames"]["zero"], zeros, "{whole}");
    assert_eq!(whole["zero_bytes"], zeros * 4096);
    let sparse = json(&["info", &elf, "--json"]);
    assert!(sparse["frames"].is_null());
    let holes = sparse["zero_bytes"].as_u64().unwrap();
    assert!(holes <= zeros as u64 * 4096 && (holes > 0 || !has_holes(&elf)), "{holes} of {zeros} pages");
    let counted = json(&["info", &elf, "--json", "--count"]);
    assert_eq!(counted["frames"], whole["frames"]);
    let said = text(&guestdump(&["info", &kdump]).stdout);
    assert!(said.contains(&format!("zeros         {zeros} pages share one copy of zeros; --count")), "{said}");
    let said = text(&guestdump(&["info", &elf, "--count"]).stdout);
    assert!(said.contains(&format!("frames        1440 of 4096 bytes: {zeros} zero, ")), "{said}");
    assert_eq!(guestdump(&["info", &elf, "--threads", "2"]).status.code(), Some(2));
}

/// Whether the file takes less room than it is long: not every file system has holes.
fn has_holes(path: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).unwrap();
    metadata.blocks() * 512 < metadata.len() / 2
}
