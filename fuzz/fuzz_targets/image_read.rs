//! libFuzzer's program for the target `image_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::dumps::image_read(data));
