//! libFuzzer's program for the target `set_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::dumps::set_read(data));
