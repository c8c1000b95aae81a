//! libFuzzer's program for the target `walk_riscv64_sv57`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::forms::walk_riscv64_sv57(data));
