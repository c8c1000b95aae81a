//! Files below `testdata`, and the scripts there that ask programs which we did not write.
//!
//! Those programs are there where their packages are installed. With `GUESTDUMP_REQUIRE_ORACLES=1` (CI) absence is a failure.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Python with the distribution's modules: a python from elsewhere does not see python3-libkdumpfile.
pub const PYTHON: &str = "/usr/bin/python3";

/// A file below `testdata`.
pub fn testdata(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(path)
}

/// Its text.
pub fn read(path: &str) -> String {
    let path = testdata(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether a judge is there: a program that ends well with these arguments. Says so if not.
pub fn runs(program: &str, args: &[&str]) -> bool {
    let run = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = run.is_ok_and(|status| status.success());
    let required = std::env::var("GUESTDUMP_REQUIRE_ORACLES").is_ok_and(|value| value == "1");
    assert!(there || !required, "GUESTDUMP_REQUIRE_ORACLES=1, and {program} {args:?} fails");
    if !there {
        eprintln!("skipped: {program} {args:?} fails");
    }
    there
}

/// What a script below `testdata` says of every walk in `fixture`, in order.
pub fn ask(python: &str, script: &str, args: &[&str], fixture: &str) -> Vec<String> {
    let path = testdata(script);
    let all = ["-B".as_ref(), path.as_os_str()].into_iter().chain(args.iter().map(OsStr::new)).chain(["-".as_ref()]);
    let mut python = Command::new(python);
    let mut child = python.args(all).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // The script reads all of its input before it prints.
    child.stdin.take().unwrap().write_all(fixture.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, answer)| answer.to_owned()).collect()
}
