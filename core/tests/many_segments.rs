//! More segments than `e_phnum` can count, through the eyes of readers that are not ours: readelf, drgn and gdb.
//! With `GUESTDUMP_REQUIRE_ORACLES=1` (CI) their absence is a failure.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use std::path::Path;
use std::process::Command;

use guestdump_core::arch::{self, Arch, Endian};
use guestdump_core::block::{Backing, BlockKind, Bytes};
use guestdump_core::format;
use guestdump_core::plan::{Plan, PlanOptions};
use guestdump_core::run::{RunOptions, Unobserved, run};
use guestdump_core::sink::Seekable;

const BLOCKS: u64 = 65_600;
const STEP: u64 = 0x2000;

/// What a program prints, with the words and numbers of no country.
fn words(program: &str, args: &[&str], path: &Path) -> Option<String> {
    let output = Command::new(program).args(args).arg(path).env("LC_ALL", "C").output();
    let required = std::env::var("GUESTDUMP_REQUIRE_ORACLES").is_ok_and(|value| value == "1");
    assert!(output.is_ok() || !required, "GUESTDUMP_REQUIRE_ORACLES=1, and there is no {program}");
    let output = output.ok()?;
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// An ELF of [`BLOCKS`] blocks of eight bytes, each with its number.
fn write(arch: &'static dyn Arch, endian: Endian, path: &Path) {
    let parts = (0..BLOCKS).map(|i| {
        let bytes = Box::new(Bytes(i.to_le_bytes().to_vec())) as Box<dyn Backing>;
        (i * STEP, BlockKind::Ram, 8, bytes)
    });
    let mut guest = common::guest(arch, endian, parts.collect());
    // drgn wants more of it than a sample's has.
    guest.vmcoreinfo = None;
    let options = PlanOptions {
        format: format::by_name("elf").unwrap(),
        range: None,
        dump_level: 0,
        device_memory: false,
        page_size: None,
        paging: None,
    };
    let plan = Plan::new(&guest, &options).unwrap();
    let mut sink = Seekable::new(std::fs::File::create(path).unwrap());
    run(&plan, &guest, &mut sink, RunOptions::new(1), &Unobserved).unwrap();
}

/// The number behind `label` in readelf's words.
fn field<'a>(text: &'a str, label: &str) -> &'a str {
    text.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap_or_default().trim()
}

#[test]
fn readelf_counts_them_of_either_class_and_byte_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many");
    for arch in arch::ALL {
        for endian in arch.identity().endians {
            write(*arch, *endian, &path);
            let Some(text) = words("readelf", &["-W", "-h", "-l"], &path) else { return };
            let name = arch.identity().name;
            // PN_XNUM, with the number in section 0.
            assert_eq!(field(&text, "Number of program headers:"), format!("65535 ({})", BLOCKS + 1), "{name}");
            let order = if *endian == Endian::Big { "big endian" } else { "little endian" };
            assert!(field(&text, "Data:").ends_with(order), "{name}");
            let loads: Vec<Vec<&str>> = text
                .lines()
                .map(|line| line.split_whitespace().collect())
                .filter(|w: &Vec<_>| w.first() == Some(&"LOAD"))
                .collect();
            assert_eq!(loads.len() as u64, BLOCKS, "{name}");
            for (i, load) in (0..).zip(&loads) {
                let number = |at: usize| u64::from_str_radix(load[at].trim_start_matches("0x"), 16).unwrap();
                assert_eq!((number(3), number(4)), (i * STEP, 8), "{name}");
            }
        }
    }
}

/// What a program says; `None` if there is no such program and none is required.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).env("LC_ALL", "C").output();
    let required = std::env::var("GUESTDUMP_REQUIRE_ORACLES").is_ok_and(|value| value == "1");
    let missing =
        output.as_ref().is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("ModuleNotFoundError"));
    assert!(output.is_ok() && !missing || !required, "GUESTDUMP_REQUIRE_ORACLES=1, and there is no {program} {args:?}");
    let output = output.ok().filter(|_| !missing)?;
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The first block, those around the last header that `e_phnum` could count, and the last.
const PICKED: [u64; 6] = [0, 1, 65_533, 65_534, 65_535, BLOCKS - 1];

/// Prints the first eight bytes of each block that is named.
const DRGN: &str = "
import sys, drgn
program = drgn.Program()
program.set_core_dump(sys.argv[1])
for i in sys.argv[2:]:
    print(program.read(int(i) * 0x2000, 8, physical=True).hex())
";

#[test]
fn drgn_reads_memory_behind_the_last_header_that_e_phnum_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many");
    // With a note of QEMU's for x86, drgn wants a VMCOREINFO of a real kernel too.
    for arch in arch::ALL.iter().filter(|arch| !["i386", "x86_64"].contains(&arch.identity().name)) {
        for endian in arch.identity().endians {
            write(*arch, *endian, &path);
            let picked = PICKED.map(|i| i.to_string());
            let mut args = vec!["-c", DRGN, path.to_str().unwrap()];
            args.extend(picked.iter().map(String::as_str));
            let Some(text) = said("python3", &args) else { return };
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines, PICKED.map(|i| format!("{:016x}", i.swap_bytes())), "{}", arch.identity().name);
        }
    }
}

#[test]
fn gdb_reads_memory_behind_the_last_header_that_e_phnum_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many");
    write(arch::by_name("x86_64").unwrap().0, Endian::Little, &path);
    let asked = PICKED.map(|i| format!("output/x *(unsigned long *){:#x}", i * STEP));
    let mut args = vec!["-nx", "-batch", "-c", path.to_str().unwrap()];
    for expression in &asked {
        args.extend(["-ex", expression, "-ex", "echo \\n"]);
    }
    let Some(text) = said("gdb", &args) else { return };
    let values: Vec<_> = text.lines().filter(|line| line.starts_with("0x") && !line.contains(' ')).collect();
    assert_eq!(values, PICKED.map(|i| format!("{i:#x}")), "{text}");
}
