//! Pages stored as they are. Not here: the decision to store one page of a compressed dump that way (it is the caller's,
//! after an encoder answered `None`).

use super::{Codec, CodecError, Decoder, Encoder, check_level, check_page, check_page_size, useful_room};

const NAME: &str = "none";

/// No compression.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Codec for Plain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn flag(&self) -> u32 {
        0
    }

    fn about(&self) -> &'static str {
        "pages as they are; every reader of kdump files"
    }

    fn encoder_at(&self, page_size: usize, level: Option<i32>) -> Result<Box<dyn Encoder>, CodecError> {
        check_page_size(NAME, page_size)?;
        check_level(self, level, 0)?;
        Ok(Box::new(Copier { page_size }))
    }

    fn decoder(&self, page_size: usize) -> Result<Box<dyn Decoder>, CodecError> {
        check_page_size(NAME, page_size)?;
        Ok(Box::new(Copier { page_size }))
    }
}

#[derive(Debug)]
struct Copier {
    page_size: usize,
}

impl Encoder for Copier {
    fn compress(&mut self, page: &[u8], out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        check_page(NAME, page, self.page_size)?;
        useful_room(NAME, page, out)?;
        Ok(None)
    }
}

impl Decoder for Copier {
    fn decompress(&mut self, data: &[u8], page: &mut [u8]) -> Result<(), CodecError> {
        check_page(NAME, page, self.page_size)?;
        if data.len() != page.len() {
            let (data_len, page_len) = (data.len(), page.len());
            return Err(CodecError::Length { codec: NAME, data_len, decoded: data_len, page_len });
        }
        page.copy_from_slice(data);
        Ok(())
    }
}
