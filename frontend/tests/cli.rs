//! The program as a user meets it: what it refuses, with which words and exit status, and what it leaves behind.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn guestdump(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_guestdump")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The command fails with `code`, its first line of complaint is `error: TEXT`, and it gives a hint.
#[track_caller]
fn refused(args: &[&str], code: i32, text: &str) {
    let output = guestdump(args);
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {words}");
    assert!(words.lines().any(|line| line.starts_with("error: ") && line.contains(text)), "{args:?}: {words}");
}

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a dump that must be refused before anything happens, with an output path in a folder that must stay empty.
#[track_caller]
fn dump_refused(options: &[&str], code: i32, text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("vmcore");
    let out = out.to_str().unwrap();
    refused(&[&["dump", "demo:x86_64", "-o", out], options].concat(), code, text);
    assert_eq!(names(folder.path()), Vec::<String>::new(), "{options:?}");
}

#[test]
fn ranges_that_make_no_sense() {
    dump_refused(&["--begin", "0"], 2, "--begin 0x0 without --length");
    dump_refused(&["--length", "4K"], 2, "--length 0x1000 without --begin");
    dump_refused(&["--begin", "0", "--length", "0"], 2, "--length 0: a dump of nothing");
    dump_refused(&["--begin", "0xffffffffffff0000", "--length", "1M"], 2, "ends beyond 2^64");
    dump_refused(&["--begin", "1T", "--length", "4K"], 2, "no guest memory in 0x10000000000..0x10000001000");
    dump_refused(&["--begin", "-4096", "--length", "4K"], 2, "--begin: ");
    dump_refused(&["--begin", "0", "--length", "-1"], 2, "--length: ");
    dump_refused(&["--begin", "0x", "--length", "1"], 2, "--begin: ");
    dump_refused(&["--begin", "99999999999999999999999", "--length", "1"], 2, "--begin: ");
}

#[test]
fn names_that_do_not_exist_or_do_not_fit() {
    dump_refused(&["--arch", "vax"], 2, "no architecture is called vax");
    dump_refused(&["--arch", "i386"], 2, "--arch says i386, but the guest is x86_64");
    dump_refused(&["--format", "kdump-zilb"], 2, "no format is called kdump-zilb");
    dump_refused(&["--dump-level", "31"], 2, "dump level 31");
    dump_refused(&["--dump-level", "32"], 2, "levels are 0 to 31");
    dump_refused(&["--dump-level", "1", "--format", "elf"], 2, "only kdump files can share pages of zeros");
    dump_refused(&["--page-size", "5000"], 2, "page size 5000");
    dump_refused(&["--threads", "0"], 2, "--threads 0");
    let hint = stderr(&guestdump(&["dump", "demo:x86_64", "-o", "-", "--format", "kdump-zilb"]));
    assert!(hint.contains("hint: did you mean kdump-zlib?"), "{hint}");
    refused(&["dump", "demo:vax", "-o", "-"], 2, "no sample guest is called vax");
    refused(&["dump", "no-such-file", "-o", "-"], 1, "cannot open no-such-file");
    refused(&["dump", "demo:x86_64"], 2, "required arguments were not provided");
}

#[test]
fn outputs_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("there"), "precious").unwrap();
    refused(&["dump", "demo:x86_64", "-o", &path("there")], 2, "there exists");
    assert_eq!(fs::read(path("there")).unwrap(), b"precious");
    refused(&["dump", "demo:x86_64", "-o", folder.path().to_str().unwrap()], 2, "is a folder");
    refused(&["dump", "demo:x86_64", "-o", &path("no/such/folder")], 1, "cannot write");
    refused(&["dump", "demo:x86_64", "-o", "/sys/vmcore"], 1, "cannot write /sys/vmcore");
    refused(&["dump", "demo:x86_64", "-o", "fd:77"], 1, "cannot write fd:77");
    refused(&["dump", "demo:x86_64", "-o", "fd:x"], 2, "needs the number of an open file descriptor");
    refused(&["dump", "demo:x86_64", "-o", "-", "--format", "kdump-raw-zlib"], 2, "standard output cannot");
    assert_eq!(names(folder.path()), ["there"]);
}

#[test]
fn what_to_type_next_names_the_file_if_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vmcore").to_str().unwrap().to_owned();
    let next = |out: &str, format: &str| {
        let output = guestdump(&["dump", "demo:x86_64", "-o", out, "--format", format]);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output).lines().find_map(|line| line.strip_prefix("next: ").map(str::to_owned)).unwrap()
    };
    assert_eq!(next(&path, "kdump-zlib"), format!("makedumpfile -R {path}.vmcore < {path}"));
    for format in ["elf", "kdump-zlib"] {
        assert_eq!(next("/dev/null", format), "drgn -c FILE   or   crash vmlinux FILE", "{format}");
    }
}

#[test]
fn a_folder_that_must_not_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (program, locked) = (folder.path().join("guestdump"), folder.path().join("locked"));
    fs::copy(env!("CARGO_BIN_EXE_guestdump"), &program).unwrap();
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let out = locked.join("vmcore");
    // Root may write everywhere, so it must become somebody else.
    let mut command = Command::new(&program);
    if rustix::process::geteuid().is_root() {
        command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    }
    let output = command.args(["dump", "demo:x86_64", "-o"]).arg(&out).output().unwrap();
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("vmcore: Permission denied") && words.contains("hint: "), "{words}");
    assert_eq!(names(&locked), Vec::<String>::new());
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    refused(&["dump", "demo:x86_64", "-o", "/dev/full", "--format", "elf"], 1, "No space left on device");
    // A file system of 64 KiB, where one can be had.
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(folder.path()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("GUESTDUMP_REQUIRE_ROOT").is_none(), "cannot mount a small file system");
        eprintln!("skipped: cannot mount a small file system");
        return;
    }
    let out = folder.path().join("vmcore");
    let output = guestdump(&["dump", "demo:x86_64", "-o", out.to_str().unwrap()]);
    let left = names(folder.path());
    assert!(Command::new("umount").arg(folder.path()).status().unwrap().success());
    assert_eq!((output.status.code(), left), (Some(1), Vec::new()), "{}", stderr(&output));
    assert!(stderr(&output).contains("No space left on device"), "{}", stderr(&output));
}

#[test]
fn force_overwrites_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("vmcore");
    fs::write(&out, "old").unwrap();
    let output = guestdump(&["dump", "demo:x86_64", "-o", out.to_str().unwrap(), "--force"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::read(&out).unwrap().starts_with(b"KDUMP   "));
    assert_eq!(names(folder.path()), ["vmcore"]);
}

#[test]
fn two_dumps_at_once_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("vmcore");
    let spawn = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guestdump"));
        command.args(["dump", "demo:x86_64", "--progress", "never", "-o"]).arg(&out);
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let (first, second) = (spawn(), spawn());
    let outputs = [first.wait_with_output().unwrap(), second.wait_with_output().unwrap()];
    let done = outputs.iter().filter(|output| output.status.success()).count();
    assert_eq!(done, 1, "{} {}", stderr(&outputs[0]), stderr(&outputs[1]));
    let loser = outputs.iter().find(|output| !output.status.success()).unwrap();
    assert!(stderr(loser).contains("vmcore exists"), "{}", stderr(loser));
    let info = guestdump(&["info", out.to_str().unwrap()]);
    assert!(info.status.success());
    assert_eq!(names(folder.path()), ["vmcore"]);
}

#[test]
fn a_stream_is_flattened_and_holds_the_same_dump() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let output = guestdump(&["dump", "demo:x86_64", "-o", "-", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout.starts_with(b"makedumpfile\0"));
    let summary: serde_json::Value = serde_json::from_str(stderr(&output).lines().last().unwrap()).unwrap();
    assert_eq!((&summary["schema"], &summary["format"]), (&1.into(), &"kdump-zlib".into()));
    fs::write(path("flat"), &output.stdout).unwrap();
    assert!(guestdump(&["dump", "demo:x86_64", "-o", &path("raw")]).status.success());
    assert!(guestdump(&["dump", &path("flat"), "-o", &path("from-flat")]).status.success());
    assert!(fs::read(path("from-flat")).unwrap() == fs::read(path("raw")).unwrap());
}

#[test]
fn numbered_descriptors_work_and_keep_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.env("GUESTDUMP", env!("CARGO_BIN_EXE_guestdump")).env("OUT", &out);
        command.args(["-c", script]).output().unwrap()
    };
    let raw = shell("\"$GUESTDUMP\" dump demo:x86_64 -o fd:3 3>\"$OUT\"");
    assert!(raw.status.success(), "{}", stderr(&raw));
    assert!(fs::read(&out).unwrap().starts_with(b"KDUMP   "));
    // Behind something else, or appending, one cannot go back: flattened.
    let appended = shell("echo before >\"$OUT\"; \"$GUESTDUMP\" dump demo:x86_64 -o fd:3 3>>\"$OUT\"");
    assert!(appended.status.success(), "{}", stderr(&appended));
    assert!(fs::read(&out).unwrap().starts_with(b"before\nmakedumpfile\0"));
}

#[test]
fn a_reader_that_goes_away_ends_the_dump() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guestdump"));
    let mut child = command
        .args(["dump", "demo:x86_64", "-o", "-", "--format", "elf", "--progress", "never"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut start = [0; 4];
    let mut pipe = child.stdout.take().unwrap();
    pipe.read_exact(&mut start).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("error: cannot write the dump: Broken pipe"), "{}", stderr(&output));
}

#[test]
fn every_format_can_be_written_and_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    for format in guestdump_core::format::ALL {
        let out = folder.path().join(format.name);
        let out = out.to_str().unwrap();
        let output = guestdump(&["dump", "demo:x86_64", "-o", out, "--format", format.name, "--progress", "never"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let info = guestdump(&["info", out, "--json"]);
        let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
        assert_eq!((&info["schema"], &info["arch"]), (&1.into(), &"x86_64".into()), "{}", format.name);
        assert_eq!(info["warnings"], serde_json::json!([]), "{}", format.name);
        assert_eq!(info["vcpus"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn every_sample_can_be_dumped_and_planned() {
    for name in guestdump::source::demo::names() {
        let source = format!("demo:{name}");
        let plan = guestdump(&["plan", &source, "--json"]);
        let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
        assert_eq!(plan["arch"], name);
        for format in ["elf", "kdump-zlib"] {
            assert!(guestdump(&["dump", &source, "-o", "-", "--format", format]).status.success(), "{name} {format}");
        }
    }
}

#[test]
fn files_that_are_no_dumps() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("text"), "just some text").unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("cut"), b"\x7fELF\x02\x01\x01\0\0\0\0\0").unwrap();
    refused(&["info", &path("text")], 1, "not a dump: the file starts with 6a 75 73 74");
    refused(&["info", &path("empty")], 1, "it is an empty file, which is not read");
    refused(&["info", &path("cut")], 1, "ELF identification at offset 0x0, 16 bytes, lies outside of the file of 12");
    refused(&["info", folder.path().to_str().unwrap()], 1, "not a regular file");
}

#[test]
fn help_and_lists_are_there() {
    for args in [&["--help"][..], &["dump", "--help"], &["formats"], &["arches", "--json"], &["man"], &["--version"]] {
        let output = guestdump(args);
        assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(String::from_utf8_lossy(&guestdump(&["completions", shell]).stdout).contains("guestdump"));
    }
    assert_eq!(guestdump(&[]).status.code(), Some(2));
}

#[test]
fn ways_of_writing_that_do_not_fit() {
    dump_refused(&["--format", "elf", "--dedup"], 2, "--dedup with elf: an ELF file has every page in its own place");
    dump_refused(&["--format", "elf", "--level", "1"], 2, "--level 1 with elf: none has no levels");
    dump_refused(&["--format", "kdump-raw-lzo", "--level", "1"], 2, "--level 1 with kdump-raw-lzo: lzo has no levels");
    dump_refused(&["--level", "0"], 2, "--level 0 with kdump-raw-zlib: zlib has levels 1 to ");
    dump_refused(&["--format", "kdump-raw-zstd", "--level", "23"], 2, "zstd has levels -50 to 22");
    dump_refused(&["--format", "kdump-zlib", "--direct"], 2, "--direct is for seekable files");
    dump_refused(&["--format", "kdump-zlib", "--no-sparse"], 2, "--no-sparse is for seekable files");
    dump_refused(&["--nice", "0"], 2, "--nice 0: priority can be lowered by 1 to 19");
    dump_refused(&["--nice", "-5"], 2, "--nice -5");
    dump_refused(&["--rate-limit", "0"], 2, "--rate-limit 0: at least 65536 bytes a second");
    dump_refused(&["--rate-limit", "fast"], 2, "--rate-limit: ");
    refused(
        &["dump", "demo:x86_64", "-o", "-", "--format", "elf", "--direct"],
        2,
        "standard output takes elf as a stream",
    );
}

/// Dumps the sample with these options and reads the file.
fn dumped(folder: &Path, name: &str, options: &[&str]) -> Vec<u8> {
    let out = folder.join(name);
    let output = guestdump(&[&["dump", "demo:x86_64", "-o", out.to_str().unwrap()], options].concat());
    assert!(output.status.success(), "{options:?}: {}", stderr(&output));
    fs::read(out).unwrap()
}

#[test]
fn the_way_of_writing_does_not_show_in_the_file() {
    // Not in a temporary folder: that may have no O_DIRECT.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for format in ["elf", "kdump-raw-zlib", "kdump-raw-none"] {
        let plain = dumped(folder.path(), &format!("{format}-1"), &["--format", format]);
        let ways: [&[&str]; 5] =
            [&["--no-sparse"], &["--direct"], &["--direct", "--no-sparse"], &["--rate-limit", "1G"], &["--nice", "5"]];
        for (number, way) in ways.iter().enumerate() {
            let name = format!("{format}-way{number}");
            let bytes = dumped(folder.path(), &name, &[&["--format", format], *way].concat());
            assert!(bytes == plain, "{format} {way:?}");
            if way.contains(&"--no-sparse") {
                let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(folder.path().join(name)).unwrap());
                assert!(blocks * 512 >= bytes.len() as u64, "{format} {way:?}: {blocks} blocks");
            }
        }
    }
}

#[test]
fn levels_and_shared_pages_change_the_size_and_not_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let again = |name: &str| {
        let (from, to) = (folder.path().join(name), folder.path().join(format!("{name}.elf")));
        let paths = [from.to_str().unwrap(), to.to_str().unwrap()];
        let output = guestdump(&["dump", paths[0], "-o", paths[1], "--format", "elf"]);
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read(to).unwrap()
    };
    let plain = dumped(folder.path(), "plain", &["--format", "kdump-raw-zlib"]);
    let best = dumped(folder.path(), "best", &["--format", "kdump-raw-zlib", "--level", "9"]);
    let shared = dumped(folder.path(), "shared", &["--format", "kdump-raw-zlib", "--dedup", "--threads", "1"]);
    assert!(best.len() < plain.len() && shared.len() <= plain.len(), "{} {}", best.len(), shared.len());
    assert!(shared == dumped(folder.path(), "shared5", &["--format", "kdump-raw-zlib", "--dedup", "--threads", "5"]));
    let memory = again("plain");
    assert!(memory == again("best") && memory == again("shared"));
}

#[test]
fn paging_needs_elf_and_says_what_bounds_it() {
    dump_refused(&["--paging", "--format", "kdump-zlib"], 2, "paging with format kdump-zlib: only ELF files");
    dump_refused(&["--max-segments", "9"], 2, "--max-segments 9 without --paging");
    dump_refused(&["--paging-cpu", "1"], 2, "--paging-cpu 1 without --paging");
    dump_refused(&["--paging", "--paging-cpu", "9"], 2, "no vCPU 9: the guest has 2");
    dump_refused(&["--paging", "--max-segments", "1"], 2, "at most 1 segments: the memory alone needs");
    dump_refused(&["--paging", "--max-segments", "4G"], 2, "--max-segments 4294967296: an ELF file counts");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vmcore");
    let out = path.to_str().unwrap();
    let whole = guestdump(&["dump", "demo:x86_64", "-o", out, "--paging", "--json"]);
    assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
    let summary: serde_json::Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(summary["format"], "elf");
    assert_eq!(summary["paging"]["incomplete"], false);
    let bounded = guestdump(&["dump", "demo:x86_64", "-o", out, "--paging", "--max-segments", "5", "--force"]);
    assert_eq!(bounded.status.code(), Some(3));
    let words = stderr(&bounded);
    assert!(words.contains("vCPU 0, kernel space: more mappings than there is room for: stopped before 0x"), "{words}");
    assert!(words.contains("page table at 0x"), "{words}");
    // All memory is in both.
    let info: serde_json::Value = serde_json::from_slice(&guestdump(&["info", out, "--json"]).stdout).unwrap();
    let bytes = info["memory"].as_array().unwrap().iter().map(|range| range["length"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(Some(bytes), summary["memory_bytes"].as_u64());
}

#[test]
fn walk_explains_and_lists() {
    refused(&["walk", "demo:x86_64", "0", "--cpu", "9"], 2, "--cpu 9: no such vCPU");
    refused(&["walk", "demo:x86_64", "0", "--space", "home"], 2, "--space home: vCPU 0 has no such address space");
    refused(&["walk", "demo:x86_64", "12x"], 2, "ADDR: ");
    for arch in ["x86_64", "i386", "aarch64", "ppc64", "s390x"] {
        let demo = format!("demo:{arch}");
        let all = guestdump(&["walk", &demo, "--all", "--json"]);
        assert_eq!(all.status.code(), Some(0), "{}", stderr(&all));
        let text = String::from_utf8(all.stdout).unwrap();
        let events: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&events[0]["schema"], &events[0]["event"]), (&1.into(), &"space".into()));
        let mappings: Vec<_> = events.iter().filter(|event| event["event"] == "mapping").collect();
        assert_eq!(events.last().unwrap()["mappings"], mappings.len());
        for mapping in mappings {
            let one = guestdump(&["walk", &demo, &mapping["virt"].to_string(), "--json"]);
            let one: serde_json::Value = serde_json::from_slice(&one.stdout).unwrap();
            assert_eq!((&one["phys"], &one["rights"]), (&mapping["phys"], &mapping["rights"]));
        }
    }
    let hole = String::from_utf8(guestdump(&["walk", "demo:x86_64", "0x1234"]).stdout).unwrap();
    assert!(hole.contains("0x1234 is not mapped: not present: level"), "{hole}");
}
