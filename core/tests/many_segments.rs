//! More segments than `e_phnum` can count, through the eyes of a reader that is not ours: readelf. With
//! `GUESTDUMP_REQUIRE_ORACLES=1` (CI) its absence is a failure.
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
    let guest = common::guest(arch, endian, parts.collect());
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
