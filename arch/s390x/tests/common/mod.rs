//! What the tests of s390x share: fixtures, random tables, a second walker, two outside judges.
//!
//! Nothing here looks into `guestdump_s390x::paging` or at a note layout for an answer.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "code of tests, of which each test binary uses a part"
)]

pub mod monitor;
pub mod naive;
pub mod oracle;
pub mod tables;

use std::path::PathBuf;

/// A file below `testdata`.
pub fn testdata(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

/// Its text.
pub fn read(path: &str) -> String {
    let path = testdata(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
