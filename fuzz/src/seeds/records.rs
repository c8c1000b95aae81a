//! Seeds of kdump files put together from fields, and of flattened ones.

use guestdump_core::compress;
use guestdump_core::format::flattened::{Flattened, HEADER_LEN};
use guestdump_core::sink::Sink;

use super::Seed;
use super::input::{Input, shrink};
use crate::bodies::kdump;

/// All of them.
pub fn all(seeds: &mut Vec<Seed>) {
    kdump_fields(seeds);
    records(seeds);
}

/// kdump files of every layout and byte order with a page of every codec.
fn kdump_fields(seeds: &mut Vec<Seed>) {
    let page: Vec<u8> = b"page".iter().copied().cycle().take(4096).collect();
    let packed: Vec<(u32, Vec<u8>)> = compress::ALL
        .iter()
        .filter_map(|codec| {
            let mut out = vec![0; page.len()];
            let len = codec.encoder(page.len()).and_then(|mut encoder| encoder.compress(&page, &mut out)).ok()??;
            Some((codec.flag(), out[..len].to_vec()))
        })
        .collect();
    for (number, (endian, abi)) in (0..2).flat_map(|endian| (0..3).map(move |abi| (endian, abi))).enumerate() {
        let mut input = Input::default();
        input.u8(endian).u8(abi).u8(0).u8(number as u8).u16(0).u8(1);
        let bits = (1_u8 << packed.len()) - 1;
        input.u8(1).u8(bits).u8(1).u8(bits).u8(packed.len() as u8);
        let mut at = 0;
        for (flag, data) in &packed {
            let kind = kdump::FLAGS.iter().position(|known| known == flag).unwrap_or(0);
            input.u8(kind as u8).u16(at).u16(data.len() as u16);
            at += data.len() as u16;
        }
        input.u8(1).u8(20).u8(0).scaled(0xfff0_0000);
        for (_, data) in &packed {
            input.bytes(data);
        }
        let file = kdump::build(&input.0);
        seeds.push(("kdump_fields", format!("layout-{number}"), input.0));
        seeds.push(("kdump_read", format!("layout-{number}"), shrink(&file)));
    }
}

/// Records without the header in front of them.
pub fn flat(records: &[(u64, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sink = Flattened::new(&mut out);
    for (offset, bytes) in records {
        sink.write_at(*offset, bytes).expect("memory takes everything");
    }
    sink.finish(0).expect("memory takes everything");
    out.split_off(HEADER_LEN)
}

/// Records that overlap; one far away; one so far away that there is room for the bitmaps of 2^34 frames before it.
fn records(seeds: &mut Vec<Seed>) {
    let overlapping = flat(&[(0, b"\x7fELF\x02\x01\x01"), (4, &[1; 60]), (2, &[2; 8]), (0, &[3; 100]), (50, &[4; 2])]);
    seeds.push(("flattened_read", "overlapping".to_owned(), shrink(&overlapping)));
    seeds.push(("flattened_read", "far".to_owned(), shrink(&flat(&[(0, b"KDUMP   "), (1 << 40, b"end")]))));
    let mut input = Input::default();
    input.bytes(&[0; 4]).u16(0).u8(1).u8(0).u8(0).u8(0).u8(2);
    // The numbers of bitmap_blocks and max_mapnr_64 among the integers of both headers.
    input.u8(6).u8(0).scaled(1 << 20).u8(26).u8(0).scaled(1 << 34);
    let headers = &kdump::build(&input.0)[..2 * 4096];
    seeds.push(("flattened_read", "crash-far".to_owned(), shrink(&flat(&[(0, headers), (1 << 33, b"end")]))));
}
