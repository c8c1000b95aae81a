//! libFuzzer's program for the target `walk_s390x`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::forms::walk_s390x(data));
