//! libFuzzer's program for the target `walk_aarch64_4k`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::forms::walk_aarch64_4k(data));
