//! Outside judges of walks, through `testdata/paging/s390x_oracle.py`: libkdumpfile's addrxlat, and QEMU.
//!
//! Present where Debian's python3-libkdumpfile and qemu-system-misc are. With `GUESTDUMP_REQUIRE_ORACLES=1` (CI) absence is
//! a failure.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Python with the distribution's modules.
const PYTHON: &str = "/usr/bin/python3";

fn runs(program: &str, args: &[&str]) -> bool {
    let run = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = run.is_ok_and(|status| status.success());
    let required = std::env::var("GUESTDUMP_REQUIRE_ORACLES").is_ok_and(|value| value == "1");
    assert!(there || !required, "GUESTDUMP_REQUIRE_ORACLES=1, and {program} {args:?} fails");
    if !there {
        eprintln!("skipped: {program} {args:?} fails");
    }
    there
}

/// Whether addrxlat can be asked.
pub fn addrxlat_is_there() -> bool {
    runs(PYTHON, &["-c", "import addrxlat"])
}

/// Whether QEMU can be asked.
pub fn qemu_is_there() -> bool {
    runs(PYTHON, &["-c", ""]) && runs("qemu-system-s390x", &["--version"])
}

/// What a judge says of every walk in `fixture`, in order.
pub fn ask(judge: &str, fixture: &str) -> Vec<String> {
    let script = super::testdata("paging/s390x_oracle.py");
    let mut python = Command::new(PYTHON);
    python.arg(script).args([judge, "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    // The script reads all of its input before it prints.
    child.stdin.take().unwrap().write_all(fixture.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "s390x_oracle.py: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, answer)| answer.to_owned()).collect()
}
