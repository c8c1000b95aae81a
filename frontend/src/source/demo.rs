//! Sample guests, built in memory: `guestdump dump demo:x86_64 -o vmcore` needs nothing else.
//!
//! A sample is a small machine with a fictional Linux kernel in it: RAM with a hole, video RAM, two vCPUs, page tables
//! that translate, VMCOREINFO, a `uts_namespace` and a log where it says; zero pages, equal pages, text and noise. All of it
//! follows from one [`Demo`], and is the same each time.
//!
//! Adding one: a file in `demo/` with a [`Demo`], and a line in [`ALL`]. What all samples have in common (where in the
//! main block things lie, and what is in them) lives in `demo/build.rs`.

mod aarch64;
mod build;
mod log;
mod ppc64;
mod riscv64;
mod s390x;
mod x86;

use guestdump_arch::paging::form::Level;
use guestdump_core::block::BlockKind;
use guestdump_core::guest::Guest;

/// A sample guest.
#[derive(Debug)]
pub struct Demo {
    /// Its name behind `demo:`, which is that of its architecture.
    pub name: &'static str,
    /// What it shows.
    pub summary: &'static str,
    /// Start, length in bytes, kind and name of its blocks.
    blocks: &'static [(u64, u64, BlockKind, &'static str)],
    /// Where its main block starts: 5 MiB with the kernel and most of the content.
    main: u64,
    /// What lies in other blocks.
    elsewhere: &'static [build::Piece],
    /// Virtual address of the kernel image.
    image_virt: u64,
    /// Virtual address where the kernel has all memory from physical address 0 on.
    linear_virt: u64,
    /// Size of a page of the linear map, as a power of two.
    linear_page_shift: u8,
    /// Virtual address of a few pages of user memory.
    user_virt: u64,
    /// A page-table entry.
    entry: fn(&Level, Link, u64) -> u64,
    /// An entry that maps nothing.
    empty_entry: u64,
    /// Machine code of a function that waits for an interrupt.
    idle: &'static [u8],
    /// Registers of each vCPU, by name.
    registers: fn() -> Vec<Vec<(String, u64)>>,
    /// What VMCOREINFO says beyond what every kernel says.
    vmcoreinfo: fn() -> String,
}

/// What a page-table entry is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    /// It points to the next table.
    Table,
    /// It maps memory of the kernel.
    Kernel,
    /// It maps memory of a user process.
    User,
}

/// Every sample guest.
pub static ALL: &[Demo] = &[x86::X86_64, x86::I386, aarch64::AARCH64, ppc64::PPC64, s390x::S390X, riscv64::RISCV64];

/// Names of all samples.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|demo| demo.name).collect()
}

/// The sample of that name or of the architecture that has this alias. Its VMCOREINFO is in its memory, to be found by
/// searching.
#[must_use]
pub fn guest(name: &str) -> Option<Guest> {
    let (arch, endian) = guestdump_core::arch::by_name(name)?;
    let demo = ALL.iter().find(|demo| demo.name == arch.identity().name)?;
    // A name that says a byte order (ppc64be) is for a guest of that order.
    let order = |guest: &Guest| guest.dump_info(&[]).ok().map(|info| info.endian);
    Some(build::guest(demo, arch)).filter(|guest| endian.is_none() || order(guest) == endian)
}

#[cfg(test)]
mod tests;
