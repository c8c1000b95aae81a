//! Encoding by zlib-rs, for builds without a C compiler.

use core::ops::RangeInclusive;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{CodecError, Encoder, NAME, check_page, useful_room};
use crate::compress::kind::{self, Kind};

/// zlib-rs at level 2 makes pages as small as QEMU's zlib 1.2.13 does at its level 1, within 2 %, at 1.4 times the
/// speed. zlib-rs's own level 1 is three times as fast, but its dumps are 12 to 26 % larger than QEMU's of the same
/// name (measured on guest memory, programs and text).
pub(super) const LEVEL: i32 = 2;
/// zlib's levels; its 0 stores, which is what "none" is for.
pub(super) const LEVELS: RangeInclusive<i32> = 1..=9;
/// For people.
pub(super) const ABOUT: &str = "zlib-rs level 2; every reader of kdump files";

/// The state is made once and reset for each page: making it costs an allocation of 380 KB and a quarter of the speed.
pub(super) struct ZlibEncoder {
    deflate: Compress,
    level: i32,
    page_size: usize,
}

impl ZlibEncoder {
    pub(super) fn new(page_size: usize, level: Option<i32>) -> Result<Self, CodecError> {
        let level = level.unwrap_or(LEVEL);
        let failed = |_| CodecError::ZlibEncode { level, page_len: page_size };
        let deflate = Compress::new(Compression::new(u32::try_from(level).map_err(failed)?), true);
        Ok(Self { deflate, level, page_size })
    }
}

impl Encoder for ZlibEncoder {
    fn compress(&mut self, page: &[u8], out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        check_page(NAME, page, self.page_size)?;
        let room = useful_room(NAME, page, out)?;
        if kind::of(page) == Kind::Noise {
            return Ok(None);
        }
        self.deflate.reset();
        let status = self.deflate.compress(page, room, FlushCompress::Finish);
        match status {
            Ok(Status::StreamEnd) => Ok(usize::try_from(self.deflate.total_out()).ok()),
            Ok(Status::Ok | Status::BufError) => Ok(None),
            Err(_) => Err(CodecError::ZlibEncode { level: self.level, page_len: page.len() }),
        }
    }
}
