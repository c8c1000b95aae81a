//! What the tests of i386 and x86_64 share: the monitor's text, random tables, two other walkers.
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

pub mod monitor;
pub mod naive;
pub mod notes;
pub mod oracle;
pub mod tables;
pub mod walks;
