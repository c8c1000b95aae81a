//! The least that a dump can do: pages of a RAM file through a codec into a file, without a format, a plan, or a guest.
//! `bench.py` compares whole dumps with it. `bare RAM-FILE OUTPUT CODEC THREADS`; CODEC may be `copy`, or `write`: as many
//! bytes as the RAM file takes up, out of one buffer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measuring tool"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use guestdump_core::compress::{self, Encoder};
use guestdump_core::filter::zero::is_zero;

const PAGE: usize = 4096;
const BATCH: usize = 1 << 20;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [ram, out, codec, threads] = &args[..] else { panic!("bare RAM-FILE OUTPUT CODEC THREADS") };
    let (ram, mut out) = (File::open(ram).expect("a RAM file"), File::create(out).expect("an output"));
    let (batches, next) = (ram.metadata().unwrap().len().div_ceil(BATCH as u64), AtomicU64::new(0));
    let threads: usize = threads.parse().expect("a number of threads");
    if codec == "write" {
        let bytes = ram.metadata().unwrap().blocks() * 512;
        return write_only(&mut out, bytes.div_ceil(BATCH as u64));
    }
    let (send, done) = sync_channel::<(u64, Vec<u8>)>(3 * threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (send, ram, next) = (send.clone(), &ram, &next);
            scope.spawn(move || {
                let codec = compress::by_name(codec);
                let mut encoder = codec.map(|codec| codec.encoder(PAGE).unwrap());
                let mut input = vec![0; BATCH];
                loop {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    if batch >= batches {
                        return;
                    }
                    let len = ram.read_at(&mut input, batch * BATCH as u64).unwrap();
                    let mut output = Vec::with_capacity(BATCH);
                    input[..len].chunks_exact(PAGE).for_each(|page| store(page, encoder.as_deref_mut(), &mut output));
                    send.send((batch, output)).unwrap();
                }
            });
        }
        drop(send);
        let (mut early, mut turn) = (BTreeMap::new(), 0);
        for (batch, output) in done {
            early.insert(batch, output);
            while let Some(output) = early.remove(&turn) {
                out.write_all(&output).unwrap();
                turn += 1;
            }
        }
    });
}

/// Writes so many batches, whose bytes are in the cache. One thread: the kernel lets one write at a time into a file.
fn write_only(out: &mut File, batches: u64) {
    let bytes = vec![1; BATCH];
    (0..batches).for_each(|_| out.write_all(&bytes).unwrap());
}

/// Adds a page to the output, unless it is zero.
fn store(page: &[u8], encoder: Option<&mut (dyn Encoder + 'static)>, output: &mut Vec<u8>) {
    if is_zero(page) {
        return;
    }
    let start = output.len();
    output.resize(start + PAGE, 0);
    let len = encoder.and_then(|encoder| encoder.compress(page, &mut output[start..]).unwrap());
    if len.is_none() {
        output[start..].copy_from_slice(page);
    }
    output.truncate(start + len.unwrap_or(PAGE));
}
