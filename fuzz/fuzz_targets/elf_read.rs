//! libFuzzer's program for the target `elf_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guestdump_fuzz::bodies::elf::elf_read(data));
