//! How fast 131072 scattered 4 KiB mappings are told, by the walker span by span and by the survey; and a table of which all
//! entries are itself. `cargo bench -p guestdump-x86_64`. What it may cost is under test in `tests/limits.rs`.
//!
//! QEMU 10.0.2 needs 35.7 s for as many pages, its monitor standing still: its list of mappings is searched for each.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "code of tests")]

use core::ops::ControlFlow;
use std::time::Instant;

use guestdump_arch::paging::mappings::{Limits, Mapping, Shared, Visitor};
use guestdump_arch::paging::survey::Survey;
use guestdump_arch::paging::walk::{WalkError, Walker};
use guestdump_arch::paging::{Paging, Target};
use guestdump_arch::{Arch, Extent, MemoryError, PhysAddr, PhysMemory, Presence, Registers, Vcpu, VirtAddr, VirtRange};
use guestdump_x86_64::ARCH;

const PAGES: u64 = 131_072;

/// RAM from 0 on that holds nothing but tables.
#[derive(Debug)]
struct Flat(Vec<u8>);

impl PhysMemory for Flat {
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        let bytes = usize::try_from(addr.0).ok().and_then(|at| self.0.get(at..at.checked_add(buf.len())?));
        bytes.into_iter().for_each(|bytes| buf.copy_from_slice(bytes));
        Ok(bytes.is_some())
    }

    fn extent(&self, _addr: PhysAddr, _limit_bytes: u64) -> Extent {
        Extent { presence: Presence::Data, len_bytes: 1 }
    }
}

impl Flat {
    fn entry(&mut self, table: u64, index: u64) -> &mut [u8] {
        let at = (table + index * 8) as usize;
        &mut self.0[at..at + 8]
    }

    /// The table below an entry; a new one behind all others if there is none.
    fn below(&mut self, table: u64, index: u64) -> u64 {
        let old = u64::from_le_bytes((&*self.entry(table, index)).try_into().unwrap());
        if old != 0 {
            return old & !0xfff;
        }
        let new = self.0.len() as u64;
        self.0.resize(self.0.len() + 4096, 0);
        self.entry(table, index).copy_from_slice(&(new | 3).to_le_bytes());
        new
    }

    fn map(&mut self, virt: u64, phys: u64) {
        let table = [39, 30, 21].iter().fold(0, |table, shift| self.below(table, virt >> shift & 511));
        self.entry(table, virt >> 12 & 511).copy_from_slice(&(phys | 3).to_le_bytes());
    }
}

/// Four levels, the root at 0.
fn paging() -> Paging {
    let mut vcpu = Vcpu { id: 0, registers: Registers::unknown(ARCH.registers()) };
    for (name, value) in [("cr0", 0x8000_0001_u64), ("cr3", 0), ("cr4", 0x20), ("efer", 0x500)] {
        vcpu.registers.set_named(name, &value.to_le_bytes()).unwrap();
    }
    ARCH.paging(&vcpu).unwrap()
}

#[derive(Default)]
struct Count {
    mappings: u64,
    shared: u64,
}

impl Visitor for Count {
    fn mapping(&mut self, _: Mapping) -> ControlFlow<()> {
        self.mappings += 1;
        ControlFlow::Continue(())
    }

    fn shared(&mut self, _: Shared) {
        self.shared += 1;
    }

    fn unreadable(&mut self, virt: VirtRange, error: &WalkError) {
        panic!("{virt}: {error}");
    }
}

fn survey(memory: &Flat, what: &str) -> Count {
    let (mut count, mut survey, start) = (Count::default(), Survey::new(Limits::default()), Instant::now());
    survey.visit(&paging(), memory, &mut count).unwrap();
    let (time, read, held) = (start.elapsed(), survey.entries_read(), survey.tables_held());
    eprintln!("{what}: survey, {read} entries, {held} tables held, {} shared, {time:.3?}", count.shared);
    count
}

/// Mappings every `stride` pages from 4 GiB on; neighbours in virtual memory are none in physical memory.
fn measure(stride: u64) {
    let mut memory = Flat(vec![0; 4096]);
    for i in 0..PAGES {
        memory.map((1 << 32) + i * stride * 4096, (i * 40_503 % PAGES + (1 << 20)) << 12);
    }
    let paging = paging();
    let mut walker = Walker::new(&paging, &memory);
    let (start, mut next, mut spans, mut mapped) = (Instant::now(), Some(VirtAddr(0)), 0_u64, 0);
    while let Some(virt) = next {
        let span = walker.span_at(virt).unwrap();
        mapped += u64::from(matches!(span.target, Target::Phys(_)));
        spans += 1;
        next = span.virt.next();
    }
    let (time, read, tables) = (start.elapsed(), walker.entries_read(), memory.0.len() / 4096);
    assert_eq!(mapped, PAGES);
    eprintln!("every {stride:3}. page: {tables} tables, {spans} spans, entries_read {read}, {time:.3?}");
    assert_eq!(survey(&memory, &format!("every {stride:3}. page")).mappings, PAGES);
}

fn main() {
    for stride in [1, 2, 64, 512] {
        measure(stride);
    }
    let mut memory = Flat(vec![0; 4096]);
    (0..512).for_each(|index| memory.entry(0, index).copy_from_slice(&3_u64.to_le_bytes()));
    survey(&memory, "512 self-pointers");
}
