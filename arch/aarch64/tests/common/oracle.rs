//! libkdumpfile's addrxlat as an outside judge of walks, through `testdata/paging/aarch64_oracle.py`.

use guestdump_arch::conformance::judges::{self, PYTHON, runs};
use guestdump_arch::conformance::{Random, describe, walk_cases};
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::{Arch, VirtAddr};

use super::tables::{Granule, Scheme, Tables};

/// Whether addrxlat can be asked.
pub fn available() -> bool {
    runs(PYTHON, &["-c", "import addrxlat"])
}

fn ask(fixture: &str) -> Vec<String> {
    judges::ask(PYTHON, "paging/aarch64_oracle.py", &[], fixture)
}

/// How often the two were asked, and how often they differ for a documented reason.
#[derive(Debug, Default)]
pub struct Tally {
    pub walks: u64,
    pub mapped: u64,
    pub invalid: u64,
    /// Addresses with bits that addrxlat drops.
    pub dropped: u64,
}

impl Tally {
    fn compare(&mut self, ours: &str, theirs: &str, what: &dyn Fn() -> String) {
        self.walks += 1;
        // Where addrxlat 0.5.1 differs and the Arm ARM is on our side: it follows addresses beyond TCR_EL1.IPS, and
        // blocks and pages in formats that a level does not have.
        if ours.starts_with("invalid at level ") {
            self.invalid += 1;
            return;
        }
        self.mapped += u64::from(ours.starts_with("0x"));
        if let Some((ours, theirs)) = phys(ours).zip(phys(theirs))
            && [47, 49].iter().any(|bit| ours >> 48 != 0 && ours ^ theirs == 1 << bit)
        {
            self.dropped += 1;
            return;
        }
        assert!(same(ours, theirs), "guestdump {ours}, addrxlat {theirs}: {}", what());
    }
}

fn phys(answer: &str) -> Option<u64> {
    answer.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok())
}

/// The same answer. Of a table without RAM addrxlat tells the entry's address, guestdump the level and the table's.
fn same(ours: &str, theirs: &str) -> bool {
    let hex = |text: &str| u64::from_str_radix(text.rsplit("0x").next().unwrap(), 16).unwrap();
    match (ours.starts_with("no RAM for "), theirs.starts_with("no RAM for entry at ")) {
        (true, true) => (0..65536).contains(&hex(theirs).wrapping_sub(hex(ours))),
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
            tally.compare(&ours, &theirs, &|| format!("[{}] {virt:#x}", case.name));
        }
    }
    assert_eq!(answers.next(), None);
    tally
}

/// Address bits of a descriptor that addrxlat 0.5.1 knows: with LPA not bit 47, with LPA2 not bit 49 (Arm ARM, D8.3.1:
/// 47:16 and 49:12 are address). The naive walker and the fixtures have them.
const fn room(scheme: Scheme) -> u64 {
    match (scheme.wide, scheme.granule) {
        (false, _) => 0xffff_ffff_ffff,
        (true, Granule::K64) => 0x000f_7fff_ffff_ffff,
        (true, _) => 0x000d_ffff_ffff_ffff,
    }
}

/// Random tables: one python process for all of them.
pub fn random_tables_agree(arch: &dyn Arch, scheme: Scheme, cases: u64, addresses: u64) -> Tally {
    let mut rng = Random(0x6164_6472_786c_6174);
    let mut sets = Vec::new();
    for _ in 0..cases {
        let tables = Tables::random_below(scheme, room(scheme), &mut rng);
        let walks: Vec<u64> = (0..addresses).map(|_| tables.address(&mut rng)).collect();
        sets.push((tables, walks));
    }
    tables_agree(arch, &sets)
}

/// Tables, and addresses to translate by them: one python process for all.
pub fn tables_agree(arch: &dyn Arch, sets: &[(Tables, Vec<u64>)]) -> Tally {
    let name = |number: usize| format!("tables {number}");
    let text: String = sets.iter().enumerate().map(|(i, (tables, walks))| tables.fixture(&name(i), walks)).collect();
    let mut answers = ask(&text).into_iter();
    let mut tally = Tally::default();
    for (tables, walks) in sets {
        let (paging, memory) = (tables.paging(arch), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        for virt in walks {
            let ours = describe(&paging, &walker.span_at(VirtAddr(*virt)).unwrap(), *virt);
            let theirs = answers.next().expect("an answer for each walk");
            tally.compare(&ours, &theirs, &|| tables.fixture("x", &[*virt]));
        }
    }
    assert_eq!(answers.next(), None);
    tally
}
