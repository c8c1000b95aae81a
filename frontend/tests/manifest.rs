//! The manifest: what it means, what is wrong with it and where, and that no text makes the parser panic.

#[path = "common/memory_txt.rs"]
mod memory_txt;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use guestdump::source::manifest::{FILE_NAME, ManifestGuest, ManifestSource, TABLES, parse};
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::{Endian, PhysAddr, PhysRange, Presence, VirtAddr};
use guestdump_core::block::BlockKind;
use guestdump_core::vmcoreinfo::Origin;
use proptest::prelude::*;
use tempfile::TempDir;

const FORMAT: &str = include_str!("../src/source/manifest/FORMAT.md");

/// A folder with a manifest and `ram.bin`: 64 KiB of 0x5a.
fn folder(manifest: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), manifest).unwrap();
    fs::write(dir.path().join("ram.bin"), [0x5a; 64 << 10]).unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    dir
}

fn open(dir: &TempDir) -> ManifestGuest {
    ManifestSource { path: dir.path().to_owned() }.open().unwrap()
}

/// The error and the hint for a manifest in its folder, whose own path is cut off.
fn error(manifest: &str) -> (String, Option<String>) {
    let dir = folder(manifest);
    let error = ManifestSource { path: dir.path().to_owned() }.open().unwrap_err();
    let own = format!("{}/", dir.path().display());
    (error.to_string().replace(&own, ""), error.hint())
}

/// Line 1 is the architecture, line 2 is the first that is given.
fn x86_64(rest: &str) -> String {
    format!("arch = \"x86_64\"\n{rest}")
}

/// Line 4 is the first that is given.
fn with_memory(rest: &str) -> String {
    x86_64(&format!("[[memory]]\nstart = 0\nfile = \"ram.bin\"\n{rest}"))
}

fn refused(manifest: &str, message: &str) {
    assert_eq!(error(manifest).0, format!("guest.toml:{message}"), "{manifest}");
}

fn refused_with_hint(manifest: &str, message: &str, hint: &str) {
    assert_eq!(error(manifest), (format!("guest.toml:{message}"), Some(hint.to_owned())), "{manifest}");
}

fn range(start: u64, len: u64) -> PhysRange {
    PhysRange::new(PhysAddr(start), len).unwrap()
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let text = r#"
        arch = "i686"
        byte-order = "little"
        page-size = "64K"
        [[memory]]
        start = "1M"
        length = "0x1_000"
        file = "ram.bin"
        offset = 0x2000
        name = "pc.ram"
        [[memory]]
        start = 0
        file = "ram.bin"
        [[memory]]
        start = 0xa0000
        length = 8192
        zero = true
        kind = "device"
        [[cpu]]
        id = 7
        registers = { eax = 4294967295, eip = "0xc000_0000", esp = "17" }
        [[cpu]]
        id = 0
        [vmcoreinfo]
        search = false
    "#;
    let dir = folder(text);
    let found = open(&dir);
    let guest = &found.guest;
    assert_eq!((guest.arch.identity().name, guest.endian), ("i386", Some(Endian::Little)));
    assert_eq!((guest.machine_page_size, found.search_vmcoreinfo), (Some(65536), false));
    let blocks: Vec<_> = guest.blocks.iter().map(|block| (block.range, block.kind, block.name.as_str())).collect();
    let expected = [
        (range(0, 64 << 10), BlockKind::Ram, "ram.bin"),
        (range(0xa_0000, 8192), BlockKind::Device, "memory[2]"),
        (range(1 << 20, 4096), BlockKind::Ram, "pc.ram"),
    ];
    assert_eq!(blocks, expected);
    assert_eq!(guest.vcpus.iter().map(|vcpu| vcpu.id).collect::<Vec<_>>(), [0, 7]);
    let register = |name| guest.vcpus[1].registers.get_named(name);
    assert_eq!(
        [register("eax"), register("eip"), register("esp"), register("ebx")],
        [Some(0xffff_ffff), Some(0xc000_0000), Some(17), None]
    );
    assert_eq!(guest.memory.extent(PhysAddr(0xa_0000), 1).presence, Presence::Zero);
}

#[test]
fn a_manifest_is_found_by_file_and_by_folder() {
    let dir = folder(&with_memory(""));
    for path in [dir.path().to_owned(), dir.path().join(FILE_NAME)] {
        let guest = ManifestSource { path }.open().unwrap().guest;
        let mut byte = [0];
        assert!(guest.memory.read(PhysAddr(65535), &mut byte).unwrap());
        assert_eq!(byte, [0x5a]);
    }
}

#[test]
fn integers_may_be_wider_than_toml_promises() {
    let dir = folder(&with_memory(
        "[[cpu]]\nregisters = { rip = 0xffffffff81000000, rax = 18446744073709551615, rbx = 0b11, rcx = +5 }",
    ));
    let guest = open(&dir).guest;
    let register = |name| guest.vcpus[0].registers.get_named(name);
    assert_eq!([register("rip"), register("rax")], [Some(0xffff_ffff_8100_0000), Some(u64::MAX)]);
    assert_eq!([register("rbx"), register("rcx")], [Some(3), Some(5)]);
}

#[test]
fn vmcoreinfo_may_be_a_file() {
    let dir = folder(&with_memory("[vmcoreinfo]\nfile = \"info\""));
    fs::write(dir.path().join("info"), "OSRELEASE=1\n").unwrap();
    let info = open(&dir).guest.vmcoreinfo.unwrap();
    assert_eq!((info.bytes(), info.origin()), (&b"OSRELEASE=1\n"[..], Origin::Given));
}

/// A manifest whose memory has a note at 0x100 with 12 bytes of text, in the byte order of `word`.
fn with_note(rest: &str, word: fn(u32) -> [u8; 4]) -> TempDir {
    let dir = folder(&with_memory(rest));
    let mut ram = vec![0; 0x1000];
    let note = [&word(11)[..], &word(12), &word(0), b"VMCOREINFO\0\0OSRELEASE=2\n"].concat();
    ram[0x100..0x100 + note.len()].copy_from_slice(&note);
    ram[0xff0..].copy_from_slice(&[&word(11)[..], &word(4096), &word(0), b"VMCO"].concat());
    fs::write(dir.path().join("ram.bin"), ram).unwrap();
    dir
}

#[test]
fn vmcoreinfo_may_be_at_an_address_in_either_byte_order() {
    for word in [u32::to_le_bytes, u32::to_be_bytes] {
        for size in ["", "size = 0x24"] {
            let dir = with_note(&format!("[vmcoreinfo]\nat = 0x100\n{size}"), word);
            let info = open(&dir).guest.vmcoreinfo.unwrap();
            assert_eq!((info.bytes(), info.origin()), (&b"OSRELEASE=2\n"[..], Origin::Pointer(PhysAddr(0x100))));
        }
    }
}

#[test]
fn a_note_that_is_none_is_refused() {
    let open = |rest: &str| {
        let dir = with_note(rest, u32::to_le_bytes);
        let error = ManifestSource { path: dir.path().to_owned() }.open().unwrap_err();
        let own = format!("{}/", dir.path().display());
        (error.to_string().replace(&own, ""), error.hint().unwrap())
    };
    let found = open("[vmcoreinfo]\nat = 0x100\nsize = 0x23");
    assert_eq!(
        found.0,
        "guest.toml:6:6: vmcoreinfo.at: the VMCOREINFO note at 0x100 says that it has 36 bytes, and 35 is the most that it may have"
    );
    assert_eq!(found.1, "size is the second number in /sys/kernel/vmcoreinfo, which is hexadecimal there without 0x");
    let found = open("[vmcoreinfo]\nat = \"1M\"");
    assert_eq!(
        found.0,
        "guest.toml:6:6: vmcoreinfo.at: no memory at 0x100000, where 24 bytes of the VMCOREINFO note should be"
    );
    assert_eq!(found.1, "at is the first number in /sys/kernel/vmcoreinfo; leave it out to search the memory");
    let found = open("[vmcoreinfo]\nat = 0x104");
    assert_eq!(
        found.0,
        "guest.toml:6:6: vmcoreinfo.at: at 0x104 is no VMCOREINFO note but \
         0c 00 00 00 00 00 00 00 56 4d 43 4f 52 45 49 4e 46 4f 00 00 4f 53 52 45"
    );
}

#[test]
fn what_is_no_toml_is_refused_with_its_place() {
    refused("arch = \"x86_64\"\nmemory = [", "2:11: unclosed array, expected `]`");
    refused("arch = \"x86_64\"\narch = \"i386\"\n", "2:1: duplicate key");
    // Columns are characters.
    refused("\"\u{e9}\" = \u{e9}", "1:7: string values must be quoted, expected literal string");
    refused("", "1:1: arch: missing");
}

#[test]
fn unknown_keys_are_refused_with_the_closest_one() {
    refused_with_hint(&with_memory("lenght = 4096"), "5:1: memory[0].lenght: no such key", "did you mean length?");
    refused_with_hint("archs = 1", "1:1: archs: no such key", "did you mean arch?");
    let all = "keys of this table: at, size, file, search";
    refused_with_hint(&with_memory("[vmcoreinfo]\nphysical = 1"), "6:1: vmcoreinfo.physical: no such key", all);
    refused_with_hint(
        &with_memory("[[cpu]]\n[[cpu]]\nregs = {}"),
        "7:1: cpu[1].regs: no such key",
        "keys of this table: id, registers",
    );
    // The first in the file, not the first of the alphabet.
    refused_with_hint(
        &with_memory("z = 1\na = 2"),
        "5:1: memory[0].z: no such key",
        "keys of this table: start, length, file, offset, zero, kind, name",
    );
}

#[test]
fn values_of_another_kind_are_refused() {
    refused("arch = 64", "1:8: arch: a string is wanted here, not an integer");
    refused(&x86_64("memory = 1"), "2:10: memory: a [[table]] for each is wanted here, not an integer");
    refused(&x86_64("[memory]\nstart = 0"), "2:1: memory: a [[table]] for each is wanted here, not a table");
    refused(&x86_64("memory = [1]"), "2:11: memory[0]: a table is wanted here, not an integer");
    refused(&with_memory("zero = 1"), "5:8: memory[0].zero: true or false is wanted here, not an integer");
    refused(
        &with_memory("offset = 1.5"),
        "5:10: memory[0].offset: an integer, or a string such as \"0x1000\" or \"4K\" is wanted here, not a number with a point",
    );
    refused(
        &with_memory("[[cpu]]\nregisters = { rax = true }"),
        "6:21: cpu[0].registers.rax: an integer, or a string such as \"0x1000\" is wanted here, not true or false",
    );
    refused(
        &with_memory("[[cpu]]\nregisters = 1979-05-27"),
        "6:13: cpu[0].registers: a table is wanted here, not a date",
    );
    refused(&with_memory("[[vmcoreinfo]]\nat = 1"), "5:1: vmcoreinfo: a table is wanted here, not an array");
}

#[test]
fn numbers_that_are_none_are_refused() {
    let whole = "write a whole number: 1048576, 0x100000, 1024K or 1M (K, M, G and T are powers of 1024)";
    refused_with_hint(&with_memory("offset = \"4Q\""), "5:10: memory[0].offset: 4Q: 'Q' is no decimal digit", whole);
    refused_with_hint(&with_memory("offset = \"\""), "5:10: memory[0].offset: an empty text is no number", whole);
    refused(&with_memory("offset = -1"), "5:10: memory[0].offset: -1 is negative");
    refused(&with_memory("offset = \"17179869184G\""), "5:10: memory[0].offset: 17179869184G needs more than 8 bytes");
    refused(
        &with_memory("offset = 0x10000000000000000"),
        "5:10: memory[0].offset: 0x10000000000000000 needs more than 8 bytes",
    );
}

#[test]
fn the_architecture_must_exist_and_agree_with_the_byte_order() {
    refused_with_hint("arch = \"x86-65\"", "1:8: arch: no architecture x86-65", "did you mean x86-64?");
    let (message, hint) = error("arch = \"vax\"");
    assert_eq!(message, "guest.toml:1:8: arch: no architecture vax");
    assert!(hint.unwrap().starts_with("architectures: x86_64, i386"));
    refused(&x86_64("byte-order = \"big\""), "2:14: byte-order: x86_64 has no big-endian guests");
    refused_with_hint(
        &x86_64("byte-order = \"middle\""),
        "2:14: byte-order: \"middle\" is no byte order",
        "byte orders: little, big",
    );
}

/// For architectures of both orders, as soon as the table has one.
#[test]
fn a_byte_order_that_contradicts_the_name_is_refused() {
    let ids = guestdump_core::arch::ALL.iter().map(|arch| arch.identity());
    for (name, by_name) in ids.flat_map(|id| id.aliases).filter_map(|alias| Some((alias.0, alias.1?))) {
        let other = if by_name == Endian::Big { "little" } else { "big" };
        refused(
            &format!("arch = \"{name}\"\nbyte-order = \"{other}\""),
            &format!("2:14: byte-order: {other}-endian contradicts arch {name}, which is {}", by_name.name()),
        );
    }
}

/// For architectures whose registers have other names too.
#[test]
fn a_register_has_one_value() {
    for arch in guestdump_core::arch::ALL {
        for (def, alias) in arch.registers().iter().flat_map(|def| def.aliases.iter().map(move |alias| (def, alias))) {
            let (arch, name) = (arch.identity().name, def.name);
            refused(
                &format!(
                    "arch = \"{arch}\"\nmemory = [{{ start = 0, length = 1, zero = true }}]\n[[cpu]]\n[cpu.registers]\n{name} = 0\n{alias} = 0"
                ),
                &format!("6:1: cpu[0].registers.{alias}: register {name} is set twice"),
            );
        }
    }
}

#[test]
fn page_sizes_are_powers_of_two() {
    for (size, number) in [("2048", "2048"), ("4097", "4097"), ("\"512K\"", "524288"), ("0", "0")] {
        refused(
            &x86_64(&format!("page-size = {size}")),
            &format!("2:13: page-size: {number} is no page size: a power of two from 4096 to 262144"),
        );
    }
}

#[test]
fn memory_must_be_somewhere_and_have_bytes() {
    let hint = "a [[memory]] table describes a block: start, and file or zero = true with length";
    refused_with_hint(&x86_64(""), "1:1: memory: no memory", hint);
    refused(&x86_64("memory = []"), "1:1: memory: no memory");
    let block = |rest: &str| x86_64(&format!("[[memory]]\nstart = 0\n{rest}"));
    refused(&x86_64("[[memory]]\nfile = \"ram.bin\""), "2:1: memory[0].start: missing");
    refused(&block("length = 0"), "4:10: memory[0].length: memory of no bytes");
    refused(&block("length = 1"), "2:1: memory[0]: either file or zero = true says where the bytes are, not neither");
    refused(
        &block("zero = false\nlength = 1"),
        "2:1: memory[0]: either file or zero = true says where the bytes are, not neither",
    );
    refused(
        &block("zero = true\nfile = \"ram.bin\""),
        "2:1: memory[0]: either file or zero = true says where the bytes are, not both",
    );
    refused(&block("zero = true\nlength = 1\noffset = 0"), "6:10: memory[0].offset: an offset needs a file");
    refused(&block("zero = true"), "2:1: memory[0].length: missing: zeros have no length of their own");
    refused_with_hint(
        &block("file = \"ram.bin\"\nkind = \"rom\""),
        "5:8: memory[0].kind: \"rom\" is no kind of memory",
        "kinds of memory: ram, device",
    );
}

#[test]
fn files_must_be_there_and_long_enough() {
    let file = |rest: &str| x86_64(&format!("[[memory]]\nstart = 0\nfile = {rest}"));
    let hint = "paths are relative to the folder of the manifest";
    refused_with_hint(&file("\"x\""), "4:8: memory[0].file: x: No such file or directory (os error 2)", hint);
    refused(&file("\"folder\""), "4:8: memory[0].file: folder is a folder, not a file");
    refused(&file("\"/dev/null\""), "4:8: memory[0].file: /dev/null is a character device, not a file");
    let hint = "leave out length to take a file to its end; offset counts from the file's first byte";
    refused_with_hint(
        &file("\"ram.bin\"\nlength = \"64K\"\noffset = 1"),
        "5:10: memory[0].length: ram.bin has 65536 bytes, and offset 1 + length 65536 needs 65537",
        hint,
    );
    refused(
        &file("\"ram.bin\"\noffset = \"64K\""),
        "4:8: memory[0].file: ram.bin has 65536 bytes: nothing is left behind offset 65536",
    );
    refused(
        &file("\"ram.bin\"\noffset = 0xffffffffffffffff\nlength = 0xffffffffffffffff"),
        "6:10: memory[0].length: ram.bin has 65536 bytes, and offset 18446744073709551615 + length 18446744073709551615 needs 18446744073709551615",
    );
}

#[test]
fn a_pipe_is_refused_without_waiting_for_its_writer() {
    let dir = folder(&x86_64("[[memory]]\nstart = 0\nfile = \"pipe\""));
    let socket = dir.path().join("pipe");
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let error = ManifestSource { path: dir.path().to_owned() }.open().unwrap_err().to_string();
    assert!(error.ends_with("pipe is a socket, not a file"), "{error}");
}

#[test]
fn blocks_must_not_overlap_or_pass_the_last_address() {
    refused(
        &with_memory(
            "[[memory]]\nstart = 0x20000\nlength = 1\nzero = true\n[[memory]]\nstart = 0xffff\nlength = 2\nzero = true",
        ),
        "9:1: memory[2]: 0xffff..0x10001 overlaps memory[0] at 0x0..0x10000, line 2",
    );
    // The one further down is named, whatever its address.
    refused(
        &x86_64("[[memory]]\nstart = 8\nlength = 8\nzero = true\n[[memory]]\nstart = 0\nlength = 9\nzero = true"),
        "6:1: memory[1]: 0x0..0x9 overlaps memory[0] at 0x8..0x10, line 2",
    );
    refused(
        &x86_64("[[memory]]\nlength = 2\nstart = 0xffffffffffffffff\nzero = true"),
        "4:9: memory[0].start: 2 bytes from 0xffffffffffffffff end beyond 2^64 - 1",
    );
}

#[test]
fn vcpus_have_numbers_of_their_own() {
    refused(&with_memory("[[cpu]]\nid = 1\n[[cpu]]\n"), "7:1: cpu[1]: cpu[0] has number 1 too");
    refused(&with_memory("[[cpu]]\n[[cpu]]\nid = 0"), "7:6: cpu[1].id: cpu[0] has number 0 too");
    refused(&with_memory("[[cpu]]\nid = 2147483647"), "6:6: cpu[0].id: vCPU number 2147483647 is above 2147483646");
}

#[test]
fn registers_must_exist_and_hold_their_values() {
    let cpu = |registers: &str| with_memory(&format!("[[cpu]]\nregisters = {{ {registers} }}"));
    refused_with_hint(
        &cpu("raxx = 1"),
        "6:15: cpu[0].registers.raxx: x86_64 has no register raxx",
        "did you mean rax?",
    );
    let (message, hint) = error(&cpu("accumulator = 1"));
    assert_eq!(message, "guest.toml:6:15: cpu[0].registers.accumulator: x86_64 has no register accumulator");
    assert!(hint.unwrap().starts_with("registers: rax, rbx, "));
    refused(&cpu("cs = 0x100000000"), "6:20: cpu[0].registers.cs: 0x100000000 is wider than the 4 bytes of cs");
    refused(&cpu("cs = \"0x100000000\""), "6:20: cpu[0].registers.cs: 0x100000000 is wider than the 4 bytes of cs");
    refused_with_hint(
        &cpu("rax = -1"),
        "6:21: cpu[0].registers.rax: -1 is negative",
        "write the bits that are meant: -1 in 64 bits is 0xffffffffffffffff",
    );
    refused(&cpu("rax = \"4K\""), "6:21: cpu[0].registers.rax: 4K: 'K' is no decimal digit");
}

#[test]
fn vmcoreinfo_is_in_one_place() {
    let info = |rest: &str| with_memory(&format!("[vmcoreinfo]\n{rest}"));
    refused(&info(""), "5:1: vmcoreinfo: one of at, file and search is wanted, not 0 of them");
    refused(&info("at = 1\nfile = \"x\""), "5:1: vmcoreinfo: one of at, file and search is wanted, not 2 of them");
    refused(&info("size = 1"), "6:8: vmcoreinfo.size: a size needs at");
    refused(&info("file = \"x\""), "6:8: vmcoreinfo.file: x: No such file or directory (os error 2)");
    refused(&info("file = \"ram.bin\""), "6:8: vmcoreinfo.file: ram.bin has no line of the form KEY=VALUE");
    let dir = folder(&info("file = \"big\""));
    fs::write(dir.path().join("big"), "a=1\n".repeat(1 << 19)).unwrap();
    let error = ManifestSource { path: dir.path().to_owned() }.open().unwrap_err().to_string();
    assert!(error.ends_with("big has more than 1048576 bytes"), "{error}");
}

#[test]
fn the_manifest_itself_must_be_a_text_file_of_some_size() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let error = ManifestSource { path: dir.path().join(name) }.open().unwrap_err();
        (error.to_string().replace(&format!("{}/", dir.path().display()), ""), error.hint())
    };
    let (message, hint) = open("");
    assert_eq!(message, "guest.toml: No such file or directory (os error 2)");
    assert_eq!(hint.unwrap(), "a manifest is a .toml file, or a folder with guest.toml in it");
    fs::create_dir_all(dir.path().join("nested/guest.toml")).unwrap();
    assert_eq!(open("nested").0, "nested/guest.toml: a manifest is a file, and this is a folder");
    fs::write(dir.path().join("binary.toml"), b"arch = \xff").unwrap();
    assert_eq!(open("binary.toml").0, "binary.toml: byte 7 is not UTF-8");
    fs::File::create(dir.path().join("huge.toml")).unwrap().set_len((1 << 20) + 1).unwrap();
    let (message, hint) = open("huge.toml");
    assert_eq!(message, "huge.toml: a manifest has at most 1048576 bytes, and this file has 1048577");
    assert_eq!(hint.unwrap(), "raw memory is named by a manifest: file = \"ram.bin\" in a [[memory]] table");
}

/// `memory.start` of the code's tables of keys.
fn accepted() -> BTreeSet<String> {
    let path = |table: &str, key: &str| if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
    TABLES.iter().flat_map(|table| table.keys.iter().map(|key| path(table.table, key))).collect()
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_one() {
    let documented = FORMAT.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|row| row.0);
    assert_eq!(documented.map(str::to_owned).collect::<BTreeSet<_>>(), accepted());
}

/// The manifests in the documentation.
fn examples() -> Vec<&'static str> {
    FORMAT.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

#[test]
fn the_documentation_shows_every_key_and_its_examples_are_right() {
    examples().iter().for_each(|example| drop(parse(example).unwrap()));
    let all = examples().concat();
    for path in accepted() {
        let key = path.rsplit('.').next().unwrap();
        assert!(all.contains(&format!("{key} = ")) || all.contains(&format!("[{key}]")), "{path}");
    }
}

#[test]
fn fixtures_open_and_translate_as_they_say() {
    let names = memory_txt::names();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let fixture = memory_txt::prepare(&name);
        let guest = open(&fixture.dir).guest;
        assert!(!fixture.memory.walks.is_empty(), "{name}");
        for walk in &fixture.memory.walks {
            let vcpu = guest.vcpus.iter().find(|vcpu| vcpu.id == walk.cpu).unwrap();
            let paging = guest.arch.paging(vcpu).unwrap();
            let phys = Walker::new(&paging, guest.memory.as_ref()).translate(VirtAddr(walk.virt)).unwrap();
            assert_eq!(phys.map(|phys| phys.0), walk.phys, "{name}: cpu {} {:#x}", walk.cpu, walk.virt);
        }
    }
}

#[test]
fn fixtures_hold_the_bytes_that_they_say() {
    for name in memory_txt::names() {
        let fixture = memory_txt::prepare(&name);
        let guest = open(&fixture.dir).guest;
        let mut read = 0;
        for (at, bytes) in fixture.memory.files.iter().flat_map(|file| &file.pieces) {
            let mut found = vec![0; bytes.len()];
            // Pieces outside of every block are not guest memory: one at most in each fixture.
            if guest.memory.read(PhysAddr(*at), &mut found).unwrap() {
                assert_eq!(found, *bytes, "{name}: {at:#x}");
                read += 1;
            }
        }
        let pieces: usize = fixture.memory.files.iter().map(|file| file.pieces.len()).sum();
        assert!(read + 1 >= pieces && read >= 4, "{name}: {read} of {pieces}");
    }
}

#[test]
fn two_blocks_may_share_a_file_and_a_page() {
    let fixture = memory_txt::prepare("x86_64-shared-page");
    let memory = open(&fixture.dir).guest.memory;
    let mut bytes = [0; 4];
    assert!(memory.read(PhysAddr(0x37fe), &mut bytes).unwrap());
    assert_eq!(bytes, [0, 0x33, 0x44, b't']);
    assert!(memory.read(PhysAddr(0x6ffe), &mut bytes).unwrap());
    assert_eq!(bytes, [0x77, 0x77, 0, 0]);
    assert!(!memory.read(PhysAddr(0x63fe), &mut bytes).unwrap());
}

#[test]
fn holes_of_fixtures_are_not_read() {
    let fixture = memory_txt::prepare("i386-two-level");
    let memory = open(&fixture.dir).guest.memory;
    let extent = memory.extent(PhysAddr(1 << 21), 1 << 20);
    assert_eq!((extent.presence, extent.len_bytes), (Presence::Zero, 0x7f_f000 - (1 << 21)));
}

/// Texts that are nearly manifests: pieces of the documentation's examples, cut, repeated and mixed.
fn mutated() -> impl Strategy<Value = String> {
    let words = || examples().concat().split_inclusive([' ', '\n']).map(str::to_owned).collect::<Vec<_>>();
    let odd =
        ["[[", "]]", "=", "\"", "'''", "{", "}", "-1", "1e9", "0x", "\u{0}", "\u{e9}", "a.b.", "inf", "1979-05-27"];
    let words = [words(), odd.map(str::to_owned).to_vec()].concat();
    (
        0..examples().len(),
        proptest::collection::vec((any::<prop::sample::Index>(), prop::sample::select(words), 0..9_usize), 0..6),
    )
        .prop_map(|(example, edits)| {
            let mut text: Vec<char> = examples()[example].chars().collect();
            for (at, word, cut) in edits {
                let at = at.index(text.len() + 1);
                text.splice(at..(at + cut).min(text.len()), word.chars());
            }
            text.into_iter().collect()
        })
}

/// Parses, and asks an error for all that it says.
fn parse_and_print(text: &str) {
    match parse(text) {
        // No file of that name: the rest of the way, without touching anything.
        Ok(manifest) => match manifest.resolve(Path::new("/nonexistent")) {
            Ok(found) => drop(format!("{found:?}")),
            Err(error) => drop((error.to_string(), error.hint())),
        },
        Err(error) => {
            assert!(error.to_string().starts_with("guest.toml:"), "{error}");
            drop(error.hint());
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        parse_and_print(&text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        parse_and_print(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn nearly_a_manifest_does_not_make_it_panic(text in mutated()) {
        parse_and_print(&text);
    }
}

#[test]
fn deep_and_long_texts_are_refused_or_read_in_time() {
    let deep = |text: &str| format!("x = {}", text.repeat(100_000));
    for text in
        [deep("["), deep("{a="), format!("{}x = 1", "a.".repeat(100_000)), format!("[{}x]", "a.".repeat(100_000))]
    {
        parse_and_print(&text);
    }
    let long = with_memory(&format!("[[cpu]]\nregisters = {{ rax = \"0x{}1\" }}", "0".repeat(1 << 20)));
    parse_and_print(&long);
    let blocks: String = (0..5000).map(|i| format!("[[memory]]\nstart = {i}\nlength = 1\nzero = true\n")).collect();
    assert_eq!(parse(&x86_64(&blocks)).unwrap().resolve(Path::new("")).unwrap().guest.blocks.len(), 5000);
}
