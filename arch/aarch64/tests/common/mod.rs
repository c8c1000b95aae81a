//! What the tests of aarch64 share: the monitor's text, random tables, two other walkers.
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
pub mod oracle;
pub mod tables;

use std::collections::BTreeMap;

/// What QEMU's `info registers -a` printed of each vCPU: `X00=0000000000000005`, `Q01=HIGH:LOW`, `Z00=...`, by guestdump's names and
/// lowest byte first.
pub fn monitor(text: &str) -> Vec<BTreeMap<String, Vec<u8>>> {
    let mut vcpus = Vec::<BTreeMap<_, _>>::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("CPU#") {
            vcpus.push(BTreeMap::new());
        }
        for (name, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
            let (letter, number) = name.split_at(1);
            let name = match (letter, number.parse::<u16>()) {
                ("Q", Ok(number)) => format!("v{number}"),
                ("X" | "Z" | "P", Ok(number)) => format!("{}{number}", letter.to_lowercase()),
                _ => match name {
                    "PC" | "SP" | "FPSR" | "FPCR" | "FFR" => name.to_lowercase(),
                    "PSTATE" => "cpsr".to_owned(),
                    _ => continue,
                },
            };
            let digits = value.replace(':', "");
            let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            let bytes = (0..digits.len()).step_by(2).rev().map(byte).collect();
            vcpus.last_mut().unwrap().insert(name, bytes);
        }
    }
    vcpus
}
