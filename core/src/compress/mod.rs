//! Storing one page: the codecs of kdump files behind one trait, and the table of them.
//!
//! Here: names, flag values, one encoder and one decoder per codec, and what they answer to bytes that cannot be
//! decoded. Not here: which codec a dump uses, where a page lies in the file, zero pages (the dump shares one), threads.
//!
//! Every page is a stream of its own, so an encoder carries memory from page to page but never history: the same page
//! always becomes the same bytes.

use core::fmt::Debug;
use core::ops::RangeInclusive;

mod error;
#[cfg_attr(not(feature = "zstd"), allow(dead_code, reason = "zlib-rs only asks for noise"))]
mod kind;
mod lzo;
mod plain;
mod snappy;
mod zlib;
#[cfg(feature = "zstd")]
mod zstd;

pub use error::CodecError;
pub use lzo::Lzo;
pub use plain::Plain;
pub use snappy::Snappy;
pub use zlib::Zlib;
#[cfg(feature = "zstd")]
pub use zstd::Zstd;

/// The largest page, in bytes, that any codec takes: 64 KiB, the largest page size that Linux has on our architectures.
pub const MAX_PAGE_SIZE: usize = 65536;

/// One way of storing a page.
pub trait Codec: Debug + Send + Sync + 'static {
    /// Name as in format names: "zlib", "lzo", "snappy", "zstd", "none".
    fn name(&self) -> &'static str;

    /// The bit in the kdump header's `status` and in a page descriptor's `flags`; 0 for pages stored as they are.
    ///
    /// Values as observed in files of makedumpfile 1.7.2 and QEMU 10.0.
    fn flag(&self) -> u32;

    /// One line for a list of formats: the level used, and which readers can decode it.
    fn about(&self) -> &'static str;

    /// The levels that it can be told to work at; `None` if it has no such thing.
    fn levels(&self) -> Option<RangeInclusive<i32>> {
        None
    }

    /// An encoder for pages of `page_size` bytes at a level of [`Codec::levels`], or at the codec's own choice.
    ///
    /// # Errors
    /// The page size is 0 or above [`MAX_PAGE_SIZE`], there is no such level, or the library has no memory.
    fn encoder_at(&self, page_size: usize, level: Option<i32>) -> Result<Box<dyn Encoder>, CodecError>;

    /// An encoder at the level that dumps have unless somebody wants another.
    ///
    /// # Errors
    /// As [`Codec::encoder_at`].
    fn encoder(&self, page_size: usize) -> Result<Box<dyn Encoder>, CodecError> {
        self.encoder_at(page_size, None)
    }

    /// A decoder for pages of `page_size` bytes.
    ///
    /// # Errors
    /// The page size is 0 or above [`MAX_PAGE_SIZE`], or the library has no memory.
    fn decoder(&self, page_size: usize) -> Result<Box<dyn Decoder>, CodecError>;
}

/// Compresses pages of one size, one after the other, without allocating for each.
pub trait Encoder: Send {
    /// Compresses `page` into the head of `out`, which is at least as long as the page.
    ///
    /// Answers the number of bytes used, always fewer than the page has; or `None` when the page does not shrink and is
    /// to be stored as it is (readers take a size equal to the page's for "not compressed"). What `out` holds behind those bytes is undefined.
    ///
    /// # Errors
    /// `page` has another length than the encoder was made for, `out` is shorter than the page, or the library failed.
    fn compress(&mut self, page: &[u8], out: &mut [u8]) -> Result<Option<usize>, CodecError>;
}

/// Decompresses pages of one size. Any bytes at all may be given to it.
pub trait Decoder: Send {
    /// Fills `page` exactly from all of `data`.
    ///
    /// # Errors
    /// `data` is damaged, holds more or less than the page, or goes on behind the end of its stream; or `page` has
    /// another length than the decoder was made for. `page` is then undefined.
    fn decompress(&mut self, data: &[u8], page: &mut [u8]) -> Result<(), CodecError>;
}

/// Every codec of this build.
pub static ALL: &[&dyn Codec] = &[
    &Zlib,
    &Lzo,
    &Snappy,
    #[cfg(feature = "zstd")]
    &Zstd,
    &Plain,
];

/// The codec called `name`.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Codec> {
    ALL.iter().copied().find(|codec| codec.name() == name)
}

/// The codec whose flag is `flag`, all other bits of a `status` masked off by the caller; 0 is [`Plain`].
#[must_use]
pub fn by_flag(flag: u32) -> Option<&'static dyn Codec> {
    ALL.iter().copied().find(|codec| codec.flag() == flag)
}

fn check_page_size(codec: &'static str, page_size: usize) -> Result<(), CodecError> {
    if (1..=MAX_PAGE_SIZE).contains(&page_size) {
        return Ok(());
    }
    Err(CodecError::PageSize { codec, page_size, max: MAX_PAGE_SIZE })
}

/// The level to work at: the one wanted, if the codec has it.
fn check_level(codec: &dyn Codec, level: Option<i32>, default: i32) -> Result<i32, CodecError> {
    let Some(level) = level else { return Ok(default) };
    match codec.levels() {
        Some(levels) if levels.contains(&level) => Ok(level),
        levels => Err(CodecError::Level { codec: codec.name(), level, levels }),
    }
}

fn check_page(codec: &'static str, page: &[u8], page_size: usize) -> Result<(), CodecError> {
    if page.len() == page_size {
        return Ok(());
    }
    Err(CodecError::PageLength { codec, given: page.len(), page_size })
}

/// The part of `out` that an encoder may fill: one byte less than the page, since output as long as the page is of no
/// use. The cap makes most libraries give up on incompressible pages before their end.
fn useful_room<'a>(codec: &'static str, page: &[u8], out: &'a mut [u8]) -> Result<&'a mut [u8], CodecError> {
    let given = out.len();
    let (needed, useful) = (page.len(), page.len().saturating_sub(1));
    match out.get_mut(..useful) {
        Some(room) if given >= needed => Ok(room),
        _ => Err(CodecError::OutputRoom { codec, given, needed }),
    }
}
