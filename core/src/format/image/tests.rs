//! Images put together here from the descriptions of their formats, read back whole, cut and damaged.

use std::io::Write;

use guestdump_arch::PhysMemory;
use proptest::prelude::*;

use super::*;

fn header(order: Endian, magic: u32, version: u32, first: u64, last: u64) -> Vec<u8> {
    let put = |value: u64, len: usize| {
        let mut bytes = vec![0; len];
        order.put(value, &mut bytes);
        bytes
    };
    [put(magic.into(), 4), put(version.into(), 4), put(first, 8), put(last, 8), vec![0; 8]].concat()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    let stream = encoder.into_inner().unwrap();
    let len = stream.len() as u64;
    [stream, len.to_le_bytes().to_vec()].concat()
}

/// An image of these ranges.
fn image(compressed: bool, order: Endian, parts: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (start, bytes) in parts {
        let last = start + bytes.len() as u64 - 1;
        if compressed {
            out.extend(header(order, 0x4c4d_5641, 2, *start, last));
            out.extend(snappy(bytes));
        } else {
            out.extend(header(order, 0x4c69_4d45, 1, *start, last));
            out.extend_from_slice(bytes);
        }
    }
    out
}

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|at| ((at * seed) >> 7) as u8 ^ if at % 3 == 0 { at as u8 } else { 0 }).collect()
}

fn parts() -> Vec<(u64, Vec<u8>)> {
    vec![(0x1000, bytes(0x9f000, 77)), (0x10_0000, bytes(0x2_3456, 5)), (0x1_0000_0000, vec![0; 0x1_0000])]
}

fn opened(file: Vec<u8>) -> Image {
    open(Arc::new(file)).unwrap().unwrap()
}

#[test]
fn blocks_of_zeros_that_were_left_out_are_zeros() {
    const BLOCK: u64 = 16 << 20;
    // Four ranges: blocks 0, 3 and a short one; one block; what follows a short one; what is no whole block away.
    let starts = [(0x10_0000, BLOCK), (0x10_0000 + 3 * BLOCK, BLOCK), (0x10_0000 + 4 * BLOCK, 0x2000)];
    let more = [(0x10_0000 + 8 * BLOCK + 0x2000, BLOCK), (1 << 32, 0x1000)];
    let mut file = Vec::new();
    for (start, len) in starts.into_iter().chain(more) {
        file.extend(header(Endian::Little, 0x4c69_4d45, 1, start, start + len - 1));
        file.resize(file.len() + usize::try_from(len).unwrap(), 7);
    }
    let image = opened(file);
    let gap = PhysRange::between(PhysAddr(0x10_0000 + BLOCK), PhysAddr(0x10_0000 + 3 * BLOCK));
    assert_eq!((image.zero_bytes, image.ranges.len()), (2 * BLOCK, 6));
    assert_eq!(image.ranges[1], gap);
    let mut bytes = [1; 4];
    assert!(image.memory.read(PhysAddr(gap.end().0 - 2), &mut bytes).unwrap());
    assert_eq!(bytes, [0, 0, 7, 7]);
    assert!(!image.memory.read(PhysAddr((1 << 32) - 1), &mut bytes[..1]).unwrap());
}

#[test]
fn records_are_memory_at_their_addresses() {
    for compressed in [false, true] {
        for order in [Endian::Little, Endian::Big] {
            let image = opened(image(compressed, order, &parts()));
            assert_eq!((image.endian, image.warnings.len()), (order, 0));
            assert_eq!(image.kind.name, if compressed { "AVML" } else { "LiME" });
            for (start, bytes) in parts() {
                let mut buf = vec![1; bytes.len()];
                assert!(image.memory.read(PhysAddr(start), &mut buf).unwrap());
                assert!(buf == bytes, "{start:#x}");
                let mut few = [0; 5];
                assert!(image.memory.read(PhysAddr(start + 0xfffd), &mut few[..3]).unwrap());
                assert_eq!(few[..3], bytes[0xfffd..0x1_0000]);
            }
            assert!(!image.memory.read(PhysAddr(0xa_0000), &mut [0]).unwrap());
        }
    }
}

#[test]
fn what_a_cut_image_has_is_read() {
    for compressed in [false, true] {
        let whole = image(compressed, Endian::Little, &parts()[..1]);
        let cut = opened(whole[..whole.len() / 2].to_vec());
        assert_eq!(cut.ranges, [PhysRange::new(PhysAddr(0x1000), 0x9f000).unwrap()]);
        assert!(cut.warnings[0].contains("bytes of memory 0x1000..0xa0000 are not in the file"), "{:?}", cut.warnings);
        let mut first = [0; 4096];
        assert!(cut.memory.read(PhysAddr(0x1000), &mut first).unwrap());
        assert_eq!(first[..], parts()[0].1[..4096]);
        assert!(cut.memory.read(PhysAddr(0x9_f000), &mut first).is_err());
    }
}

#[test]
fn damaged_chunks_are_noticed() {
    let mut file = image(true, Endian::Little, &parts()[..1]);
    file[2000] ^= 1;
    let image = opened(file);
    assert!(image.memory.read(PhysAddr(0x1000), &mut [0; 4096]).is_err());
    let mut later = [0; 16];
    assert!(image.memory.read(PhysAddr(0x9_0000), &mut later).unwrap());
    assert_eq!(later[..], parts()[0].1[0x8_f000..0x8_f010]);
}

#[test]
fn a_record_that_makes_no_sense_ends_the_image() {
    let mut two = image(false, Endian::Little, &[(0, vec![1; 64]), (64, vec![2; 64])]);
    two[96] ^= 1;
    let read = opened(two);
    assert_eq!(read.ranges.len(), 1);
    assert!(read.warnings[0].starts_with("record 1, at 0x60: magic of a record"), "{:?}", read.warnings);
    let words = |file: Vec<u8>| open(Arc::new(file)).unwrap_err().to_string();
    assert!(words(header(Endian::Little, 0x4c69_4d45, 2, 0, 63)).contains("version of a record is 0x2"));
    assert!(words(header(Endian::Little, 0x4c69_4d45, 1, 64, 1)).contains("before the first one"));
    assert!(words(header(Endian::Little, 0x4c69_4d45, 1, 0, u64::MAX)).contains("last address of a record"));
    let twice = image(false, Endian::Little, &[(0, vec![1; 64]), (32, vec![2; 64])]);
    assert!(words(twice).contains("two records have it"));
    assert!(open(Arc::new(b"LiM".to_vec())).unwrap().is_none());
}

proptest! {
    #[test]
    fn any_bytes_behind_a_header_end_well(
        compressed: bool,
        len in 0_u64..1 << 40,
        body in proptest::collection::vec(any::<u8>(), 0..400),
        start: bool,
    ) {
        let mut file = if compressed {
            header(Endian::Little, 0x4c4d_5641, 2, 0, len)
        } else {
            header(Endian::Little, 0x4c69_4d45, 1, 0, len)
        };
        if start {
            file.extend_from_slice(STREAM_START);
        }
        file.extend(body);
        if let Some(image) = open(Arc::new(file)).unwrap() {
            let _ = image.memory.read(PhysAddr(0), &mut [0; 300]);
        }
    }
}
