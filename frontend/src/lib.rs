//! guestdump, the program, as a library: sources of guests, sinks, and the command line.
//!
//! The engine is `guestdump-core`; everything that touches the operating system is here.

pub mod cli;
pub mod number;
pub mod output;
pub mod progress;
pub mod signals;
pub mod source;
