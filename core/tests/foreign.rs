//! Dumps that other programs wrote (`testdata/foreign`, whose `make.py` says how): their memory is what was put there.
//! What that is, is written down here a second time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "code of tests")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use guestdump_core::arch::{Endian, PhysAddr, PhysMemory, PhysRange, Presence};
use guestdump_core::format::read::{self, Dump};
use guestdump_core::format::{Container, DumpFile, image};

const PAGE: usize = 4096;
/// Where three pages lie that each sample has.
const AT: u64 = 0x4000;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/foreign")
}

fn file(name: &str) -> Arc<dyn DumpFile> {
    let path = folder().join(name);
    Arc::new(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn opened(name: &str) -> Dump {
    read::open(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn range(start: u64, len: u64) -> PhysRange {
    PhysRange::new(PhysAddr(start), len).unwrap()
}

/// A page of text, one of zeros, one of the middle bits of squares.
fn content() -> Vec<u8> {
    let text = b"foreign memory, page of text. ".iter().copied().cycle().take(PAGE);
    let squares = (0..PAGE).map(|number| ((number * number) >> 3) as u8);
    text.chain(std::iter::repeat_n(0, PAGE)).chain(squares).collect()
}

fn read(dump: &Dump, start: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0xee; len];
    dump.memory.read(PhysAddr(start), &mut bytes).unwrap().then_some(bytes)
}

/// Memory behind the three pages is zeros, if it is not left out.
fn check_content(name: &str, dump: &Dump) {
    let content = content();
    for (number, page) in content.chunks(PAGE).enumerate() {
        match read(dump, AT + (number * PAGE) as u64, PAGE) {
            Some(bytes) => assert!(bytes == page, "{name}: page {number}"),
            None => assert!(dump.filtered && number == 1, "{name}: page {number} is not there"),
        }
    }
    assert!(dump.warnings.is_empty(), "{name}: {:?}", dump.warnings);
}

/// Name, byte order, whether its headers name the architecture.
const MACHINES: [(&str, Endian); 3] = [("s390x", Endian::Big), ("ppc64", Endian::Big), ("riscv64", Endian::Little)];

#[test]
fn whole_machines_in_kdump_files_of_qemu() {
    for (arch, endian) in MACHINES {
        for format in ["kdump-zlib", "kdump-raw-zlib"] {
            let name = format!("qemu10-{arch}-{format}");
            let dump = opened(&name);
            assert_eq!((dump.container, dump.flattened), (Container::Kdump, format == "kdump-zlib"), "{name}");
            assert_eq!((dump.endian, dump.filtered), (endian, false), "{name}");
            assert_eq!(dump.arch.unwrap().identity().name, arch, "{name}");
            assert_eq!(dump.ranges, [range(0, 0x8000)], "{name}");
            check_content(&name, &dump);
            assert_eq!(read(&dump, 0, AT as usize), Some(vec![0; AT as usize]), "{name}");
            assert_eq!(read(&dump, 0x7000, PAGE), Some(vec![0; PAGE]), "{name}");
            assert_eq!(read(&dump, 0x8000, 1), None, "{name}");
        }
    }
}

#[test]
fn parts_of_memory_in_elf_files_of_qemu() {
    let others = [("qemu10-aarch64", "aarch64", Endian::Little), ("qemu10-i386", "i386", Endian::Little)];
    let old = [("qemu72-i386", "i386", Endian::Little)];
    let machines = MACHINES.map(|(arch, endian)| (format!("qemu10-{arch}"), arch, endian));
    let more = others.into_iter().chain(old).map(|(name, arch, endian)| (name.to_owned(), arch, endian));
    for (name, arch, endian) in machines.into_iter().chain(more) {
        let dump = opened(&format!("{name}-range.elf"));
        assert_eq!((dump.container, dump.endian, dump.filtered), (Container::Elf, endian, false), "{name}");
        assert_eq!(dump.arch.unwrap().identity().name, arch, "{name}");
        assert_eq!(dump.ranges, [range(AT, 3 * PAGE as u64)], "{name}");
        check_content(&name, &dump);
        assert_eq!(dump.into_guest(None).unwrap().vcpus.len(), 1, "{name}");
    }
}

#[test]
fn what_makedumpfile_left_out_is_left_out() {
    let split = read::open_set(vec![file("makedumpfile-split-2"), file("makedumpfile-split-1")]).unwrap();
    let others = ["c-d1", "l-d0", "E-d1", "F-c-d1"].map(|name| (name, opened(&format!("makedumpfile-{name}"))));
    for (name, dump) in others.into_iter().chain([("split", split)]) {
        assert_eq!(dump.arch.unwrap().identity().name, "x86_64", "{name}");
        assert_eq!(dump.ranges, [range(0, 0x1_0000)], "{name}");
        assert_eq!((dump.flattened, dump.filtered), (name == "F-c-d1", name == "E-d1"), "{name}");
        check_content(name, &dump);
        assert!(dump.vmcoreinfo.as_ref().unwrap().bytes().starts_with(b"OSRELEASE=6.1.0-foreign\n"), "{name}");
        // The release in init_uts_ns.
        assert_eq!(read(&dump, 0x1004 + 2 * 65, 14).unwrap(), b"6.1.0-foreign\0", "{name}");
        let tail = dump.memory.extent(PhysAddr(0x8000), 0x8000);
        let zeros = read(&dump, 0x8000, 0x8000);
        // In its own format makedumpfile keeps pages of zeros as one that all share.
        if name == "E-d1" {
            assert_eq!((tail.presence, tail.len_bytes, zeros), (Presence::Excluded, 0x8000, None), "{name}");
        } else {
            assert_eq!(zeros, Some(vec![0; 0x8000]), "{name}");
        }
    }
}

#[test]
fn images_of_avml() {
    for (name, kind) in [("avml-lime", "LiME"), ("avml-lime_compressed", "AVML")] {
        let image = image::open(file(name)).unwrap().unwrap();
        assert_eq!((image.kind.name, image.endian, image.zero_bytes), (kind, Endian::Little, 0), "{name}");
        assert_eq!((image.ranges, image.warnings), (vec![range(0, 0x7000)], vec![]), "{name}");
        let mut bytes = vec![0xee; 0x7000];
        assert!(image.memory.read(PhysAddr(0), &mut bytes).unwrap(), "{name}");
        assert!(bytes[..AT as usize].iter().all(|byte| *byte == 0) && bytes[AT as usize..] == content(), "{name}");
    }
}

#[test]
fn half_of_a_set_says_what_it_lacks() {
    // The unit in which makedumpfile splits is larger than this memory: the second file has headers only.
    let dump = opened("makedumpfile-split-2");
    assert_eq!(dump.warnings, ["16 pages of memory are in other files of the split set"]);
    assert!(dump.stored.is_empty());
}

#[test]
fn every_sample_is_explained() {
    let text = fs::read_to_string(folder().join("README.md")).unwrap();
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known =
            ["README.md", "make.py", "__pycache__"].contains(&name.as_str()) || text.contains(&format!("`{name}`"));
        assert!(known, "README.md does not say what {name} is");
    }
}
