//! Page tables that lead to themselves, of every form, through the whole plan: the work is counted, all memory is in the dump,
//! and what is not described is said. What it takes in time: `cargo bench -p guestdump-core --bench paging`.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::io::Cursor;
use std::sync::Arc;
use std::time::Instant;

use guestdump_core::arch::paging::mappings::{Excess, Limits};
use guestdump_core::format::{self, read};
use guestdump_core::guest::Guest;
use guestdump_core::plan::mapped::{ADDRESSES, Mapped, Wanted};
use guestdump_core::plan::segments::Segment;
use guestdump_core::plan::{Body, Plan, PlanOptions};
use guestdump_core::run::{RunOptions, Unobserved, run};
use guestdump_core::sink::Seekable;
use hostile::{CASES, Case, VCPU};

fn plan(guest: &Guest, max_segments: u32) -> (Plan, Vec<Segment>, Mapped) {
    let options = PlanOptions {
        format: format::by_name("elf").unwrap(),
        range: None,
        dump_level: 0,
        device_memory: false,
        page_size: None,
        paging: Some(Wanted { max_segments, ..Wanted::default() }),
    };
    let plan = Plan::new(guest, &options).unwrap();
    let (Body::Elf(layout), Some(mapped)) = (&plan.body, &plan.mapped) else { unreachable!() };
    let (segments, mapped) = (layout.segments.clone(), mapped.clone());
    (plan, segments, mapped)
}

fn holds_all(guest: &Guest, plan: &Plan) {
    let mut bytes = Vec::new();
    run(plan, guest, &mut Seekable::new(Cursor::new(&mut bytes)), RunOptions::new(1), &Unobserved).unwrap();
    common::holds_all(guest, &read::open(Arc::new(bytes)).unwrap());
}

/// The root once, and each table below for so many of its addresses.
fn most_entries(case: &Case) -> u64 {
    let [root, below @ ..] = case.entries else { unreachable!() };
    root + below.iter().map(|entries| entries * u64::from(ADDRESSES)).sum::<u64>() + 4
}

#[test]
fn the_work_is_that_of_the_tables_that_are_there() {
    for case in CASES {
        let guest = case.guest();
        let start = Instant::now();
        let (whole, segments, mapped) = plan(&guest, Wanted::default().max_segments);
        let time = start.elapsed();
        let most = most_entries(case);
        eprintln!(
            "{}: {} entries of at most {most}, {} tables held, {} segments, {time:.1?}",
            case.name,
            mapped.entries_read,
            mapped.tables_held,
            segments.len()
        );
        assert!(plan(&guest, Wanted::default().max_segments).1 == segments, "{}: another order", case.name);
        // All of it is done: the lower bound is the tables once.
        let once: u64 = case.entries.iter().sum();
        assert!((once..=most).contains(&mapped.entries_read), "{}: {} entries", case.name, mapped.entries_read);
        let tables = 4 + 2 * case.entries.len() * (1 + ADDRESSES as usize);
        assert!(mapped.tables_held <= tables, "{}: {} tables held", case.name, mapped.tables_held);
        assert!(mapped.tables_held * Limits::KEY_BYTES < 16_384);
        assert!(mapped.mapped_bytes > 0 && mapped.stopped.is_none(), "{}: {mapped:?}", case.name);
        // What leads to a table at more addresses than are described is told; there is none where a table has 1 entry.
        assert!(mapped.shared.count > 0 || case.name == "ppc64 hashed", "{}", case.name);
        assert_eq!(mapped.mapped_bytes + mapped.unmapped_bytes, whole.memory_bytes());
        holds_all(&guest, &whole);
    }
}

#[test]
fn a_bound_names_vcpu_level_and_address_and_loses_no_memory() {
    for case in CASES {
        let guest = case.guest();
        let (plan, segments, mapped) = plan(&guest, 40);
        assert!(segments.len() <= 40, "{}", case.name);
        let stopped = mapped.stopped.as_ref().unwrap();
        assert!(mapped.is_incomplete() && stopped.bound.excess == Excess::Mappings, "{}: {stopped}", case.name);
        assert_eq!((stopped.vcpu, stopped.space), (VCPU, "current"), "{}", case.name);
        let text = stopped.to_string();
        let place =
            format!("stopped before {}, {} at {}", stopped.bound.virt, stopped.bound.level, stopped.bound.table);
        assert!(text.starts_with("vCPU 7, current space: more mappings than"), "{}: {text}", case.name);
        assert!(text.ends_with(&place) && !stopped.bound.level.is_empty(), "{}: {text}", case.name);
        holds_all(&guest, &plan);
    }
}
