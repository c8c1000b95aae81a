//! What the tests of ppc64 share: fixtures, the monitor's text, random trees, two other walkers.
//!
//! Nothing here looks into `guestdump_arch::paging` or at a note layout for an answer.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "code of tests, of which each test binary uses a part"
)]

pub mod hash;
pub mod monitor;
pub mod naive;
pub mod oracle;
pub mod trees;

use std::path::PathBuf;

use guestdump_arch::{Arch, Registers, Vcpu};
use guestdump_ppc64::ARCH;

fn text(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file below `testdata`.
pub fn testdata(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

/// Its text.
pub fn read(path: &str) -> String {
    text(testdata(path))
}

/// The text of a file beside these tests.
pub fn here(name: &str) -> String {
    text(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name))
}

/// A vCPU with these registers and no others.
pub fn vcpu(values: &[(&str, u64)]) -> Vcpu {
    let mut registers = Registers::unknown(ARCH.registers());
    for (name, value) in values {
        registers.set_named(name, &value.to_le_bytes()).unwrap();
    }
    Vcpu { id: 0, registers }
}
