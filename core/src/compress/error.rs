//! What can go wrong with one page. Not here: where the page was in the dump; the reader of the dump adds that.

use core::ops::RangeInclusive;

fn levels_text(levels: Option<&RangeInclusive<i32>>) -> String {
    levels.map_or(", for it has none".to_owned(), |levels| format!(": they are {} to {}", levels.start(), levels.end()))
}

/// Why a page could not be encoded or decoded. All numbers are bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A codec was asked to work on pages of a size that it does not take.
    #[error("{codec} takes pages of 1 to {max} bytes, not {page_size}")]
    PageSize {
        /// Name of the codec.
        codec: &'static str,
        /// The size asked for.
        page_size: usize,
        /// The largest size possible.
        max: usize,
    },
    /// A codec was asked for a level that it does not have.
    #[error("{codec} has no level {level}{}", levels_text(.levels.as_ref()))]
    Level {
        /// Name of the codec.
        codec: &'static str,
        /// The level asked for.
        level: i32,
        /// The levels that it has, if any.
        levels: Option<RangeInclusive<i32>>,
    },
    /// A page has another length than its encoder or decoder was made for.
    #[error("a page of {given} bytes was given to {codec}, set up for {page_size}")]
    PageLength {
        /// Name of the codec.
        codec: &'static str,
        /// Length of the page given.
        given: usize,
        /// Length agreed on.
        page_size: usize,
    },
    /// The buffer for the compressed page is shorter than the page.
    #[error("{codec} needs an output buffer of {needed} bytes and was given {given}")]
    OutputRoom {
        /// Name of the codec.
        codec: &'static str,
        /// Length of the buffer given.
        given: usize,
        /// Length of the page.
        needed: usize,
    },
    /// The library could not allocate its state.
    #[error("no memory for the {codec} state (pages of {page_size} bytes)")]
    NoMemory {
        /// Name of the codec.
        codec: &'static str,
        /// Size of the pages it was for.
        page_size: usize,
    },
    /// The data decode without a mistake, but to another length than a page has.
    #[error("{codec} data of {data_len} bytes holds {decoded} bytes, a page has {page_len}")]
    Length {
        /// Name of the codec.
        codec: &'static str,
        /// Length of the data.
        data_len: usize,
        /// What the data decode to.
        decoded: usize,
        /// Length of the page.
        page_len: usize,
    },
    /// The stream is complete before the data are.
    #[error("{codec} stream ends at byte {used} of {data_len}")]
    Trailing {
        /// Name of the codec.
        codec: &'static str,
        /// Length of the stream.
        used: usize,
        /// Length of the data.
        data_len: usize,
    },
    /// The zlib library refuses a page.
    #[error("zlib level {level} cannot encode a page of {page_len} bytes")]
    ZlibEncode {
        /// Compression level.
        level: i32,
        /// Length of the page.
        page_len: usize,
    },
    /// Bytes that no zlib stream has, or a wrong checksum.
    #[error("zlib data of {data_len} bytes is damaged near byte {data_at}, at byte {page_at} of a page of {page_len}")]
    ZlibDamaged {
        /// How far the data were read.
        data_at: u64,
        /// Length of the data.
        data_len: usize,
        /// How far the page was filled.
        page_at: u64,
        /// Length of the page.
        page_len: usize,
    },
    /// The zlib stream is cut off, or goes on although the page is full.
    #[error("zlib stream has no end: {data_at} of {data_len} bytes read, {page_at} of {page_len} page bytes filled")]
    ZlibEndless {
        /// How far the data were read.
        data_at: u64,
        /// Length of the data.
        data_len: usize,
        /// How far the page was filled.
        page_at: u64,
        /// Length of the page.
        page_len: usize,
    },
    /// The snappy library refuses a page.
    #[error("snappy cannot encode a page of {page_len} bytes: {reason}")]
    SnappyEncode {
        /// Length of the page.
        page_len: usize,
        /// The library's words.
        reason: snap::Error,
    },
    /// Bytes that no snappy stream has.
    #[error("snappy data of {data_len} bytes is damaged: {reason}")]
    SnappyDamaged {
        /// Length of the data.
        data_len: usize,
        /// The library's words.
        reason: snap::Error,
    },
    /// The zstd library refuses a page or a parameter.
    #[error("zstd cannot encode a page of {page_len} bytes: {reason}")]
    ZstdEncode {
        /// Length of the page.
        page_len: usize,
        /// The library's words.
        reason: &'static str,
    },
    /// Bytes that no zstd frame has, or a frame larger than a page.
    #[error("zstd data of {data_len} bytes does not decode to a page of {page_len}: {reason}")]
    ZstdDamaged {
        /// Length of the data.
        data_len: usize,
        /// Length of the page.
        page_len: usize,
        /// The library's words.
        reason: &'static str,
    },
    /// The data end inside an LZO instruction or before the end marker.
    #[error("lzo data of {data_len} bytes ends too early: {missing} more needed at byte {data_at}")]
    LzoCut {
        /// Where bytes were wanted.
        data_at: usize,
        /// Length of the data.
        data_len: usize,
        /// How many of them are not there.
        missing: usize,
    },
    /// An LZO instruction copies from before the start of the page.
    #[error("lzo instruction before byte {data_at} copies from {distance} bytes back, at byte {page_at} of the page")]
    LzoDistance {
        /// Where the instruction ends.
        data_at: usize,
        /// How far back it reaches.
        distance: usize,
        /// How far the page was filled.
        page_at: usize,
    },
    /// An LZO instruction writes behind the end of the page.
    #[error("lzo instruction before byte {data_at} writes {len} bytes at byte {page_at} of a page of {page_len}")]
    LzoOverrun {
        /// Where the instruction ends.
        data_at: usize,
        /// How many bytes it writes.
        len: usize,
        /// How far the page was filled.
        page_at: usize,
        /// Length of the page.
        page_len: usize,
    },
}
