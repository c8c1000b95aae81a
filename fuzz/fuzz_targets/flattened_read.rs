//! libFuzzer's program for the target `flattened_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::dumps::flattened_read(data));
