//! The two ways an operation ends badly: [`Refused`] is the asker's to mend and told in full; [`Fault`] is the
//! daemon's, told coarsely to the asker and in full to the log.

use std::{io, path::PathBuf};

use keyd_client::{
    DesName, DiskId, KeyName, KeyVersion,
    dek::{DekError, page::PageError},
    limits::{LEASE_MAX, LEASE_MIN},
    message::{Refusal, RefusalCode},
};
use thiserror::Error;

use crate::{
    audit::Finding,
    hsm::HsmError,
    kek::KekError,
    limits::{DISK_SIZE_MAX, KEYS_MAX, SETS_MAX, VERSIONS_MAX},
    root::RootError,
};

/// Why the daemon will not. The text is one line that says what to do next.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Refused {
    #[error(
        "user {uid} may not do this: it needs the permission '{permission}', given by 'keyd serve --grant {uid}={permission}'"
    )]
    Forbidden { uid: u32, permission: &'static str },
    #[error(
        "disk {0} was made by another user: its maker or an administrator confirms or abandons it"
    )]
    NotYours(DiskId),
    #[error("no key '{0}': 'keyd key list' shows the keys")]
    NoKey(KeyName),
    #[error("key '{0}' has no version {1}: 'keyd key show {0}' shows them")]
    NoVersion(KeyName, KeyVersion),
    #[error("no disk encryption set '{0}': 'keyd des list' shows them")]
    NoSet(DesName),
    #[error("no disk {0}: 'keyd disk list' shows the disks")]
    NoDisk(DiskId),
    #[error("there is a key '{0}' already: choose another name, or 'keyd key rotate {0}'")]
    KeyExists(KeyName),
    #[error("there is a disk encryption set '{0}' already: choose another name")]
    SetExists(DesName),
    #[error("RSA keys have 2048, 3072 or 4096 bits, not {0}")]
    KeyBits(u32),
    #[error("there are {KEYS_MAX} keys, as many as can be: use one of them")]
    TooManyKeys,
    #[error("key '{0}' has {VERSIONS_MAX} versions, as many as can be: make another key")]
    TooManyVersions(KeyName),
    #[error("there are {SETS_MAX} disk encryption sets, as many as can be: use one of them")]
    TooManySets,
    #[error(
        "key '{0}' is keyd's own, for disks without a key of yours: it cannot be disabled; use a set with a key of yours"
    )]
    PlatformSwitch(KeyName),
    #[error(
        "key '{0}' is keyd's own and has its set already: make a key of yours with 'keyd key create NAME'"
    )]
    PlatformSet(KeyName),
    #[error("key '{0}' is disabled: 'keyd key enable {0}' brings it back")]
    KeyDisabled(KeyName),
    #[error(
        "key '{0}' is being rotated: ask again when 'keyd key show {0}' shows one version in use"
    )]
    Rotating(KeyName),
    #[error(
        "the rotation of key '{0}' stopped half way, every disk still has a working key: it goes on when keyd starts again"
    )]
    RotationStopped(KeyName),
    #[error("a sector has 512 or 4096 bytes, not {0}")]
    SectorSize(u32),
    #[error(
        "a disk of {size} bytes is not 1 or more whole sectors of {sector_size}: round the size up"
    )]
    DiskSize { size: u64, sector_size: u32 },
    #[error("a disk has at most {DISK_SIZE_MAX} bytes, not {0}")]
    DiskTooLarge(u64),
    #[error("a data offset of {0} bytes is not a multiple of 4096 between 32 KiB and 1 GiB")]
    DataOffset(u64),
    #[error(
        "a lease of {0} ms is out of range: choose {min} ms to {max} ms",
        min = LEASE_MIN.as_millis(),
        max = LEASE_MAX.as_millis()
    )]
    LeaseLength(u64),
    #[error("disk {0} is confirmed: its key is not forgotten, its image may hold data")]
    Confirmed(DiskId),
    #[error(
        "disk {disk} is held by process {pid}: stop it, or attach read-only beside other read-only holders"
    )]
    InUse { disk: DiskId, pid: u32 },
    #[error("the key was taken away before it could be handed over: wait for it to be enabled")]
    Withheld,
    #[error("the lease is not parked: say that the key is gone first, then ask for it again")]
    NotParked,
    #[error(
        "{0}: keyd hands out no key until audit.log is what it was; restore it from a copy, then start keyd again"
    )]
    AuditBroken(Finding),
    #[error("the answer is longer than a frame: ask for less at once")]
    AnswerTooLong,
}

impl Refused {
    /// The refusal as the wire tells it.
    #[must_use]
    pub fn told(&self) -> Refusal {
        Refusal { code: self.code(), message: self.to_string() }
    }

    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::Forbidden { .. } | Self::NotYours(_) => RefusalCode::Forbidden,
            Self::NoKey(_) | Self::NoVersion(..) | Self::NoSet(_) | Self::NoDisk(_) => {
                RefusalCode::NotFound
            }
            Self::KeyBits(_)
            | Self::SectorSize(_)
            | Self::DiskSize { .. }
            | Self::DiskTooLarge(_)
            | Self::DataOffset(_)
            | Self::LeaseLength(_)
            | Self::NotParked
            | Self::AnswerTooLong => RefusalCode::BadRequest,
            Self::KeyExists(_)
            | Self::SetExists(_)
            | Self::TooManyKeys
            | Self::TooManyVersions(_)
            | Self::TooManySets
            | Self::PlatformSwitch(_)
            | Self::PlatformSet(_)
            | Self::Rotating(_)
            | Self::RotationStopped(_)
            | Self::Confirmed(_)
            | Self::AuditBroken(_) => RefusalCode::Conflict,
            Self::KeyDisabled(_) | Self::Withheld => RefusalCode::KeyDisabled,
            Self::InUse { .. } => RefusalCode::InUse,
        }
    }
}

/// What went wrong inside.
#[derive(Debug, Error)]
pub enum Fault {
    /// The database.
    #[error("the store: {0}")]
    Database(#[source] Box<redb::Error>),
    /// The database's file.
    #[error("the store: {path}: {source}")]
    DatabaseFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
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
    /// The store of another release.
    #[error(
        "the store has a format that this keyd does not know: use the keyd that wrote it, or a newer one"
    )]
    Format,
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
    Fault(#[from] Fault),
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

failure_from_fault!(HsmError, KekError, RootError, DekError, PageError, serde_json::Error);
