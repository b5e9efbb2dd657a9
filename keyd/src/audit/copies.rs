//! Copies of the log in other places, row by row behind each commit: a file, the system's log.
//!
//! A row goes to a copy after its transaction was committed and before anybody is told: what the copy has was
//! committed. So a file that is a copy is the log's *anchor*: if it goes further than store and log do, both are old
//! ones that were put back. A copy that cannot be written says so, and catches up from the log when it can.

mod file;
mod follow;
mod syslog;

pub use file::{CopyError, CopyFile};
pub use follow::{Follower, Place, place_of};
pub use syslog::Syslog;

use keyd_client::message::AuditCopyStatus;

use super::{Class, Head};
use crate::error::{Failure, Refused};

/// Where a copy of the log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Number of its newest row.
    pub seq: u64,
    /// SHA-256 of that row's line, hexadecimal.
    pub hash: String,
}

/// Somewhere rows can be copied to.
pub trait Sink: Send {
    /// Where it is.
    fn path(&self) -> String;

    /// Takes a row's line, without its end. It need not be durable yet.
    ///
    /// # Errors
    /// The system's.
    fn put(&mut self, line: &[u8], refused: bool) -> std::io::Result<()>;

    /// Makes all before durable.
    ///
    /// # Errors
    /// The system's.
    fn settle(&mut self) -> std::io::Result<()>;

    /// Opens it again after it failed.
    ///
    /// # Errors
    /// The system's.
    fn renew(&mut self) -> std::io::Result<()>;
}

/// All copies.
#[derive(Debug, Default)]
pub struct Copies {
    followers: Vec<Follower>,
    required: bool,
}

impl Copies {
    /// Copies that follow; whether keys are used only if all of them can be written.
    #[must_use]
    pub fn new(followers: Vec<Follower>, required: bool) -> Self {
        Self { followers, required }
    }

    /// Whether a key may be used.
    ///
    /// # Errors
    /// [`Refused::AuditCopy`] if a copy is required and cannot be written.
    pub fn ready(&self) -> Result<(), Failure> {
        let failing = self.followers.iter().filter(|_| self.required).find_map(|follower| {
            let status = follower.status();
            status.failing.map(|why| Refused::AuditCopy(status.path, why))
        });
        failing.map_or(Ok(()), |refused| Err(refused.into()))
    }

    /// Has all copies brought up to a committed row, and waits for them, for a while.
    ///
    /// # Errors
    /// [`Refused::AuditCopy`] for a use of a key, if a copy is required and did not follow.
    pub fn follow(&self, head: &Head, class: Class) -> Result<(), Failure> {
        for follower in &self.followers {
            follower.announce(head);
        }
        for follower in &self.followers {
            follower.wait(head.seq);
        }
        if class == Class::Use { self.ready() } else { Ok(()) }
    }

    /// Whether all have a row.
    ///
    /// # Errors
    /// [`Refused::NotCopied`].
    pub fn have(&self, row: u64) -> Result<(), Failure> {
        let behind = self.followers.iter().map(Follower::status).find(|s| s.newest < row);
        behind.map_or(Ok(()), |status| Err(Refused::NotCopied(row, status.path).into()))
    }

    /// How each is.
    #[must_use]
    pub fn status(&self) -> Vec<AuditCopyStatus> {
        self.followers.iter().map(Follower::status).collect()
    }
}
