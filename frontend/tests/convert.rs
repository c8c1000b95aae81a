//! Dumps and memory images on the command line: raw files, images, several files, VMCOREINFO, damage.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

fn guestdump(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_guestdump")).args(args).args(["--progress", "never"]).output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

/// Status, standard error, and the file if there is one.
fn dump(files: &Files, args: &[&str]) -> (i32, String, Vec<u8>) {
    let out = files.path("out");
    let output = guestdump(&[&["dump"], args, &["-o", &out, "--force", "--format", "elf"]].concat());
    (output.status.code().unwrap(), words(&output), fs::read(out).unwrap_or_default())
}

/// Pages of VMCOREINFO's note, as Linux keeps it, and of text.
fn ram() -> Vec<u8> {
    let text = b"OSRELEASE=6.1.0-here\nPAGESIZE=4096\n";
    let mut ram = b"guest memory ".iter().copied().cycle().take(0x4000).collect::<Vec<u8>>();
    ram[0x2000..0x2018].copy_from_slice(b"\x0b\0\0\0\x23\0\0\0\0\0\0\0VMCOREINFO\0\0");
    ram[0x2004] = text.len() as u8;
    ram[0x2018..0x2018 + text.len()].copy_from_slice(text);
    ram
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn raw_files_lie_where_they_are_said_to() {
    let files = Files::new();
    let low = format!("{}@0x1000", files.write("low", &ram()));
    let high = format!("{}@4G", files.write("high", &[7; 0x1000]));
    let (status, said, file) = dump(&files, &[&low, &high, "--arch", "riscv64"]);
    assert_eq!(status, 0, "{said}");
    assert!(has(&file, &ram()) && has(&file, b"VMCOREINFO"));
    let plan = guestdump_plan(&[&low, &high, "--arch", "riscv64"]);
    assert!(plan.contains("0x0000000100000000          0x1000"), "{plan}");
    assert!(plan.contains("found by searching RAM, at 0x3000"), "{plan}");
    let (status, said, _) = dump(&files, &[&low, &low, "--arch", "riscv64"]);
    assert!(status == 2 && said.contains("overlap"), "{status} {said}");
    let (status, said, _) = dump(&files, &[&low]);
    assert!(status == 2 && said.contains("raw memory does not say which architecture"), "{status} {said}");
    let (status, said, _) = dump(&files, &[&format!("{}@4X", files.path("low")), "--arch", "riscv64"]);
    assert!(status == 2 && said.contains("low@4X"), "{status} {said}");
}

fn guestdump_plan(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_guestdump")).arg("plan").args(args).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A LiME image of one range at 0x1000.
fn lime(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"EMiL\x01\0\0\0".to_vec();
    out.extend(0x1000_u64.to_le_bytes());
    out.extend((0xfff + bytes.len() as u64).to_le_bytes());
    out.extend([0; 8]);
    out.extend(bytes);
    out
}

#[test]
fn images_are_recognised_and_cut_ones_end_with_3() {
    let files = Files::new();
    let image = files.write("memory.any", &lime(&ram()));
    let (status, said, file) = dump(&files, &[&image, "--arch", "riscv64"]);
    assert_eq!(status, 0, "{said}");
    assert!(has(&file, &ram()));
    let (status, said, _) = dump(&files, &[&image]);
    assert!(status == 2 && said.contains("LiME image) does not say which architecture"), "{status} {said}");
    let cut = files.write("cut", &lime(&ram())[..0x3020]);
    let (status, said, file) = dump(&files, &[&cut, "--arch", "riscv64"]);
    assert!(
        status == 3 && said.contains("warning: source: 4096 bytes of memory 0x1000..0x5000 are not"),
        "{status} {said}"
    );
    assert!(said.contains("1 pages could not be read"), "{said}");
    assert!(has(&file, &ram()[..0x3000]) && !has(&file, &ram()));
}

#[test]
fn vmcoreinfo_is_taken_from_where_it_is_wanted() {
    let files = Files::new();
    let raw = format!("{}@0x1000", files.write("low", &ram()));
    let arch = ["--arch", "riscv64"];
    let named = |file: &[u8]| has(file, b"VMCOREINFO\0\0OSRELEASE=6.1.0-given");
    let bare = dump(&files, &[&[raw.as_str(), "--vmcoreinfo", "none"][..], &arch].concat());
    assert_eq!((bare.0, bare.2.len() < 0x9000), (0, true), "{}", bare.1);
    let bare = files.write("bare", &bare.2);
    assert!(guestdump_plan(&[&bare, "--vmcoreinfo", "none"]).contains("VMCOREINFO    not found"));
    assert!(guestdump_plan(&[&bare]).contains("found by searching RAM"));
    let text = b"OSRELEASE=6.1.0-given\nPAGESIZE=4096\n";
    let given = files.write("text", text);
    let once = dump(&files, &[&bare, "--vmcoreinfo", &given]);
    assert!(once.0 == 0 && named(&once.2), "{}", once.1);
    let note = [b"\x0b\0\0\0\x24\0\0\0\0\0\0\0VMCOREINFO\0\0", &text[..], &[0; 100]].concat();
    let note = files.write("note", &note);
    assert_eq!(dump(&files, &[&bare, "--vmcoreinfo", &note]).2, once.2);
    let dumped = files.write("given", &once.2);
    assert!(guestdump_plan(&[&dumped, "--vmcoreinfo", "scan"]).contains("found by searching RAM"));
    let (status, said, _) = dump(&files, &[&bare, "--vmcoreinfo", &files.write("other", b"PAGESIZE=1\n")]);
    assert!(status == 1 && said.contains("no VMCOREINFO: it has no line OSRELEASE="), "{status} {said}");
}

#[test]
fn several_files_must_belong_together() {
    let files = Files::new();
    let one = files.path("one");
    assert!(guestdump(&["dump", "demo:x86_64", "-o", &one]).status.success());
    let (status, said, _) = dump(&files, &[&one, &one]);
    assert!(status == 1 && said.contains("file 1 is no part of the dump that file 1 is: it is not split"), "{said}");
    let (status, said, _) = dump(&files, &["demo:x86_64", &one]);
    assert!(status == 2 && said.contains("only files of a split set"), "{status} {said}");
}

#[test]
fn a_cut_dump_ends_with_3_and_says_what_is_missing() {
    let files = Files::new();
    let whole = files.path("whole");
    assert!(guestdump(&["dump", "demo:x86_64", "-o", &whole, "--format", "elf"]).status.success());
    let bytes = fs::read(&whole).unwrap();
    let cut = files.write("cut", &bytes[..bytes.len() / 2]);
    let (status, said, _) = dump(&files, &[&cut]);
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("bytes of memory lie behind the end of the file: it was cut"), "{said}");
    assert!(said.contains("pages could not be read and are missing"), "{said}");
}
