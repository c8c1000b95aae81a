//! The text of QEMU's `info registers -a` for ppc64, as register names and values.
//!
//! Lines as QEMU 10.0.2 prints them (`testdata/captures/ppc64le/registers_-a.txt`). It prints no vector registers.

use std::collections::BTreeMap;

/// Registers of one vCPU, by the names of guestdump's list.
pub type Printed = BTreeMap<String, u64>;

/// Names as printed, and guestdump's.
const NAMES: [(&str, &str); 13] = [
    ("NIP", "pc"),
    ("LR", "lr"),
    ("CTR", "ctr"),
    ("XER", "xer"),
    ("MSR", "msr"),
    ("HID0", "hid0"),
    ("CR", "cr"),
    ("FPSCR", "fpscr"),
    ("PVR", "pvr"),
    ("LPCR", "lpcr"),
    ("PTCR", "ptcr"),
    ("DAR", "dar"),
    ("DSISR", "dsisr"),
];

/// What the monitor printed, one map for each "CPU#" that starts a line.
pub fn parse(text: &str) -> Vec<Printed> {
    let mut vcpus: Vec<Printed> = Vec::new();
    for line in text.lines() {
        if line.starts_with("CPU#") {
            vcpus.push(Printed::new());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(vcpu), Some(first)) = (vcpus.last_mut(), words.first()) else { continue };
        for (printed, name) in [("GPR", "r"), ("FPR", "f")] {
            if let Some(start) = first.strip_prefix(printed).and_then(|digits| digits.parse::<usize>().ok()) {
                let row = words[1..].iter().enumerate();
                vcpu.extend(row.map(|(i, value)| (format!("{name}{}", start + i), hex(value))));
            }
        }
        for pair in words.windows(2) {
            let known = NAMES.iter().find(|(printed, _)| *printed == pair[0]);
            vcpu.extend(known.map(|(_, name)| ((*name).to_owned(), hex(pair[1]))));
        }
    }
    vcpus
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or_else(|_| panic!("not hexadecimal: {text:?}"))
}
