//! libFuzzer's program for the target `numbers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::texts::numbers(data));
