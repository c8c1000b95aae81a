//! The engine of guestdump: no sockets, no command line, no unsafe code.
//!
//! ```text
//! Guest ──> Plan ──> run ──> Sink
//! ```
//!
//! A [`guest::Guest`] comes from a source. A [`plan::Plan`] says every byte that can be known before memory is read, may
//! refuse, and costs nothing. [`run::run`] is the only bulk I/O.

pub mod arch;
pub mod block;
pub mod compress;
pub mod filter;
pub mod format;
pub mod guest;
pub mod kernel;
pub mod plan;
pub mod run;
pub mod sink;
pub mod verify;
pub mod vmcoreinfo;
