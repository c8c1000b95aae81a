//! drgn as an outside judge of walks, through `testdata/paging/ppc64_oracle.py`.
//!
//! Present where python3 has drgn. With `GUESTDUMP_REQUIRE_ORACLES=1` (CI) absence is a failure.

use std::io::Write as _;
use std::process::{Command, Stdio};

const PYTHON: &str = "python3";

/// Whether drgn can be asked; says so if not.
pub fn available() -> bool {
    let run = Command::new(PYTHON).args(["-c", "import drgn"]).stderr(Stdio::null()).status();
    let there = run.is_ok_and(|status| status.success());
    let required = std::env::var("GUESTDUMP_REQUIRE_ORACLES").is_ok_and(|value| value == "1");
    assert!(there || !required, "GUESTDUMP_REQUIRE_ORACLES=1, and {PYTHON} cannot import drgn");
    if !there {
        eprintln!("skipped: {PYTHON} cannot import drgn");
    }
    there
}

/// What drgn says of every walk in `fixture`, in order: a physical address, "hole" or "not asked".
pub fn ask(fixture: &str) -> Vec<String> {
    let mut python = Command::new(PYTHON);
    let python = python.arg(super::testdata("paging/ppc64_oracle.py")).arg("-");
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // The script reads all of its input before it prints.
    child.stdin.take().unwrap().write_all(fixture.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "ppc64_oracle.py: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, answer)| answer.to_owned()).collect()
}
