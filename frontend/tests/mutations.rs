//! Small dumps of every kind, damaged: each byte of their headers changed, and cut at each byte of them. They are opened
//! and read, and what can be read is written again; nothing panics, takes long, or holds more memory than
//! `fuzz/src/bodies/dumps.rs` allows (in proportion to the file; the process is what is measured, so this is one test).
#![allow(dead_code, reason = "part of the bodies and seeds of the fuzz targets is used")]

#[path = "../../fuzz/src/bodies/mod.rs"]
mod bodies;
#[path = "../../fuzz/src/seeds/mod.rs"]
mod seeds;

use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use bodies::feed::expand;
use bodies::{dumps, elf, kdump};
use guestdump_core::arch::Endian;

const LONGEST: Duration = Duration::from_secs(20);
/// Bits of a byte that change: all, the lowest, the highest.
const MASKS: [u8; 3] = [0xff, 0x01, 0x80];
/// Bytes next to one that is not zero are a header's too.
const NEAR: usize = 6;
/// Of so many changed files one is also written again.
const REWRITTEN: usize = 256;

type Body = fn(Vec<u8>);

/// A file; what opens and reads it; what also writes it again.
struct Sample {
    name: String,
    file: Vec<u8>,
    read: Body,
    rewrite: Body,
}

/// A split set with `file` for its second half.
fn set_with(file: Vec<u8>) -> Vec<Vec<u8>> {
    let mut files = seeds::images::halves();
    files[1] = file;
    files
}

fn glance_at_set(file: Vec<u8>) {
    dumps::glance_set(set_with(file));
}

fn explore_set(file: Vec<u8>) {
    dumps::explore_set(set_with(file));
}

/// ELF of both classes and byte orders, kdump of every layout, every format of ours raw and flattened, images, a set.
fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    seeds::written::own_dumps(&mut all);
    let mut samples: Vec<Sample> = Vec::new();
    let mut add = |name: String, file, read, rewrite| samples.push(Sample { name, file, read, rewrite });
    // ELF of every architecture; the other formats, of which there are many, once each.
    let mut seen = BTreeSet::new();
    all.retain(|seed| seed.0 == "elf_read" || seen.insert(seed.1.rsplit("endian-").next().map(str::to_owned)));
    for (target, name, bytes) in all {
        let file = expand(&bytes);
        let file = if target == "flattened_read" { dumps::flattened(&file) } else { file };
        add(name, file, dumps::glance, dumps::explore);
    }
    let (mut elves, mut fields) = (Vec::new(), Vec::new());
    seeds::elf::all(&mut elves);
    seeds::records::all(&mut fields);
    for (target, name, bytes) in elves.into_iter().chain(fields).filter(|seed| seed.1.starts_with("layout")) {
        match target {
            "elf_fields" => add(format!("ELF {name}"), elf::build(&bytes), dumps::glance, dumps::explore),
            "kdump_fields" => add(format!("kdump {name}"), kdump::build(&bytes), dumps::glance, dumps::explore),
            _ => {}
        }
    }
    for order in [Endian::Little, Endian::Big] {
        for (name, file) in seeds::images::images(order) {
            add(format!("{name} {}", order.name()), file, dumps::look_at_image, dumps::look_at_image);
        }
    }
    add("half of a set".to_owned(), seeds::images::halves().remove(1), glance_at_set, explore_set);
    samples
}

/// Where a header may be: the start of the file and of its second block, and what is near to bytes that are not zero; of
/// longer runs of such bytes, which are notes and pages, every seventh.
fn places(file: &[u8]) -> Vec<usize> {
    let around = |at: usize| &file[at.saturating_sub(NEAR)..file.len().min(at + NEAR)];
    let header = |at: usize| at < 480 || (4096..4096 + 128).contains(&at);
    let near =
        |at: usize| around(at).iter().any(|byte| *byte != 0) && (around(at).contains(&0) || at.is_multiple_of(7));
    (0..file.len()).filter(|at| header(*at) || near(*at)).collect()
}

/// Runs `body` on every file that `change` makes, and names the first that ends badly.
fn all_end_well(sample: &Sample, kind: &str, count: usize, change: impl Fn(usize) -> Vec<u8> + Send + 'static) {
    let (send, done) = channel();
    let (read, rewrite) = (sample.read, sample.rewrite);
    thread::spawn(move || {
        for number in 0..count {
            let body = if number.is_multiple_of(REWRITTEN) { rewrite } else { read };
            body(change(number));
            let _ = send.send(());
        }
    });
    for number in 0..count {
        let what = || format!("{}: {kind} {number} of {count}", sample.name);
        match done.recv_timeout(LONGEST) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("{} panics", what()),
            Err(RecvTimeoutError::Timeout) => panic!("{} does not end", what()),
        }
    }
}

fn damage(sample: &Sample) -> usize {
    let places = places(&sample.file);
    let (file, at) = (sample.file.clone(), places.clone());
    all_end_well(sample, "change", places.len() * MASKS.len(), move |number| {
        let mut changed = file.clone();
        changed[at[number / MASKS.len()]] ^= MASKS[number % MASKS.len()];
        changed
    });
    let (file, at) = (sample.file.clone(), places.clone());
    all_end_well(sample, "cut", places.len(), move |number| file[..at[number]].to_vec());
    places.len() * (MASKS.len() + 1)
}

/// A little-endian ELF64 with more segments than `e_phnum` can say (System V ABI, PN_XNUM): 65600 of a byte each.
fn many_segments() -> Vec<u8> {
    const COUNT: u64 = 65600;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |value: u64, len: usize| file.extend_from_slice(&value.to_le_bytes()[..len]);
    // e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, then sizes and counts.
    let header = [(4, 2), (62, 2), (1, 4), (0, 8), (128, 8), (64, 8), (0, 4), (64, 2), (56, 2), (0xffff, 2), (64, 2)];
    header.into_iter().chain([(1, 2), (0, 2)]).for_each(|(value, len)| put(value, len));
    // sh_name to sh_link, sh_info, sh_addralign, sh_entsize.
    [(0, 4), (0, 4), (0, 8), (0, 8), (0, 8), (0, 8), (0, 4), (COUNT, 4), (0, 8), (0, 8)]
        .into_iter()
        .for_each(|(value, len)| put(value, len));
    for number in 0..COUNT {
        let phdr = [(1, 4), (0, 4), (128, 8), (0, 8), (2 * number, 8), (1, 8), (1, 8), (0, 8)];
        phdr.into_iter().for_each(|(value, len)| put(value, len));
    }
    file
}

#[test]
fn damaged_headers_end_well() {
    let samples = samples();
    let mut count = 0;
    for sample in &samples {
        (sample.rewrite)(sample.file.clone());
        count += damage(sample);
    }
    assert!(samples.len() > 30 && count > 50_000, "{} samples, {count} files", samples.len());
    let (name, file) = ("65600 segments".to_owned(), many_segments());
    let dump = guestdump_core::format::read::open(std::sync::Arc::new(file.clone())).unwrap();
    assert_eq!(dump.ranges.len(), 65600);
    let sample = Sample { name, file: file.clone(), read: dumps::glance, rewrite: dumps::glance };
    let whole = file.clone();
    all_end_well(&sample, "change", 128 + 2 * 56, move |number| {
        let mut changed = whole.clone();
        changed[number] ^= MASKS[number % MASKS.len()];
        changed
    });
    all_end_well(&sample, "cut", 200, move |number| {
        file[..if number < 190 { number } else { number * 18_000 }].to_vec()
    });
}
