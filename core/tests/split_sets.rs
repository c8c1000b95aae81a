//! Split sets (makedumpfile --split): read as one dump, and looked at as a set.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use std::io::Cursor;
use std::sync::Arc;

use common::kdump::{le, put, small, split};
use guestdump_core::arch::{PhysAddr, PhysRange};
use guestdump_core::format::read::{self, Dump};
use guestdump_core::format::{self, DumpFile};
use guestdump_core::guest::Guest;
use guestdump_core::plan::{Plan, PlanOptions};
use guestdump_core::run::{RunOptions, Summary, Unobserved, run};
use guestdump_core::sink::Seekable;
use guestdump_core::verify::{Class, Memory, audit, audit_set, survey};

fn written(guest: &Guest, name: &str) -> (Vec<u8>, Summary) {
    let format = format::by_name(name).unwrap();
    let options =
        PlanOptions { format, range: None, dump_level: 1, device_memory: false, page_size: None, paging: None };
    let mut out = Vec::new();
    let plan = Plan::new(guest, &options).unwrap();
    let summary =
        run(&plan, guest, &mut Seekable::new(Cursor::new(&mut out)), RunOptions::new(2), &Unobserved).unwrap();
    (out, summary)
}

#[test]
fn the_files_of_a_split_set_are_one_dump() {
    let guest = small();
    let (whole, _) = written(&guest, "kdump-raw-zlib");
    let parts = split(&whole, &[(0, 128), (128, 0x181), (0x181, 512)]);
    for order in [[0, 1, 2], [2, 0, 1]] {
        let dump = read::open_set(order.map(|at| Arc::clone(&parts[at])).to_vec()).unwrap();
        assert!(dump.warnings.is_empty(), "{:?}", dump.warnings);
        assert_eq!(dump.stored.iter().map(|kind| kind.1).sum::<u64>(), 512);
        let again = dump.into_guest(None).unwrap();
        assert!(written(&again, "kdump-raw-zlib").0 == whole);
    }
    let two = read::open_set(vec![Arc::clone(&parts[0]), Arc::clone(&parts[2])]).unwrap();
    assert_eq!(two.warnings, ["257 pages of memory are in other files of the split set"]);
    let two = two.into_guest(None).unwrap();
    assert_eq!(written(&two, "kdump-raw-zlib").1.lost_pages, 257);
    assert_eq!(written(&two, "elf").1.first_lost[0], PhysAddr(128 << 12));
}

#[test]
fn files_that_are_no_set_are_refused() {
    let (whole, _) = written(&small(), "kdump-raw-zlib");
    let parts = split(&whole, &[(0, 128), (128, 512)]);
    let words = |files: Vec<Arc<dyn DumpFile>>| read::open_set(files).unwrap_err().to_string();
    assert!(words(vec![Arc::clone(&parts[0]), Arc::new(whole.clone())]).contains("file 2 is no part"));
    let mut other = whole;
    other[300] = b'x';
    assert!(words(vec![Arc::clone(&parts[0]), Arc::new(other)]).contains("main header is another one"));
    let (elf, _) = written(&small(), "elf");
    assert!(words(vec![Arc::clone(&parts[0]), Arc::new(elf)]).contains("it is no kdump file"));
}

/// The sample's dump in three files.
fn three() -> (Vec<u8>, Vec<Arc<dyn DumpFile>>) {
    let (whole, _) = written(&small(), "kdump-raw-zlib");
    let parts = split(&whole, &[(0, 128), (128, 0x181), (0x181, 512)]);
    (whole, parts)
}

fn problems(files: &[Arc<dyn DumpFile>]) -> Vec<String> {
    audit_set(files).unwrap().problems
}

/// A file with other bytes in some places.
fn changed(file: &Arc<dyn DumpFile>, change: impl Fn(&mut Vec<u8>)) -> Arc<dyn DumpFile> {
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes).unwrap();
    change(&mut bytes);
    Arc::new(bytes)
}

#[test]
fn a_whole_set_is_sound_in_any_order() {
    let (whole, parts) = three();
    assert_eq!(audit(Arc::new(whole)).unwrap().problems, Vec::<String>::new());
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        assert_eq!(problems(&order.map(|at| Arc::clone(&parts[at]))), Vec::<String>::new());
    }
}

#[test]
fn a_missing_part_is_a_gap() {
    let (_, parts) = three();
    let gap = |frames: &str, count: u64| {
        format!("frames {frames}, {count} of which were dumped, are in no file: a part of the set is missing")
    };
    assert_eq!(problems(&[Arc::clone(&parts[0]), Arc::clone(&parts[2])]), [gap("0x80..0x181", 257)]);
    assert_eq!(problems(&parts[1..]), [gap("0x0..0x80", 128)]);
    assert_eq!(problems(&parts[1..2]), [gap("0x0..0x80", 128), gap("0x181..0x200", 127)]);
}

#[test]
fn borders_that_overlap_or_make_no_sense_are_named() {
    let (whole, parts) = three();
    let twice = split(&whole, &[(0, 128), (100, 512)]);
    assert_eq!(problems(&twice), ["frames 0x64..0x80 are in file 1 and in file 2"]);
    let inside = split(&whole, &[(0, 512), (100, 128), (128, 200)]);
    let words = ["frames 0x64..0x80 are in file 1 and in file 2", "frames 0x80..0xc8 are in file 1 and in file 3"];
    assert_eq!(problems(&inside), words);
    // Such a set can be read all the same.
    let dump = read::open_set(twice).unwrap();
    assert_eq!(dump.warnings, ["frames 0x64..0x80 are in file 1 and in file 2: the first file's are taken"]);
    let again = dump.into_guest(None).unwrap();
    assert!(written(&again, "kdump-raw-zlib").0 == whole);
    // start_pfn_64 and end_pfn_64.
    let far = changed(&parts[2], |bytes| put(bytes, 4096 + 88, 0x300, 8));
    let set = [Arc::clone(&parts[0]), Arc::clone(&parts[1]), far];
    assert_eq!(problems(&set), ["file 3: end_pfn 0x300 is behind max_mapnr 0x200"]);
    let turned = changed(&parts[1], |bytes| put(bytes, 4096 + 80, 0x190, 8));
    let found = problems(&[Arc::clone(&parts[0]), turned, Arc::clone(&parts[2])]);
    assert_eq!(found[0], "file 2: start_pfn 0x190 is behind end_pfn 0x181");
    assert!(found[1].starts_with("frames 0x80..0x181, 257 of which"), "{found:?}");
}

#[test]
fn parts_of_different_dumps_are_told_apart() {
    let (whole, parts) = three();
    let bitmaps = 4096 * (1 + le(&whole, 432, 4) as usize);
    let second = bitmaps + 2048 * le(&whole, 436, 4) as usize;
    let set = |part: Arc<dyn DumpFile>| [Arc::clone(&parts[0]), part, Arc::clone(&parts[2])];
    let words = |change: &dyn Fn(&mut Vec<u8>)| problems(&set(changed(&parts[1], change)));
    assert_eq!(
        words(&|bytes| bytes[bitmaps + 60] ^= 0x18),
        ["file 2: its first bitmap differs from file 1's in 2 frames, the first is 0x1e3"]
    );
    let found = words(&|bytes| bytes[second + 3] ^= 0x80);
    assert_eq!(found[..1], ["file 2: its second bitmap differs from file 1's in 1 frames, the first is 0x1f"]);
    // dump_level, phys_base, a byte of the notes.
    assert_eq!(words(&|bytes| put(bytes, 4096 + 8, 31, 4)), ["file 2: dump_level is 0x1f, file 1's is 0x1"]);
    assert_eq!(words(&|bytes| put(bytes, 4096, 0x1000, 8)), ["file 2: phys_base is 0x1000, file 1's is 0x0"]);
    let at = le(&whole, 4096 + 48, 8) as usize;
    assert_eq!(words(&|bytes| bytes[at + 40] ^= 1), ["file 2: its notes are not those of file 1"]);
}

#[test]
fn damage_in_a_part_names_the_part() {
    let (_, parts) = three();
    let cut = changed(&parts[1], |bytes| bytes.truncate(bytes.len() - 100));
    let found = problems(&[Arc::clone(&parts[0]), cut, Arc::clone(&parts[2])]);
    assert!(found.len() == 1 && found[0].starts_with("file 2: 1 pages lie outside of the file: pfn 0x"), "{found:?}");
    let unfinished = changed(&parts[2], |bytes| bytes[424] |= 8);
    let found = problems(&[Arc::clone(&parts[0]), Arc::clone(&parts[1]), unfinished]);
    assert_eq!(found, ["file 3: the header's status says that the dump is not finished"]);
}

#[test]
fn a_set_has_the_content_of_the_whole() {
    let (whole, parts) = three();
    let looked_at = |dump: &Dump| survey(Memory { memory: dump.memory.as_ref(), ranges: &dump.ranges });
    let (one, set) = (read::open(Arc::new(whole)).unwrap(), read::open_set(parts).unwrap());
    assert_eq!(looked_at(&one), looked_at(&set));
    assert_eq!(set.ranges, [PhysRange::new(PhysAddr(0), 0x20_0000).unwrap()]);
    assert!(looked_at(&set).count(Class::Data) > 300);
}
