//! The engine of guestdump: no sockets, no command line, no unsafe code.
//!
//! ```text
//! Guest ──> Plan ──> run ──> Sink
//! ```
//!
//! A [`guest::Guest`] comes from a source. A plan says every byte that can be known before memory is read, may refuse,
//! and costs nothing. Running it is the only bulk I/O.

pub mod arch;
pub mod block;
pub mod guest;
pub mod vmcoreinfo;
