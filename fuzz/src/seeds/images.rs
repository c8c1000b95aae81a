//! Seeds of memory images, and of the files of split sets. Numbers are those of the formats' descriptions.

use std::io::Write;

use guestdump_core::arch::Endian;

use super::Seed;
use super::input::{Input, shrink};
use super::written;

/// All of them.
pub fn all(seeds: &mut Vec<Seed>) {
    for order in [Endian::Little, Endian::Big] {
        for (name, file) in images(order) {
            seeds.push(("image_read", format!("{name}-{}", order.name()), shrink(&file)));
        }
    }
    for (name, files) in [("halves", halves()), ("one", halves().split_off(1))] {
        let mut input = Input::default();
        input.u8(files.len() as u8 - 1);
        for file in files {
            let short = shrink(&file);
            input.u16(short.len() as u16).bytes(&short);
        }
        seeds.push(("set_read", name.to_owned(), input.0));
    }
}

/// A LiME and an AVML image of two ranges.
pub fn images(order: Endian) -> [(&'static str, Vec<u8>); 2] {
    let text: Vec<u8> = b"page of an image".iter().copied().cycle().take(0x300).collect();
    let parts = [(0x1000_u64, [text.clone(), vec![0; 0xd00]].concat()), (0x1_0000_0000, text)];
    let head = |magic: u64, version: u64, first: u64, len: usize| {
        let put = |value: u64, width: usize| {
            let mut bytes = vec![0; width];
            order.put(value, &mut bytes);
            bytes
        };
        [put(magic, 4), put(version, 4), put(first, 8), put(first + len as u64 - 1, 8), vec![0; 8]].concat()
    };
    let (mut lime, mut avml) = (Vec::new(), Vec::new());
    for (first, bytes) in &parts {
        lime.extend(head(0x4c69_4d45, 1, *first, bytes.len()));
        lime.extend_from_slice(bytes);
        avml.extend(head(0x4c4d_5641, 2, *first, bytes.len()));
        let mut frames = snap::write::FrameEncoder::new(Vec::new());
        frames.write_all(bytes).expect("memory takes everything");
        let frames = frames.into_inner().expect("memory takes everything");
        avml.extend_from_slice(&frames);
        avml.extend_from_slice(&(frames.len() as u64).to_le_bytes());
    }
    [("lime", lime), ("avml", avml)]
}

/// A kdump file as makedumpfile --split makes two of it: headers and bitmaps in full, `split`, `start_pfn` and `end_pfn`
/// with their 64-bit names set, descriptors and data of the frames from one to the other. Offsets of the 64-bit layout.
pub fn halves() -> Vec<Vec<u8>> {
    const PAGE: usize = 4096;
    let file = written::little_endian_64bit_kdump();
    let int =
        |at: usize, len: usize| file[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let bitmaps = PAGE * (1 + int(432, 4));
    let descs = bitmaps + PAGE * int(436, 4);
    let second = (bitmaps + descs) / 2;
    let frames: Vec<usize> =
        (0..(descs - second) * 8).filter(|frame| file[second + frame / 8] >> (frame % 8) & 1 == 1).collect();
    let middle = frames[frames.len() / 2];
    let half = |first: usize, end: usize| {
        let mut out = file[..descs].to_vec();
        for (at, value, len) in [(12, 1, 4), (80, first, 8), (88, end, 8)] {
            out[PAGE + at..PAGE + at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        let own = frames.iter().enumerate().filter(|frame| (first..end).contains(frame.1));
        let own: Vec<usize> = own.map(|frame| descs + 24 * frame.0).collect();
        let (mut data, data_at) = (Vec::new(), descs + 24 * own.len());
        for at in own {
            out.extend_from_slice(&(data_at + data.len()).to_le_bytes());
            out.extend_from_slice(&file[at + 8..at + 24]);
            data.extend_from_slice(&file[int(at, 8)..][..int(at + 8, 4)]);
        }
        [out, data].concat()
    };
    vec![half(0, middle), half(middle, frames[frames.len() - 1] + 1)]
}
