//! Pages as zlib streams (deflate with the two-byte header and the Adler-32 trailer of RFC 1950; kdump readers call
//! `uncompress`, which wants both).
//!
//! Two libraries can do the work: libdeflate where it was built in (feature `libdeflate`), else zlib-rs. As encoders both are
//! set so that a dump is not larger than QEMU's of the same name. What is wrong with a stream is said by zlib-rs in any
//! case: it knows where it is in it.

use core::ops::RangeInclusive;

use super::{Codec, CodecError, Decoder, Encoder, check_level, check_page, check_page_size, useful_room};

#[cfg(not(feature = "libdeflate"))]
mod flate;
mod inflate;
#[cfg(feature = "libdeflate")]
mod libdeflate;

#[cfg(not(feature = "libdeflate"))]
use {flate as deflate, inflate::ZlibDecoder};
#[cfg(feature = "libdeflate")]
use {libdeflate as deflate, libdeflate::ZlibDecoder};

const NAME: &str = "zlib";

/// Deflate in a zlib wrapper.
#[derive(Debug, Clone, Copy)]
pub struct Zlib;

impl Codec for Zlib {
    fn name(&self) -> &'static str {
        NAME
    }

    fn flag(&self) -> u32 {
        0x1
    }

    fn about(&self) -> &'static str {
        deflate::ABOUT
    }

    fn levels(&self) -> Option<RangeInclusive<i32>> {
        Some(deflate::LEVELS)
    }

    fn encoder_at(&self, page_size: usize, level: Option<i32>) -> Result<Box<dyn Encoder>, CodecError> {
        check_page_size(NAME, page_size)?;
        check_level(self, level, deflate::LEVEL)?;
        Ok(Box::new(deflate::ZlibEncoder::new(page_size, level)?))
    }

    fn decoder(&self, page_size: usize) -> Result<Box<dyn Decoder>, CodecError> {
        check_page_size(NAME, page_size)?;
        Ok(Box::new(ZlibDecoder::new(page_size)))
    }
}
