//! What the tests of s390x share: random tables, a second walker, two outside judges.
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
