//! Builds a sample guest from its description: content, page tables, VMCOREINFO, vCPUs.
//!
//! The layout below is that of every sample, in bytes from the start of its main block or of its kernel image. What
//! differs from one architecture to the next is in the [`Demo`].

use std::sync::Arc;

use guestdump_arch::paging::form::{Entry, Form, Radix, Root};
use guestdump_arch::{Arch, CAbi, Endian, GuestFacts, Paging, PhysAddr, PhysRange, Registers, Vcpu, VirtAddr};
use guestdump_core::block::{Backing, Block, BlockMemory, Bytes};
use guestdump_core::guest::{Guest, Past};
use guestdump_core::vmcoreinfo::NOTE_NAME;

use super::{Demo, Link, log};

/// Release of the kernel that none of the samples really has.
pub(super) const RELEASE: &str = "6.1.0-demo";
const VERSION: &str = "#1 SMP Thu Jan 1 00:00:00 UTC 1970";
/// A text in the kernel image.
pub(super) const HELLO: &[u8] = b"If you can read this, your dump and its page tables are good.\n\0";

const PAGE: u64 = 4096;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The ELF note, in the main block.
pub(super) const NOTE: u64 = 0x2000;
/// Stacks of the vCPUs, two pages each.
pub(super) const STACKS: u64 = 0x4000;
pub(super) const STACK_LEN: u64 = 2 * PAGE;
/// Pages of a user process: its first page is the last one here.
pub(super) const USER: u64 = 0x1_0000;
pub(super) const USER_PAGES: u64 = 4;
/// The kernel image.
pub(super) const IMAGE: u64 = MIB;
pub(super) const IMAGE_LEN: u64 = MIB;

/// The idle function, in the image.
pub(super) const IDLE: u64 = 0x1000;
pub(super) const TEXT_LEN: u64 = 64 * KIB;
pub(super) const BANNER: u64 = 0x4_0000;
pub(super) const GREETING: u64 = 0x4_1000;
/// The kernel's log, in whole pages.
pub(super) const LOG: u64 = 0x4_4000;
/// `init_uts_ns`, not at the start of a page: readers must not count on that.
pub(super) const UTS: u64 = 0x5_0b60;
/// The root of the page tables; the others follow, a page each.
pub(super) const TABLES: u64 = 0x6_0000;

/// What some bytes are filled with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fill {
    /// These bytes, again and again.
    Repeated(&'static [u8]),
    /// Numbered lines of text.
    Lines,
    /// Noise that no codec makes shorter, from this seed (not 0).
    Noise(u64),
}

/// Some bytes at a physical address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub at: u64,
    pub len: u64,
    pub fill: Fill,
}

/// A page as a kernel's allocator marks freed memory (`POISON_FREE`).
const POISON: &[u8] = &[0x6b];
/// `int3` on x86, and as good as anything else elsewhere.
const PADDING: &[u8] = &[0xcc];

/// What is in the main block, from its start, beside what is built. The rest are zeros.
const CONTENT: &[Piece] = &[
    Piece { at: IMAGE, len: TEXT_LEN, fill: Fill::Repeated(PADDING) },
    Piece { at: 2 * MIB, len: MIB, fill: Fill::Lines },
    Piece { at: 3 * MIB, len: 512 * KIB, fill: Fill::Repeated(POISON) },
    Piece { at: 3 * MIB + 512 * KIB, len: 768 * KIB, fill: Fill::Noise(0x9e37_79b9_7f4a_7c15) },
    // Half a page: a dump's last page of a run of data need not be full.
    Piece { at: 4 * MIB + 512 * KIB, len: 2 * KIB, fill: Fill::Noise(1) },
];

impl Fill {
    fn bytes(self, len: usize) -> Vec<u8> {
        let (mut number, mut state, mut bytes) = (0_u32, 0, Vec::with_capacity(len));
        while bytes.len() < len {
            match self {
                Self::Repeated(piece) => bytes.extend_from_slice(piece),
                Self::Lines => {
                    let line = format!("line {number:08}: the quick brown fox jumps over the lazy dog\n");
                    bytes.extend_from_slice(line.as_bytes());
                    number += 1;
                }
                Self::Noise(seed) => {
                    state = xorshift(if state == 0 { seed } else { state });
                    bytes.extend_from_slice(&state.to_le_bytes());
                }
            }
        }
        bytes.truncate(len);
        bytes
    }
}

/// Marsaglia's xorshift64.
const fn xorshift(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}

/// The memory of a sample while it is built.
struct Ram {
    blocks: Vec<(PhysRange, Vec<u8>)>,
    abi: CAbi,
}

impl Ram {
    fn slice(&mut self, at: u64, len: usize) -> &mut [u8] {
        let block = self.blocks.iter_mut().find(|block| block.0.contains(PhysAddr(at)));
        let part = block.and_then(|(range, bytes)| {
            let start = usize::try_from(at - range.start().0).ok()?;
            bytes.get_mut(start..start.checked_add(len)?)
        });
        debug_assert!(part.is_some(), "{len} bytes at {at:#x} are not in one block");
        part.unwrap_or_default()
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let part = self.slice(at, bytes.len());
        if part.len() == bytes.len() {
            part.copy_from_slice(bytes);
        }
    }

    fn fill(&mut self, at: u64, piece: &Piece) {
        let len = usize::try_from(piece.len).unwrap_or(0);
        self.put(at, &piece.fill.bytes(len));
    }
}

/// The guest that a description stands for.
pub(super) fn guest(demo: &Demo, arch: &'static dyn Arch) -> Guest {
    let blocks: Vec<Block> = demo.blocks.iter().filter_map(block).collect();
    let vcpus = vcpus(demo, arch);
    let ranges: Vec<PhysRange> = blocks.iter().map(|block| block.range).collect();
    let facts = GuestFacts { vcpus: &vcpus, ram: &ranges, endian: None, machine_page_size: None, kernel: None };
    let info = arch.dump_info(&facts);
    let abi = info.as_ref().map_or(CAbi { word: 8, u64_align: 8, endian: Endian::Little }, |info| info.abi);
    let zeros = |range: &PhysRange| (*range, vec![0; usize::try_from(range.len()).unwrap_or(0)]);
    let mut ram = Ram { blocks: ranges.iter().map(zeros).collect(), abi };
    fill(demo, &mut ram, info.map_or("", |info| info.uts_machine));
    let paging = vcpus.first().and_then(|vcpu| arch.paging(vcpu).ok());
    if let Some(radix) = paging.as_ref().and_then(Paging::radix) {
        Tables { demo, ram: &mut ram, radix, free: demo.main + IMAGE + TABLES }.build();
    }
    let backed = ram.blocks.into_iter().map(|(range, bytes)| (range, Box::new(Bytes(bytes)) as Box<dyn Backing>));
    Guest {
        arch,
        endian: None,
        machine_page_size: None,
        memory: Arc::new(BlockMemory::new(backed.collect())),
        blocks,
        vcpus,
        notes: None,
        vmcoreinfo: None,
        banner: None,
        remarks: vec![format!("sample guest demo:{}: {}", demo.name, demo.summary)],
        past: Past::default(),
    }
}

fn block(&(start, len, kind, name): &(u64, u64, guestdump_core::block::BlockKind, &str)) -> Option<Block> {
    let range = PhysRange::new(PhysAddr(start), len)?;
    Some(Block { range, kind, name: name.to_owned() })
}

fn vcpus(demo: &Demo, arch: &'static dyn Arch) -> Vec<Vcpu> {
    let vcpu = |(id, values): (u32, Vec<(String, u64)>)| {
        let mut registers = Registers::unknown(arch.registers());
        for (name, value) in values {
            let set = registers.set_named(&name, &value.to_le_bytes());
            debug_assert!(set.is_ok(), "{set:?}");
        }
        Vcpu { id, registers }
    };
    (0..).zip((demo.registers)()).map(vcpu).collect()
}

/// Everything but the page tables.
fn fill(demo: &Demo, ram: &mut Ram, machine: &str) {
    let image = demo.main + IMAGE;
    CONTENT.iter().for_each(|piece| ram.fill(demo.main + piece.at, piece));
    demo.elsewhere.iter().for_each(|piece| ram.fill(piece.at, piece));
    ram.put(image + IDLE, demo.idle);
    ram.put(image + BANNER, format!("{}\n\0", banner()).as_bytes());
    ram.put(image + GREETING, HELLO);
    ram.put(image + UTS, &utsname(machine));
    ram.put(image + LOG, &log::bytes(demo, ram.abi, demo.image_virt + LOG));
    let note = note(ram.abi.endian, vmcoreinfo(demo, ram.abi).as_bytes());
    ram.put(demo.main + NOTE, &note);
    for page in 0..USER_PAGES {
        let text = format!("user page {page}\n");
        ram.put(demo.main + USER + (USER_PAGES - 1 - page) * PAGE, text.repeat(16).as_bytes());
    }
}

/// What the kernel says first.
pub(super) fn banner() -> String {
    format!("Linux version {RELEASE} (guestdump@demo) (rustc, no C) {VERSION}")
}

/// `struct new_utsname` (linux `include/uapi/linux/utsname.h`): six fields of 65 bytes.
fn utsname(machine: &str) -> Vec<u8> {
    let fields = ["Linux", "demo", RELEASE, VERSION, machine, "(none)"];
    fields.into_iter().flat_map(|field| field.bytes().chain(core::iter::repeat(0)).take(65)).collect()
}

fn vmcoreinfo(demo: &Demo, abi: CAbi) -> String {
    let symbol = |name: &str, at: u64| format!("SYMBOL({name})={:x}\n", demo.image_virt + at);
    [
        format!("OSRELEASE={RELEASE}\n"),
        "PAGESIZE=4096\n".to_owned(),
        symbol("init_uts_ns", UTS),
        "OFFSET(uts_namespace.name)=0\n".to_owned(),
        symbol("swapper_pg_dir", TABLES),
        symbol("_stext", 0),
        (demo.vmcoreinfo)(),
        log::vmcoreinfo(abi, demo.image_virt + LOG),
    ]
    .concat()
}

/// An ELF note as linux writes it for itself: header, name padded to four bytes, text.
fn note(endian: Endian, text: &[u8]) -> Vec<u8> {
    let mut note = vec![0; 12];
    let words = [NOTE_NAME.len() + 1, text.len(), 0];
    note.chunks_mut(4).zip(words).for_each(|(to, word)| endian.put(word as u64, to));
    note.extend_from_slice(NOTE_NAME);
    note.extend_from_slice(&[0, 0]);
    note.extend_from_slice(text);
    note
}

/// Page tables while they are built.
struct Tables<'a> {
    demo: &'a Demo,
    ram: &'a mut Ram,
    radix: &'a Radix,
    /// Where the next table goes.
    free: u64,
}

impl Tables<'_> {
    fn build(&mut self) {
        let demo = self.demo;
        self.roots();
        let end = demo.blocks.iter().map(|block| block.0 + block.1).max().unwrap_or(0);
        let shift = demo.linear_page_shift;
        for at in (0..end).step_by(1 << shift) {
            self.map(demo.linear_virt + at, at, shift, Link::Kernel);
        }
        for at in (0..IMAGE_LEN).step_by(PAGE as usize) {
            self.map(demo.image_virt + at, demo.main + IMAGE + at, 12, Link::Kernel);
        }
        for page in 0..USER_PAGES {
            let phys = demo.main + USER + (USER_PAGES - 1 - page) * PAGE;
            self.map(demo.user_virt + page * PAGE, phys, 12, Link::User);
        }
    }

    /// The tables from which translation starts follow each other, and the registers say that they are here.
    fn roots(&mut self) {
        let bits = |root: &Root| self.radix.form.levels.get(root.level).map_or(0, |level| level.bits);
        let mut roots: Vec<(u64, u8)> = self.radix.roots.iter().map(|root| (root.table.0, bits(root))).collect();
        roots.sort_unstable();
        roots.dedup();
        for (known, bits) in roots {
            let table = self.table(bits);
            debug_assert!(known == table, "the registers say {known:#x}, not {table:#x}");
        }
    }

    /// A new table of empty entries.
    fn table(&mut self, bits: u8) -> u64 {
        let (at, entry_bytes) = (self.free, u64::from(self.radix.form.entry_bytes));
        let len = entry_bytes << bits;
        self.free += len.next_multiple_of(PAGE);
        for entry in 0..1 << bits {
            self.put(at + entry * entry_bytes, self.demo.empty_entry);
        }
        at
    }

    fn put(&mut self, at: u64, entry: u64) {
        let Form { endian, entry_bytes, .. } = self.radix.form;
        endian.put(entry, self.ram.slice(at, usize::from(entry_bytes)));
    }

    /// Maps one page, unless it is mapped already: on i386 the image is part of the linear map.
    fn map(&mut self, virt: u64, phys: u64, page_shift: u8, link: Link) {
        let form = self.radix.form;
        let Some(root) = self.root(virt) else { return };
        let mut table = root.table.0;
        for (depth, level) in form.levels.iter().enumerate().skip(root.level) {
            let index = (virt >> level.shift) & ((1 << level.bits) - 1);
            let at = table + index * u64::from(form.entry_bytes);
            let raw = form.endian.get(self.ram.slice(at, usize::from(form.entry_bytes)));
            match (form.decode)(&form, depth, level.shift, raw) {
                Entry::Table { at, .. } => table = at.0,
                Entry::Leaf { .. } | Entry::Invalid => return,
                Entry::NotPresent if level.shift == page_shift => {
                    return self.put(at, (self.demo.entry)(level, link, phys));
                }
                Entry::NotPresent => {
                    let Some(next) = form.levels.get(depth + 1) else { return };
                    table = self.table(next.bits);
                    self.put(at, (self.demo.entry)(level, Link::Table, table));
                }
            }
        }
    }

    fn root(&self, virt: u64) -> Option<Root> {
        self.radix.roots.iter().find(|root| root.virt.contains(VirtAddr(virt))).cloned()
    }
}
