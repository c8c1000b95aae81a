//! libFuzzer's program for the target `kdump_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::kdump::kdump_read(data));
