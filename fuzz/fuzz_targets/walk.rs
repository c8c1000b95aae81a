//! libFuzzer's program for the target `walk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::machine::walk(data));
