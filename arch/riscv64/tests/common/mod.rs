//! What the tests of riscv64 share: random tables, a second walker.
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

pub mod naive;
pub mod tables;
