//! Pages as LZO1X streams: the codec, and the numbers of the stream format that encoder and decoder share. The work is in
//! `encode` and `decode`.
//!
//! Written from the public description of the stream (Linux, Documentation/staging/lzo.rst), bitstream version 0. An
//! instruction is told by its first byte; `S` is the number of literals (0 to 3) that follow it:
//!
//! | first byte | then | meaning |
//! |---|---|---|
//! | `0000 LLLL` after a copy with S = 0 | | 3 + L literals (L = 0: 18 + extension) |
//! | `0000 DDSS` after 1 to 3 literals | `H` | copy 2 bytes from `(H << 2) + D + 1` back |
//! | `0000 DDSS` after 4 or more literals | `H` | copy 3 bytes from `(H << 2) + D + 2049` back |
//! | `0001 HLLL` | LE16 `D..D SS` | copy 2 + L bytes (L = 0: 9 + extension) from `16384 + (H << 14) + D` back; 16384: end |
//! | `001L LLLL` | LE16 `D..D SS` | copy 2 + L bytes (L = 0: 33 + extension) from `D + 1` back |
//! | `01LD DDSS` | `H` | copy 3 + L bytes from `(H << 3) + D + 1` back |
//! | `1LLD DDSS` | `H` | copy 5 + L bytes from `(H << 3) + D + 1` back |
//!
//! An extension is any number of zero bytes, 255 each, and one byte that is not zero. The first byte of a stream, where it
//! is above 17, is a run of `byte - 17` literals.

mod decode;
mod encode;

use super::{Codec, CodecError, Decoder, Encoder, check_level, check_page, check_page_size, useful_room};

const NAME: &str = "lzo";

/// A first byte above this is a run of literals, of the difference.
const FIRST_RUN_BASE: usize = 17;
/// The longest such run.
const FIRST_RUN_MAX: usize = 255 - FIRST_RUN_BASE;
/// Literals that an instruction's `S` bits can carry.
const MAX_STATE: usize = 3;
/// What one `LLLL` of a run of literals stands for, beyond its own value; and the longest run without an extension.
const RUN_BASE: usize = 3;
const RUN_PLAIN_MAX: usize = 18;
/// Furthest copy of the two-byte instructions `01LDDDSS` and `1LLDDDSS`, and their longest.
const NEAR_DISTANCE: usize = 2048;
const NEAR_LEN: usize = 8;
/// Furthest copy of `001LLLLL`, and its longest without an extension. The far instruction starts where it ends.
const MIDDLE_DISTANCE: usize = 16384;
const MIDDLE_PLAIN_MAX: usize = 33;
/// Furthest copy of `0001HLLL`, and its longest without an extension.
const FAR_DISTANCE: usize = 49151;
const FAR_PLAIN_MAX: usize = 9;
/// `L` of both is the length less this.
const COPY_BASE: usize = 2;
/// What one zero byte of an extension stands for.
const EXTENSION_STEP: usize = 255;
/// A far copy of 3 bytes from exactly 16384 back: the end of the stream.
const END: [u8; 3] = [0x11, 0, 0];

/// LZO1X-1.
#[derive(Debug, Clone, Copy)]
pub struct Lzo;

impl Codec for Lzo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn flag(&self) -> u32 {
        0x2
    }

    fn about(&self) -> &'static str {
        "lzo1x, the speed and size of lzo1x_1; crash, makedumpfile and libkdumpfile where built with liblzo2"
    }

    fn encoder_at(&self, page_size: usize, level: Option<i32>) -> Result<Box<dyn Encoder>, CodecError> {
        check_page_size(NAME, page_size)?;
        check_level(self, level, 0)?;
        Ok(Box::new(LzoEncoder { matcher: encode::Matcher::new(), page_size }))
    }

    fn decoder(&self, page_size: usize) -> Result<Box<dyn Decoder>, CodecError> {
        check_page_size(NAME, page_size)?;
        Ok(Box::new(LzoDecoder { page_size }))
    }
}

struct LzoEncoder {
    matcher: encode::Matcher,
    page_size: usize,
}

impl Encoder for LzoEncoder {
    fn compress(&mut self, page: &[u8], out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        check_page(NAME, page, self.page_size)?;
        let room = useful_room(NAME, page, out)?;
        Ok(self.matcher.compress(page, room))
    }
}

struct LzoDecoder {
    page_size: usize,
}

impl Decoder for LzoDecoder {
    fn decompress(&mut self, data: &[u8], page: &mut [u8]) -> Result<(), CodecError> {
        check_page(NAME, page, self.page_size)?;
        decode::decompress(data, page)
    }
}
