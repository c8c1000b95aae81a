//! The text of QEMU's `info registers -a` for s390x, as gdb's register names and bytes, the most significant first.

use std::collections::BTreeMap;

/// Registers of one vCPU.
pub type Printed = BTreeMap<String, Vec<u8>>;

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// What the monitor printed, one map for each "CPU#".
pub fn parse(text: &str) -> Vec<Printed> {
    let mut vcpus: Vec<Printed> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("CPU#") {
            vcpus.push(Printed::new());
        } else if let Some(vcpu) = vcpus.last_mut() {
            match line.strip_prefix("PSW=mask ") {
                Some(psw) => {
                    let words: Vec<&str> = psw.split_whitespace().collect();
                    vcpu.insert("pswm".into(), bytes(words[0]));
                    vcpu.insert("pswa".into(), bytes(words[2]));
                }
                None => {
                    line.split_whitespace().filter_map(|word| word.split_once('=')).for_each(|word| put(vcpu, word))
                }
            }
        }
    }
    vcpus
}

/// `R08=...`, `C13=...`, `V02=...`: the first sixteen vector registers have no name of their own.
fn put(vcpu: &mut Printed, (name, value): (&str, &str)) {
    let (number, value) = (name[1..].parse::<u32>().unwrap(), bytes(value));
    match (&name[..1], number) {
        ("R", n) => drop(vcpu.insert(format!("r{n}"), value)),
        ("C", n) => drop(vcpu.insert(format!("cr{n}"), value)),
        ("V", n @ 16..) => drop(vcpu.insert(format!("v{n}"), value)),
        ("V", n) => {
            vcpu.insert(format!("f{n}"), value[..8].to_vec());
            vcpu.insert(format!("v{n}l"), value[8..].to_vec());
        }
        _ => panic!("{name}={value:x?}"),
    }
}
