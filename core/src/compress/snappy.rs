//! Pages as raw snappy streams (a varint length, then elements). Not here: the framing format, which kdump files do not
//! use.

use snap::raw;

use super::{Codec, CodecError, Decoder, Encoder, check_level, check_page, check_page_size, useful_room};

const NAME: &str = "snappy";

/// Raw snappy.
#[derive(Debug, Clone, Copy)]
pub struct Snappy;

impl Codec for Snappy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn flag(&self) -> u32 {
        0x4
    }

    fn about(&self) -> &'static str {
        "no levels; crash, makedumpfile and libkdumpfile where built with libsnappy"
    }

    fn encoder_at(&self, page_size: usize, level: Option<i32>) -> Result<Box<dyn Encoder>, CodecError> {
        check_page_size(NAME, page_size)?;
        check_level(self, level, 0)?;
        let scratch = vec![0; raw::max_compress_len(page_size)].into_boxed_slice();
        Ok(Box::new(SnappyEncoder { snappy: raw::Encoder::new(), scratch, page_size }))
    }

    fn decoder(&self, page_size: usize) -> Result<Box<dyn Decoder>, CodecError> {
        check_page_size(NAME, page_size)?;
        Ok(Box::new(SnappyDecoder { snappy: raw::Decoder::new(), page_size }))
    }
}

/// The library refuses to start with less room than the worst case needs, hence the scratch buffer and the copy.
struct SnappyEncoder {
    snappy: raw::Encoder,
    scratch: Box<[u8]>,
    page_size: usize,
}

impl Encoder for SnappyEncoder {
    fn compress(&mut self, page: &[u8], out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        check_page(NAME, page, self.page_size)?;
        let room = useful_room(NAME, page, out)?;
        let len = self
            .snappy
            .compress(page, &mut self.scratch)
            .map_err(|reason| CodecError::SnappyEncode { page_len: page.len(), reason })?;
        let (Some(packed), Some(head)) = (self.scratch.get(..len), room.get_mut(..len)) else {
            return Ok(None);
        };
        head.copy_from_slice(packed);
        Ok(Some(len))
    }
}

struct SnappyDecoder {
    snappy: raw::Decoder,
    page_size: usize,
}

impl Decoder for SnappyDecoder {
    fn decompress(&mut self, data: &[u8], page: &mut [u8]) -> Result<(), CodecError> {
        check_page(NAME, page, self.page_size)?;
        let (data_len, page_len) = (data.len(), page.len());
        let damaged = |reason| CodecError::SnappyDamaged { data_len, reason };
        let decoded = raw::decompress_len(data).map_err(damaged)?;
        if decoded != page_len {
            return Err(CodecError::Length { codec: NAME, data_len, decoded, page_len });
        }
        // The library answers an error where the elements do not add up to the length, so what it wrote is the page.
        self.snappy.decompress(data, page).map_err(damaged)?;
        Ok(())
    }
}
