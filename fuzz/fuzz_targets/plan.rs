//! libFuzzer's program for the target `plan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::plans::plan(data));
