//! libkdumpfile's addrxlat as an outside judge of walks, through `testdata/paging/addrxlat_oracle.py`.

use std::process::Command;

use guestdump_arch::conformance::judges::{self, PYTHON, runs};
use guestdump_arch::conformance::{Random, describe, walk_cases};
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::{Arch, VirtAddr};

use super::naive::ReservedPs;
use super::tables::{Scheme, Tables};

/// Whether addrxlat can be asked.
pub fn available() -> bool {
    runs(PYTHON, &["-c", "import addrxlat"])
}

/// Runs a script below `testdata`; whether it ended well.
pub fn script(path: &str, args: &[&str]) -> bool {
    Command::new(PYTHON).arg(judges::testdata(path)).args(args).status().is_ok_and(|status| status.success())
}

fn ask(fixture: &str) -> Vec<String> {
    judges::ask(PYTHON, "paging/addrxlat_oracle.py", &[], fixture)
}

/// How often the two were asked, and how often they differ for a documented reason.
#[derive(Debug, Default)]
pub struct Tally {
    pub walks: u64,
    pub mapped: u64,
    pub reserved_ps: u64,
    pub not_modelled: u64,
}

/// Where addrxlat 0.5.1 differs and the SDM is on our side: PS in an entry that cannot map a page is "reserved (must
/// be 0)" (PML5E table 5-14, PML4E table 5-15; bits 8:5 of a PAE PDPTE table 5-8), and addrxlat ignores it.
fn reserved_ps(ours: &str) -> bool {
    ["invalid at PML5[", "invalid at PML4[", "invalid at PDPT["].iter().any(|start| ours.starts_with(start))
}

/// The same answer. Of a table without RAM addrxlat tells the entry's address, guestdump the level and the table's.
fn same(ours: &str, theirs: &str) -> bool {
    let hex = |text: &str| u64::from_str_radix(text.rsplit("0x").next().unwrap(), 16).unwrap();
    match (ours.starts_with("no RAM for "), theirs.starts_with("no RAM for entry at ")) {
        (true, true) => (0..4096).contains(&hex(theirs).wrapping_sub(hex(ours))),
        _ => ours == theirs,
    }
}

/// Fixtures of `testdata/paging`.
pub fn fixture_agrees(arch: &dyn Arch, path: &str) -> Tally {
    let text = judges::read(path);
    let mut answers = ask(&text).into_iter();
    let mut tally = Tally::default();
    for case in walk_cases(&text) {
        let paging = case.paging(arch);
        let mut walker = Walker::new(&paging, &case.memory);
        for (virt, _) in &case.walks {
            let ours = describe(&paging, &walker.span_at(VirtAddr(*virt)).unwrap(), *virt);
            let theirs = answers.next().expect("an answer for each walk");
            tally.walks += 1;
            if theirs == "not modelled: CR4.PSE is off" {
                tally.not_modelled += 1;
            } else if reserved_ps(&ours) {
                tally.reserved_ps += 1;
            } else {
                tally.mapped += u64::from(ours.starts_with("0x"));
                assert!(same(&ours, &theirs), "[{}] {virt:#x}: guestdump {ours}, addrxlat {theirs}", case.name);
            }
        }
    }
    assert_eq!(answers.next(), None);
    tally
}

/// Random tables: one python process for all of them.
pub fn random_tables_agree(arch: &dyn Arch, scheme: Scheme, cases: u64, addresses: u64) -> Tally {
    let mut rng = Random(0x6164_6472_786c_6174);
    let mut sets = Vec::new();
    for _ in 0..cases {
        let tables = Tables::random(scheme, &mut rng);
        let walks: Vec<u64> = (0..addresses).map(|_| tables.address(&mut rng)).collect();
        sets.push((tables, walks));
    }
    let name = |number: usize| format!("random {number}");
    let text: String = sets.iter().enumerate().map(|(i, (tables, walks))| tables.fixture(&name(i), walks)).collect();
    let mut answers = ask(&text).into_iter();
    let mut tally = Tally::default();
    for (tables, walks) in &sets {
        let (paging, memory) = (tables.paging(arch), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        for virt in walks {
            let ours = describe(&paging, &walker.span_at(VirtAddr(*virt)).unwrap(), *virt);
            let theirs = answers.next().expect("an answer for each walk");
            tally.walks += 1;
            tally.mapped += u64::from(ours.starts_with("0x"));
            // The difference is that bit and nothing else: without the check the naive walker goes where addrxlat goes.
            let expected = if reserved_ps(&ours) { tables.naive(ReservedPs::Ignored, *virt).text } else { ours };
            let fixture = || tables.fixture("x", &[*virt]);
            assert!(same(&expected, &theirs), "guestdump {expected}, addrxlat {theirs}:\n{}", fixture());
            tally.reserved_ps += u64::from(reserved_ps(&tables.naive(ReservedPs::Invalid, *virt).text));
        }
    }
    assert_eq!(answers.next(), None);
    tally
}
