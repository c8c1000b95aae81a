//! Every codec from outside: round trips, pages that do not shrink, damaged data, streams of the C libraries, lzokay as a
//! second opinion on LZO.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use guestdump_core::compress::{self, ALL, Codec, CodecError, MAX_PAGE_SIZE};
use proptest::prelude::*;

// ---- pages ----

/// What a page is put together from.
#[derive(Debug, Clone)]
enum Piece {
    Fill(u8, usize),
    Noise(u64, usize),
    Text(usize),
    /// Page table entries: eight bytes that count up in the middle.
    Entries(u64, usize),
    /// A copy from so far back, in 65536ths of what is there.
    Back(u16, usize),
}

struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 56) as u8
    }
}

fn append(page: &mut Vec<u8>, piece: &Piece) {
    const TEXT: &[u8] =
        b"Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b CPU: 0 PID: 1 Comm: init ";
    match *piece {
        Piece::Fill(byte, len) => page.resize(page.len() + len, byte),
        Piece::Noise(seed, len) => {
            let mut noise = Noise(seed);
            page.extend(std::iter::repeat_with(|| noise.byte()).take(len));
        }
        Piece::Text(len) => page.extend(TEXT.iter().cycle().skip(page.len() % TEXT.len()).take(len)),
        Piece::Entries(first, count) => {
            (0..count as u64).for_each(|at| page.extend((first.wrapping_add(at << 12)).to_le_bytes()));
        }
        Piece::Back(part, len) => {
            let back = page.len() * usize::from(part) / 65536 + 1;
            (0..len).for_each(|_| page.push(page.len().checked_sub(back).map_or(0, |from| page[from])));
        }
    }
}

fn assemble(size: usize, pieces: &[Piece]) -> Vec<u8> {
    let mut page = Vec::new();
    while page.len() < size {
        pieces.iter().for_each(|piece| append(&mut page, piece));
    }
    page.truncate(size);
    page
}

fn any_piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        (any::<u8>(), 1..600_usize).prop_map(|(byte, len)| Piece::Fill(byte, len)),
        (any::<u64>(), 1..600_usize).prop_map(|(seed, len)| Piece::Noise(seed, len)),
        (1..400_usize).prop_map(Piece::Text),
        (any::<u64>(), 1..64_usize).prop_map(|(first, count)| Piece::Entries(first, count)),
        (any::<u16>(), 1..700_usize).prop_map(|(part, len)| Piece::Back(part, len)),
    ]
}

fn any_size() -> impl Strategy<Value = usize> {
    prop_oneof![Just(512), Just(4096), Just(4096), Just(16384), Just(MAX_PAGE_SIZE), 1..9000_usize, 40000..65536_usize]
}

fn any_page() -> impl Strategy<Value = Vec<u8>> {
    (any_size(), prop::collection::vec(any_piece(), 1..40)).prop_map(|(size, pieces)| assemble(size, &pieces))
}

/// Pages that cost a careless LZO encoder a thousand times the usual: short periods with noise in them, single bytes in
/// zeros, two letters only, many copies of the least length.
fn hostile_pages(size: usize) -> Vec<Vec<u8>> {
    let mut noise = Noise(1);
    let period: Vec<u8> = (0..size).map(|at| if noise.byte() < 16 { noise.byte() } else { (at % 3) as u8 }).collect();
    let sparse = (0..size).map(|_| if noise.byte() < 8 { noise.byte() } else { 0 }).collect();
    let two = (0..size).map(|_| noise.byte() & 1).collect();
    let four = (0..size).map(|_| noise.byte() & 3).collect();
    let short = (0..size).map(|at| if at % 5 == 4 { noise.byte() } else { (at % 5) as u8 }).collect();
    vec![period, sparse, two, four, short]
}

fn noise_page(size: usize) -> Vec<u8> {
    assemble(size, &[Piece::Noise(99, size)])
}

// ---- helpers ----

fn encode(codec: &dyn Codec, page: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0xee; page.len()];
    let len = codec.encoder(page.len()).unwrap().compress(page, &mut out).unwrap()?;
    assert!(len < page.len(), "{}: {len} of {} bytes", codec.name(), page.len());
    Some(out[..len].to_vec())
}

fn decode(codec: &dyn Codec, data: &[u8], size: usize) -> Result<Vec<u8>, CodecError> {
    let mut page = vec![0xdd; size];
    codec.decoder(size).unwrap().decompress(data, &mut page)?;
    Ok(page)
}

fn codec(name: &str) -> &'static dyn Codec {
    compress::by_name(name).unwrap()
}

fn round_trip(codec: &dyn Codec, page: &[u8]) -> Option<usize> {
    let data = encode(codec, page)?;
    assert_eq!(decode(codec, &data, page.len()).as_deref(), Ok(page), "{}", codec.name());
    Some(data.len())
}

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

// ---- the table ----

#[test]
fn names_and_flags_find_their_codec() {
    for wanted in ALL {
        assert_eq!(compress::by_name(wanted.name()).unwrap().flag(), wanted.flag());
        assert_eq!(compress::by_flag(wanted.flag()).unwrap().name(), wanted.name());
        assert!(!wanted.about().is_empty() && !wanted.about().contains('\n'));
    }
    let flags: Vec<_> = ["none", "zlib", "lzo", "snappy"].iter().map(|name| codec(name).flag()).collect();
    assert_eq!(flags, [0, 1, 2, 4]);
    assert!(compress::by_name("lz4").is_none() && compress::by_name("").is_none());
    assert!(compress::by_flag(8).is_none() && compress::by_flag(3).is_none());
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_has_its_flag() {
    assert_eq!(compress::by_flag(0x20).unwrap().name(), "zstd");
}

// ---- round trips ----

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_page_comes_back(page in any_page()) {
        for codec in ALL {
            round_trip(*codec, &page);
        }
    }

    #[test]
    fn a_page_becomes_the_same_bytes_whatever_came_before(page in any_page(), before in any::<u64>()) {
        for codec in ALL {
            let (mut first, mut second) = (vec![0; page.len()], vec![0xff; page.len()]);
            let mut encoder = codec.encoder(page.len()).unwrap();
            let other = assemble(page.len(), &[Piece::Text(300), Piece::Noise(before, 300)]);
            let fresh = encoder.compress(&page, &mut first).unwrap();
            encoder.compress(&other, &mut second).unwrap();
            encoder.compress(&noise_page(page.len()), &mut second).unwrap();
            let again = encoder.compress(&page, &mut second).unwrap();
            prop_assert_eq!(fresh, again);
            prop_assert_eq!(&first[..fresh.unwrap_or(0)], &second[..fresh.unwrap_or(0)]);
        }
    }

    #[test]
    fn lzokay_reads_ours_and_we_read_lzokays(page in any_page().prop_filter("lzokay is slow", |page| page.len() < 20000)) {
        let lzo = codec("lzo");
        if let Some(data) = encode(lzo, &page) {
            prop_assert_eq!(&lzokay_native::decompress_all(&data, Some(page.len())).unwrap(), &page);
        }
        let theirs = lzokay_native::compress(&page).unwrap();
        prop_assert_eq!(decode(lzo, &theirs, page.len()), Ok(page));
    }
}

#[test]
fn usual_pages_shrink() {
    for size in [512, 4096, 16384, MAX_PAGE_SIZE, 4095, 4097, 12345] {
        let pages = [
            vec![0; size],
            vec![0xff; size],
            assemble(size, &[Piece::Text(size)]),
            assemble(size, &[Piece::Noise(5, 37), Piece::Back(65535, 37)]),
            assemble(size, &[Piece::Entries(0x8000_0000_0012_3063, size / 8 + 1)]),
        ];
        for codec in ALL.iter().filter(|codec| codec.flag() != 0) {
            for (at, page) in pages.iter().enumerate() {
                let len = round_trip(*codec, page).unwrap_or(size);
                assert!(len * 4 < size * 3, "{} page {at}: {len} of {size}", codec.name());
            }
        }
    }
}

#[test]
fn noise_does_not_shrink() {
    for size in [1, 2, 7, 64, 512, 4096, MAX_PAGE_SIZE] {
        ALL.iter().for_each(|codec| assert_eq!(encode(*codec, &noise_page(size)), None, "{} {size}", codec.name()));
    }
}

#[test]
fn plain_pages_never_shrink() {
    assert_eq!(encode(codec("none"), &[0; 4096]), None);
    let page = noise_page(4096);
    assert_eq!(decode(codec("none"), &page, 4096), Ok(page));
}

/// Lengths just around what fits are where an encoder that is told to stop may go wrong.
#[test]
fn pages_that_hardly_shrink_come_back() {
    for codec in ALL {
        for zeros in 0..200 {
            round_trip(*codec, &assemble(4096, &[Piece::Noise(zeros as u64, 4096 - zeros), Piece::Fill(0, zeros)]));
        }
    }
}

/// A guest chooses what its pages hold, and must not be able to choose how long its dump takes. The limit is twenty times
/// what these pages cost without optimisation; a search that is quadratic in the page would pass it hundreds of times over.
#[test]
fn hostile_pages_do_not_slow_lzo_down() {
    let started = Instant::now();
    for page in hostile_pages(MAX_PAGE_SIZE).iter().cycle().take(100) {
        encode(codec("lzo"), page);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    for page in [hostile_pages(4096), hostile_pages(MAX_PAGE_SIZE)].concat() {
        for codec in ALL {
            round_trip(*codec, &page);
        }
    }
}

// ---- damaged data ----

#[derive(Debug, Clone)]
enum Damage {
    Set(usize, u8),
    Cut(usize),
    Append(Vec<u8>),
    Remove(usize),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => any::<usize>().prop_map(Damage::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Damage::Append),
        1 => any::<usize>().prop_map(Damage::Remove),
    ]
}

fn damage(data: &mut Vec<u8>, damage: &Damage) {
    let len = data.len().max(1);
    match damage {
        Damage::Set(at, byte) => data.iter_mut().skip(at % len).take(1).for_each(|old| *old = *byte),
        Damage::Cut(at) => data.truncate(at % len),
        Damage::Append(more) => data.extend(more),
        Damage::Remove(at) => drop(data.drain((at % len).min(data.len())..((at % len) + 1).min(data.len()))),
    }
}

/// An error whose text is like the others: no capital at its start, no full stop, numbers in it.
fn well_put(error: &CodecError) -> bool {
    let text = error.to_string();
    !text.starts_with(char::is_uppercase) && !text.ends_with('.') && text.contains(|c: char| c.is_ascii_digit())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn damage_never_panics(page in any_page(), damages in prop::collection::vec(any_damage(), 1..6)) {
        for codec in ALL {
            let Some(mut data) = encode(*codec, &page) else { continue };
            damages.iter().for_each(|one| damage(&mut data, one));
            if let Err(error) = decode(*codec, &data, page.len()) {
                prop_assert!(well_put(&error), "{}", error);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..600), size in 1..2000_usize) {
        for codec in ALL {
            if let Err(error) = decode(*codec, &data, size) {
                prop_assert!(well_put(&error), "{}", error);
            }
        }
    }

    /// Bytes that are likelier to be LZO instructions than any bytes are.
    #[test]
    fn random_lzo_instructions_never_panic(data in prop::collection::vec(prop_oneof![0..4_u8, 16..40_u8, any::<u8>()], 0..300)) {
        for size in [1, 64, 4096] {
            let _ = decode(codec("lzo"), &data, size);
        }
    }
}

#[test]
fn every_cut_is_an_error() {
    let page = assemble(4096, &[Piece::Text(200), Piece::Noise(3, 100), Piece::Fill(0, 700)]);
    for codec in ALL.iter().filter(|codec| codec.flag() != 0) {
        let data = encode(*codec, &page).unwrap();
        for len in 0..data.len() {
            let error = decode(*codec, &data[..len], page.len()).expect_err(codec.name());
            assert!(well_put(&error), "{error}");
        }
    }
}

#[test]
fn a_longer_or_shorter_page_is_an_error() {
    let page = assemble(4096, &[Piece::Text(4096)]);
    for codec in ALL.iter().filter(|codec| codec.flag() != 0) {
        let data = encode(*codec, &page).unwrap();
        for size in [1, 4000, 4095, 4097, 8192] {
            decode(*codec, &data, size).expect_err(codec.name());
        }
    }
}

#[test]
fn data_behind_the_stream_is_an_error() {
    for codec in ALL.iter().filter(|codec| codec.flag() != 0) {
        let mut data = encode(*codec, &[7; 4096]).unwrap();
        data.push(0);
        decode(*codec, &data, 4096).expect_err(codec.name());
    }
}

#[test]
fn wrong_lengths_are_refused() {
    for codec in ALL {
        assert!(matches!(codec.encoder(0), Err(CodecError::PageSize { page_size: 0, .. })));
        assert!(matches!(codec.decoder(MAX_PAGE_SIZE + 1), Err(CodecError::PageSize { page_size: 65537, .. })));
        let (mut encoder, mut decoder) = (codec.encoder(4096).unwrap(), codec.decoder(4096).unwrap());
        let error = encoder.compress(&[0; 4095], &mut [0; 4096]).unwrap_err();
        assert_eq!(error, CodecError::PageLength { codec: codec.name(), given: 4095, page_size: 4096 });
        let error = encoder.compress(&[0; 4096], &mut [0; 4095]).unwrap_err();
        assert_eq!(error, CodecError::OutputRoom { codec: codec.name(), given: 4095, needed: 4096 });
        let error = decoder.decompress(&[0; 9], &mut [0; 4097]).unwrap_err();
        assert_eq!(error, CodecError::PageLength { codec: codec.name(), given: 4097, page_size: 4096 });
    }
}

/// A page that fails leaves nothing behind for the next.
#[test]
fn decoders_and_encoders_go_on_after_a_failure() {
    let page = assemble(4096, &[Piece::Text(100), Piece::Noise(2, 100)]);
    for codec in ALL.iter().filter(|codec| codec.flag() != 0) {
        let data = encode(*codec, &page).unwrap();
        let (mut back, mut decoder) = (vec![0; 4096], codec.decoder(4096).unwrap());
        decoder.decompress(&data[..data.len() / 2], &mut back).expect_err(codec.name());
        decoder.decompress(&data, &mut back).unwrap();
        assert_eq!(back, page, "{}", codec.name());
    }
}

// ---- LZO, instruction by instruction ----

fn lzo(data: &[u8], size: usize) -> Result<Vec<u8>, CodecError> {
    decode(codec("lzo"), data, size)
}

#[test]
fn lzo_instructions_mean_what_the_description_says() {
    let cases: [(&[u8], &[u8]); 8] = [
        // four literals first, in either way of saying so
        (b"\x15abcd\x11\0\0", b"abcd"),
        (b"\x01abcd\x11\0\0", b"abcd"),
        // 3 bytes from 4 back, then one literal; with it, `00` copies two bytes from 1 back, and one more literal
        (b"\x15abcd\x4d\0X\x01\0Y\x11\0\0", b"abcdabcXXXY"),
        // 8 bytes from 1 back
        (b"\x15abcd\xe0\0\x11\0\0", b"abcddddddddd"),
        // 2 + 4 bytes from 2 back, two literals
        (b"\x15abcd\x24\x06\0YZ\x11\0\0", b"abcdcdcdcdYZ"),
        // 33 + 1 bytes from 1 back, length in an extension
        (b"\x15abcd\x20\x01\0\0\x11\0\0", b"abcddddddddddddddddddddddddddddddddddd"),
        // two literals to start with
        (b"\x13ab\x40\0\x11\0\0", b"abbbb"),
        // a run of 18 + 1 literals
        (b"\0\x01abcdefghijklmnopqrs\x11\0\0", b"abcdefghijklmnopqrs"),
    ];
    for (data, page) in cases {
        assert_eq!(lzo(data, page.len()).as_deref(), Ok(page), "{data:x?}");
        assert_eq!(lzokay_native::decompress_all(data, Some(page.len())).unwrap(), page, "{data:x?}");
    }
}

#[test]
fn lzo_errors_name_the_place() {
    assert_eq!(lzo(b"", 4), Err(CodecError::LzoCut { data_at: 0, data_len: 0, missing: 1 }));
    assert_eq!(lzo(b"\x15ab", 4), Err(CodecError::LzoCut { data_at: 1, data_len: 3, missing: 2 }));
    assert_eq!(lzo(b"\x15abcd", 4), Err(CodecError::LzoCut { data_at: 5, data_len: 5, missing: 1 }));
    assert_eq!(lzo(b"\x15abcd", 3), Err(CodecError::LzoOverrun { data_at: 5, len: 4, page_at: 0, page_len: 3 }));
    assert_eq!(lzo(b"\x15abcd\x50\0", 9), Err(CodecError::LzoDistance { data_at: 7, distance: 5, page_at: 4 }));
    assert_eq!(lzo(b"\x15abcd\x40\0", 6), Err(CodecError::LzoOverrun { data_at: 7, len: 3, page_at: 4, page_len: 6 }));
    let short = CodecError::Length { codec: "lzo", data_len: 8, decoded: 4, page_len: 5 };
    assert_eq!(lzo(b"\x15abcd\x11\0\0", 5), Err(short));
    assert_eq!(lzo(b"\x15abcd\x11\0\0+", 4), Err(CodecError::Trailing { codec: "lzo", used: 8, data_len: 9 }));
}

/// Sixteen million zeros in an extension are a length of four thousand million.
#[test]
fn lzo_lengths_may_be_absurd() {
    let mut data = vec![0; 1 << 24];
    data.push(1);
    assert!(matches!(lzo(&data, 4096), Err(CodecError::LzoCut { .. })));
    data[0] = 0x15;
    data[5] = 0x20;
    assert!(matches!(lzo(&data, 4096), Err(CodecError::LzoCut { .. } | CodecError::LzoOverrun { .. })));
}

// ---- streams of the C libraries ----

/// The page behind the golden streams. The program that made them builds it from the same steps.
fn golden_page(size: usize) -> Vec<u8> {
    let mut page = Golden { bytes: Vec::new(), noise: 1 };
    page.noise(24).back(24, 5).noise(2).back(9, 2).noise(1).back(20, 3).noise(5).back(3, 40);
    page.fill(0x41, 300).noise(20).back(350, 9).noise(3);
    if size >= 4096 {
        page.fill(0x42, 2100).noise(4).back(2300, 3).noise(4).back(2450, 3).noise(1).back(2500, 30);
    }
    if size > 16384 {
        page.fill(0, 17000).noise(6).back(19000, 7).noise(2).back(19500, 60);
        page.fill(7, 20000).noise(5).back(39000, 33).noise(7).back(36800, 4);
    }
    page.bytes.resize(size, 0);
    page.bytes
}

struct Golden {
    bytes: Vec<u8>,
    noise: u32,
}

impl Golden {
    fn noise(&mut self, len: usize) -> &mut Self {
        for _ in 0..len {
            self.noise = self.noise.wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7fff_ffff;
            self.bytes.push((self.noise >> 16) as u8);
        }
        self
    }

    fn fill(&mut self, byte: u8, len: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len() + len, byte);
        self
    }

    fn back(&mut self, distance: usize, len: usize) -> &mut Self {
        (0..len).for_each(|_| self.bytes.push(self.bytes[self.bytes.len() - distance]));
        self
    }
}

fn check_golden(name: &str, stream: &str, size: usize) {
    assert_eq!(decode(codec(name), &from_hex(stream), size), Ok(golden_page(size)), "{name} {size}");
}

#[test]
fn streams_of_the_c_libraries_decode() {
    check_golden("zlib", ZLIB_512, 512);
    check_golden("lzo", LZO_1_512, 512);
    check_golden("lzo", LZO_999_4096, 4096);
    check_golden("lzo", LZO_1_65536, 65536);
    check_golden("snappy", SNAPPY_512, 512);
}

#[cfg(feature = "zstd")]
#[test]
fn frames_of_libzstd_decode() {
    check_golden("zstd", ZSTD_512, 512);
    check_golden("zstd", ZSTD_NO_SIZE_512, 512);
}

/// RFC 8878, 3.1.1.1: the content size is there if the frame header's top two bits or its single-segment bit are set.
#[cfg(feature = "zstd")]
#[test]
fn zstd_frames_say_how_long_the_page_is() {
    for size in [512, 4096, MAX_PAGE_SIZE] {
        let data = encode(codec("zstd"), &golden_page(size)).unwrap();
        assert_eq!(data[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_ne!(data[4] & 0xe0, 0);
    }
}

/// A window of 3.75 TiB, the most that a frame header can ask for.
#[cfg(feature = "zstd")]
#[test]
fn zstd_windows_are_not_allocated() {
    let mut data = from_hex(ZSTD_NO_SIZE_512);
    data[5] = 0xff;
    assert!(decode(codec("zstd"), &data, 512).is_err_and(|error| matches!(error, CodecError::ZstdDamaged { .. })));
}

/// Both wrapper bytes as RFC 1950 wants them, since readers call `uncompress`.
#[test]
fn zlib_streams_have_their_wrapper() {
    let data = encode(codec("zlib"), &golden_page(4096)).unwrap();
    assert_eq!(data[0], 0x78);
    assert_eq!(u16::from_be_bytes([data[0], data[1]]) % 31, 0);
}

/// Python 3.11 on zlib 1.2.13: `zlib.compress(page, 1)`.
const ZLIB_512: &str = "\
    78013b56d798edfdfbd1ef906f7befd7c83c6c67dc6f782fac88dffd18483c3d8ddfbd1d2816b9aac3269258e4380a880e815761c2d5\
    975a17deb00909d5375f971a7d8ba972063ca4cf3c9662a03900008a1a7e66\
";

/// liblzo2 2.10, `lzo1x_1_compress`.
const LZO_1_512: &str = "\
    0006c67e816b4bfbe2fb54f6bddf7c1ce18701bf31de56720f479c020a67660f4787e1870159aa883c59200709004120000b00000002\
    ea56137bd285a1d83c54552f37ae655bda02799827a40501cce31a00203300000a00000000000000000000000000110000\
";

/// liblzo2 2.10, `lzo1x_999_compress`: uses both copies with a first byte below 16.
const LZO_999_4096: &str = "\
    29c67e816b4bfbe2fb54f6bddf7c1ce18701bf31de56720f479e0267660102874c020259aa883c59200709004120000b00000002ea56\
    137bd285a1d83c54552f37ae655bda02799827200501cce31a422000000000000000e600002012000001768e5fd9081601998f1f3f05\
    11363c0d2700200000000000e40000110000\
";

/// liblzo2 2.10, `lzo1x_1_compress`: uses far copies, with and without the `H` bit.
const LZO_1_65536: &str = "\
    0006c67e816b4bfbe2fb54f6bddf7c1ce18701bf31de56720f479c020a67660f4787e1870159aa883c59200709004120000b00000002\
    ea56137bd285a1d83c54552f37ae655bda02799827a40501cce31a422000000000000000001a00000c768e5fd9414141998f1f3f883c\
    59363c0d2700200000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    0000000000000000000000000000000000000088000003ee43784d0dfa153a2bbea6163431102bad3007200000000000000000000000\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    000000000000000000000000004c000002dae4868edc15a83938180004296d4eff56e170180000000000000000000000000000000000\
    000000000000000000000000000000000000000010fc430b000000000000000000000000000020000000000000000000000000000000\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000b00000001\
    00000000000000000000000000000000000000110000\
";

/// libsnappy 1.1.9, `snappy_compress`.
const SNAPPY_512: &str = "\
    80045cc67e816b4bfbe2fb54f6bddf7c1ce18701bf31de56720f4705183067660f4787e1870159aa883c599e03000041fe0100fe0100\
    fe0100fe0100aa01004cea56137bd285a1d83c54552f37ae655bda027998356a0ccce31a00fe0100820100\
";

/// libzstd 1.5.4, `ZSTD_compress(.., 1)`.
#[cfg(feature = "zstd")]
const ZSTD_512: &str = "\
    28b52ffd6000019d02003404c67e816b4bfbe2fb54f6bddf7c1ce18701bf31de56720f47c67e816b4b67660f4787e1870159aa883c59\
    41ea56137bd285a1d83c54552f37ae655bda027998cce31a0004008e4f426d158c8253af5aba32\
";

/// libzstd 1.5.4, `ZSTD_compressStream2` with `ZSTD_c_contentSizeFlag` 0: nothing says how long the page is.
#[cfg(feature = "zstd")]
const ZSTD_NO_SIZE_512: &str = "\
    28b52ffd00589d02003404c67e816b4bfbe2fb54f6bddf7c1ce18701bf31de56720f47c67e816b4b67660f4787e1870159aa883c5941\
    ea56137bd285a1d83c54552f37ae655bda027998cce31a0004008e4f426d158c8253af5aba32\
";
