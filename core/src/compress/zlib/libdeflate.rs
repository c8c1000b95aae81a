//! Encoding and decoding by libdeflate, which takes a page as a whole and so needs half the time of a library for streams.

use core::ops::RangeInclusive;

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::{CodecError, Decoder, Encoder, NAME, check_page, inflate, useful_room};
use crate::compress::kind::{self, Kind};

/// Level 1 makes pages of text smaller than QEMU's zlib 1.2.13 does at its level 1, programs up to 1.5 % larger.
const FAST: i32 = 1;
/// Level 2 makes programs 2 % smaller than that, in 1.5 times the time of level 1.
pub(super) const LEVEL: i32 = 2;
/// Chi-square of the pages that level 2 gains most on: those above (tables of pointers, objects) at little cost, those
/// below (code) at more, so that all programs together are 0.4 % smaller than QEMU's. Those below 500 are next to noise.
/// Measured on the programs of a Debian system, page by page, and on memory of guests.
const GAINING: [core::ops::Range<u64>; 2] = [500..4000, 8000..60_000];
/// libdeflate's levels; its 0 stores, which is what "none" is for.
pub(super) const LEVELS: RangeInclusive<i32> = 1..=12;
/// For people.
pub(super) const ABOUT: &str = "libdeflate level 1, and 2 where it gains; every reader of kdump files";

/// The state is allocated once; libdeflate keeps nothing from page to page.
pub(super) struct ZlibEncoder {
    deflate: Compressor,
    /// For pages that gain by it, unless a level was asked for.
    better: Option<Compressor>,
    page_size: usize,
}

impl ZlibEncoder {
    pub(super) fn new(page_size: usize, level: Option<i32>) -> Result<Self, CodecError> {
        let make = |level| {
            let failed = |_| CodecError::ZlibEncode { level, page_len: page_size };
            Ok(Compressor::new(CompressionLvl::new(level).map_err(failed)?))
        };
        let better = if level.is_none() { Some(make(LEVEL)?) } else { None };
        Ok(Self { deflate: make(level.unwrap_or(FAST))?, better, page_size })
    }

    fn choose(&mut self, kind: Kind) -> &mut Compressor {
        let gains = matches!(kind, Kind::Other(chi_square) if GAINING.iter().any(|range| range.contains(&chi_square)));
        self.better.as_mut().filter(|_| gains).unwrap_or(&mut self.deflate)
    }
}

impl Encoder for ZlibEncoder {
    fn compress(&mut self, page: &[u8], out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        check_page(NAME, page, self.page_size)?;
        let room = useful_room(NAME, page, out)?;
        match kind::of(page) {
            Kind::Noise => Ok(None),
            // Its only error is that the output does not fit.
            kind => Ok(self.choose(kind).zlib_compress(page, room).ok()),
        }
    }
}

/// Decodes by libdeflate, and once more by zlib-rs what libdeflate does not take.
pub(super) struct ZlibDecoder {
    inflate: Decompressor,
    exact: inflate::ZlibDecoder,
    page_size: usize,
}

impl ZlibDecoder {
    pub(super) fn new(page_size: usize) -> Self {
        Self { inflate: Decompressor::new(), exact: inflate::ZlibDecoder::new(page_size), page_size }
    }
}

impl Decoder for ZlibDecoder {
    fn decompress(&mut self, data: &[u8], page: &mut [u8]) -> Result<(), CodecError> {
        check_page(NAME, page, self.page_size)?;
        let filled = self.inflate.zlib_decompress(data, page);
        // libdeflate passes over what lies behind a stream, which ends with the checksum of the page.
        if filled == Ok(page.len()) && data.ends_with(&simd_adler32::adler32(&&*page).to_be_bytes()) {
            return Ok(());
        }
        self.exact.decompress(data, page)
    }
}
