//! libFuzzer's program for the target `kdump_fields`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::kdump::kdump_fields(data));
