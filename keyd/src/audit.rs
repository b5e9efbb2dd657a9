//! The audit log: JSON lines, one a decision or a use of a key, each carrying the SHA-256 of the line before.
//!
//! The lines lie in files, *segments*: `audit.log` grows; when it is long enough it becomes `audit-<first row>.log` and
//! a new one begins. The chain goes on across them. Where it begins and ends ([`Begin`], [`Head`]) is committed in the
//! store, the end in the transaction of the change that the newest line tells of. So an edit breaks the chain, a cut
//! breaks the head. A chain without a secret does not stop one who may write both the log and the store: one of the
//! [`copies`] elsewhere does.

pub mod archive;
pub mod chain;
pub mod copies;
pub mod entry;
pub mod judge;
pub mod lines;
pub mod recover;
pub mod segments;
pub mod tail;
pub mod verify;
pub mod writer;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use entry::{Class, Entry};

/// What stands for the hash of the row before the first.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Where the log begins: older rows were archived, or given up with a break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Number of the oldest row.
    pub seq: u64,
    /// SHA-256 of the row before it, hexadecimal; zeros if there never was one.
    pub previous: String,
}

impl Default for Begin {
    fn default() -> Self {
        Self { seq: 1, previous: NO_HASH.to_owned() }
    }
}

/// Where the log ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the newest row; 0 if there is none.
    pub seq: u64,
    /// SHA-256 of its line, hexadecimal; zeros if there is none.
    pub hash: String,
    /// Number of the first row of the segment it lies in.
    pub segment: u64,
    /// Length of that segment to the row's end, bytes.
    pub len: u64,
}

impl Default for Head {
    fn default() -> Self {
        Self { seq: 0, hash: NO_HASH.to_owned(), segment: 1, len: 0 }
    }
}

impl Head {
    /// The same row, with the next one to come in a segment of its own.
    #[must_use]
    pub fn in_new_segment(&self) -> Self {
        Self { segment: self.seq + 1, len: 0, ..self.clone() }
    }
}

/// What is wrong with a log, and where first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The first bad row's number.
    pub row: u64,
    /// What about it.
    pub what: Damage,
    /// Where: `in audit.log`, or between which files.
    pub place: String,
}

/// Kinds of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Its line differs from what was written.
    Changed,
    /// Its line is no record.
    NoRecord,
    /// It is not there.
    Missing,
    /// It was never committed, yet is there: keyd did not write it, or the store is older than the log.
    Surplus,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Damage::Changed => "was changed",
            Damage::NoRecord => "is not a record",
            Damage::Missing => "is missing",
            Damage::Surplus => "was not committed by this store",
        };
        write!(f, "row {} of the audit log {what}, {}", self.row, self.place)
    }
}
