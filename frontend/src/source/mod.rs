//! Where a guest comes from. One module for each kind of source, one line each in [`open`].

pub mod manifest;
pub mod qmp;

use std::time::Duration;

use guestdump_core::guest::Guest;

/// What a guest is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To look at it: a running guest is not kept stopped.
    Look,
    /// To dump it: a running guest is stopped until the session ends.
    Dump,
}

/// What ends with the use of a guest. Dropping it lets the guest go on as well.
pub trait Session: core::fmt::Debug {
    /// Lets a guest that ran before run again, and says for how long it stood still; `None` for a guest that cannot run
    /// (a file), zero for one that was paused all along.
    ///
    /// # Errors
    /// [`SourceError`] if the guest could not be told.
    fn finish(self: Box<Self>) -> Result<Option<Duration>, SourceError>;
}

/// A guest and what keeps it open.
#[derive(Debug)]
pub struct Opened {
    /// The guest.
    pub guest: Guest,
    /// What ends with its use.
    pub session: Box<dyn Session>,
}
