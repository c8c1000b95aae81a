//! Seeds from the fixtures of page tables: `testdata/paging`.

use guestdump_core::arch::{self, Arch, Endian, Registers};

use super::Seed;
use super::input::Input;
use crate::bodies::forms::FORMS;
use crate::bodies::machine::Tag;

/// One case of a fixture of page tables: registers, entries as (table, index, value), addresses and what they map to.
#[derive(Default)]
struct Case {
    registers: Vec<(String, u64)>,
    entries: Vec<(u64, u64, u64)>,
    addresses: Vec<(u64, Option<u64>)>,
}

/// How entries of a fixture are written.
fn tag(width: u64, big: bool) -> fn(&Tag) -> bool {
    match (width, big) {
        (4, false) => |tag| matches!(tag, Tag::Entry(4, Endian::Little)),
        (4, true) => |tag| matches!(tag, Tag::Entry(4, Endian::Big)),
        (_, false) => |tag| matches!(tag, Tag::Entry(8, Endian::Little)),
        (_, true) => |tag| matches!(tag, Tag::Entry(8, Endian::Big)),
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The fixtures of `testdata/paging`, see its README; what is not understood is left out.
pub fn tables(form: &str, text: &str, seeds: &mut Vec<Seed>) {
    let (mut cases, mut width, mut big) = (Vec::<Case>::new(), 8, false);
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), cases.last_mut()) {
            (["entries", bytes, order], _) => (width, big) = (number(bytes).unwrap_or(8), *order == "big"),
            ([name, ..], _) if name.starts_with('[') => cases.push(Case::default()),
            ([table, index, value], Some(case)) if table.starts_with('@') => {
                let index = number(index.trim_start_matches('[').trim_end_matches(']'));
                case.entries.extend(number(&table[1..]).zip(index).zip(number(value)).map(|((t, i), v)| (t, i, v)));
            }
            ([virt, "->", phys, ..], Some(case)) => {
                case.addresses.extend(number(virt).map(|virt| (virt, number(phys))));
            }
            ([register, value], Some(case)) => {
                case.registers.extend(number(value).map(|value| ((*register).to_owned(), value)));
            }
            _ => {}
        }
    }
    for row in FORMS.iter().filter(|row| row.fixture.strip_suffix(".txt") == Some(form)) {
        // Other cases of the fixture are other tables for the same registers.
        for (number, case) in cases.iter().enumerate().filter(|(number, _)| *number < 3 || *number == row.case) {
            seeds.push((row.target, format!("{form}-{number}"), case.form(row.base, width, big).0));
        }
        seeds.extend(
            cases.get(row.case).map(|case| (row.target, format!("{form}-shared"), case.shared(row.base, width, big))),
        );
    }
    for (number, case) in cases.iter().enumerate() {
        let Some(machine) = case.machine(width, big) else { continue };
        let mut walk = Input::default();
        for at in 0..4 {
            walk.u64(case.addresses.get(at).map_or(0, |address| address.0));
        }
        seeds.push(("walk", format!("{form}-{number}"), walk.bytes(&machine.0).0.clone()));
        if number == 0 {
            seeds.push(("kernel", form.to_owned(), case.kernel(machine)));
        }
    }
}

impl Case {
    /// The machine of `machine::machine`, of the first architecture that has all the registers.
    fn machine(&self, width: u64, big: bool) -> Option<Input> {
        let has = |arch: &&dyn Arch| {
            let registers = Registers::unknown(arch.registers());
            self.registers.iter().all(|register| registers.find(&register.0).is_some())
        };
        let arch = arch::ALL.iter().position(has)?;
        let registers = Registers::unknown(arch::ALL[arch].registers());
        let mut input = Input::default();
        let last = self.entries.iter().map(|entry| (entry.0 + entry.1 * width) / 4096).filter(|page| *page < 60).max();
        let pages = last.unwrap_or(0) as u8 + 3;
        input.u8(arch as u8).u8(u8::from(big)).u8(pages - 1).u16(0).u8(self.registers.len() as u8);
        for (name, value) in &self.registers {
            input.u8(registers.find(name)?.0 as u8).u64(*value);
        }
        for (table, index, value) in &self.entries {
            let at = table + index * width;
            if at / 4096 < 64 {
                input.piece(tag(width, big), (at / 4096) as u8, (at % 4096 / width) as u16).u64(*value);
            }
        }
        Some(input)
    }

    /// The tables and addresses alone, for a target of `bodies::forms`.
    fn form(&self, base: u64, width: u64, big: bool) -> Input {
        let mut input = Input::default();
        for at in 0..4 {
            input.u64(self.addresses.get(at).map_or(0, |address| address.0));
        }
        // All of the RAM, the registers as they are; the byte order of the machine does not matter.
        input.u8(63).u16(0).u8(0).u8(0);
        for (table, index, value) in &self.entries {
            if let Some(at) = (table + index * width).checked_sub(base).filter(|at| at / 4096 < 64) {
                input.piece(tag(width, big), (at / 4096) as u8, (at % 4096 / width) as u16).u64(*value);
            }
        }
        input
    }

    /// The same, where more entries of the first table lead where its first one does.
    fn shared(&self, base: u64, width: u64, big: bool) -> Vec<u8> {
        let mut input = self.form(base, width, big);
        let first = self.entries.first().filter(|(table, ..)| table.wrapping_sub(base) / 4096 < 64);
        for &(table, index, value) in first.into_iter() {
            for index in index + 1..index + 16 {
                let at = table - base + index * width;
                input.piece(tag(width, big), (at / 4096) as u8, (at % 4096 / width) as u16).u64(value);
            }
        }
        input.0
    }

    /// The same with a VMCOREINFO note, a banner and a utsname where the tables say.
    fn kernel(&self, mut machine: Input) -> Vec<u8> {
        let mapped = self.addresses.iter().find(|address| address.1.is_some_and(|phys| phys < 60 << 12));
        let (virt, phys) = mapped.map_or((0xffff_ffff_8000_8000, 0x8000), |found| (found.0, found.1.unwrap_or(0)));
        let text = format!(
            "OSRELEASE=6.1.0\nPAGESIZE=4096\nNUMBER(phys_base)=0\nSYMBOL(_stext)={virt:x}\nSYMBOL(init_uts_ns)={virt:x}\n\
             OFFSET(uts_namespace.name)=0\n"
        );
        let mut note = Vec::new();
        for word in [11, text.len() as u32, 0] {
            note.extend_from_slice(&word.to_le_bytes());
        }
        note.extend_from_slice(b"VMCOREINFO\0\0");
        note.extend_from_slice(text.as_bytes());
        let mut names = Vec::new();
        for name in ["Linux", "host", "6.1.0", "#1 SMP", "x86_64", "(none)"] {
            names.extend_from_slice(name.as_bytes());
            names.resize(names.len().next_multiple_of(65), 0);
        }
        let last = machine.0[2];
        machine.text(last, 0x123, &note);
        machine.text(last - 1, 0, b"Linux version 6.1.0 (gcc) #1 SMP\n");
        machine.text((phys >> 12) as u8, (phys % 4096) as u16, &names);
        machine.0
    }
}
