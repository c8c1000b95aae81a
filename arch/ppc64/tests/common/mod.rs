//! What the tests of ppc64 share: the monitor's text, random trees, two other walkers.
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

use guestdump_arch::{Vcpu, conformance};
use guestdump_ppc64::ARCH;

/// A vCPU with these registers and no others.
pub fn vcpu(values: &[(&str, u64)]) -> Vcpu {
    conformance::vcpu(&ARCH, 0, values)
}
