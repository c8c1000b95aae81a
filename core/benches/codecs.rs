//! How fast each codec is, and how small its pages: `cargo bench -p guestdump-core --bench codecs`.
//!
//! `GUESTDUMP_BENCH_FILE` names a file (a RAM image, say) whose pages are measured too, zero pages left out;
//! `GUESTDUMP_BENCH_PAGE` another page size than 4096. The codecs take turns, and of all rounds the fastest counts, since
//! on a shared machine everything that disturbs a round makes it slower. Speeds are of uncompressed bytes. lzokay-native
//! stands beside the codecs for comparison with `lzo`, on one page in sixteen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use guestdump_core::compress::{ALL, Codec, Decoder, Encoder};

fn main() {
    // Without `--bench` it is `cargo test --all-targets` that runs this: then it only has to work.
    let in_earnest = std::env::args().any(|arg| arg == "--bench");
    let (rounds, pages) = if in_earnest { (7, 4096) } else { (1, 32) };
    let page_size = std::env::var("GUESTDUMP_BENCH_PAGE").map_or(4096, |size| size.parse().expect("a page size"));
    let mut sets = vec![
        ("mixed", mixed(page_size, pages)),
        ("page tables", (0..pages / 4).map(|at| entries(page_size, at as u64)).collect()),
        ("noise", (0..pages / 4).map(|at| noise(page_size, at as u64)).collect()),
    ];
    if let Ok(path) = std::env::var("GUESTDUMP_BENCH_FILE") {
        sets.push(("file", pages_of(&std::fs::read(path).expect("a readable file"), page_size)));
    }
    for (name, pages) in &sets {
        println!("{name}: {} pages of {page_size} bytes", pages.len());
        measure(pages, page_size, rounds);
    }
}

// ---- pages ----

fn noise(page_size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..page_size).map(|_| byte()).collect()
}

/// Page table entries, eight bytes each.
fn entries(page_size: usize, seed: u64) -> Vec<u8> {
    let first = 0x8000_0000_0000_0063 | (seed << 21);
    (0..page_size as u64).step_by(8).flat_map(|at| (first + at * 7 * 512).to_le_bytes()).take(page_size).collect()
}

/// Objects of a slab: a few pointers, small numbers, zeros.
fn objects(page_size: usize, seed: u64) -> Vec<u8> {
    let random = noise(page_size, seed);
    let word = |at: usize| match at % 12 {
        0 | 1 => 0xffff_8880_0000_0000 | u64::from(random[at]) << 12 | u64::from(random[at + 1]) << 6,
        5 => u64::from(random[at]),
        7 => 0xffff_ffff_8100_0000 | u64::from(random[at] & 7) << 8,
        _ => 0,
    };
    (0..page_size / 8).flat_map(|at| word(at).to_le_bytes()).collect()
}

/// Words from a list of 64, in an order that noise decides.
fn text(page_size: usize, seed: u64) -> Vec<u8> {
    let random = noise(page_size, seed);
    let word = |pick: &u8| format!("{}{} ", ["init", "mem", "cpu", "sched"][usize::from(pick & 3)], (pick >> 2) & 15);
    random.iter().flat_map(|pick| word(pick).into_bytes()).take(page_size).collect()
}

fn mixed(page_size: usize, count: usize) -> Vec<Vec<u8>> {
    let kinds = [objects, text, objects, entries, text, objects, noise];
    (0..count).map(|at| kinds[at % kinds.len()](page_size, at as u64)).collect()
}

fn pages_of(data: &[u8], page_size: usize) -> Vec<Vec<u8>> {
    data.chunks_exact(page_size).filter(|page| page.iter().any(|byte| *byte != 0)).map(<[u8]>::to_vec).collect()
}

// ---- measuring ----

struct Candidate {
    name: String,
    encoder: Box<dyn Encoder>,
    decoder: Box<dyn Decoder>,
    packed: Vec<Option<Vec<u8>>>,
    encode: Duration,
    decode: Duration,
}

impl Candidate {
    fn new(codec: &'static dyn Codec, level: Option<i32>, page_size: usize) -> Self {
        let (encoder, decoder) = (codec.encoder_at(page_size, level).unwrap(), codec.decoder(page_size).unwrap());
        let name = level.map_or_else(|| codec.name().to_owned(), |level| format!("{} {level}", codec.name()));
        Self { name, encoder, decoder, packed: Vec::new(), encode: Duration::MAX, decode: Duration::MAX }
    }

    fn round(&mut self, pages: &[Vec<u8>], page_size: usize) {
        let mut room = vec![0; page_size];
        let started = Instant::now();
        for page in pages {
            std::hint::black_box(self.encoder.compress(page, &mut room).unwrap());
        }
        self.encode = self.encode.min(started.elapsed());
        if self.packed.is_empty() {
            self.packed = pages.iter().map(|page| packed(&mut *self.encoder, page)).collect();
        }
        let started = Instant::now();
        for data in self.packed.iter().flatten() {
            self.decoder.decompress(data, &mut room).unwrap();
        }
        self.decode = self.decode.min(started.elapsed());
    }

    fn report(&self, page_size: usize) {
        let pages = self.packed.len();
        let shrunk: Vec<usize> = self.packed.iter().flatten().map(Vec::len).collect();
        let stored = shrunk.iter().sum::<usize>() + (pages - shrunk.len()) * page_size;
        let encode = speed(pages * page_size, self.encode);
        let decode = if shrunk.is_empty() { "-".into() } else { speed(shrunk.len() * page_size, self.decode) };
        line(&self.name, &encode, &decode, stored as f64 / (pages * page_size) as f64);
    }
}

fn packed(encoder: &mut dyn Encoder, page: &[u8]) -> Option<Vec<u8>> {
    let mut room = vec![0; page.len()];
    let len = encoder.compress(page, &mut room).unwrap()?;
    room.truncate(len);
    Some(room)
}

fn measure(pages: &[Vec<u8>], page_size: usize, rounds: usize) {
    let compressing = ALL.iter().filter(|codec| codec.flag() != 0);
    let choices = compressing.flat_map(|codec| levels(*codec).into_iter().map(move |level| (*codec, level)));
    let mut candidates: Vec<_> = choices.map(|(codec, level)| Candidate::new(codec, level, page_size)).collect();
    for _ in 0..rounds {
        candidates.iter_mut().for_each(|candidate| candidate.round(pages, page_size));
    }
    println!("  {:<10}{:>14}{:>14}{:>8}", "", "encode", "decode", "size");
    candidates.iter().for_each(|candidate| candidate.report(page_size));
    lzokay(pages, page_size);
}

/// The codec's own choice, and the fast end of what else it can be told.
fn levels(codec: &dyn Codec) -> Vec<Option<i32>> {
    let others = codec.levels().map(|levels| (-1..=3).filter(move |level| *level != 0 && levels.contains(level)));
    [None].into_iter().chain(others.into_iter().flatten().map(Some)).collect()
}

fn lzokay(pages: &[Vec<u8>], page_size: usize) {
    let mut dict = lzokay_native::Dict::new();
    let (mut count, mut stored) = (0, 0);
    let started = Instant::now();
    for page in pages.iter().step_by(16) {
        stored += lzokay_native::compress_with_dict(page, &mut dict).unwrap().len().min(page_size);
        count += 1;
    }
    let encode = speed(count * page_size, started.elapsed());
    line("(lzokay)", &encode, "-", stored as f64 / (count * page_size) as f64);
}

fn speed(bytes: usize, time: Duration) -> String {
    format!("{:.0} MB/s", bytes as f64 / time.as_secs_f64() / 1e6)
}

fn line(name: &str, encode: &str, decode: &str, size: f64) {
    println!("  {name:<10}{encode:>14}{decode:>14}{size:>8.3}");
}
