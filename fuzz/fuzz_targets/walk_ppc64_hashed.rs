//! libFuzzer's program for the target `walk_ppc64_hashed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::forms::walk_ppc64_hashed(data));
