//! Dumps written anew: filtered dumps stay filtered, old header versions are read, cut files give what
//! they have. Offsets of kdump fields are numbers of their own here (64-bit layout), not those of the code.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "code of tests")]

mod common;

use std::io::Cursor;
use std::sync::Arc;

use common::kdump::{le, put, small};
use common::{content, guest, range};
use guestdump_core::arch::{self, Endian, Extent, MemoryError, PhysAddr, PhysMemory, PhysRange, Presence};
use guestdump_core::block::{Backing, BlockKind, Bytes, Zeros};
use guestdump_core::format::flattened::Flattened;
use guestdump_core::format::read::{self, Dump};
use guestdump_core::format::{self, Container, Format};
use guestdump_core::guest::Guest;
use guestdump_core::plan::{Plan, PlanOptions};
use guestdump_core::run::{RunOptions, Summary, Unobserved, run};
use guestdump_core::sink::Seekable;
use proptest::prelude::*;

fn options(format: &'static Format) -> PlanOptions {
    PlanOptions { format, range: None, dump_level: 1, device_memory: false, page_size: None, paging: None }
}

fn written(guest: &Guest, format: &'static Format) -> (Vec<u8>, Summary) {
    let plan = Plan::new(guest, &options(format)).unwrap();
    let mut out = Vec::new();
    let threads = RunOptions::new(2);
    let summary = if format.flattened {
        run(&plan, guest, &mut Flattened::new(&mut out), threads, &Unobserved).unwrap()
    } else {
        run(&plan, guest, &mut Seekable::new(Cursor::new(&mut out)), threads, &Unobserved).unwrap()
    };
    (out, summary)
}

fn named(name: &str) -> &'static Format {
    format::by_name(name).unwrap()
}

fn opened(file: Vec<u8>) -> Dump {
    read::open(Arc::new(file)).unwrap()
}

/// Memory of which some pages were left out.
#[derive(Debug)]
struct Filtered {
    all: Arc<dyn PhysMemory>,
    /// Ascending, disjoint, whole pages.
    out: Vec<PhysRange>,
}

impl PhysMemory for Filtered {
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        let wanted = range(addr.0, buf.len() as u64);
        if self.out.iter().any(|out| !out.intersect(wanted).is_empty()) { Ok(false) } else { self.all.read(addr, buf) }
    }

    fn extent(&self, addr: PhysAddr, limit_bytes: u64) -> Extent {
        if let Some(out) = self.out.iter().find(|out| out.contains(addr)) {
            return Extent { presence: Presence::Excluded, len_bytes: out.end().0 - addr.0 };
        }
        let next = self.out.iter().map(|out| out.start().0).find(|start| *start > addr.0).unwrap_or(u64::MAX);
        let extent = self.all.extent(addr, limit_bytes);
        Extent { len_bytes: extent.len_bytes.min(next - addr.0), ..extent }
    }
}

fn filtered(mut guest: Guest, out: Vec<PhysRange>) -> Guest {
    guest.memory = Arc::new(Filtered { all: guest.memory, out });
    guest.past.filtered = true;
    guest.past.dump_level = 31;
    guest
}

/// What a memory is, page by page.
fn pages(memory: &dyn PhysMemory, ranges: &[PhysRange]) -> Vec<(u64, Option<Vec<u8>>)> {
    let mut out = Vec::new();
    for part in ranges {
        let mut at = part.start().0;
        while at < part.end().0 {
            let end = (at / 4096 * 4096 + 4096).min(part.end().0);
            let mut buf = vec![0; (end - at) as usize];
            let there = memory.read(PhysAddr(at), &mut buf).unwrap();
            let presence = memory.extent(PhysAddr(at), end - at).presence;
            assert_eq!(presence == Presence::Excluded, !there, "{at:#x}");
            out.push((at, there.then_some(buf)));
            at = end;
        }
    }
    out
}

/// Blocks that are not page aligned, an untouched one, one behind a gap.
fn sample(arch: &'static dyn arch::Arch, endian: Endian) -> Guest {
    let bytes = |len: usize, seed| Box::new(Bytes(content(len, seed))) as Box<dyn Backing>;
    let parts = vec![
        (0, BlockKind::Ram, 0x2_0800, bytes(0x2_0800, 1)),
        (0x8_0000, BlockKind::Ram, 0x1_0000, Box::new(Zeros) as Box<dyn Backing>),
        (0x30_0123, BlockKind::Ram, 0x5001, bytes(0x5001, 3)),
    ];
    guest(arch, endian, parts)
}

fn out_of_sample() -> Vec<PhysRange> {
    // The start of a block, its middle, single pages, an untouched block but for a page, the end of another.
    vec![
        range(0, 0x3000),
        range(0x1_0000, 0x1000),
        range(0x1_2000, 0x4000),
        range(0x8_0000, 0x8000),
        range(0x8_9000, 0x7000),
        range(0x30_4000, 0x1124),
    ]
}

#[test]
fn what_was_left_out_stays_left_out() {
    for arch in arch::ALL {
        for endian in arch.identity().endians {
            let guest = filtered(sample(*arch, *endian), out_of_sample());
            for format in format::ALL {
                let what = format!("{} {} {}", arch.identity().name, endian.name(), format.name);
                let (file, summary) = written(&guest, format);
                assert_eq!(summary.lost_pages, 0, "{what}");
                assert_eq!(summary.excluded_bytes, out_of_sample().iter().map(|out| out.len()).sum::<u64>(), "{what}");
                let dump = opened(file.clone());
                assert!(dump.filtered && dump.dump_level == 31 && dump.warnings.is_empty(), "{what}");
                let plan = Plan::new(&guest, &options(format)).unwrap();
                if format.container == Container::Elf {
                    assert!(pages(dump.memory.as_ref(), &plan.ranges) == pages(guest.memory.as_ref(), &plan.ranges));
                }
                let again = dump.into_guest(Some(*arch)).unwrap();
                assert!(written(&again, format).0 == file, "{what}: not the same when written anew");
            }
        }
    }
}

#[test]
fn every_format_into_every_other_and_back() {
    let arch = arch::ALL[0];
    let guest = filtered(sample(arch, Endian::Little), out_of_sample());
    for first in format::ALL {
        let once = opened(written(&guest, first).0).into_guest(None).unwrap();
        for second in format::ALL {
            let twice = opened(written(&once, second).0).into_guest(None).unwrap();
            let plan = Plan::new(&once, &options(second)).unwrap();
            for part in &plan.ranges {
                let (ours, theirs) = (pages(once.memory.as_ref(), &[*part]), pages(twice.memory.as_ref(), &[*part]));
                assert!(ours == theirs, "{} {} {part}", first.name, second.name);
            }
            assert_eq!(once.notes, twice.notes);
            assert_eq!(once.vmcoreinfo, twice.vmcoreinfo);
        }
    }
}

#[test]
fn old_versions_have_the_members_of_their_time() {
    let guest = small();
    let (mut file, _) = written(&guest, named("kdump-raw-zlib"));
    // Other values than the main header's, which a reader of an older file must not see.
    for version in (0..=6).rev() {
        put(&mut file, 8, version, 4);
        if version == 5 {
            put(&mut file, 4096 + 96, 8, 8);
        }
        let dump = opened(file.clone());
        assert_eq!(dump.ranges, [range(0, 0x20_0000)], "version {version}");
        assert_eq!(dump.notes.is_empty(), version < 4, "version {version}");
        assert_eq!(dump.vmcoreinfo.is_some(), version >= 3, "version {version}");
        assert_eq!(dump.dump_level, u8::from(version >= 1), "version {version}");
        let page = &pages(dump.memory.as_ref(), &[range(0x1000, 0x1000)])[0];
        assert_eq!(page.1.as_deref(), Some(&content(0x2000, 3)[0x1000..]));
    }
}

/// Else pages without a bit are left out on purpose for one part of the reader and lost for another.
#[test]
fn bits_above_the_levels_leave_nothing_out() {
    let (mut file, _) = written(&filtered(small(), vec![range(0x1000, 0x2000)]), named("kdump-raw-zlib"));
    for (level, known, missing) in [(31, 31, false), (0x11f, 31, false), (0x7e_0001, 1, true), (0x100, 0, true)] {
        put(&mut file, 4096 + 8, level, 4);
        let dump = opened(file.clone());
        let said = dump.warnings.iter().any(|warning| warning == "2 pages of memory are not in the file");
        assert_eq!((dump.dump_level, dump.filtered, said), (known, !missing, missing), "dump_level {level:#x}");
        let expected = if missing { Presence::Absent } else { Presence::Excluded };
        assert_eq!(dump.memory.extent(PhysAddr(0x1000), 0x1000).presence, expected, "dump_level {level:#x}");
    }
}

#[test]
fn cut_files_give_what_they_have_and_say_what_is_missing() {
    let guest = small();
    let whole = content(0x20_0000, 3);
    for name in ["elf", "kdump-raw-none", "kdump-zlib", "kdump-zstd", "kdump-none-cut-in-descriptors"] {
        let format = format::by_name(name).unwrap_or(named("kdump-raw-none"));
        let (file, _) = written(&guest, format);
        let len = if name.ends_with("descriptors") { 4 * 4096 + 24 * 100 } else { file.len() / 2 };
        let dump = opened(file[..len].to_vec());
        assert!(!dump.warnings.is_empty(), "{name}");
        assert!(dump.warnings.iter().any(|text| text.contains("not in the file") || text.contains("cut")), "{name}");
        assert!(dump.arch.is_some(), "{name}");
        let again = dump.into_guest(None).unwrap();
        assert!(!again.past.damage.is_empty());
        let (_, summary) = written(&again, named("kdump-raw-zlib"));
        assert_eq!(summary.pages, 512, "{name}");
        if name != "kdump-none-cut-in-descriptors" {
            assert!((100..450).contains(&summary.lost_pages), "{name}: {} lost", summary.lost_pages);
        }
        for page in 0..512_u64 {
            let mut buf = vec![0; 4096];
            if again.memory.read(PhysAddr(page << 12), &mut buf).unwrap_or(false) {
                assert!(buf == whole[page as usize * 4096..][..4096], "{name} page {page:#x}");
            }
        }
    }
}

#[test]
fn headers_of_padded_and_packed_32_bit_files() {
    // Members of the sub-header at the offsets of 32-bit ARM, where a u64 is aligned to eight bytes.
    let (file, _) = written(&small(), named("kdump-raw-zlib"));
    let descs = 4096 * (1 + le(&file, 432, 4) as usize + le(&file, 436, 4) as usize);
    let mut padded = vec![0; descs];
    padded[..402].copy_from_slice(&file[..402]);
    padded[272..278].copy_from_slice(b"xxxxxx");
    for (from, to) in [(424, 412), (428, 416), (432, 420), (436, 424), (440, 428), (460, 448)] {
        put(&mut padded, to, le(&file, from, 4), 4);
    }
    let info = b"OSRELEASE=4.19-padded\n";
    let at = 4096 + 96;
    padded[at..at + 12].copy_from_slice(&[11, 0, 0, 0, info.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
    padded[at + 12..at + 22].copy_from_slice(b"VMCOREINFO");
    padded[at + 24..at + 24 + info.len()].copy_from_slice(info);
    put(&mut padded, 4096 + 24, at as u64 + 24, 8);
    put(&mut padded, 4096 + 32, info.len() as u64, 4);
    put(&mut padded, 4096 + 40, at as u64, 8);
    put(&mut padded, 4096 + 48, 48, 4);
    put(&mut padded, 4096 + 88, 512, 8);
    padded[descs - 8192..].copy_from_slice(&file[descs - 8192..descs]);
    padded.extend_from_slice(&file[descs..]);
    let dump = opened(padded);
    assert_eq!(dump.vmcoreinfo.unwrap().bytes(), info);
    assert_eq!(dump.ranges, [range(0, 0x20_0000)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]
    #[test]
    fn fragmented_and_filtered_guests_come_back(
        parts in proptest::collection::vec((1_u64..0x9000, 1_u64..0x9000, any::<bool>()), 1..12),
        out in proptest::collection::btree_set(0_u64..96, 0..30),
        which in 0..64_usize,
        seed: u64,
    ) {
        let all: Vec<_> =
            arch::ALL.iter().flat_map(|arch| arch.identity().endians.iter().map(|endian| (*arch, *endian))).collect();
        let (arch, endian) = all[which % all.len()];
        let format = &format::ALL[seed as usize % format::ALL.len()];
        let mut at = 0;
        let mut blocks: Vec<(u64, BlockKind, u64, Box<dyn Backing>)> = Vec::new();
        for (gap, len, touching) in parts {
            // The lowest address is a page's: some architectures' phys_base is made of it.
            let start = if blocks.is_empty() { gap / 4096 * 4096 } else if touching { at } else { at + gap };
            blocks.push((start, BlockKind::Ram, len, Box::new(Bytes(content(len as usize, seed ^ start)))));
            at = start + len;
        }
        let out: Vec<PhysRange> = out.into_iter().map(|page| range(page * 4096, 4096)).collect();
        let guest = filtered(guest(arch, endian, blocks), out);
        let plan = Plan::new(&guest, &options(format)).unwrap();
        let (file, summary) = written(&guest, format);
        prop_assert_eq!(summary.lost_pages, 0);
        let dump = opened(file.clone());
        let (ours, theirs) = (pages_of(&guest, &plan.ranges), pages_of_dump(&dump, &plan.ranges));
        prop_assert!(ours == theirs);
        let again = dump.into_guest(Some(arch)).unwrap();
        let second = written(&again, format).0;
        // Blocks that touch are two segments, and one range when read: so it stays from then on.
        let touching = plan.ranges.windows(2).any(|pair| pair[0].end() == pair[1].start());
        let file = match touching && format.container == Container::Elf {
            true => written(&opened(second.clone()).into_guest(Some(arch)).unwrap(), format).0,
            false => file,
        };
        let at = second.iter().zip(&file).position(|(a, b)| a != b);
        prop_assert!(second == file, "{} and {} bytes, from {:?} on", file.len(), second.len(), at);
    }
}

/// As [`pages()`], but for pages that two blocks share, of which one may be left out: they are read byte by byte.
fn pages_of(guest: &Guest, ranges: &[PhysRange]) -> Vec<(u64, Option<Vec<u8>>)> {
    bytes(guest.memory.as_ref(), ranges)
}

fn pages_of_dump(dump: &Dump, ranges: &[PhysRange]) -> Vec<(u64, Option<Vec<u8>>)> {
    bytes(dump.memory.as_ref(), ranges)
}

fn bytes(memory: &dyn PhysMemory, ranges: &[PhysRange]) -> Vec<(u64, Option<Vec<u8>>)> {
    let mut out = Vec::new();
    for part in ranges {
        let mut at = part.start().0;
        while at < part.end().0 {
            let end = (at / 4096 * 4096 + 4096).min(part.end().0);
            let mut buf = vec![0; (end - at) as usize];
            let there = memory.read(PhysAddr(at), &mut buf).unwrap();
            out.push((at, there.then_some(buf)));
            at = end;
        }
    }
    out
}

#[test]
fn ram_that_follows_on_firmware_is_ram() {
    let arch = arch::ALL.iter().find(|arch| arch.device_window().is_some()).unwrap();
    let window = arch.device_window().unwrap();
    let bytes = |seed| Box::new(Bytes(content(0x2000, seed))) as Box<dyn Backing>;
    let (rom, high) = (range(window.end().0 - 0x2000, 0x2000), range(window.end().0, 0x2000));
    let parts = vec![
        (0, BlockKind::Ram, 0x2000, bytes(1)),
        (rom.start().0, BlockKind::Device, 0x2000, bytes(2)),
        (high.start().0, BlockKind::Ram, 0x2000, bytes(3)),
    ];
    let guest = guest(*arch, Endian::Little, parts);
    let with_devices = PlanOptions { device_memory: true, ..options(named("elf")) };
    let plan = Plan::new(&guest, &with_devices).unwrap();
    let mut file = Vec::new();
    run(&plan, &guest, &mut Seekable::new(Cursor::new(&mut file)), RunOptions::new(1), &Unobserved).unwrap();
    let again = opened(file).into_guest(None).unwrap();
    let blocks: Vec<_> = again.blocks.iter().map(|block| (block.range, block.kind)).collect();
    let ram = [(range(0, 0x2000), BlockKind::Ram), (high, BlockKind::Ram)];
    assert_eq!(blocks, [ram[0], (rom, BlockKind::Device), ram[1]]);
}
