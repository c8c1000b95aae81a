//! libFuzzer's program for the target `notes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::notes::notes(data));
