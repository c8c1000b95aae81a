//! The text of QEMU's `info registers -a` for x86, as register names and values.
//!
//! Lines as QEMU 10.0.2 prints them (`testdata/captures/*/registers_-a.txt`); what no note holds (DR, FPU, XMM) is not
//! looked at.

use std::collections::BTreeMap;

/// Registers of one vCPU, by the names of guestdump's lists.
pub type Printed = BTreeMap<String, u64>;

const SEGMENTS: [&str; 8] = ["ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"];
const WIDE: [&str; 17] = [
    "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15", "RIP",
];
const NARROW: [&str; 9] = ["EAX", "EBX", "ECX", "EDX", "ESI", "EDI", "EBP", "ESP", "EIP"];
const CONTROL: [&str; 5] = ["CR0", "CR2", "CR3", "CR4", "EFER"];

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or_else(|_| panic!("not hexadecimal: {text:?}"))
}

/// What the monitor printed, one map for each "CPU#".
pub fn parse(text: &str) -> Vec<Printed> {
    let mut vcpus: Vec<Printed> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("CPU#") {
            vcpus.push(Printed::new());
        } else if let (Some(vcpu), Some((name, value))) = (vcpus.last_mut(), line.split_once('=')) {
            let name = name.trim();
            if SEGMENTS.contains(&name) {
                segment(vcpu, name, value);
            } else if ["GDT", "IDT"].contains(&name) {
                table(vcpu, name, value);
            } else {
                plain(vcpu, line);
            }
        }
    }
    vcpus
}

/// `CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]`: selector, base, limit, flags.
fn segment(vcpu: &mut Printed, name: &str, value: &str) {
    let name = name.to_lowercase();
    let words: Vec<&str> = value.split_whitespace().collect();
    for (suffix, word) in ["", "_base", "_limit", "_flags"].iter().zip(&words) {
        vcpu.insert(format!("{name}{suffix}"), hex(word));
    }
}

/// `GDT=     fffffe0000001000 0000007f`: base, limit.
fn table(vcpu: &mut Printed, name: &str, value: &str) {
    let name = name.to_lowercase();
    for (suffix, word) in ["_base", "_limit"].iter().zip(value.split_whitespace()) {
        vcpu.insert(format!("{name}{suffix}"), hex(word));
    }
}

/// `R8 =0000000000000000 R9 =... R10=...`: names that are padded to three letters.
fn plain(vcpu: &mut Printed, line: &str) {
    let line = line.replace(" =", "=");
    for (name, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
        match name {
            "RFL" | "EFL" => vcpu.insert("eflags".to_owned(), hex(value)),
            _ if WIDE.contains(&name) || NARROW.contains(&name) || CONTROL.contains(&name) => {
                vcpu.insert(name.to_lowercase(), hex(value))
            }
            _ => None,
        };
    }
}
