//! libFuzzer's program for the target `kernel`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: guestdump_fuzz::repeatable::no_workers(), |data: &[u8]| guestdump_fuzz::bodies::machine::kernel(data));
