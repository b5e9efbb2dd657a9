//! Whether the store may be changed, and by what.

use std::fmt;

use crate::{
    audit::{Class, Finding},
    error::{Failure, Fault, Refused},
    files::Loss,
};

/// How the store and its log are.
#[derive(Debug, Clone)]
pub(super) enum Health {
    Sound,
    /// A write failed.
    Poisoned,
    /// The audit log is not what was written.
    Broken(Break),
}

/// Why an audit log is not relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// A row is wrong.
    Found(Finding),
    /// A copy of the log goes further than the store and its log.
    OldStore {
        /// The store's newest row.
        store: u64,
        /// The copy's newest row.
        copy: u64,
    },
    /// The store is older than what was committed.
    LostCommit {
        /// The store's newest row.
        store: u64,
        /// The newest row that was committed.
        committed: u64,
    },
    /// One of its files was taken away from under this process.
    Taken(Loss),
    /// An earlier break beside which keys were taken away since, so that it is on record: its text.
    Recorded(String),
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(finding) => finding.fmt(f),
            Self::OldStore { store, copy } => write!(
                f,
                "an old store was put back: it ends with row {store} of the audit log, whose copy has row {copy}"
            ),
            Self::LostCommit { store, committed } => write!(
                f,
                "the store has lost its newest commits: it ends with row {store} of the audit log, and row {committed} was committed"
            ),
            Self::Taken(loss) => loss.fmt(f),
            Self::Recorded(text) => f.write_str(text),
        }
    }
}

impl Health {
    /// Whether something of a class may be recorded, and so done.
    pub(super) fn allows(&self, class: Class) -> Result<(), Failure> {
        match self {
            Self::Poisoned => Err(Fault::Poisoned.into()),
            Self::Broken(broken) if class != Class::Withdrawal => {
                Err(Refused::AuditBroken(broken.clone()).into())
            }
            Self::Sound | Self::Broken(_) => Ok(()),
        }
    }
}
