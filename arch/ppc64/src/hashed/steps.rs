//! How an address is looked up, for people.

use guestdump_arch::PhysAddr;
use guestdump_arch::paging::Hole;
use guestdump_arch::paging::form::{Field, Rights};
use guestdump_arch::paging::walk::Step;

use super::Where;
use super::tables::{ENTRY, Found, ORIGIN, Segment, Table};

pub(super) fn segment_step(segment: &Segment) -> Step {
    const FIELDS: &[Field] = &[
        Field::bits("B", 62, 63),
        Field::bits("VSID", 12, 61),
        Field::bit("Ks", 11),
        Field::bit("Kp", 10),
        Field::bit("N", 9),
        Field::bit("L", 8),
        Field::bit("C", 7),
        Field::bits("LP", 4, 5),
    ];
    let pages = segment.base.map_or("an unknown size".to_owned(), |base| format!("{:#x} bytes", 1_u64 << base));
    Step {
        name: "SLB",
        level: 0,
        table: PhysAddr(0),
        index: segment.slot.into(),
        raw: Some(segment.raw),
        says: format!("segment of {:#x} bytes, pages of {pages}", 1_u64 << segment.shift),
        fields: FIELDS.iter().map(|field| (field.name, field.of(segment.raw))).collect(),
        rights: if segment.base.is_some() { Rights::ALL } else { Rights::NONE },
    }
}

/// Of a table that there is not.
pub(super) fn table_step(place: Where, why: Hole) -> Step {
    let (name, table) = match place {
        Where::Sdr1(sdr1) => ("SDR1", PhysAddr(sdr1 & ORIGIN)),
        Where::PartitionTable(at) => ("partition table", at),
    };
    let (raw, says) = match why {
        Hole::Invalid { raw, .. } => (Some(raw), "no hashed page table"),
        _ => (None, "the table is not in RAM"),
    };
    Step { name, level: 0, table, index: 0, raw, says: says.to_owned(), fields: Vec::new(), rights: Rights::NONE }
}

/// Of a group; and of the entry in it, which has two doublewords.
pub(super) fn group_steps(
    table: &Table,
    segment: &Segment,
    group: u64,
    secondary: bool,
    found: Option<&Found>,
    absent: bool,
) -> Vec<Step> {
    const HIGH: &[Field] = &[Field::bit("L", 2), Field::bit("H", 1), Field::bit("V", 0)];
    const LOW: &[Field] = &[
        Field::bit("pp0", 63),
        Field::bit("R", 8),
        Field::bit("C", 7),
        Field::bits("WIMG", 3, 6),
        Field::bit("N", 2),
        Field::bits("pp", 0, 1),
    ];
    let name = if secondary { "secondary group" } else { "primary group" };
    let (at, fields, rights) = (table.group(group), Vec::new(), Rights::NONE);
    let says = if absent { "the table is not in RAM" } else { "no entry for the page" }.to_owned();
    let none = Step { name, level: 1, table: at, index: 0, raw: None, says, fields, rights };
    let Some(found) = found else { return vec![none] };
    let index = u32::try_from((found.at - at.0) / ENTRY as u64).unwrap_or(0);
    let of = |fields: &[Field], raw| fields.iter().map(|field| (field.name, field.of(raw))).collect();
    let [high, low] = found.words;
    let page =
        format!("page of {:#x} bytes at {}", 1_u64 << found.shift, PhysAddr(table.phys(found.words, found.shift)));
    let entry =
        Step { index, raw: Some(high), says: "entry for the page".to_owned(), fields: of(HIGH, high), ..none.clone() };
    let rights = segment.rights(found.words);
    vec![
        Step { rights: Rights::ALL, ..entry.clone() },
        Step { name: "doubleword 1", raw: Some(low), says: page, fields: of(LOW, low), rights, ..entry },
    ]
}
