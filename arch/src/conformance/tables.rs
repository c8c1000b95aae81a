//! What a survey must hold to on any form of tables: the answers of a naive walker, and the work of the tables that are
//! there.

use core::ops::ControlFlow;
use std::collections::{BTreeMap, BTreeSet};

use super::TestMemory;
use crate::abi::Endian;
use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::memory::PhysMemory;
use crate::paging::Paging;
use crate::paging::mappings::{Limits, Mapping, Shared, Visitor};
use crate::paging::survey::Survey;
use crate::paging::walk::WalkError;

/// What a survey told of one space.
#[derive(Debug, Default)]
pub struct Told {
    mappings: BTreeMap<u64, Mapping>,
    shared: BTreeMap<u64, Shared>,
}

impl Visitor for Told {
    fn mapping(&mut self, mapping: Mapping) -> ControlFlow<()> {
        let before = self.mappings.insert(mapping.virt.first().0, mapping);
        assert_eq!(before, None, "told twice");
        ControlFlow::Continue(())
    }

    fn shared(&mut self, shared: Shared) {
        let before = self.shared.insert(shared.virt.first().0, shared);
        assert_eq!(before, None, "told twice");
    }

    fn unreadable(&mut self, virt: VirtRange, error: &WalkError) {
        panic!("{virt}: {error}");
    }
}

impl Told {
    /// All that `paging` maps in `memory`.
    pub fn of(paging: &Paging, memory: &dyn PhysMemory) -> Self {
        let mut told = Self::default();
        Survey::new(Limits::default()).visit(paging, memory, &mut told).unwrap();
        told
    }

    /// What `virt` maps to, as mappings and shared tables have it together.
    pub fn phys(&self, virt: u64) -> Option<u64> {
        let mapping = self.mappings.range(..=virt).next_back().map(|(_, mapping)| mapping);
        if let Some(Mapping { virt: range, phys, .. }) = mapping.filter(|found| found.virt.contains(VirtAddr(virt))) {
            return Some(phys.0.wrapping_add(virt - range.first().0));
        }
        let (_, shared) = self.shared.range(..=virt).next_back()?;
        let there = shared.virt.contains(VirtAddr(virt));
        there.then(|| self.phys(shared.like.0.wrapping_add(virt - shared.virt.first().0)))?
    }

    /// That it agrees with what a naive walker says of `virt`, in the words of the fixtures.
    pub fn check(&self, virt: u64, naive: &str) {
        let expected = naive.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16).unwrap());
        assert_eq!(self.phys(virt), expected, "{virt:#x}, of which the naive walker says {naive}");
    }

    /// How many mappings there are.
    pub fn count(&self) -> usize {
        self.mappings.len()
    }
}

/// How a test writes tables of a form: by its own knowledge, not by the form's.
#[derive(Clone, Copy, Debug)]
pub struct Scheme<'a> {
    /// Lowest address bit and number of bits of each level's index, from the root down.
    pub levels: &'a [(u32, u32)],
    pub entry_bytes: usize,
    pub endian: Endian,
    /// Alignment of tables.
    pub align: u64,
    /// The entry of a level that leads to a table.
    pub table: fn(level: usize, at: u64) -> u64,
    /// The entry of the last level that maps a page.
    pub page: fn(at: u64) -> u64,
    /// How often the root's table is held: once for each root on it that has entries.
    pub roots: usize,
    /// What an entry is that leads nowhere.
    pub empty: u64,
    /// Entries that an architecture reads before the root's table, one table each.
    pub before: u64,
}

/// Mappings of the case that the issue names.
const SCATTERED: u64 = 131_072;

struct Maker<'a> {
    scheme: Scheme<'a>,
    memory: TestMemory,
    next: u64,
    tables: BTreeMap<(usize, u64), u64>,
}

impl Maker<'_> {
    fn entries(&self, level: usize) -> u64 {
        1 << self.scheme.levels[level].1
    }

    /// A table without entries.
    fn table(&mut self, level: usize) -> u64 {
        let at = self.next;
        let len = self.entries(level) * self.scheme.entry_bytes as u64;
        self.next = (at + len).next_multiple_of(self.scheme.align);
        (0..self.entries(level)).for_each(|index| self.put(at, index, self.scheme.empty));
        at
    }

    fn put(&mut self, table: u64, index: u64, raw: u64) {
        let width = self.scheme.entry_bytes;
        self.memory.put_int(table + index * width as u64, width, self.scheme.endian, raw);
    }

    fn index(&self, level: usize, virt: u64) -> u64 {
        let (shift, bits) = self.scheme.levels[level];
        (virt >> shift) % (1 << bits)
    }

    fn map(&mut self, root: u64, virt: u64, phys: u64) {
        let (mut table, last) = (root, self.scheme.levels.len() - 1);
        for level in 0..last {
            let (index, key) = (self.index(level, virt), (level, virt >> self.scheme.levels[level].0));
            table = match self.tables.get(&key) {
                Some(next) => *next,
                None => {
                    let next = self.table(level + 1);
                    self.tables.insert(key, next);
                    self.put(table, index, (self.scheme.table)(level, next));
                    next
                }
            };
        }
        self.put(table, self.index(last, virt), (self.scheme.page)(phys));
    }
}

fn survey(paging: &Paging, memory: &TestMemory) -> (Told, Survey) {
    let (mut told, mut survey) = (Told::default(), Survey::new(Limits::default()));
    survey.visit(paging, memory, &mut told).unwrap();
    (told, survey)
}

/// Every other page of the lowest addresses: each is told, by reading each table once. `root` is where `paging` has its
/// first table; that address and those from 64 MiB on are free in `memory`.
pub fn scattered_pages_cost_their_tables(scheme: Scheme<'_>, root: u64, paging: &Paging, memory: TestMemory) {
    let mut maker = Maker { scheme, memory, next: 64 << 20, tables: BTreeMap::new() };
    (0..maker.entries(0)).for_each(|index| maker.put(root, index, scheme.empty));
    let page = 1_u64 << scheme.levels[scheme.levels.len() - 1].0;
    for i in 0..SCATTERED {
        maker.map(root, 2 * i * page, (1 << 30) + (i * 40_503 % SCATTERED) * page);
    }
    let (told, survey) = survey(paging, &maker.memory);
    assert_eq!(told.count() as u64, SCATTERED);
    for i in (0..SCATTERED).step_by(1009) {
        assert_eq!(told.phys(2 * i * page + 5), Some((1 << 30) + (i * 40_503 % SCATTERED) * page + 5));
    }
    let below: u64 = maker.tables.keys().map(|(level, _)| maker.entries(level + 1)).sum();
    assert_eq!(survey.entries_read(), scheme.before + maker.entries(0) + below);
    assert_eq!(survey.tables_held(), scheme.before as usize + scheme.roots + maker.tables.len());
    assert!(told.shared.is_empty());
}

/// One table of each level, to which every entry of the level above leads; `at` is where they are, the root first. They may
/// be one and the same. Each is read once, at each of its levels.
pub fn shared_tables_are_read_once(scheme: Scheme<'_>, at: &[u64], paging: &Paging, memory: TestMemory) {
    let mut maker = Maker { scheme, memory, next: 0, tables: BTreeMap::new() };
    for (level, table) in at.iter().enumerate().rev() {
        for index in 0..maker.entries(level) {
            let raw = at.get(level + 1).map_or((scheme.page)(1 << 30), |next| (scheme.table)(level, *next));
            maker.put(*table, index, raw);
        }
    }
    let (told, survey) = survey(paging, &maker.memory);
    let all: u64 = (0..at.len()).map(|level| maker.entries(level)).sum();
    assert_eq!(survey.entries_read(), scheme.before + all);
    assert_eq!(survey.tables_held(), scheme.before as usize + scheme.roots + at.len() - 1);
    let above: u64 = (0..at.len() - 1).map(|level| maker.entries(level) - 1).sum();
    assert_eq!(told.shared.len() as u64, above);
    let tables: BTreeSet<PhysAddr> = told.shared.values().map(|shared| shared.table).collect();
    assert_eq!(tables.into_iter().map(|table| table.0).collect::<BTreeSet<_>>(), at[1..].iter().copied().collect());
}
