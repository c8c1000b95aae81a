//! Decoding by zlib-rs.

use flate2::{Decompress, FlushDecompress, Status};

use super::{CodecError, Decoder, NAME, check_page};

/// The state is made once and reset for each page.
pub(super) struct ZlibDecoder {
    inflate: Decompress,
    page_size: usize,
}

impl ZlibDecoder {
    pub(super) fn new(page_size: usize) -> Self {
        Self { inflate: Decompress::new(true), page_size }
    }
}

impl Decoder for ZlibDecoder {
    fn decompress(&mut self, data: &[u8], page: &mut [u8]) -> Result<(), CodecError> {
        check_page(NAME, page, self.page_size)?;
        self.inflate.reset(true);
        let status = self.inflate.decompress(data, page, FlushDecompress::Finish);
        let (data_at, page_at) = (self.inflate.total_in(), self.inflate.total_out());
        let (data_len, page_len) = (data.len(), page.len());
        match status {
            Ok(Status::StreamEnd) => check_whole(data_at, data_len, page_at, page_len),
            Ok(Status::Ok | Status::BufError) => Err(CodecError::ZlibEndless { data_at, data_len, page_at, page_len }),
            Err(_) => Err(CodecError::ZlibDamaged { data_at, data_len, page_at, page_len }),
        }
    }
}

/// A stream that came to its end has filled the page and used the data, both to the last byte.
fn check_whole(data_at: u64, data_len: usize, page_at: u64, page_len: usize) -> Result<(), CodecError> {
    // Neither count can pass the length of its slice, so both fit.
    let used = usize::try_from(data_at).unwrap_or(usize::MAX);
    let decoded = usize::try_from(page_at).unwrap_or(usize::MAX);
    if decoded != page_len {
        return Err(CodecError::Length { codec: NAME, data_len, decoded, page_len });
    }
    if used != data_len {
        return Err(CodecError::Trailing { codec: NAME, used, data_len });
    }
    Ok(())
}
