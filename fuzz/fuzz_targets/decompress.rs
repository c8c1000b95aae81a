//! libFuzzer's program for the target `decompress`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::pages::decompress(data));
