//! The audit log: JSON lines, one a decision or a use of a key, each carrying the SHA-256 of the line before.
//!
//! The number, hash and end of the newest line (the [`Head`]) are committed in the store, in the transaction of the
//! change that the line tells of. So an edit breaks the chain, and a cut breaks the head. A chain without a secret
//! does not stop one who may write both files: for that, copy the log to another host.

pub mod chain;
pub mod file;
pub mod recover;
pub mod tail;
pub mod verify;

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a record says, before it has a number and a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who: `uid:1000`, or `keyd` itself.
    pub who: String,
    /// What: a verb such as `key-disable`.
    pub operation: &'static str,
    /// On what: a name or an id.
    pub subject: String,
    /// `ok`, or the reason of the refusal.
    pub outcome: String,
    /// More. Never a secret.
    pub detail: String,
}

impl Entry {
    /// Something the daemon did of its own accord.
    #[must_use]
    pub fn by_daemon(operation: &'static str, subject: impl fmt::Display) -> Self {
        Self {
            who: "keyd".to_owned(),
            operation,
            subject: subject.to_string(),
            outcome: "ok".to_owned(),
            detail: String::new(),
        }
    }

    /// The same with another outcome.
    #[must_use]
    pub fn outcome(mut self, outcome: impl Into<String>) -> Self {
        self.outcome = outcome.into();
        self
    }

    /// The same with a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

/// Where the log ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the newest record; 0 if there is none.
    pub seq: u64,
    /// SHA-256 of its line, hexadecimal; zeros if there is none.
    pub hash: String,
    /// Length of the log to its end, bytes.
    pub len: u64,
}

impl Default for Head {
    fn default() -> Self {
        Self { seq: 0, hash: "0".repeat(64), len: 0 }
    }
}

/// What is wrong with a log, and where first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The first bad record's number.
    pub row: u64,
    /// What about it.
    pub what: Damage,
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
    /// It was never committed, yet is there.
    Surplus,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Damage::Changed => "was changed",
            Damage::NoRecord => "is not a record",
            Damage::Missing => "is missing",
            Damage::Surplus => "was not written by keyd",
        };
        write!(f, "row {} of the audit log {what}", self.row)
    }
}
