//! Groups of entries with the contiguous bit (Arm ARM, D8.6 "The Contiguous bit"): one that is as it must be is one mapping; of one
//! that is not, which the manual leaves to the CPU, each entry is what it says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use common::oracle;
use common::tables::{Granule, Scheme, Tables};
use guestdump_aarch64::ARCH;
use guestdump_arch::VirtAddr;
use guestdump_arch::conformance::tables::Told;
use guestdump_arch::conformance::{Random, describe};
use guestdump_arch::paging::walk::Walker;

const CONTIGUOUS: u64 = 1 << 52;
const ROOT: u64 = 0x10_0000;
const STEP: u64 = 0x1_0000;

/// A level whose entries may be contiguous, and how many are a group.
#[derive(Debug, Clone, Copy)]
struct Group {
    granule: Granule,
    wide: bool,
    /// Size of what an entry maps, as a power of two.
    shift: u64,
    count: u64,
}

const fn group(granule: Granule, wide: bool, shift: u64, count: u64) -> Group {
    Group { granule, wide, shift, count }
}

const GROUPS: [Group; 14] = [
    group(Granule::K4, false, 12, 16),
    group(Granule::K4, false, 21, 16),
    group(Granule::K4, false, 30, 16),
    group(Granule::K16, false, 14, 128),
    group(Granule::K16, false, 25, 32),
    group(Granule::K64, false, 16, 32),
    group(Granule::K64, false, 29, 32),
    group(Granule::K4, true, 12, 16),
    group(Granule::K4, true, 21, 16),
    group(Granule::K4, true, 30, 16),
    group(Granule::K16, true, 14, 128),
    group(Granule::K16, true, 25, 32),
    group(Granule::K64, true, 16, 32),
    group(Granule::K64, true, 29, 32),
];

impl Group {
    fn page_bits(self) -> u64 {
        match self.granule {
            Granule::K4 => 12,
            Granule::K16 => 14,
            Granule::K64 | Granule::Mixed => 16,
        }
    }

    /// The first address: one group above 0.
    fn virt(self) -> u64 {
        self.count << self.shift
    }

    /// Tables of the low half, of 48 bits or 52, in which `entry` gives the entries of the group by number and address.
    fn tables(self, entry: impl Fn(u64, u64) -> u64) -> Tables {
        let mut tables = Tables::random(Scheme::of(self.granule, self.wide, false), &mut Random(1));
        let (tg0, ds) = match self.granule {
            Granule::K4 => (0, u64::from(self.wide)),
            Granule::K16 => (2, u64::from(self.wide)),
            Granule::K64 | Granule::Mixed => (1, 0),
        };
        let (size, ips) = if self.wide { (12, 6) } else { (16, 5) };
        tables.regime.tcr = size | tg0 << 14 | 1 << 23 | ips << 32 | ds << 59;
        (tables.regime.ttbr0, tables.regime.ttbr1) = (ROOT, 0);
        tables.ram.clear();
        let (page, mut table) = (self.page_bits(), ROOT);
        let stride = page - 3;
        let levels = (0..5).map(|level| page + stride * level).filter(|shift| *shift < 64 - size);
        for shift in levels.collect::<Vec<_>>().into_iter().rev() {
            let index = |virt: u64| (virt >> shift) % (1 << stride);
            if shift > self.shift {
                tables.put(table + index(self.virt()) * 8, (table + STEP) | 3);
                table += STEP;
            } else if shift == self.shift {
                let kind = if shift == page { 3 } else { 1 };
                for number in 0..self.count {
                    let virt = self.virt() + (number << shift);
                    tables.put(
                        table + index(virt) * 8,
                        entry(number, 3 * self.virt() + (number << shift)) | kind | 0x400,
                    );
                }
            }
        }
        tables
    }

    /// First, last and a byte in the middle of what each entry maps, and of the neighbours.
    fn addresses(self) -> Vec<u64> {
        let first = |number: u64| self.virt() - (1 << self.shift) + (number << self.shift);
        (0..self.count + 2).flat_map(|n| [first(n), first(n) + (1 << (self.shift - 1)) + 5, first(n + 1) - 1]).collect()
    }
}

/// Walker, survey and naive walker say the same; gives the number of mappings that the survey tells.
fn agree(tables: &Tables, addresses: &[u64]) -> usize {
    let (paging, memory) = (tables.paging(&ARCH), tables.memory());
    let (mut walker, told) = (Walker::new(&paging, &memory), Told::of(&paging, &memory));
    for virt in addresses {
        let span = walker.span_at(VirtAddr(*virt)).unwrap();
        let expected = tables.naive(*virt);
        assert_eq!(describe(&paging, &span, *virt), expected.text, "{virt:#x} of\n{}", tables.fixture("x", &[*virt]));
        told.check(*virt, &expected.text);
    }
    told.count()
}

#[test]
fn a_group_is_one_mapping() {
    for group in GROUPS {
        let tables = group.tables(|_, at| at | CONTIGUOUS);
        assert_eq!(agree(&tables, &group.addresses()), 1, "{group:?}");
        let first = format!("{:#x}", 3 * group.virt());
        assert_eq!(tables.naive(group.virt()).text, first, "{group:?}");
    }
}

/// Backwards, one block off alignment, a part without the bit, a part that is not valid, all of them the same place.
fn wrong(group: Group) -> [(Tables, usize); 5] {
    let count = usize::try_from(group.count).unwrap();
    let (last, block) = (group.count - 1, 1 << group.shift);
    [
        (group.tables(|number, at| (at + last * block - 2 * number * block) | CONTIGUOUS), count),
        (group.tables(|_, at| (at + block) | CONTIGUOUS), 1),
        (group.tables(|number, at| if number % 3 == 0 { at } else { at | CONTIGUOUS }), 1),
        (group.tables(|number, at| if number == 5 { 1 << 53 | 2 } else { at | CONTIGUOUS }), 2),
        (group.tables(|number, at| (at - number * block) | CONTIGUOUS), count),
    ]
}

#[test]
fn of_a_group_that_is_wrong_each_entry_counts() {
    for group in GROUPS {
        for (number, (mut tables, mappings)) in wrong(group).into_iter().enumerate() {
            if number == 3 {
                // An entry of which bit 0 is set in all that `tables` makes.
                clear_valid(&mut tables, group);
            }
            assert_eq!(agree(&tables, &group.addresses()), mappings, "{group:?}, {number}");
        }
    }
}

/// Makes entry 5 of the group invalid: it is the one with bit 53 set.
fn clear_valid(tables: &mut Tables, group: Group) {
    let mut found = 0;
    for page in tables.ram.values_mut() {
        for entry in page.chunks_mut(8).filter(|entry| entry[6] & 0x20 != 0) {
            entry[0] &= !1;
            found += 1;
        }
    }
    assert_eq!(found, 1, "{group:?}");
}

#[test]
fn addrxlat_agrees_on_all_of_them() {
    if !oracle::available() {
        return;
    }
    let right = GROUPS.map(|group| (group.tables(|_, at| at | CONTIGUOUS), group.addresses()));
    let wrong = GROUPS.into_iter().flat_map(|group| wrong(group).map(|(tables, _)| (tables, group.addresses())));
    let tally = oracle::tables_agree(&ARCH, &right.into_iter().chain(wrong).collect::<Vec<_>>());
    eprintln!("{tally:?}");
    assert!(tally.mapped > tally.walks * 3 / 4 && tally.invalid == 0 && tally.dropped == 0, "{tally:?}");
}
