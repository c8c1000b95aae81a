//! Dumps with virtual addresses: what is in them, what bounds them, and that they can be read.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Arc;

use guestdump_core::arch::paging::mappings::Excess;
use guestdump_core::arch::paging::walk::Walker;
use guestdump_core::arch::{self, Arch, ArchError, Endian, PhysAddr, Registers, Vcpu, VirtAddr};
use guestdump_core::block::{BlockKind, Bytes};
use guestdump_core::format::read;
use guestdump_core::format::{self, elf};
use guestdump_core::guest::Guest;
use guestdump_core::plan::mapped::{ADDRESSES, Hidden, MAX_SEGMENTS, Mapped, Wanted};
use guestdump_core::plan::segments::Segment;
use guestdump_core::plan::{Body, Plan, PlanError, PlanOptions};
use guestdump_core::run::{RunOptions, Unobserved, run};
use guestdump_core::sink::Seekable;
use guestdump_core::vmcoreinfo::{Origin, Vmcoreinfo};

use common::holds_all;

const PRESENT: u64 = 3;

/// RAM from 0 on, in which tables of four levels grow.
struct Ram {
    bytes: Vec<u8>,
    /// Where the next table goes.
    free: u64,
}

impl Ram {
    fn new(pages: usize) -> Self {
        Self { bytes: vec![0; pages * 4096], free: 0x2000 }
    }

    fn entry(&mut self, table: u64, index: u64) -> &mut [u8] {
        let at = (table + index * 8) as usize;
        &mut self.bytes[at..at + 8]
    }

    fn put(&mut self, table: u64, index: u64, raw: u64) {
        self.entry(table, index).copy_from_slice(&raw.to_le_bytes());
    }

    fn below(&mut self, table: u64, index: u64) -> u64 {
        let old = u64::from_le_bytes((&*self.entry(table, index)).try_into().unwrap());
        if old != 0 {
            return old & !0xfff;
        }
        let new = self.free;
        self.free += 4096;
        self.put(table, index, new | PRESENT);
        new
    }

    /// Maps a page in the tables at `root`.
    fn map(&mut self, root: u64, virt: u64, phys: u64) {
        let table = [39, 30, 21].iter().fold(root, |table, shift| self.below(table, virt >> shift & 511));
        self.put(table, virt >> 12 & 511, phys | PRESENT);
    }

    fn guest(self, roots: &[u64]) -> Guest {
        let arch = arch::ALL[0];
        let len = self.bytes.len() as u64;
        let ram = vec![(0, BlockKind::Ram, len, Box::new(Bytes(self.bytes)) as Box<_>)];
        let mut guest = common::guest(arch, Endian::Little, ram);
        guest.vcpus = (0..).zip(roots).map(|(id, root)| vcpu(arch, id, *root)).collect();
        guest
    }
}

fn vcpu(arch: &'static dyn Arch, id: u32, root: u64) -> Vcpu {
    let mut registers = Registers::unknown(arch.registers());
    for (name, value) in [("cr0", 0x8000_0001), ("cr3", root), ("cr4", 0x20), ("efer", 0x500)] {
        registers.set_named(name, &u64::to_le_bytes(value)).unwrap();
    }
    Vcpu { id, registers }
}

fn options(max_segments: u32) -> PlanOptions {
    wanted(Wanted { max_segments, ..Wanted::default() })
}

fn wanted(wanted: Wanted) -> PlanOptions {
    let format = format::by_name("elf").unwrap();
    PlanOptions { format, range: None, dump_level: 0, device_memory: false, page_size: None, paging: Some(wanted) }
}

fn planned(guest: &Guest, options: &PlanOptions) -> (Vec<Segment>, Mapped) {
    let plan = Plan::new(guest, options).unwrap();
    let Body::Elf(layout) = plan.body else { unreachable!() };
    (layout.segments, plan.mapped.unwrap())
}

fn written(guest: &Guest, options: &PlanOptions) -> Vec<u8> {
    let plan = Plan::new(guest, options).unwrap();
    let mut out = Vec::new();
    run(&plan, guest, &mut Seekable::new(Cursor::new(&mut out)), RunOptions::new(1), &Unobserved).unwrap();
    out
}

fn pairs(segments: &[Segment]) -> BTreeSet<(u64, u64)> {
    let pages = |segment: &Segment| {
        let (virt, phys) = (segment.virt, segment.phys.start().0);
        (0..segment.phys.len() / 4096).map(move |page| (virt.wrapping_add(page * 4096), phys + page * 4096))
    };
    let all: Vec<_> = segments.iter().flat_map(pages).collect();
    let set: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(set.len(), all.len(), "a pair twice");
    let addresses: BTreeSet<_> = all.iter().map(|pair| pair.0).collect();
    assert_eq!(addresses.len(), all.len(), "an address twice");
    set
}

#[test]
fn the_union_of_all_vcpus_and_the_rest() {
    let mut ram = Ram::new(64);
    let roots = [0x1000, 0x10_000];
    // A user page of each at one address, one that both have, a page of the kernel, one outside of memory.
    ram.map(roots[0], 0x40_0000, 0x20_000);
    ram.map(roots[1], 0x40_0000, 0x21_000);
    for root in roots {
        ram.map(root, 0x40_1000, 0x22_000);
        ram.map(root, 0xffff_8880_0000_0000, 0x23_000);
        ram.map(root, 0xffff_8880_0000_1000, 0xfee0_0000);
    }
    let guest = ram.guest(&roots);
    let of = |vcpu| {
        let (segments, mapped) = planned(&guest, &wanted(Wanted { vcpu, ..Wanted::default() }));
        let pairs = pairs(&segments).into_iter().filter(|pair| pair.0 != pair.1 + (1 << 63));
        (pairs.collect::<BTreeSet<_>>(), mapped)
    };
    let common = [(0x40_1000, 0x22_000), (0xffff_8880_0000_0000, 0x23_000)];
    for (vcpu, shown, hidden) in [(None, 0, 1), (Some(0), 0, 1), (Some(1), 1, 0)] {
        let own = [0x20_000, 0x21_000];
        let (pairs, mapped) = of(vcpu);
        assert_eq!(pairs, BTreeSet::from([(0x40_0000, own[shown]), common[0], common[1]]));
        assert_eq!((mapped.mapped_bytes, mapped.unmapped_bytes), (3 * 4096, 61 * 4096));
        assert_eq!((mapped.outside_bytes, mapped.left_out_bytes, mapped.spaces), (2 * 4096, 0, 2));
        // What is shown at 0x400000 and the page behind it are one where that goes on from it.
        assert_eq!((mapped.mappings, mapped.rest), (if shown == 1 { 2 } else { 3 }, if shown == 1 { 2 } else { 3 }));
        let (virt, phys, kept) = (VirtAddr(0x40_0000), PhysAddr(own[hidden]), PhysAddr(own[shown]));
        let first = Hidden { vcpu: hidden as u32, space: "current", virt, phys, kept };
        assert_eq!((mapped.hidden_bytes, mapped.hidden.count, mapped.hidden.first), (4096, 1, Some(first)));
    }
    let absent = wanted(Wanted { vcpu: Some(2), ..Wanted::default() });
    assert_eq!(Plan::new(&guest, &absent).unwrap_err(), PlanError::NoVcpu { vcpu: 2, vcpus: 2 });
    holds_all(&guest, &read::open(Arc::new(written(&guest, &options(MAX_SEGMENTS)))).unwrap());
}

/// As many pages as QEMU 10.0 needs 35.7 s for. Work is counted: each table is read once.
#[test]
fn many_scattered_pages_in_a_file_with_more_segments_than_e_phnum_counts() {
    const PAGES: u64 = 131_072;
    let mut ram = Ram::new(1024);
    for page in 0..PAGES {
        ram.map(0x1000, (1 << 32) + page * 4096, (page * 389 % 1024) << 12);
    }
    let tables = ram.free / 4096 - 1;
    let guest = ram.guest(&[0x1000]);
    let (segments, mapped) = planned(&guest, &options(MAX_SEGMENTS));
    assert_eq!((segments.len() as u64, mapped.mappings as u64, mapped.rest), (PAGES, PAGES, 0));
    assert_eq!(mapped.entries_read, tables * 512);
    assert_eq!(pairs(&segments).len() as u64, PAGES);
    let bytes = written(&guest, &options(MAX_SEGMENTS));
    assert_eq!(u16::from_le_bytes([bytes[56], bytes[57]]), 0xffff, "PN_XNUM");
    assert_eq!(elf::read::headers(&bytes).unwrap().segments.len() as u64, PAGES + 1);
    holds_all(&guest, &read::open(Arc::new(bytes)).unwrap());
}

#[test]
fn a_bound_is_kept_and_loses_no_memory() {
    let mut ram = Ram::new(256);
    for page in 0..120 {
        ram.map(0x1000, page * 0x2000, (page * 2 + 1) << 12);
    }
    let guest = ram.guest(&[0x1000]);
    for most in [3, 10, 50, 200, 242] {
        let (segments, mapped) = planned(&guest, &options(most));
        assert!(segments.len() <= most as usize, "{} of {most}", segments.len());
        let stopped = mapped.stopped.as_ref().map(|stopped| (stopped.vcpu, stopped.bound.excess, stopped.bound.level));
        assert_eq!(stopped, (most < 242).then_some((0, Excess::Mappings, "page table")), "at most {most}");
        assert_eq!(mapped.is_incomplete(), most < 242);
        assert_eq!(mapped.mapped_bytes + mapped.unmapped_bytes, 256 * 4096);
        holds_all(&guest, &read::open(Arc::new(written(&guest, &options(most)))).unwrap());
    }
    let error = Plan::new(&guest, &options(1)).unwrap_err();
    assert_eq!(error, PlanError::FewSegments { wanted: 1, ranges: 2 });
}

/// A root whose every entry leads to itself: 2^36 pages at as many addresses, all of them the root.
#[test]
fn tables_that_lead_to_themselves_end() {
    let mut ram = Ram::new(16);
    (0..512).for_each(|index| ram.put(0x1000, index, 0x1000 | PRESENT));
    let guest = ram.guest(&[0x1000]);
    let (segments, mapped) = planned(&guest, &options(MAX_SEGMENTS));
    // The root, and for each level below so many addresses.
    assert!(mapped.entries_read <= 512 * (2 + 3 * u64::from(ADDRESSES)), "{}", mapped.entries_read);
    assert!(segments.len() <= 512 * ADDRESSES as usize + 4);
    assert!(mapped.shared.count > 0 && mapped.stopped.is_none());
    assert_eq!((mapped.mapped_bytes, mapped.unmapped_bytes), (4096, 15 * 4096));
    holds_all(&guest, &read::open(Arc::new(written(&guest, &options(MAX_SEGMENTS)))).unwrap());
}

#[test]
fn a_range_clips_mappings_and_counts_what_it_leaves_out() {
    let mut ram = Ram::new(64);
    (0..16).for_each(|page| ram.map(0x1000, 0x40_0000 + page * 4096, 0x20_000 + page * 4096));
    let guest = ram.guest(&[0x1000]);
    let clipped = PlanOptions { range: Some(common::range(0x22_800, 0x1800)), ..options(MAX_SEGMENTS) };
    let (segments, mapped) = planned(&guest, &clipped);
    assert_eq!(segments.len(), 1);
    assert_eq!((segments[0].virt, segments[0].phys), (0x40_2800, common::range(0x22_800, 0x1800)));
    assert_eq!((mapped.mapped_bytes, mapped.left_out_bytes), (0x1800, 0xe800));
}

#[test]
fn a_vcpu_whose_tables_are_not_known_is_refused_by_the_name_of_its_register() {
    let guest_of = |arch: &'static dyn Arch| {
        let ram = vec![(0, BlockKind::Ram, 0x2000, Box::new(Bytes(Vec::new())) as Box<_>)];
        let mut guest = common::guest(arch, arch.identity().endians[0], ram);
        guest.vcpus = vec![Vcpu { id: 7, registers: Registers::unknown(arch.registers()) }];
        guest
    };
    for arch in arch::ALL {
        let error = Plan::new(&guest_of(*arch), &options(MAX_SEGMENTS)).unwrap_err();
        let PlanError::Arch(ArchError::RegisterUnknown { vcpu: 7, register, .. }) = &error else { panic!("{error}") };
        assert!(error.to_string().contains(register));
    }
    let mut nobody = guest_of(arch::ALL[0]);
    nobody.vcpus.clear();
    assert_eq!(Plan::new(&nobody, &options(MAX_SEGMENTS)).unwrap_err(), PlanError::NoVcpus);
    let kdump = PlanOptions { format: format::by_name("kdump-zlib").unwrap(), ..options(MAX_SEGMENTS) };
    let guest = Ram::new(16).guest(&[0x1000]);
    assert_eq!(Plan::new(&guest, &kdump).unwrap_err(), PlanError::KdumpPaging { format: "kdump-zlib" });
}

/// Where nobody translates, virtual is physical: the dump is the one without virtual addresses.
#[test]
fn without_translation_the_dump_is_the_plain_one() {
    let mut guest = Ram::new(64).guest(&[0x1000]);
    let cr0 = guest.vcpus[0].registers.find("cr0").unwrap();
    guest.vcpus[0].registers.set(cr0, 1);
    let plain = PlanOptions { paging: None, ..options(MAX_SEGMENTS) };
    assert!(written(&guest, &plain) == written(&guest, &options(MAX_SEGMENTS)));
}

/// Top-byte-ignore of either half of AArch64: an address of a dump has no tag, one that is asked for may have any.
#[test]
fn tags_are_in_no_address_of_a_dump() {
    let (arch, endian) = (arch::by_name("aarch64").unwrap().0, Endian::Little);
    let mut ram = Ram::new(64);
    let (low, high) = (0x40_0000, 0xffff_8000_0123_4000);
    ram.map(0x1000, low, 0x20_000);
    ram.map(0x1f_000, high, 0x21_000);
    let roots = [0x1000, 0x1f_000];
    let bytes = ram.bytes;
    for tbi in 0..4_u64 {
        let parts = vec![(0, BlockKind::Ram, bytes.len() as u64, Box::new(Bytes(bytes.clone())) as Box<_>)];
        let mut guest = common::guest(arch, endian, parts);
        let mut registers = Registers::unknown(arch.registers());
        let tcr = 16 | 16 << 16 | 2 << 30 | 5 << 32 | tbi << 37;
        for (name, value) in [("sctlr_el1", 1), ("tcr_el1", tcr), ("ttbr0_el1", roots[0]), ("ttbr1_el1", roots[1])] {
            registers.set_named(name, &value.to_le_bytes()).unwrap();
        }
        guest.vcpus = vec![Vcpu { id: 0, registers }];
        let paging = arch.paging(&guest.vcpus[0]).unwrap();
        let mut walker = Walker::new(&paging, guest.memory.as_ref());
        let mut at = |virt: u64| walker.translate(VirtAddr(virt)).unwrap().map(|phys| phys.0);
        // Bit 55 says which half an address is in.
        for tag in [0x01, 0x7f, 0xab, 0xfe] {
            let tagged = |virt: u64| virt & !(0xff << 56) | tag << 56;
            assert_eq!(at(tagged(low) + 5), (tbi & 1 != 0).then_some(0x20_005), "TBI {tbi}, tag {tag:#x}");
            assert_eq!(at(tagged(high) + 5), (tbi & 2 != 0).then_some(0x21_005), "TBI {tbi}, tag {tag:#x}");
        }
        assert_eq!([at(low), at(high)], [Some(0x20_000), Some(0x21_000)]);
        let (segments, _) = planned(&guest, &options(MAX_SEGMENTS));
        let mapped: BTreeSet<_> = pairs(&segments).into_iter().filter(|pair| pair.0 != pair.1 + (1 << 63)).collect();
        assert_eq!(mapped, BTreeSet::from([(low, 0x20_000), (high, 0x21_000)]));
    }
}

/// Page-table isolation: while user mode runs, the tables of a vCPU have next to nothing of the kernel. The kernel's own are found
/// by VMCOREINFO, and taken if they map themselves.
#[test]
fn the_kernel_is_there_where_no_vcpu_maps_it() {
    let mut ram = Ram::new(64);
    let (swapper, image, linear) = (0x1f_000, 0xffff_ffff_8001_f000, 0xffff_8880_0000_0000);
    ram.map(0x1000, 0x40_0000, 0x20_000);
    ram.map(swapper, image, swapper);
    ram.map(swapper, linear, 0x23_000);
    // Not the kernel's half.
    ram.map(swapper, 0x50_0000, 0x24_000);
    let mut guest = ram.guest(&[0x1000]);
    let user = (0x40_0000, 0x20_000);
    for (symbol, kernel) in [(image, vec![(image, swapper), (linear, 0x23_000)]), (image + 0x1000, vec![])] {
        let text = format!("OSRELEASE=6.1.0\nNUMBER(phys_base)=0\nSYMBOL(swapper_pg_dir)={symbol:x}\n");
        guest.vmcoreinfo = Some(Vmcoreinfo::new(text.into_bytes(), Origin::Given));
        let (segments, mapped) = planned(&guest, &options(MAX_SEGMENTS));
        let found: BTreeSet<_> = pairs(&segments).into_iter().filter(|pair| pair.0 != pair.1 + (1 << 63)).collect();
        assert_eq!(found, kernel.iter().copied().chain([user]).collect());
        assert_eq!(mapped.spaces, if kernel.is_empty() { 1 } else { 2 });
    }
}
