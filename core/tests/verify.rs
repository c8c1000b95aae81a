//! What is found in whole, equal, different and broken dumps.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use std::io::Cursor;
use std::sync::Arc;

use common::{content, guest, range, sample};
use guestdump_arch::{Endian, PhysAddr, PhysRange};
use guestdump_core::arch;
use guestdump_core::block::{Backing, BlockKind, BlockMemory, Bytes, Zeros};
use guestdump_core::format::DumpFile;
use guestdump_core::format::read::{self, Dump};
use guestdump_core::format::{self, Container, flattened::Flattened};
use guestdump_core::guest::Guest;
use guestdump_core::plan::{Plan, PlanOptions};
use guestdump_core::run::{RunOptions, Unobserved, run};
use guestdump_core::sink::Seekable;
use guestdump_core::verify::{
    Class, Content, Kind, Memory, audit, cell_size, compare, compare_notes, known_zeros, picture, survey, survey_with,
};
use proptest::prelude::*;

fn written(guest: &Guest, format: &str, page_size: Option<u32>) -> Vec<u8> {
    let format = format::by_name(format).unwrap();
    let options = PlanOptions { format, range: None, dump_level: 1, device_memory: false, page_size, paging: None };
    let plan = Plan::new(guest, &options).unwrap();
    let (mut out, threads) = (Vec::new(), RunOptions::new(1));
    if format.flattened {
        run(&plan, guest, &mut Flattened::new(&mut out), threads, &Unobserved).unwrap();
    } else {
        run(&plan, guest, &mut Seekable::new(Cursor::new(&mut out)), threads, &Unobserved).unwrap();
    }
    out
}

fn open(file: &[u8]) -> Dump {
    read::open(Arc::new(file.to_vec())).unwrap()
}

fn memory(dump: &Dump) -> Memory<'_> {
    Memory { memory: dump.memory.as_ref(), ranges: &dump.ranges }
}

fn looked_at(file: &[u8]) -> Content {
    survey(memory(&open(file)))
}

fn problems(file: &[u8]) -> Vec<String> {
    audit(Arc::new(file.to_vec())).unwrap().problems
}

/// RAM that ends inside of a page, a hole, zeros, and RAM that ends inside of a leaf.
fn odd_guest() -> Guest {
    let ram = BlockKind::Ram;
    let first: Box<dyn Backing> = Box::new(Bytes(content(0x9_fc00, 3)));
    let parts = vec![
        (0, ram, 0x9_fc00, first),
        (0x10_0000, ram, 3 << 20, Box::new(Zeros) as Box<dyn Backing>),
        (0x40_0000, ram, 0x12_3000, Box::new(Bytes(content(0x12_3000, 5)))),
    ];
    guest(arch::by_name("aarch64").unwrap().0, Endian::Little, parts)
}

#[test]
fn equal_guests_have_equal_digests_in_every_format() {
    for guest in [odd_guest(), sample(arch::by_name("s390x").unwrap().0, Endian::Big)] {
        let elf = written(&guest, "elf", None);
        let expected = looked_at(&elf);
        assert!(expected.count(Class::Data) > 10 && expected.count(Class::Missing) == 0, "{expected:?}");
        for format in format::ALL {
            for page_size in
                [None, Some(65536)].into_iter().filter(|size| size.is_none() || format.container == Container::Kdump)
            {
                let file = written(&guest, format.name, page_size);
                let found = looked_at(&file);
                assert_eq!(found.digest, expected.digest, "{} {page_size:?}", format.name);
                assert_eq!(found.count(Class::Data), expected.count(Class::Data), "{}", format.name);
                assert_eq!(problems(&file), Vec::<String>::new(), "{}", format.name);
                let (one, other) = (open(&elf), open(&file));
                let (ours, theirs, difference) = compare(memory(&one), memory(&other));
                assert_eq!((difference.count(), difference.first), (0, None), "{}", format.name);
                assert_eq!((ours.digest, theirs), (expected.digest, found), "{}", format.name);
                assert_eq!(difference.equal, ours.total());
                assert_eq!(compare_notes(&one, &other), Vec::new(), "{}", format.name);
            }
        }
    }
}

#[test]
fn workers_change_nothing() {
    let dump = open(&written(&odd_guest(), "kdump-raw-zlib", None));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| survey(memory(&dump)))
    };
    assert_eq!(with(1), with(5));
}

#[test]
fn one_byte_is_found() {
    let one = open(&written(&odd_guest(), "kdump-raw-lzo", None));
    for at in [0x9_fbff, 0x40_0000, 0x52_2fff, 0x30_0000] {
        let mut changed = odd_guest();
        changed.memory = Arc::new(Changed { guest: odd_guest(), at });
        let other = open(&written(&changed, "elf", None));
        let (ours, theirs, difference) = compare(memory(&one), memory(&other));
        assert_eq!((difference.count(), difference.first), (1, Some(PhysAddr(at))), "{at:#x}");
        assert_ne!(ours.digest, theirs.digest);
        assert_eq!(difference.equal, ours.total() - 1);
    }
}

/// A guest's memory with one bit changed.
#[derive(Debug)]
struct Changed {
    guest: Guest,
    at: u64,
}

impl guestdump_arch::PhysMemory for Changed {
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, guestdump_arch::MemoryError> {
        let found = self.guest.memory.read(addr, buf)?;
        if let Some(byte) = self.at.checked_sub(addr.0).and_then(|index| buf.get_mut(index as usize)) {
            *byte ^= 0x40;
        }
        Ok(found)
    }

    fn extent(&self, addr: PhysAddr, limit_bytes: u64) -> guestdump_arch::Extent {
        let extent = self.guest.memory.extent(addr, limit_bytes);
        guestdump_arch::Extent { presence: guestdump_arch::Presence::Data, ..extent }
    }
}

/// Where the descriptors of a raw kdump with pages of 4096 bytes are: block 1 + sub_hdr_size + bitmap_blocks, by the
/// header's bytes of a 64-bit little-endian file.
fn descriptors(file: &[u8]) -> usize {
    let int = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(int(428), 4096);
    4096 * (1 + int(432) + int(436))
}

#[test]
fn broken_pages_are_counted_and_named() {
    let whole = written(&odd_guest(), "kdump-raw-zlib", None);
    let descs = descriptors(&whole);
    let desc = |number: usize| descs + 24 * number;
    let put = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let offset = |number: usize| u64::from_le_bytes(whole[desc(number)..desc(number) + 8].try_into().unwrap());
    // Page 1 holds text and is compressed; page 0 is the shared page of zeros.
    let cases = [
        (put(desc(1), &0_u64.to_le_bytes()), "1 pages were never written: pfn 0x1", Class::Missing),
        (put(desc(1), &u64::MAX.to_le_bytes()), "1 pages lie outside of the file: pfn 0x1", Class::Damaged),
        (put(desc(1) + 8, &5000_u32.to_le_bytes()), "1 pages have an impossible size: pfn 0x1", Class::Damaged),
        (
            put(desc(1) + 12, &64_u32.to_le_bytes()),
            "1 pages are stored by no codec of this build: pfn 0x1",
            Class::Damaged,
        ),
    ];
    let expected = looked_at(&whole);
    for (file, problem, class) in cases {
        assert_eq!(problems(&file), [problem]);
        let found = looked_at(&file);
        assert_eq!((found.count(class), found.total()), (1, expected.total()), "{problem}");
        assert_eq!(found.errors.len(), usize::from(class == Class::Damaged));
    }
    let overlap = format!("pages overlap in the file, at offset {:#x}", offset(2));
    assert_eq!(problems(&put(desc(1), &(offset(2) - 1).to_le_bytes())), [overlap]);
    let tables = problems(&put(desc(1), &4096_u64.to_le_bytes()));
    assert!(tables.iter().any(|problem| problem.starts_with("1 pages lie on headers")), "{tables:?}");
    let at = offset(1) as usize;
    let found = looked_at(&put(at, &[0xff; 8]));
    assert_eq!((found.count(Class::Damaged), found.errors[0].0), (1, PhysAddr(0x1000)));
}

#[test]
fn unfinished_and_cut_files() {
    let whole = written(&odd_guest(), "elf", None);
    let cut = &whole[..whole.len() - 5000];
    assert_eq!(problems(cut), ["5000 bytes of memory lie behind the end of the file: it was cut"]);
    let found = audit(Arc::new(cut.to_vec())).unwrap();
    let dump = open(cut);
    let readable = found.readable(&dump.ranges);
    let last = dump.ranges.last().unwrap();
    assert_eq!(readable.last().unwrap().end().0, last.end().0 - 5000);
    assert_eq!(survey(Memory { ranges: &readable, ..memory(&dump) }).count(Class::Damaged), 0);
    let flat = written(&odd_guest(), "kdump-zlib", None);
    assert_eq!(problems(&flat[..flat.len() - 16]), ["the flattened file has no end record: it was cut"]);
    let mut kdump = written(&odd_guest(), "kdump-raw-zlib", None);
    kdump[424] |= 8;
    assert_eq!(problems(&kdump), ["the header's status says that the dump is not finished"]);
}

/// A file with a hole for each block of 512 bytes that holds zeros, and what was read of it.
#[derive(Debug)]
struct Sparse {
    bytes: Vec<u8>,
    read: std::sync::atomic::AtomicU64,
}

impl Sparse {
    /// Bytes from `offset` on in blocks that are holes, or are not.
    fn run(&self, offset: u64, hole: bool) -> u64 {
        let (at, mut len) = (offset as usize / 512 * 512, 0);
        for block in self.bytes[at.min(self.bytes.len())..].chunks(512) {
            if block.iter().all(|byte| *byte == 0) != hole {
                break;
            }
            len += block.len();
        }
        (len as u64).saturating_sub(offset % 512)
    }
}

impl DumpFile for Sparse {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.read.fetch_add(buf.len() as u64, std::sync::atomic::Ordering::Relaxed);
        DumpFile::read_at(&self.bytes, offset, buf)
    }

    fn zeros_at(&self, offset: u64) -> u64 {
        self.run(offset, true)
    }

    fn data_at(&self, offset: u64) -> u64 {
        self.run(offset, false)
    }
}

#[test]
fn holes_of_a_file_are_zeros_that_nobody_reads() {
    let bytes = written(&odd_guest(), "elf", None);
    let plain = open(&bytes);
    assert_eq!(known_zeros(memory(&plain)).len_bytes, 0);
    let file = Arc::new(Sparse { bytes: bytes.clone(), read: 0.into() });
    let sparse = read::open(Arc::clone(&file) as Arc<dyn DumpFile>).unwrap();
    let known = known_zeros(memory(&sparse));
    // Memory starts at no multiple of 512 in the file: holes and pages are askew.
    let start = bytes.len() - plain.ranges.iter().map(|range| range.len() as usize).sum::<usize>();
    let blocks = (start / 512 * 512..bytes.len()).step_by(512);
    let holes = blocks.map(|at| at.max(start)..(at - at % 512 + 512).min(bytes.len()));
    let expected: usize = holes
        .filter(|hole| bytes[hole.start / 512 * 512..hole.end].iter().all(|b| *b == 0))
        .map(|hole| hole.len())
        .sum();
    assert_eq!((known.len_bytes, known.whole), (expected as u64, true));
    assert!(expected > 3 << 20, "{expected}");
    file.read.store(0, std::sync::atomic::Ordering::Relaxed);
    let mut done = 0;
    let found = survey_with(memory(&sparse), &mut |bytes| done += bytes);
    assert_eq!(found, looked_at(&bytes));
    assert_eq!(done, found.total() * 4096);
    assert!(file.read.load(std::sync::atomic::Ordering::Relaxed) < 3 << 20);
    // What was cut off is one piece, however large.
    let cut = Sparse { bytes: bytes[..bytes.len() - 5000].to_vec(), read: 0.into() };
    let cut = read::open(Arc::new(cut)).unwrap();
    let end = cut.ranges.last().unwrap().end().0;
    let extent = cut.memory.extent(PhysAddr(end - 5000), 8192);
    assert_eq!((extent.presence, extent.len_bytes), (guestdump_arch::Presence::Data, 5000));
    // Written anew, it is the same file again.
    let again = sparse.into_guest(None).unwrap();
    let expected = plain.into_guest(None).unwrap();
    for format in ["elf", "kdump-raw-lzo"] {
        let (ours, theirs) = (written(&again, format, None), written(&expected, format, None));
        let first = ours.iter().zip(&theirs).position(|(a, b)| a != b);
        assert_eq!((ours.len(), first), (theirs.len(), None), "{format}");
    }
}

#[test]
fn shared_copies_are_counted() {
    let file = written(&odd_guest(), "kdump-raw-zlib", None);
    let found = audit(Arc::new(file.clone())).unwrap();
    let all = looked_at(&file);
    // Pages of zeros, one after the other, share one; nothing else does.
    assert_eq!(found.copies.iter().map(|copy| copy.1).collect::<Vec<_>>(), [all.count(Class::Zero)]);
    assert_eq!(found.shared_pages + 1, all.count(Class::Zero));
    let mut page = [1; 4096];
    assert!(open(&file).memory.read(found.copies[0].0, &mut page).unwrap());
    assert_eq!(page, [0; 4096]);
}

#[test]
fn notes_are_compared_one_by_one() {
    let one = open(&written(&odd_guest(), "elf", None));
    let mut other = open(&written(&odd_guest(), "elf", None));
    other.notes[0].desc[100] ^= 1;
    other.vmcoreinfo = None;
    let found = compare_notes(&one, &other);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].name.as_str(), found[0].n_type, found[0].first), ("CORE", 1, Some(100)));
    let info = one.vmcoreinfo.as_ref().map(|info| info.bytes().len());
    assert_eq!((found[1].name.as_str(), found[1].lengths), ("VMCOREINFO", (info, None)));
}

#[test]
fn pictures_have_what_is_counted() {
    let dump = open(&written(&odd_guest(), "kdump-raw-zlib", None));
    let all = survey(memory(&dump));
    for cell_bytes in [4096, 1 << 16, 1 << 20, 1 << 24] {
        let cells = picture(memory(&dump), cell_bytes);
        let sum = |kind: Kind| {
            cells.iter().map(|cell| cell.frames[Kind::ALL.iter().position(|one| *one == kind).unwrap()]).sum::<u64>()
        };
        let data = sum(Kind::Compressible) + sum(Kind::Incompressible);
        assert_eq!((sum(Kind::Zero), data), (all.count(Class::Zero), all.count(Class::Data)), "{cell_bytes}");
        assert!(cells.iter().all(|cell| cell.total() > 0 && cell.range.len() == cell_bytes));
        assert!(cells.windows(2).all(|pair| pair[0].range.end() <= pair[1].range.start()));
    }
    // `content` has zeros, text, noise, and a page with one byte, in turns.
    let kinds = [Kind::Zero, Kind::Compressible, Kind::Incompressible, Kind::Compressible];
    let cells = picture(memory(&dump), 4096);
    for (cell, kind) in cells.iter().zip(kinds.iter().cycle()).take(32) {
        assert_eq!(cell.frames[Kind::ALL.iter().position(|one| one == kind).unwrap()], 1, "{cell:?}");
    }
}

#[test]
fn cells_are_as_small_as_their_number_allows() {
    let ranges = [range(0x1800, 0x1000), range(0x3000, 0x800), range(1 << 40, 1 << 20)];
    assert_eq!(cell_size(&ranges, 259), 4096);
    assert_eq!(cell_size(&ranges, 258), 8192);
    assert_eq!(cell_size(&ranges, 2), 1 << 20);
    assert_eq!(cell_size(&[range(0, u64::MAX)], 2), 1 << 62);
}

/// A small memory: pieces of a few bytes in three leaves, some of zeros, some not aligned.
fn pieces() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    let piece = (0_u64..96, 0_usize..5000, 0_u8..3).prop_map(|(at, len, byte)| (at * 0x8400, vec![byte; len + 1]));
    proptest::collection::vec(piece, 0..6).prop_map(|mut pieces| {
        pieces.sort_by_key(|piece| piece.0);
        pieces.dedup_by_key(|piece| piece.0);
        pieces
    })
}

fn made_of(pieces: &[(u64, Vec<u8>)]) -> (BlockMemory, Vec<PhysRange>) {
    let ranges: Vec<PhysRange> = pieces.iter().map(|(at, bytes)| range(*at, bytes.len() as u64)).collect();
    let backed = pieces
        .iter()
        .zip(&ranges)
        .map(|((_, bytes), range)| (*range, Box::new(Bytes(bytes.clone())) as Box<dyn Backing>));
    (BlockMemory::new(backed.collect()), ranges)
}

/// What is not zero, byte by byte: the naive idea of content.
fn bytes_of(pieces: &[(u64, Vec<u8>)]) -> std::collections::BTreeMap<u64, u8> {
    let all = pieces.iter().flat_map(|(at, bytes)| (*at..).zip(bytes.iter().copied()));
    all.filter(|byte| byte.1 != 0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn digests_are_equal_where_the_bytes_are(one in pieces(), other in pieces()) {
        let ((a, a_ranges), (b, b_ranges)) = (made_of(&one), made_of(&other));
        let (a, b) = (Memory { memory: &a, ranges: &a_ranges }, Memory { memory: &b, ranges: &b_ranges });
        let (ours, theirs, difference) = compare(a, b);
        let (x, y) = (bytes_of(&one), bytes_of(&other));
        prop_assert_eq!(ours.digest == theirs.digest, x == y);
        prop_assert_eq!(difference.count() == 0, x == y);
        let first = x.iter().chain(&y).filter(|(at, byte)| x.get(*at) != y.get(*at) && **byte != 0).map(|byte| *byte.0).min();
        prop_assert_eq!(difference.first.map(|at| at.0), first);
        prop_assert_eq!(ours, survey(a));
        prop_assert_eq!(theirs, survey(b));
    }
}
