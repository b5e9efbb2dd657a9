//! The two ways an operation ends badly: [`Refused`] is the asker's to mend and told in full; [`Fault`] is the
//! daemon's, told coarsely to the asker and in full to the log.

mod not_followed;
mod refused;
mod time;

use std::io;

use keyd_client::dek::{DekError, page::PageError};
use thiserror::Error;

pub use not_followed::{NotFollowed, Why};
pub use refused::{PolicyFault, Refused};
pub use time::Time;

use crate::{audit::copies::CopyError, hsm::HsmError, kek::KekError, root::RootError};

/// What went wrong inside.
#[derive(Debug, Error)]
pub enum Fault {
    /// The database.
    #[error("the store: {0}")]
    Database(#[source] Box<redb::Error>),
    /// A file of the state directory.
    #[error("the state directory: {0}")]
    StateFile(#[source] io::Error),
    /// A stored record that is not what was written there.
    #[error("{0} is damaged in the store")]
    Damaged(String),
    /// A store that cannot be read at all.
    #[error(
        "store.redb cannot be read: {0}; nothing of it was changed; put the state directory back from a copy, or make a new one of a backup with 'keyd restore'"
    )]
    Unreadable(String),
    /// A store that was written under another root key.
    #[error(
        "the root key is another one than the store was written with: put back the copy that belongs with the other"
    )]
    OtherRoot,
    /// A store without a byte in it.
    #[error(
        "store.redb is empty, it was emptied by something else: put it back, or restore a backup by 'keyd restore' into another state directory"
    )]
    EmptyStore,
    /// No store where there was one.
    #[error(
        "store.redb is missing, and the audit log is there: it was removed or moved away, and none is made in its place; put it back, or restore a backup by 'keyd restore' into another state directory"
    )]
    MissingStore,
    /// A copy of the audit log.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A stored record that is none.
    #[error("the store holds a record that cannot be read: {0}")]
    Stored(#[from] serde_json::Error),
    /// The audit log's file.
    #[error("the audit log: {0}")]
    AuditFile(#[source] io::Error),
    /// An earlier write failed: what is on disk is not known.
    #[error(
        "an earlier write of the store or the audit log failed; restart keyd when the disk is well"
    )]
    Poisoned,
    /// The database's file is not what was written.
    #[error(
        "page {0} of store.redb was changed while keyd runs, by something else or by a failing disk; start keyd again: it names what is damaged"
    )]
    Changed(u64),
    /// No random bytes for a secret.
    #[error("no random bytes for a secret")]
    Random,
    /// The store of another release.
    #[error(
        "the store has a format that this keyd does not know: use the keyd that wrote it, or a newer one"
    )]
    Format,
    /// The store of an earlier release, whose records have no tags.
    #[error(
        "the store was written by an earlier keyd, whose records are not authenticated: 'keyd upgrade --state-dir DIR' takes them as they are, once"
    )]
    OlderFormat,
    /// A link between stored records leads nowhere.
    #[error("the store has {0}, but not what it refers to")]
    Dangling(String),
    /// A key operation.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// The HSM.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// Sealing or opening a private key.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A DEK could not be made.
    #[error(transparent)]
    Dek(#[from] DekError),
    /// No page for a secret.
    #[error(transparent)]
    Page(#[from] PageError),
}

macro_rules! fault_from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }

        impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                Self::Fault(error.into())
            }
        }
    )*};
}

fault_from_redb!(CommitError, DatabaseError, StorageError, TableError, TransactionError);

/// An operation's bad end.
#[derive(Debug, Error)]
pub enum Failure {
    /// The asker's to mend.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The daemon's.
    #[error(transparent)]
    Fault(Fault),
}

/// What is damaged in the store is told in full: the asker can do without it, or bring it back.
impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged(what) => Self::Refused(Refused::Damaged(what)),
            Fault::Dangling(what) => Self::Refused(Refused::Dangling(what)),
            fault => Self::Fault(fault),
        }
    }
}

macro_rules! failure_from_fault {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Fault(error.into())
            }
        }
    )*};
}

failure_from_fault!(
    CopyError,
    HsmError,
    KekError,
    RootError,
    DekError,
    PageError,
    serde_json::Error
);
