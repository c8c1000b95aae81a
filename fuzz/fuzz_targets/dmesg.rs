//! libFuzzer's program for the target `dmesg`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::dmesg::dmesg(data));
