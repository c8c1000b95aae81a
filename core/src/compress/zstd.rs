//! Pages as zstd frames (RFC 8878), one whole frame with its content size each. Not here: dictionaries, streams.
//!
//! The C library is used through `zstd_safe`, not through `zstd::bulk`, which turns the error code into text: "does not
//! fit" is an answer here and every other code is a mistake.

use core::ops::RangeInclusive;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, Strategy, zstd_sys::ZSTD_ErrorCode};

use super::kind::{self, Kind};
use super::{Codec, CodecError, Decoder, Encoder, check_level, check_page, check_page_size, useful_room};

const NAME: &str = "zstd";

/// makedumpfile's level; it differs from what is done by itself by what follows.
const LEVEL: i32 = 1;
/// Level 1 looks for repetitions of five bytes, which leaves programs 4 % larger than QEMU's zlib dumps have them.
const MIN_MATCH: u32 = 4;
/// Of zstd's own levels those that differ on pages: below -50 nothing is found any more.
const LEVELS: RangeInclusive<i32> = -50..=22;

/// Zstandard.
#[derive(Debug, Clone, Copy)]
pub struct Zstd;

impl Codec for Zstd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn flag(&self) -> u32 {
        0x20
    }

    fn about(&self) -> &'static str {
        "near level 1; crash 8.0.0, makedumpfile 1.7.0, libkdumpfile or later, where built with libzstd"
    }

    fn levels(&self) -> Option<RangeInclusive<i32>> {
        Some(LEVELS)
    }

    fn encoder_at(&self, page_size: usize, level: Option<i32>) -> Result<Box<dyn Encoder>, CodecError> {
        check_page_size(NAME, page_size)?;
        let make = |parameters: &[CParameter]| {
            let mut zstd = CCtx::try_create().ok_or(CodecError::NoMemory { codec: NAME, page_size })?;
            let set = parameters.iter().try_for_each(|parameter| zstd.set_parameter(*parameter).map(|_| ()));
            set.map_err(|code| encode_error(page_size, code))?;
            Ok(zstd)
        };
        let (zstd, text) = match level {
            Some(_) => (make(&[CParameter::CompressionLevel(check_level(self, level, LEVEL)?)])?, None),
            None => (make(&usual(page_size))?, Some(make(&for_text(page_size))?)),
        };
        Ok(Box::new(ZstdEncoder { zstd, text, page_size }))
    }

    fn decoder(&self, page_size: usize) -> Result<Box<dyn Decoder>, CodecError> {
        check_page_size(NAME, page_size)?;
        let zstd = DCtx::try_create().ok_or(CodecError::NoMemory { codec: NAME, page_size })?;
        Ok(Box::new(ZstdDecoder { zstd, page_size }))
    }
}

/// The level's strategy, with a table of places that fits into the nearest cache beside a page of 4 KiB: a tenth of the
/// time, for 0.3 % of programs.
fn usual(page_size: usize) -> [CParameter; 3] {
    let table = CParameter::HashLog(table_bits(page_size));
    [CParameter::CompressionLevel(LEVEL), CParameter::MinMatch(MIN_MATCH), table]
}

/// Text has long repetitions, and is 11 % smaller by looking for these first, in the same time.
fn for_text(page_size: usize) -> [CParameter; 4] {
    let bits = table_bits(page_size);
    let (long, short) = (CParameter::HashLog(bits + 1), CParameter::ChainLog(bits));
    [CParameter::CompressionLevel(LEVEL), CParameter::Strategy(Strategy::ZSTD_dfast), long, short]
}

/// Half as many places as the page has bytes; zstd's own bounds are 6 and 30.
fn table_bits(page_size: usize) -> u32 {
    page_size.checked_ilog2().unwrap_or(0).saturating_sub(1).max(6)
}

struct ZstdEncoder {
    zstd: CCtx<'static>,
    /// For pages of text, unless a level was asked for.
    text: Option<CCtx<'static>>,
    page_size: usize,
}

impl Encoder for ZstdEncoder {
    fn compress(&mut self, page: &[u8], out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        check_page(NAME, page, self.page_size)?;
        let room = useful_room(NAME, page, out)?;
        let kind = kind::of(page);
        if kind == Kind::Noise {
            return Ok(None);
        }
        let zstd = self.text.as_mut().filter(|_| kind == Kind::Text).unwrap_or(&mut self.zstd);
        match zstd.compress2(room, page) {
            Ok(len) => Ok(Some(len)),
            Err(code) if zstd_safe::is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => Ok(None),
            Err(code) => Err(encode_error(page.len(), code)),
        }
    }
}

fn encode_error(page_len: usize, code: zstd_safe::ErrorCode) -> CodecError {
    CodecError::ZstdEncode { page_len, reason: zstd_safe::get_error_name(code) }
}

struct ZstdDecoder {
    zstd: DCtx<'static>,
    page_size: usize,
}

impl Decoder for ZstdDecoder {
    fn decompress(&mut self, data: &[u8], page: &mut [u8]) -> Result<(), CodecError> {
        check_page(NAME, page, self.page_size)?;
        let (data_len, page_len) = (data.len(), page.len());
        // One call that decodes straight into the page: a frame's window size, however large, is never allocated.
        let decoded = self.zstd.decompress(page, data).map_err(|code| {
            let reason = zstd_safe::get_error_name(code);
            CodecError::ZstdDamaged { data_len, page_len, reason }
        })?;
        if decoded != page_len {
            return Err(CodecError::Length { codec: NAME, data_len, decoded, page_len });
        }
        Ok(())
    }
}
