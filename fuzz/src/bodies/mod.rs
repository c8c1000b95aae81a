//! What the fuzzer runs: one function for each target, and the table of them. Included by path in
//! `frontend/tests/fuzz_replay.rs`, so that nothing here names a crate that the program's tests do not have.
//!
//! A body panics where something that must hold does not. Bodies go over the tables of architectures, formats and
//! codecs and name none of their rows: what is added there is fuzzed.

pub mod dmesg;
pub mod dumps;
pub mod elf;
pub mod feed;
pub mod forms;
pub mod kdump;
pub mod machine;
pub mod memory_use;
pub mod monitor;
pub mod notes;
pub mod pages;
pub mod plans;
pub mod texts;
pub mod writing;

/// A target: its name, which is that of its program and of its folder of seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub static TARGETS: &[Target] = &[
    ("elf_read", elf::elf_read),
    ("elf_fields", elf::elf_fields),
    ("kdump_read", kdump::kdump_read),
    ("kdump_fields", kdump::kdump_fields),
    ("flattened_read", dumps::flattened_read),
    ("set_read", dumps::set_read),
    ("image_read", dumps::image_read),
    ("vmcoreinfo", notes::vmcoreinfo),
    ("notes", notes::notes),
    ("walk", machine::walk),
    ("walk_x86_32", forms::walk_x86_32),
    ("walk_x86_pae", forms::walk_x86_pae),
    ("walk_x86_4level", forms::walk_x86_4level),
    ("walk_x86_5level", forms::walk_x86_5level),
    ("walk_aarch64_4k", forms::walk_aarch64_4k),
    ("walk_aarch64_16k", forms::walk_aarch64_16k),
    ("walk_aarch64_64k", forms::walk_aarch64_64k),
    ("walk_aarch64_52bit", forms::walk_aarch64_52bit),
    ("walk_ppc64_radix", forms::walk_ppc64_radix),
    ("walk_ppc64_hashed", forms::walk_ppc64_hashed),
    ("walk_riscv64_sv39", forms::walk_riscv64_sv39),
    ("walk_riscv64_sv48", forms::walk_riscv64_sv48),
    ("walk_riscv64_sv57", forms::walk_riscv64_sv57),
    ("walk_s390x", forms::walk_s390x),
    ("kernel", machine::kernel),
    ("dmesg", dmesg::dmesg),
    ("plan", plans::plan),
    ("decompress", pages::decompress),
    ("compress", pages::compress),
    ("manifest", texts::manifest),
    ("numbers", texts::numbers),
    ("qmp_wire", monitor::qmp_wire),
    ("qmp_replies", monitor::qmp_replies),
    ("qmp_head", monitor::qmp_head),
];
