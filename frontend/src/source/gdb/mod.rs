//! gdb's remote protocol, as far as it reads registers: another way to ask a hypervisor for what its notes leave out.
//!
//! | file | what |
//! |---|---|
//! | `packet` | framing, checksums, escapes; what small replies say (pure functions) |
//! | `target` | target descriptions: names, numbers and widths of registers, from XML (pure functions) |
//! | `client` | one connection, every wait with an end |
//!
//! Nothing here lets a guest run, steps or changes it: the packets sent are `qSupported`, `qXfer:features:read`,
//! `qfThreadInfo`, `qsThreadInfo`, `Hg`, `g` and `p`. Who starts a gdbstub, and ends it, lives with the source.
//!
//! Source: Debugging with GDB, appendix E "gdb Remote Serial Protocol" and appendix G "Target Descriptions".

pub mod client;
pub mod packet;
pub mod target;

pub use client::{Client, GdbError};
pub use target::Register;
