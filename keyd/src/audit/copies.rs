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

    /// Whether what was put there is still where it was put.
    ///
    /// # Errors
    /// The system's, or what became of it.
    fn look(&mut self) -> std::io::Result<()>;

    /// Opens it again after it failed. What is there must be what was there.
    ///
    /// # Errors
    /// As [`Sink::look`].
    fn renew(&mut self) -> std::io::Result<()>;

    /// Begins it anew where it was moved away on purpose; it goes on with the next row.
    ///
    /// # Errors
    /// The system's; something else is in its place.
    fn rotate(&mut self) -> std::io::Result<()>;
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

    /// Whether a key may be used, as far as was seen the last time.
    ///
    /// # Errors
    /// [`Refused::AuditCopy`] if a copy is required and cannot be written.
    fn well(&self) -> Result<(), Failure> {
        let failing = self.followers.iter().filter(|_| self.required).find_map(|follower| {
            let status = follower.status();
            status.failing.map(|why| Refused::AuditCopy(status.path, why))
        });
        failing.map_or(Ok(()), |refused| Err(refused.into()))
    }

    /// Looks at the copies, if they are required, and says whether a key may be used.
    ///
    /// # Errors
    /// [`Refused::AuditCopy`] if one cannot be written, or is not what was written.
    pub fn ready(&self) -> Result<(), Failure> {
        self.followers.iter().filter(|_| self.required).for_each(Follower::look);
        self.well()
    }

    /// Begins each copy anew where it was moved away on purpose. Where they are; none if there is no copy.
    #[must_use]
    pub fn rotate(&self) -> Option<String> {
        self.followers.iter().for_each(Follower::rotate);
        let paths: Vec<String> = self.followers.iter().map(|copy| copy.status().path).collect();
        (!paths.is_empty()).then(|| paths.join(" "))
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
        if class == Class::Use { self.well() } else { Ok(()) }
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
