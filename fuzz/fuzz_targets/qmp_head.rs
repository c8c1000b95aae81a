//! libFuzzer's program for the target `qmp_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::monitor::qmp_head(data));
