//! libFuzzer's program for the target `walk_x86_4level`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::forms::walk_x86_4level(data));
