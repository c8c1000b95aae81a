//! Every architecture, byte order and format there and back: what is written is read again with the same memory, notes
//! and headers, whatever the number of workers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use std::io::Cursor;
use std::sync::Arc;

use common::{content, guest, range, sample};
use guestdump_core::arch::{self, Arch, Endian, PhysAddr, PhysRange};
use guestdump_core::block::{Backing, BlockKind, Bytes};
use guestdump_core::format::read::{self, Dump};
use guestdump_core::format::{self, Container, Format, flattened::Flattened};
use guestdump_core::guest::Guest;
use guestdump_core::plan::{Plan, PlanOptions};
use guestdump_core::run::{RunOptions, Summary, Unobserved, run};
use guestdump_core::sink::{Seekable, Sequential};

fn options(format: &'static Format) -> PlanOptions {
    PlanOptions { format, range: None, dump_level: 1, device_memory: false, page_size: None, paging: None }
}

/// The dump as a file; ELF through a pipe if `pipe`.
fn written(guest: &Guest, plan: &Plan, threads: usize, pipe: bool) -> (Vec<u8>, Summary) {
    let mut out = Vec::new();
    let threads = RunOptions::new(threads);
    let summary = if plan.format.flattened {
        run(plan, guest, &mut Flattened::new(&mut out), threads, &Unobserved).unwrap()
    } else if pipe {
        run(plan, guest, &mut Sequential::new(&mut out), threads, &Unobserved).unwrap()
    } else {
        let mut sink = Seekable::new(Cursor::new(&mut out));
        run(plan, guest, &mut sink, threads, &Unobserved).unwrap()
    };
    (out, summary)
}

fn dump(guest: &Guest, options: &PlanOptions) -> (Plan, Dump, Summary) {
    let plan = Plan::new(guest, options).unwrap();
    let (bytes, summary) = written(guest, &plan, 2, false);
    for threads in [1, 3] {
        assert_eq!(bytes, written(guest, &plan, threads, false).0, "{threads} workers or two");
    }
    (plan, read::open(Arc::new(bytes)).unwrap(), summary)
}

fn bytes_of(memory: &dyn arch::PhysMemory, at: PhysRange) -> Vec<u8> {
    let mut buf = vec![0; at.len() as usize];
    assert!(memory.read(at.start(), &mut buf).unwrap(), "{at}");
    buf
}

fn every_guest() -> impl Iterator<Item = (&'static dyn Arch, Endian)> {
    arch::ALL.iter().flat_map(|arch| arch.identity().endians.iter().map(|endian| (*arch, *endian)))
}

/// `max_mapnr` of 256 MiB is 65536, which a 64-bit reader sees as `block_size`.
#[test]
fn a_32_bit_header_with_a_page_count_that_looks_like_a_page_size() {
    let (i386, order) = (arch::by_name("i386").unwrap().0, Endian::Little);
    let zeros: Box<dyn Backing> = Box::new(guestdump_core::block::Zeros);
    let guest = guest(i386, order, vec![(0, BlockKind::Ram, 256 << 20, zeros)]);
    let (_, dump, _) = dump(&guest, &options(format::by_name("kdump-raw-none").unwrap()));
    assert_eq!((dump.page_size, dump.ranges), (Some(4096), vec![range(0, 256 << 20)]));
}

#[test]
fn memory_notes_and_headers_come_back() {
    for (arch, endian) in every_guest() {
        let guest = sample(arch, endian);
        for format in format::ALL {
            let (plan, dump, summary) = dump(&guest, &options(format));
            assert_eq!((dump.endian, dump.flattened), (endian, format.flattened));
            assert!(dump.warnings.is_empty(), "{}: {:?}", format.name, dump.warnings);
            for part in &plan.ranges {
                let same = bytes_of(guest.memory.as_ref(), *part) == bytes_of(dump.memory.as_ref(), *part);
                assert!(same, "{} {} {part}", arch.identity().name, format.name);
            }
            assert_eq!(
                dump.vmcoreinfo.as_ref().map(|info| info.bytes()),
                guest.vmcoreinfo.as_ref().map(|info| info.bytes())
            );
            let listed: Vec<(Vec<u8>, u32)> = dump.notes.iter().map(|note| (note.name.clone(), note.n_type)).collect();
            let planned = plan.notes.list.iter().map(|note| (note.0.clone().into_bytes(), note.1));
            assert!(planned.eq(listed.into_iter().chain([(b"VMCOREINFO".to_vec(), 0)])));
            let back = dump.into_guest(Some(arch)).unwrap();
            assert_eq!(back.vcpus.len(), 2);
            for (ours, theirs) in back.vcpus.iter().zip(&guest.vcpus) {
                assert_eq!(ours.id, theirs.id);
                for (def, value) in ours.registers.known() {
                    let reg = theirs.registers.find(def.name).unwrap();
                    if def.name == "lma" {
                        continue;
                    }
                    let width = value.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
                    assert_eq!(value[..width], theirs.registers.bytes(reg).unwrap()[..width], "{}", def.name);
                }
            }
            assert_eq!(summary.lost_pages, 0);
            assert!(summary.untouched_pages >= 1024);
        }
    }
}

#[test]
fn elf_through_a_pipe_is_the_same_file() {
    for (arch, endian) in every_guest() {
        let guest = sample(arch, endian);
        let plan = Plan::new(&guest, &options(format::by_name("elf").unwrap())).unwrap();
        let (mut file, _) = written(&guest, &plan, 2, false);
        let (pipe, _) = written(&guest, &plan, 2, true);
        assert_eq!(file.len() as u64, plan.file_len());
        file.resize(pipe.len(), 0);
        assert!(file == pipe);
    }
}

#[test]
fn flattened_and_raw_hold_the_same_bytes() {
    let guest = sample(arch::ALL[0], Endian::Little);
    for format in format::ALL.iter().filter(|format| format.flattened) {
        let raw = format::by_name(&format.name.replace("kdump-", "kdump-raw-")).unwrap();
        let plan = Plan::new(&guest, &options(raw)).unwrap();
        let (raw_bytes, _) = written(&guest, &plan, 1, false);
        let (flat, _) = written(&guest, &Plan::new(&guest, &options(format)).unwrap(), 1, false);
        let assembled = format::flattened::Assembled::new(flat).unwrap();
        let mut bytes = vec![0; raw_bytes.len()];
        assert_eq!(format::DumpFile::len(&assembled), raw_bytes.len() as u64);
        format::DumpFile::read_at(&assembled, 0, &mut bytes).unwrap();
        assert!(bytes == raw_bytes, "{}", format.name);
    }
}

#[test]
fn device_memory_is_left_out_unless_wanted() {
    let guest = sample(arch::ALL[0], Endian::Little);
    for name in ["elf", "kdump-raw-zlib"] {
        let format = format::by_name(name).unwrap();
        let (plan, dump, _) = dump(&guest, &options(format));
        assert_eq!(plan.left_out.len(), 1);
        let mut buf = [0; 16];
        assert!(!dump.memory.read(PhysAddr(0x0400_1000), &mut buf).unwrap());
        let with = PlanOptions { device_memory: true, ..options(format) };
        let (_, dump, _) = self::dump(&guest, &with);
        assert!(dump.memory.read(PhysAddr(0x0400_1000), &mut buf).unwrap());
    }
}

#[test]
fn ranges_are_exact_in_elf_and_whole_pages_in_kdump() {
    let guest = sample(arch::ALL[0], Endian::Little);
    let elf = PlanOptions { range: Some(range(0x1234, 0x0020_f7cc)), ..options(format::by_name("elf").unwrap()) };
    let plan = Plan::new(&guest, &elf).unwrap();
    assert_eq!(plan.ranges, [range(0x1234, 0x0020_f5cc), range(0x0021_0900, 0x100)]);
    let kdump = PlanOptions { range: Some(range(0x1234, 1)), ..options(format::by_name("kdump-raw-zlib").unwrap()) };
    let (plan, dump, _) = dump(&guest, &kdump);
    assert_eq!(plan.ranges, [range(0x1000, 0x1000)]);
    let whole = bytes_of(guest.memory.as_ref(), range(0x1000, 0x1000));
    assert_eq!(bytes_of(dump.memory.as_ref(), range(0x1000, 0x1000)), whole);
}

#[test]
fn blocks_that_share_a_page_are_one_page() {
    let guest = sample(arch::ALL[0], Endian::Little);
    for format in format::ALL.iter().filter(|format| format.container == Container::Kdump) {
        let (_, dump, summary) = dump(&guest, &options(format));
        let page = bytes_of(dump.memory.as_ref(), range(0x0021_0000, 0x1000));
        let low = bytes_of(guest.memory.as_ref(), range(0x0021_0000, 0x800));
        let high = bytes_of(guest.memory.as_ref(), range(0x0021_0900, 0x700));
        assert_eq!(page, [low.as_slice(), &[0; 0x100], &high].concat());
        assert_eq!(summary.pages, 0x211 + 2 + 0x400 + 6);
    }
}

#[test]
fn unreadable_pages_are_counted_and_everything_else_is_saved() {
    let bytes = content(0x30_0000, 9);
    for name in ["elf", "kdump-raw-zlib", "kdump-zlib", "kdump-raw-none"] {
        let broken = common::Broken { bytes: Bytes(bytes.clone()), page: 0x105 };
        let parts = vec![(0x10_0000, BlockKind::Ram, 0x30_0000, Box::new(broken) as Box<dyn Backing>)];
        let guest = guest(arch::ALL[0], Endian::Little, parts);
        let (_, dump, summary) = dump(&guest, &options(format::by_name(name).unwrap()));
        assert_eq!((summary.lost_pages, summary.first_lost.as_slice()), (1, &[PhysAddr(0x20_5000)][..]));
        assert!(summary.first_cause.as_ref().unwrap().contains("poisoned"));
        for page in (0..0x300).filter(|page| *page != 0x105) {
            let at = range(0x10_0000 + page * 0x1000, 0x1000);
            let start = page as usize * 0x1000;
            assert!(bytes_of(dump.memory.as_ref(), at) == bytes[start..start + 0x1000], "{name} page {page:#x}");
        }
        if name != "elf" {
            let mut buf = [0; 8];
            assert!(!dump.memory.read(PhysAddr(0x20_5000), &mut buf).unwrap());
            assert_eq!(dump.warnings, ["1 pages of memory are not in the file"]);
            // A page that a dump lacks stays lost when it is written anew: it is not a page of zeros.
            let again = dump.into_guest(None).unwrap();
            let plan = Plan::new(&again, &options(format::by_name(name).unwrap())).unwrap();
            assert_eq!(written(&again, &plan, 2, false).1.first_lost, [PhysAddr(0x20_5000)]);
        }
    }
}

#[test]
fn a_dump_of_a_dump_is_the_same_dump() {
    let guest = sample(arch::ALL[0], Endian::Little);
    let format = format::by_name("kdump-raw-snappy").unwrap();
    let plan = Plan::new(&guest, &options(format)).unwrap();
    let (first, _) = written(&guest, &plan, 2, false);
    let again = read::open(Arc::new(first.clone())).unwrap().into_guest(None).unwrap();
    let plan = Plan::new(&again, &options(format)).unwrap();
    assert!(written(&again, &plan, 2, false).0 == first);
}

#[test]
fn more_segments_than_e_phnum_can_count_are_found_by_readers() {
    let parts = (0..66_000_u64).map(|i| {
        let bytes = Box::new(Bytes(i.to_le_bytes().to_vec())) as Box<dyn Backing>;
        (i * 0x2000, BlockKind::Ram, 8, bytes)
    });
    for arch in arch::ALL {
        let guest = guest(*arch, arch.identity().endians[0], parts.clone().collect());
        let plan = Plan::new(&guest, &options(format::by_name("elf").unwrap())).unwrap();
        let (bytes, _) = written(&guest, &plan, 1, false);
        let dump = read::open(Arc::new(bytes)).unwrap();
        assert_eq!(dump.ranges.len(), 66_000);
        let mut buf = [0; 8];
        assert!(dump.memory.read(PhysAddr(65_999 * 0x2000), &mut buf).unwrap());
        assert_eq!(u64::from_le_bytes(buf), 65_999);
    }
}
