//! Small machines with hostile memory: page tables and what a kernel leaves in RAM.

use std::ops::ControlFlow;
use std::sync::Arc;

use guestdump_core::arch::paging::mappings::{Limits, Mapping, Shared, Visitor};
use guestdump_core::arch::paging::survey::Survey;
use guestdump_core::arch::paging::walk::{WalkError, Walker};
use guestdump_core::arch::paging::{Paging, Span, Target};
use guestdump_core::arch::{self, Arch, Endian, KernelFacts, PhysAddr, PhysMemory, PhysRange, Reg, Registers};
use guestdump_core::arch::{Vcpu, VirtAddr, VirtRange};
use guestdump_core::block::{Backing, Block, BlockKind, BlockMemory, ShortRead};
use guestdump_core::format;
use guestdump_core::guest::{Guest, Past};
use guestdump_core::kernel;
use guestdump_core::plan::PlanOptions;
use guestdump_core::plan::mapped::Wanted;

use super::feed::Feed;
use super::memory_use::bounded;
use super::writing::{MOST_SEGMENTS, options, rewrite};

pub const PAGE: usize = 4096;
/// Spans that an enumeration looks at from each address.
const SPANS: usize = 16;

/// What registers of any kind say of translation, and page tables of whatever form that is: walks from four addresses of
/// the input and from the lowest.
pub fn walk(data: &[u8]) {
    let feed = &mut Feed(data);
    let addresses = [feed.u64(), feed.u64(), feed.u64(), feed.u64(), 0];
    walks(&machine(feed), addresses);
}

/// Every space of a guest's vCPU: span by span from some addresses, and all at once.
pub fn walks(guest: &Guest, addresses: [u64; 5]) {
    for space in guest.arch.spaces(&guest.vcpus[0]) {
        let Ok(paging) = space.paging else { continue };
        let mut walker = Walker::new(&paging, guest.memory.as_ref());
        for address in addresses {
            enumerate(&mut walker, &paging, guest.memory.as_ref(), VirtAddr(address));
            let (steps, span) = walker.steps(VirtAddr(address)).expect("all of this memory can be read");
            assert!(steps.len() <= 12 && span.virt.contains(VirtAddr(address)), "{steps:?}");
        }
        survey(&mut walker, &paging, guest.memory.as_ref());
    }
}

/// What is told is what the walker finds, at both ends and where a table is shared; and no more than the limit is read.
fn survey(walker: &mut Walker<'_>, paging: &Paging, memory: &dyn PhysMemory) {
    const LIMITS: Limits = Limits { pieces: 1024, addresses: 1 };
    let mut told = Told::default();
    let mut survey = Survey::new(LIMITS);
    let _ = survey.visit(paging, memory, &mut told);
    assert!(survey.pieces_read() <= LIMITS.pieces && survey.tables_held() <= LIMITS.pieces as usize + 64);
    for Mapping { virt, phys, .. } in told.mappings {
        for (at, expected) in [(virt.first(), phys.0), (virt.last(), phys.0.wrapping_add(virt.len_minus_one()))] {
            let found = walker.translate(at).expect("all of this memory can be read");
            // A page at the top of the address space may pass it.
            assert!(found.is_none_or(|found| found.0 == expected), "{at}: {found:?}, told {expected:#x}");
            assert!(found.is_some() || expected < phys.0, "{at} is told and not found");
        }
    }
    for Shared { virt, like, .. } in told.shared {
        let [here, there] =
            [virt.first(), like].map(|at| walker.translate(at).expect("all of this memory can be read"));
        assert_eq!(here, there, "{virt} is not like {like}");
    }
}

/// The first of what a survey tells.
#[derive(Default)]
struct Told {
    mappings: Vec<Mapping>,
    shared: Vec<Shared>,
}

impl Visitor for Told {
    fn mapping(&mut self, mapping: Mapping) -> ControlFlow<()> {
        self.mappings.push(mapping);
        if self.mappings.len() < 1024 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn shared(&mut self, shared: Shared) {
        if self.shared.len() < 64 {
            self.shared.push(shared);
        }
    }

    fn unreadable(&mut self, virt: VirtRange, error: &WalkError) {
        panic!("{virt}: {error}");
    }
}

/// Spans follow each other without gaps, and do not depend on what was asked before.
fn enumerate(walker: &mut Walker<'_>, paging: &Paging, memory: &dyn PhysMemory, from: VirtAddr) {
    let mut at = from;
    for number in 0..SPANS {
        let before = walker.entries_read();
        let span = walker.span_at(at).expect("all of this memory can be read");
        let levels = if let Paging::Radix(radix) = paging { radix.form.levels.len() as u64 } else { u64::MAX };
        assert!(walker.entries_read() - before <= levels, "{} entries", walker.entries_read() - before);
        assert!(span.virt.contains(at), "{at} is not in {}", span.virt);
        assert!(number == 0 || span.virt.first() == at, "{} does not start at {at}, the end before it", span.virt);
        check_span(&span, paging, memory);
        let Some(next) = span.virt.next() else { return };
        at = next;
    }
}

/// Every address of a span has the same span, to a walker that has seen nothing else.
fn check_span(span: &Span, paging: &Paging, memory: &dyn PhysMemory) {
    let (first, last) = (span.virt.first(), span.virt.last());
    for at in [VirtAddr(first.0 + span.virt.len_minus_one() / 2), last] {
        let again = Walker::new(paging, memory).span_at(at).expect("all of this memory can be read");
        assert_eq!(again, *span, "at {at}");
        let phys = if let Target::Phys(start) = span.target { start.checked_add(at.0 - first.0) } else { None };
        assert_eq!(span.phys(at), phys);
        assert!(phys.is_some() == matches!(span.target, Target::Phys(_)), "{span:?} passes 2^64");
    }
}

/// What is found out about a guest's kernel, and a dump of the guest.
pub fn kernel(data: &[u8]) {
    let feed = &mut Feed(data);
    let mut guest = machine(feed);
    let ram = guest.blocks.iter().map(|block| block.range.len() as usize).sum();
    bounded(ram, 64, 32 << 20, || kernel::find_vmcoreinfo(&mut guest));
    if let Some(info) = &guest.vmcoreinfo {
        assert!(info.bytes().len() <= ram && info.page_size().is_none_or(|size| size >= 4096));
    }
    let utsname = kernel::utsname(&guest, "machine");
    assert!(utsname.fields.iter().all(|field| field.len() < kernel::UTS_FIELD));
    assert!(!utsname.fields[4].is_empty(), "no machine");
    if let Some(map) = kernel::linear_map(&guest) {
        assert!(map.len_bytes > 0 && map.phys.checked_add(map.len_bytes).is_some(), "{map:?}");
    }
    rewrite(&guest, &options(&format::ALL[data.len() % 2]));
    let elf = format::by_name("elf").expect("a format");
    let paging = Some(Wanted { max_segments: MOST_SEGMENTS, vcpu: None });
    rewrite(&guest, &PlanOptions { paging, ..options(elf) });
}

/// RAM of just these bytes.
#[derive(Debug)]
pub(super) struct Ram(pub(super) Vec<u8>);

impl Backing for Ram {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ShortRead> {
        buf.copy_from_slice(&self.0[offset as usize..][..buf.len()]);
        Ok(())
    }
}

/// The machine that an input stands for: architecture, byte order, size of its RAM, registers, then pieces of memory
/// until the input ends.
pub fn machine(feed: &mut Feed<'_>) -> Guest {
    let arch = feed.pick(arch::ALL);
    let endian = feed.pick(arch.identity().endians);
    let pages = usize::from(feed.u8() % 64) + 1;
    // RAM may end inside of a page, and so inside of a table.
    let len = pages * PAGE - usize::from(feed.u16()) % PAGE;
    let registers = registers(feed, arch);
    let ram = pieces(feed, pages, len, 0);
    guest(arch, endian, registers, 0, ram)
}

/// Memory of `len` bytes in so many pages from `base` on, of which the rest of the input writes pieces.
pub fn pieces(feed: &mut Feed<'_>, pages: usize, len: usize, base: u64) -> Vec<u8> {
    let mut ram = vec![0; pages * PAGE];
    while !feed.is_empty() {
        piece(feed, &mut ram, pages, base);
    }
    ram.truncate(len);
    ram
}

/// A guest with one vCPU and one block of RAM.
pub fn guest(arch: &'static dyn Arch, endian: Endian, registers: Registers, base: u64, ram: Vec<u8>) -> Guest {
    let vcpu = Vcpu { id: 0, registers };
    let range = PhysRange::new(PhysAddr(base), ram.len() as u64).expect("a short range");
    let backed: Vec<(PhysRange, Box<dyn Backing>)> = vec![(range, Box::new(Ram(ram)))];
    Guest {
        arch,
        endian: Some(endian),
        machine_page_size: None,
        blocks: vec![Block { range, kind: BlockKind::Ram, name: "ram".to_owned() }],
        memory: Arc::new(BlockMemory::new(backed)),
        vcpus: vec![vcpu],
        notes: None,
        vmcoreinfo: None,
        banner: None,
        remarks: Vec::new(),
        past: Past::default(),
    }
}

pub(super) fn registers(feed: &mut Feed<'_>, arch: &'static dyn Arch) -> Registers {
    let mut registers = Registers::unknown(arch.registers());
    for _ in 0..feed.u8() % 32 {
        let index = u16::from(feed.u8()) % arch.registers().len() as u16;
        registers.set(Reg(index), feed.u64());
    }
    registers
}

/// How [`piece`] reads what follows: an entry of a table as it is, an entry that points to a page of the RAM, or a
/// text.
#[derive(Clone, Copy, Debug)]
pub enum Tag {
    /// An entry, its width in bytes and byte order.
    Entry(usize, Endian),
    /// An entry made of a page's number and the low 16 bits.
    Link(usize, Endian),
    /// Bytes anywhere.
    Text,
}

/// By the number that stands for it.
pub const TAGS: [Tag; 9] = [
    Tag::Entry(8, Endian::Little),
    Tag::Entry(8, Endian::Big),
    Tag::Entry(4, Endian::Little),
    Tag::Entry(4, Endian::Big),
    Tag::Link(8, Endian::Little),
    Tag::Link(8, Endian::Big),
    Tag::Link(4, Endian::Little),
    Tag::Link(4, Endian::Big),
    Tag::Text,
];

fn piece(feed: &mut Feed<'_>, ram: &mut [u8], pages: usize, base: u64) {
    let tag = feed.pick(&TAGS);
    let page = usize::from(feed.u8()) % pages;
    let at = usize::from(feed.u16());
    let mut entry = [0; 8];
    let (start, bytes) = match tag {
        Tag::Entry(width, endian) => {
            endian.put(feed.u64(), &mut entry[..width]);
            (at * width, &entry[..width])
        }
        Tag::Link(width, endian) => {
            let to = base + u64::from(feed.u8()) * PAGE as u64;
            endian.put(to + u64::from(feed.u16()), &mut entry[..width]);
            (at * width, &entry[..width])
        }
        Tag::Text => {
            let len = usize::from(feed.u8());
            (at, feed.bytes(len))
        }
    };
    // Texts may reach into the next page.
    let start = page * PAGE + start % PAGE;
    ram.iter_mut().skip(start).zip(bytes).for_each(|(to, from)| *to = *from);
}
