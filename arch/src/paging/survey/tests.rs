//! The survey over a small scheme of its own: three levels of 16 entries, pages of 4 KiB. The judge goes through all
//! 4096 pages of the address space by shifts and masks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "code of tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::conformance::TestMemory;
use crate::memory::{Extent, MemoryError};
use crate::paging::form::Level;
use crate::paging::walk::Walker;

const VALID: u64 = 1;
const LEAF: u64 = 2;
/// Of a page: one of four that are mapped together.
const FOUR: u64 = 4;
const READ_ONLY: u64 = 8;

const LEVELS: &[Level] = &[
    Level { name: "top", shift: 20, bits: 4 },
    Level { name: "middle", shift: 16, bits: 4 },
    Level { name: "low", shift: 12, bits: 4 },
];

fn decode(_form: &Form, level: usize, shift: u8, raw: u64) -> Entry {
    let at = PhysAddr(raw & !0x3f);
    match (raw & VALID, level == 2 || raw & LEAF != 0) {
        (0, _) => Entry::NotPresent,
        (_, false) => Entry::Table { at, entries: None, bits: None },
        _ if raw & FOUR != 0 => Entry::Leaf { at, shift: shift + 2 },
        _ => Entry::Leaf { at, shift },
    }
}

fn rights(_form: &Form, _level: usize, _shift: u8, raw: u64) -> Rights {
    Rights::ALL.without_if(raw & READ_ONLY != 0, Rights::WRITE)
}

const FORM: Form = Form {
    name: "toy",
    levels: LEVELS,
    entry_bytes: 8,
    endian: Endian::Little,
    address_mask: u64::MAX,
    features: 0,
    decode,
    rights,
    fields: |_, _, _, _| &[],
};

/// The tables are somewhere in here.
const TABLES: u64 = 0x10_0000;

fn range(first: u64, last: u64) -> VirtRange {
    VirtRange::new(VirtAddr(first), VirtAddr(last)).unwrap()
}

fn root(first: u64, last: u64, table: u64) -> Root {
    Root { virt: range(first, last), table: PhysAddr(table), level: 0, entries: None, ignored: 0 }
}

fn whole(table: u64) -> Paging {
    Paging::Radix(Radix { form: FORM, roots: vec![root(0, 0xff_ffff, table)] })
}

#[derive(Default)]
struct Told {
    mappings: Vec<Mapping>,
    shared: Vec<Shared>,
    absent: Vec<(VirtRange, PhysAddr, u8)>,
    unreadable: Vec<(VirtRange, String)>,
    room: Option<usize>,
}

impl Visitor for Told {
    fn mapping(&mut self, mapping: Mapping) -> ControlFlow<()> {
        if self.room == Some(self.mappings.len()) {
            return ControlFlow::Break(());
        }
        self.mappings.push(mapping);
        ControlFlow::Continue(())
    }

    fn shared(&mut self, shared: Shared) {
        self.shared.push(shared);
    }

    fn absent(&mut self, virt: VirtRange, table: PhysAddr, level: u8) {
        self.absent.push((virt, table, level));
    }

    fn unreadable(&mut self, virt: VirtRange, error: &WalkError) {
        self.unreadable.push((virt, error.to_string()));
    }
}

impl Told {
    /// By page.
    fn pages(&self) -> BTreeMap<u64, (u64, Rights)> {
        let mut pages = BTreeMap::new();
        for Mapping { virt, phys, rights } in &self.mappings {
            for offset in (0..=virt.len_minus_one()).step_by(4096) {
                let before = pages.insert(virt.first().0 + offset, (phys.0 + offset, *rights));
                assert_eq!(before, None, "{virt} is told twice");
            }
        }
        pages
    }
}

fn survey(paging: &Paging, memory: &dyn PhysMemory, limits: Limits) -> (Told, Survey) {
    let (mut told, mut survey) = (Told::default(), Survey::new(limits));
    survey.visit(paging, memory, &mut told).unwrap();
    (told, survey)
}

fn put(memory: &mut TestMemory, table: u64, index: u64, raw: u64) {
    memory.put(table + index * 8, &raw.to_le_bytes());
}

/// What the page at `virt` maps to, by the definition of the scheme.
fn naive(memory: &TestMemory, root: u64, virt: u64) -> Option<(u64, Rights)> {
    let (mut table, mut write) = (root, true);
    for shift in [20, 16, 12] {
        let mut bytes = [0; 8];
        if !memory.read(PhysAddr(table + (virt >> shift) % 16 * 8), &mut bytes).unwrap() {
            return None;
        }
        let raw = u64::from_le_bytes(bytes);
        if raw % 2 == 0 {
            return None;
        }
        write &= raw & READ_ONLY == 0;
        if shift > 12 && raw & LEAF == 0 {
            table = raw / 64 * 64;
            continue;
        }
        let size = if raw & FOUR == 0 { 1 << shift } else { 4 << shift };
        let rights = if write { Rights::ALL } else { Rights::READ.or(Rights::EXECUTE) };
        return Some((raw / 64 * 64 / size * size + virt % size, rights));
    }
    None
}

fn judged(memory: &TestMemory, root: u64) -> BTreeMap<u64, (u64, Rights)> {
    (0..4096).filter_map(|page| Some((page << 12, naive(memory, root, page << 12)?))).collect()
}

/// Entries that lead to one of eight tables, which may be cut by the end of a page or lie in none, or map a page.
fn tables() -> impl Strategy<Value = TestMemory> {
    let table = (0..9_u64).prop_map(|n| TABLES + n * 0xfc0);
    let flags = prop_oneof![3 => Just(VALID), 2 => Just(VALID | LEAF), 1 => 0..16_u64];
    let entry = (table.clone(), 0..16_u64, prop_oneof![table, any::<u32>().prop_map(u64::from)], flags);
    prop::collection::vec(entry, 1..60).prop_map(|entries| {
        let mut memory = TestMemory::default();
        memory.put(TABLES, &[0; 128]);
        entries.iter().for_each(|(table, index, at, flags)| put(&mut memory, *table, *index, at & !0x3f | flags));
        memory
    })
}

/// Adds what shared tables map, as the docs of [`Shared`] tell.
fn moved(told: &Told) -> BTreeMap<u64, u64> {
    let mut pages: BTreeMap<_, _> = told.pages().into_iter().map(|(virt, (phys, _))| (virt, phys)).collect();
    loop {
        let before = pages.len();
        for Shared { virt, like, .. } in &told.shared {
            let end = like.0 + virt.len_minus_one();
            let there: Vec<_> = pages.range(like.0..=end).map(|(at, phys)| (*at, *phys)).collect();
            pages.extend(there.iter().map(|(at, phys)| (at - like.0 + virt.first().0, *phys)));
        }
        if pages.len() == before {
            return pages;
        }
    }
}

proptest! {
    #[test]
    fn followed_tables_are_what_each_page_says(memory in tables()) {
        let (told, _) = survey(&whole(TABLES), &memory, Limits { addresses: u32::MAX, ..Limits::default() });
        prop_assert_eq!(told.pages(), judged(&memory, TABLES));
        prop_assert!(told.shared.is_empty());
        let firsts: Vec<_> = told.mappings.iter().map(|mapping| mapping.virt.first()).collect();
        prop_assert!(firsts.is_sorted());
    }

    #[test]
    fn shared_tables_moved_are_all_that_there_is(memory in tables()) {
        let (told, survey) = survey(&whole(TABLES), &memory, Limits::default());
        let judged = judged(&memory, TABLES).into_iter().map(|(virt, (phys, _))| (virt, phys)).collect();
        prop_assert_eq!(moved(&told), judged);
        // Nine places of tables, three levels.
        prop_assert!(survey.tables_held() <= 27 + 27 * 16, "{}", survey.tables_held());
    }

    #[test]
    fn the_walker_agrees(memory in tables(), virt in 0..0x100_0000_u64) {
        let paging = whole(TABLES);
        let mut walker = Walker::new(&paging, &memory);
        let naive = naive(&memory, TABLES, virt & !0xfff);
        prop_assert_eq!(walker.translate(VirtAddr(virt)).unwrap(), naive.map(|(at, _)| PhysAddr(at + virt % 4096)));
        let (steps, span) = walker.steps(VirtAddr(virt)).unwrap();
        prop_assert!((1..=3).contains(&steps.len()));
        prop_assert!(span.virt.contains(VirtAddr(virt)));
        if let Some((_, rights)) = naive {
            prop_assert_eq!(steps.iter().fold(Rights::ALL, |all, step| all.and(step.rights)), rights);
        }
    }
}

/// Every table leads to itself, at every index and every level: one entry of each level goes on, the others are shared.
#[test]
fn self_pointers_are_entered_once_for_each_level() {
    let mut memory = TestMemory::default();
    (0..16).for_each(|index| put(&mut memory, TABLES, index, TABLES | VALID));
    let (told, survey) = survey(&whole(TABLES), &memory, Limits::default());
    assert_eq!((survey.entries_read(), survey.pieces_read(), survey.tables_held()), (48, 3, 3));
    assert_eq!(told.mappings.len(), 16);
    assert_eq!(told.shared.len(), 30);
    let first = Shared { virt: range(0x1_0000, 0x1_ffff), like: VirtAddr(0), table: PhysAddr(TABLES), level: 2 };
    assert_eq!(told.shared[0], first);
    assert_eq!(moved(&told).len(), 4096);
}

/// Each of the tables below is entered for so many of its addresses, whatever leads there.
#[test]
fn self_pointers_are_entered_for_a_few_addresses() {
    let mut memory = TestMemory::default();
    (0..16).for_each(|index| put(&mut memory, TABLES, index, TABLES | VALID));
    for addresses in [1, 2, 7] {
        let (told, survey) = survey(&whole(TABLES), &memory, Limits { addresses, ..Limits::default() });
        assert_eq!(survey.pieces_read(), 1 + 2 * addresses);
        assert_eq!(told.mappings.len(), 16 * addresses as usize);
        assert_eq!(moved(&told).len(), 4096);
    }
}

#[test]
fn the_bound_names_its_place() {
    let mut memory = TestMemory::default();
    (0..16).for_each(|index| put(&mut memory, TABLES, index, TABLES | VALID));
    let mut survey = Survey::new(Limits { pieces: 5, addresses: u32::MAX });
    let mut told = Told::default();
    let bound = survey.visit(&whole(TABLES), &memory, &mut told).unwrap_err();
    assert_eq!(bound.to_string(), "more than 5 pieces of page tables: stopped before 0x30000, low at 0x100000");
    // What is below that address was told.
    assert_eq!(told.pages().len(), 3 * 16);
    assert_eq!(survey.pieces_read(), 5);
}

#[test]
fn a_visitor_without_room_is_told_no_more() {
    let mut memory = TestMemory::default();
    put(&mut memory, TABLES, 0, (TABLES + 0x100) | VALID);
    put(&mut memory, TABLES + 0x100, 0, (TABLES + 0x200) | VALID);
    [0, 2, 4].iter().for_each(|index| put(&mut memory, TABLES + 0x200, *index, 0x5000 | VALID));
    for (room, refused) in [(0, 0), (1, 0x2000), (2, 0x4000)] {
        let mut told = Told { room: Some(room), ..Told::default() };
        let bound = Survey::new(Limits::default()).visit(&whole(TABLES), &memory, &mut told).unwrap_err();
        assert_eq!((bound.excess, bound.virt), (Excess::Mappings, VirtAddr(refused)));
        assert_eq!(told.mappings.len(), room);
    }
    let mut told = Told { room: Some(3), ..Told::default() };
    Survey::new(Limits::default()).visit(&whole(TABLES), &memory, &mut told).unwrap();
}

/// Two roots that each use a half of one table; and a second vCPU with the same.
#[test]
fn roots_on_one_table() {
    let mut memory = TestMemory::default();
    put(&mut memory, TABLES, 1, (TABLES + 0x100) | VALID);
    put(&mut memory, TABLES, 15, (TABLES + 0x100) | VALID);
    put(&mut memory, TABLES + 0x100, 2, 0x4_0000 | VALID | LEAF);
    let high = 0xffff_ffff_ff80_0000;
    let roots = vec![root(0, 0x7f_ffff, TABLES), root(high, u64::MAX, TABLES)];
    let paging = Paging::Radix(Radix { form: FORM, roots });
    let (mut told, mut survey) = survey(&paging, &memory, Limits::default());
    let mapping = Mapping { virt: range(0x12_0000, 0x12_ffff), phys: PhysAddr(0x4_0000), rights: Rights::ALL };
    assert_eq!(told.mappings, [mapping]);
    let virt = range(0xffff_ffff_fff0_0000, u64::MAX);
    assert_eq!(told.shared, [Shared { virt, like: VirtAddr(0x10_0000), table: PhysAddr(TABLES + 0x100), level: 1 }]);
    let (read, held) = (survey.entries_read(), survey.tables_held());
    survey.visit(&paging, &memory, &mut told).unwrap();
    assert_eq!((survey.entries_read(), survey.tables_held()), (read, held));
    assert_eq!(told.mappings.len(), 1);
}

#[test]
fn pages_that_are_mapped_together_are_one() {
    let mut memory = TestMemory::default();
    put(&mut memory, TABLES, 0, (TABLES + 0x100) | VALID);
    put(&mut memory, TABLES + 0x100, 0, (TABLES + 0x200) | VALID);
    (4..8).for_each(|index| put(&mut memory, TABLES + 0x200, index, 0x8000 | VALID | FOUR));
    let (told, _) = survey(&whole(TABLES), &memory, Limits::default());
    let mapping = Mapping { virt: range(0x4000, 0x7fff), phys: PhysAddr(0x8000), rights: Rights::ALL };
    assert_eq!(told.mappings, [mapping]);
}

/// What is swapped after translation is told in pieces, and twice of two vCPUs that swap otherwise.
#[test]
fn swapped_mappings() {
    let mut memory = TestMemory::default();
    put(&mut memory, TABLES, 0, VALID | LEAF);
    let swapped = |at| Paging::Swapped(Box::new(whole(TABLES)), Swap::Areas { at: PhysAddr(at), len_bytes: 0x2000 });
    let (mut told, mut survey) = survey(&swapped(0x8000), &memory, Limits::default());
    let piece = |first, last, phys| Mapping { virt: range(first, last), phys: PhysAddr(phys), rights: Rights::ALL };
    let pieces = [
        piece(0, 0x1fff, 0x8000),
        piece(0x2000, 0x7fff, 0x2000),
        piece(0x8000, 0x9fff, 0),
        piece(0xa000, 0xf_ffff, 0xa000),
    ];
    assert_eq!(told.mappings, pieces);
    survey.visit(&swapped(0x8000), &memory, &mut told).unwrap();
    assert_eq!(told.mappings.len(), 4);
    survey.visit(&swapped(0x1_0000), &memory, &mut told).unwrap();
    assert_eq!(told.mappings[4], piece(0, 0x1fff, 0x1_0000));
}

#[test]
fn mappings_without_an_address_bit() {
    let mut memory = TestMemory::default();
    put(&mut memory, TABLES, 0, VALID | LEAF);
    let paging = Paging::Swapped(Box::new(whole(TABLES)), Swap::Without { bit: 18 });
    let (told, _) = survey(&paging, &memory, Limits::default());
    let piece = |first, last, phys| Mapping { virt: range(first, last), phys: PhysAddr(phys), rights: Rights::ALL };
    let pieces = [
        piece(0, 0x3_ffff, 0),
        piece(0x4_0000, 0x7_ffff, 0),
        piece(0x8_0000, 0xb_ffff, 0x8_0000),
        piece(0xc_0000, 0xf_ffff, 0x8_0000),
    ];
    assert_eq!(told.mappings, pieces);
}

/// As a manifest may say: the last entry of a page of memory reaches into the next one.
#[test]
fn tables_that_are_not_aligned() {
    let mut memory = TestMemory::default();
    let root = TABLES + 0xffc;
    put(&mut memory, root, 0, 5 << 20 | LEAF | VALID);
    put(&mut memory, root, 1, 9 << 20 | LEAF | VALID);
    let paging = whole(root);
    let (told, _) = survey(&paging, &memory, Limits::default());
    let pages: Vec<u64> = told.mappings.iter().map(|mapping| mapping.virt.first().0).collect();
    assert_eq!(pages, [0, 0x10_0000]);
    let mut walker = Walker::new(&paging, &memory);
    for Mapping { virt, phys, .. } in told.mappings {
        assert_eq!(walker.translate(virt.first()).unwrap(), Some(phys));
    }
}

/// A table of which half is behind the end of RAM.
#[test]
fn tables_that_are_not_in_ram() {
    let mut memory = TestMemory::default();
    let cut = TABLES + 0x1000 - 64;
    put(&mut memory, TABLES, 0, cut | VALID);
    put(&mut memory, TABLES, 1, 0x4000_0000 | VALID);
    put(&mut memory, cut, 7, 0x3_0000 | VALID | LEAF);
    let (told, _) = survey(&whole(TABLES), &memory, Limits::default());
    assert_eq!(
        told.mappings,
        [Mapping { virt: range(0x7_0000, 0x7_ffff), phys: PhysAddr(0x3_0000), rights: Rights::ALL }]
    );
    let cut_off = (range(0x8_0000, 0xf_ffff), PhysAddr(cut), 1);
    assert_eq!(told.absent, [cut_off, (range(0x10_0000, 0x1f_ffff), PhysAddr(0x4000_0000), 1)]);
}

/// Memory whose second page is there and cannot be read.
#[derive(Debug)]
struct Broken(TestMemory);

impl PhysMemory for Broken {
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        if addr.0 + buf.len() as u64 > TABLES + 0x1040 && addr.0 < TABLES + 0x1048 {
            let cause = std::io::Error::other("gone");
            return Err(MemoryError::Unreadable { addr, done: 0, wanted: buf.len(), cause });
        }
        self.0.read(addr, buf)
    }

    fn extent(&self, addr: PhysAddr, limit_bytes: u64) -> Extent {
        self.0.extent(addr, limit_bytes)
    }
}

#[test]
fn an_entry_that_cannot_be_read_is_told_and_the_others_are_read() {
    let mut memory = TestMemory::default();
    put(&mut memory, TABLES, 3, (TABLES + 0x1000) | VALID);
    [7, 8, 9].iter().for_each(|index| put(&mut memory, TABLES + 0x1000, *index, 0x7_0000 | VALID | LEAF));
    let (told, _) = survey(&whole(TABLES), &Broken(memory), Limits::default());
    let firsts: Vec<_> = told.mappings.iter().map(|mapping| mapping.virt.first().0).collect();
    assert_eq!(firsts, [0x37_0000, 0x39_0000]);
    let [(virt, error)] = &told.unreadable[..] else { panic!("{:?}", told.unreadable) };
    assert_eq!(*virt, range(0x38_0000, 0x38_ffff));
    assert!(error.starts_with("toy: middle at 0x101000, entry 8: guest memory 0x101040: 0 of 8 bytes"), "{error}");
}

/// The number that the docs of [`Limits`] name.
#[test]
fn a_key_has_its_documented_size() {
    assert_eq!(size_of::<(Key, (VirtAddr, u32))>(), Limits::KEY_BYTES);
}
