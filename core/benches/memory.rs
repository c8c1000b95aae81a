//! How fast the loops over all of a guest are that are no codecs: `cargo bench -p guestdump-core --bench memory`.
//!
//! The zero test beside the obvious loop and beside copying; the bitmap of an address space of 16 TiB; a plan for blocks that
//! lie far apart in it. The fastest of some rounds counts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use guestdump_core::arch::{PhysAddr, PhysRange};
use guestdump_core::filter::zero::is_zero;
use guestdump_core::plan::pages;

const PAGE: usize = 4096;

fn main() {
    // Without `--bench` it is `cargo test --all-targets` that runs this: then it only has to work.
    let in_earnest = std::env::args().any(|arg| arg == "--bench");
    let (rounds, mib) = if in_earnest { (9, 256) } else { (1, 1) };
    zero_test(rounds, mib << 20);
    bitmap(rounds, if in_earnest { 16 << 40 } else { 1 << 34 });
}

fn best(rounds: usize, mut run: impl FnMut()) -> Duration {
    let once = |_| {
        let started = Instant::now();
        run();
        started.elapsed()
    };
    (0..rounds).map(once).min().unwrap_or_default()
}

fn zero_test(rounds: usize, len: usize) {
    let zeros = vec![0_u8; len];
    let mut copy = vec![1_u8; len];
    let rate = |time: Duration| len as f64 / time.as_secs_f64() / 1e9;
    let ours = best(rounds, || assert!(black_box(&zeros).chunks(PAGE).all(is_zero)));
    let plain = best(rounds, || assert!(black_box(&zeros).chunks(PAGE).all(|page| page.iter().all(|byte| *byte == 0))));
    let copied = best(rounds, || black_box(&mut copy).copy_from_slice(&zeros));
    println!(
        "zero test {:.1} GB/s, byte by byte {:.1} GB/s, copying {:.1} GB/s",
        rate(ours),
        rate(plain),
        rate(copied)
    );
}

/// 4096 blocks of a few MiB, spread over `space` bytes.
fn bitmap(rounds: usize, space: u64) {
    let block = |number: u64| PhysRange::new(PhysAddr(space / 4096 * number), 4 << 20).unwrap();
    let ranges: Vec<PhysRange> = (0..4096).map(block).collect();
    let mut runs = Vec::new();
    let planned = best(rounds, || runs = pages::runs(black_box(&ranges), 4096));
    let (bits, mut piece) = (space / 4096, vec![0_u8; 1 << 16]);
    let filled = best(rounds, || {
        for first in (0..bits).step_by(8 << 16).filter(|first| pages::any(&runs, *first, first + (8 << 16))) {
            pages::fill_bitmap(&runs, &[], first, &mut piece);
            black_box(&piece);
        }
    });
    println!("{} blocks in {} GiB: runs {planned:?}, bitmap {filled:?}", ranges.len(), space >> 30);
}
