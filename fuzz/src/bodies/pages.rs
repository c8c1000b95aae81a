//! Codecs: any bytes into every decoder, any page through every encoder and back.

use guestdump_core::compress::{self, Codec, MAX_PAGE_SIZE};

use super::feed::{Feed, expand};
use super::memory_use::bounded;

/// A decoder's state and a page; the largest is zlib's.
const FIXED: usize = 1 << 20;

/// Bytes as if they were a compressed page: of the codec and the size that the first two bytes say.
pub fn decompress(data: &[u8]) {
    let feed = &mut Feed(data);
    let codec = feed.pick(compress::ALL);
    let page_size = 4096 << (feed.u8() % 5);
    let (first, second) = bounded(data.len(), 1, FIXED, || {
        let mut decoder = codec.decoder(page_size).expect("a page size that every codec takes");
        let mut page = vec![0xa5; page_size];
        let first = decoder.decompress(feed.0, &mut page).map(|()| page.clone());
        // What was decoded before does not matter.
        page.fill(0x5a);
        (first, decoder.decompress(feed.0, &mut page).map(|()| page))
    });
    assert_eq!(first, second, "{} decodes the same twice", codec.name());
    match first {
        Ok(page) => drop(there_and_back(codec, &page)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Bytes as pages: of the codec and the size that the first two bytes say.
pub fn compress(data: &[u8]) {
    let feed = &mut Feed(data);
    let codec = feed.pick(compress::ALL);
    let page_size = 4096 << (feed.u8() % 5);
    let mut bytes = expand(feed.0);
    bytes.truncate(2 * MAX_PAGE_SIZE);
    bytes.resize(bytes.len().next_multiple_of(page_size), 0);
    let mut used = codec.encoder(page_size).expect("a page size that every codec takes");
    for page in bytes.chunks(page_size) {
        let mut out = vec![0; page_size];
        let len = used.compress(page, &mut out).expect("room enough");
        let packed = there_and_back(codec, page);
        assert_eq!(len.map(|len| &out[..len]), packed.as_deref(), "{} depends on pages before", codec.name());
    }
}

/// What an encoder without a past makes of a page, if that is shorter than the page.
fn there_and_back(codec: &'static dyn Codec, page: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; page.len()];
    let mut encoder = codec.encoder(page.len()).expect("a page size that every codec takes");
    let len = encoder.compress(page, &mut out).expect("room enough")?;
    assert!(len < page.len(), "{}: {len} bytes for a page of {}", codec.name(), page.len());
    out.truncate(len);
    let mut back = vec![0xa5; page.len()];
    let mut decoder = codec.decoder(page.len()).expect("a page size that every codec takes");
    decoder.decompress(&out, &mut back).expect("our own stream");
    assert!(back == page, "{} gives another page back", codec.name());
    Some(out)
}
