//! What a guest architecture is.
//!
//! This crate is the contract between the engine (`guestdump-core`) and the crates that are an architecture each. It
//! knows no architecture, no file format and no operating system of the host.
//!
//! # Adding an architecture, by level of support
//!
//! 1. **Memory and registers** (every reader opens the dump): a folder `arch/NAME` with `registers.rs` (one list),
//!    `notes.rs` (rows for each note, with the source of every offset) and `lib.rs` (`Identity`, [`Arch::dump_info`]);
//!    one line in `core/src/arch.rs` and the dependency line in `core/Cargo.toml`.
//! 2. **Translation** (`walk`, paging dumps, reading kernel data): `paging.rs` with forms and roots. A form is data and
//!    a function that decodes one entry; the walker is here and is the only one.
//! 3. **Linux**: `linux.rs`, where the image and the linear map lie, so that utsname and readers that cannot walk this
//!    architecture's tables are served.
//!
//! `tests/conformance.rs` of each is one line: [`conformance!`] runs the same suite over every architecture.

pub mod abi;
pub mod addr;
pub mod arch;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod linux;
pub mod memory;
pub mod note;
pub mod paging;
pub mod register;

pub use abi::{CAbi, Class, Endian};
pub use addr::{Pfn, PhysAddr, PhysRange, VirtAddr, VirtRange};
pub use arch::{Arch, ArchError, DumpInfo, GuestFacts, Identity, Space};
pub use linux::{KernelFacts, LinearMap, LinuxLayout};
pub use memory::{Extent, MemoryError, PhysMemory, Presence};
pub use note::{Content, LayoutFor, NoteKind, NoteLayout, Row};
pub use paging::{Paging, Spans};
pub use register::{Reg, RegDef, RegisterError, Registers, Saved, Vcpu};
