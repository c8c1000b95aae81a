//! ELF core files: [`layout`] decides offsets, [`write`] makes headers, [`read`] goes the way back. Headers are encoded
//! and decoded by the `object` crate.

pub mod layout;
mod memory;
pub mod read;
pub mod write;
