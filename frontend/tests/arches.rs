//! Every architecture by each of its names, from a manifest through the program: the host's own byte order is one of two.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use guestdump_core::arch::{self, Endian};

/// (name, byte order) of everything that a manifest may ask for.
fn guests() -> Vec<(&'static str, Endian)> {
    let mut out = Vec::new();
    for arch in arch::ALL {
        let id = arch.identity();
        let said = id.aliases.iter().filter_map(|(name, endian)| Some((*name, (*endian)?)));
        out.extend(said.chain([(id.name, id.endians[0])]));
    }
    out
}

fn guestdump(args: &[&str]) -> Vec<u8> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_guestdump")).args(args).stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A number of the dump, by the bytes of the file and nothing of ours.
fn number(bytes: &[u8], endian: Endian) -> u64 {
    let digits: Vec<u8> = if endian == Endian::Big { bytes.to_vec() } else { bytes.iter().rev().copied().collect() };
    digits.iter().fold(0, |sum, digit| sum << 8 | u64::from(*digit))
}

fn manifest(folder: &Path, name: &str) -> String {
    let arch = arch::by_name(name).unwrap().0;
    // Any register that is no status register: the last one of the list's first eight.
    let register = arch.registers()[7].name;
    fs::write(folder.join("ram.bin"), (0..0x3000_u32).map(|at| (at % 251) as u8).collect::<Vec<u8>>()).unwrap();
    let text = format!(
        "arch = \"{name}\"\n\n[[memory]]\nstart = \"0x40000000\"\nfile = \"ram.bin\"\n\n\
         [[cpu]]\nregisters = {{ {register} = \"0x1234567\" }}\n"
    );
    let path = folder.join("guest.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn elf_headers_have_the_byte_order_of_the_guest() {
    for (name, endian) in guests() {
        let folder = tempfile::tempdir().unwrap();
        let source = manifest(folder.path(), name);
        let elf = guestdump(&["dump", &source, "-o", "-", "--format", "elf", "--progress", "never"]);
        let (data, wide) = (elf[5], elf[4] == 2);
        assert_eq!(data, if endian == Endian::Big { 2 } else { 1 }, "{name}");
        let machine = arch::by_name(name).unwrap().0.identity().elf_machine;
        assert_eq!(number(&elf[18..20], endian), u64::from(machine), "{name}");
        // The second program header is the only block.
        let (at, fields) = if wide { (64 + 56, [8..16, 24..32, 32..40]) } else { (52 + 32, [4..8, 12..16, 16..20]) };
        let [offset, phys, len] = fields.map(|field| number(&elf[at + field.start..at + field.end], endian));
        assert_eq!((phys, len), (0x4000_0000, 0x3000), "{name}");
        let memory = &elf[offset as usize..(offset + len) as usize];
        assert!(memory.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8), "{name}");
    }
}

#[test]
fn kdump_headers_have_the_byte_order_of_the_guest() {
    for (name, endian) in guests() {
        let folder = tempfile::tempdir().unwrap();
        let source = manifest(folder.path(), name);
        let out = folder.path().join("vmcore");
        let out = out.to_str().unwrap();
        guestdump(&["dump", &source, "-o", out, "--page-size", "4096", "--progress", "never"]);
        let file = fs::read(out).unwrap();
        assert_eq!(number(&file[8..12], endian), 6, "{name}: header_version");
        let info: serde_json::Value = serde_json::from_slice(&guestdump(&["info", out, "--json"])).unwrap();
        let (arch, _) = arch::by_name(name).unwrap();
        assert_eq!(info["arch"], arch.identity().name, "{name}");
        assert_eq!(info["vcpus"][0]["registers"][arch.registers()[7].name], "0x1234567", "{name}");
    }
}
