//! What we write of every architecture and byte order, through the eyes of readers that are not ours: readelf, drgn and
//! libkdumpfile. No guest needs to run. With `GUESTDUMP_REQUIRE_ORACLES=1` (CI) their absence is a failure.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use guestdump_core::arch::{self, Endian};
use guestdump_core::format::{self, Container};

const START: u64 = 0x4000_0000;
/// Two pages of 64 KiB.
const LEN: usize = 0x2_0000;

/// (name, byte order) of everything that a manifest may ask for, one name each.
fn guests() -> Vec<(&'static str, Endian)> {
    let mut out: Vec<(&str, Endian)> = Vec::new();
    for arch in arch::ALL {
        let id = arch.identity();
        for endian in id.endians {
            let said = id.aliases.iter().find(|alias| alias.1 == Some(*endian)).map(|alias| alias.0);
            // Where no name says the byte order, the architecture's own means the first.
            out.extend(said.or((*endian == id.endians[0]).then_some(id.name)).map(|name| (name, *endian)));
        }
    }
    out
}

/// A manifest with RAM that differs everywhere, and a kernel that says how large its pages are.
fn manifest(folder: &Path, name: &str) -> String {
    let arch = arch::by_name(name).unwrap().0;
    // libkdumpfile knows no other pages of ppc64.
    let page_size = if arch.identity().name == "ppc64" { 65536 } else { 4096 };
    let ram: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8 ^ (at >> 12) as u8).collect();
    fs::write(folder.join("ram.bin"), ram).unwrap();
    fs::write(folder.join("vmcoreinfo.txt"), format!("OSRELEASE=6.1.0-test\nPAGESIZE={page_size}\n")).unwrap();
    let register = arch.registers()[7].name;
    let text = format!(
        "arch = \"{name}\"\nvmcoreinfo = {{ file = \"vmcoreinfo.txt\" }}\n\n[[memory]]\nstart = {START}\n\
         file = \"ram.bin\"\n\n[[cpu]]\nregisters = {{ {register} = \"0x1234567\" }}\n"
    );
    let path = folder.join("guest.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn dump(source: &str, path: &Path, format: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guestdump"));
    let command = command.args(["dump", source, "--progress", "never", "--force", "--format", format, "-o"]).arg(path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{source} {format}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a reader is there; with `GUESTDUMP_REQUIRE_ORACLES=1` it must be.
fn there(reader: &str, found: bool) -> bool {
    let required = std::env::var("GUESTDUMP_REQUIRE_ORACLES").is_ok_and(|value| value == "1");
    assert!(found || !required, "GUESTDUMP_REQUIRE_ORACLES=1, and there is no {reader}");
    if !found {
        eprintln!("skipped: there is no {reader}");
    }
    found
}

fn run(program: &str, args: &[&str]) -> Option<Output> {
    Command::new(program).args(args).env("LC_ALL", "C").output().ok()
}

#[test]
fn readelf_has_nothing_to_complain_of() {
    if !there("readelf", run("readelf", &["--version"]).is_some()) {
        return;
    }
    for (name, endian) in guests() {
        let folder = tempfile::tempdir().unwrap();
        let (source, path) = (manifest(folder.path(), name), folder.path().join("elf"));
        dump(&source, &path, "elf");
        let output = run("readelf", &["-W", "-h", "-l", "-n", path.to_str().unwrap()]).unwrap();
        let (text, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && complaints.is_empty(), "{name}: {complaints}");
        let order = if endian == Endian::Big { "big endian" } else { "little endian" };
        let wide = if name == "i386" { "ELF32" } else { "ELF64" };
        for words in ["CORE (Core file)", order, wide, "NT_PRSTATUS (prstatus structure)", "VMCOREINFO", "40000000"] {
            assert!(text.contains(words), "{name}: no {words:?} in {text}");
        }
    }
}

/// Prints "same" if the dump holds the bytes of the file at the address, else what is wrong.
const DRGN: &str = "
import sys, drgn
program = drgn.Program()
program.set_core_dump(sys.argv[1])
want = open(sys.argv[2], 'rb').read()
print('same' if program.read(int(sys.argv[3]), len(want), physical=True) == want else 'differs')
";

const KDUMPFILE: &str = "
import sys, kdumpfile
context = kdumpfile.kdumpfile(file=sys.argv[1])
want = open(sys.argv[2], 'rb').read()
context.attr['arch.name']
order = 'little' if context.attr['arch.byte_order'] == 1 else 'big'
assert order == sys.argv[4], order
assert context.attr['cpu.number'] == 1
print('same' if bytes(context.read(kdumpfile.KDUMP_MACHPHYSADDR, int(sys.argv[3]), len(want))) == want else 'differs')
";

/// The last word of a script about a dump.
fn verdict(python: &str, script: &str, dump: &Path, endian: Endian) -> String {
    let ram = dump.with_file_name("ram.bin");
    let order = if endian == Endian::Big { "big" } else { "little" };
    let args = ["-c", script, dump.to_str().unwrap(), ram.to_str().unwrap(), &START.to_string(), order];
    let output = run(python, &args).unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).trim().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn libkdumpfile_reads_every_page_of_every_codec() {
    let python = "/usr/bin/python3";
    let found = run(python, &["-c", "import kdumpfile"]).is_some_and(|output| output.status.success());
    if !there("libkdumpfile for Python", found) {
        return;
    }
    for (name, endian) in guests() {
        let folder = tempfile::tempdir().unwrap();
        let source = manifest(folder.path(), name);
        for format in format::ALL.iter().filter(|format| !format.flattened) {
            let path = folder.path().join(format.name);
            dump(&source, &path, format.name);
            let said = verdict(python, KDUMPFILE, &path, endian);
            // Version 0.5.1 has no RISC-V, and knows a kdump file of aarch64 only by the machine name "aarch64".
            let unknown = name.starts_with("riscv") || (name == "aarch64_be" && format.container == Container::Kdump);
            let expected = if unknown { "KeyError: 'arch.name'" } else { "same" };
            assert_eq!(said, expected, "{name} {}", format.name);
        }
    }
}

#[test]
fn drgn_reads_the_memory_of_every_elf() {
    let found = run("python3", &["-c", "import drgn"]).is_some_and(|output| output.status.success());
    if !there("drgn", found) {
        return;
    }
    for (name, endian) in guests() {
        let folder = tempfile::tempdir().unwrap();
        let (source, path) = (manifest(folder.path(), name), folder.path().join("elf"));
        // With VMCOREINFO drgn looks for the kernel that it describes, and there is none.
        let without: String =
            fs::read_to_string(&source).unwrap().replace("{ file = \"vmcoreinfo.txt\" }", "{ search = false }");
        fs::write(&source, without).unwrap();
        dump(&source, &path, "elf");
        assert_eq!(verdict("python3", DRGN, &path, endian), "same", "{name}");
    }
}

#[test]
fn drgn_reads_the_largest_block_of_every_sample() {
    let found = run("python3", &["-c", "import drgn"]).is_some_and(|output| output.status.success());
    if !there("drgn", found) {
        return;
    }
    for name in guestdump::source::demo::names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump");
        let ram = guestdump::source::demo::guest(name).unwrap();
        let largest = ram.blocks.iter().max_by_key(|block| block.range.len()).unwrap().range;
        let (at, mut bytes) = (largest.start(), vec![0; largest.len() as usize]);
        assert!(ram.memory.read(at, &mut bytes).unwrap());
        fs::write(folder.path().join("ram.bin"), bytes).unwrap();
        let script = DRGN.replace("int(sys.argv[3])", &at.0.to_string());
        for format in ["elf", "kdump-raw-zlib"] {
            dump(&format!("demo:{name}"), &path, format);
            let said = verdict("python3", &script, &path, Endian::Little);
            // The kernel of the sample has pages of 4 KiB.
            let refused = format != "elf" && said.contains("Unsupported page shift: 12");
            assert!(said == "same" || (name == "ppc64" && refused), "{name} {format}: {said}");
        }
    }
}
