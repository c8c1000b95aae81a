//! libFuzzer's program for the target `vmcoreinfo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::notes::vmcoreinfo(data));
