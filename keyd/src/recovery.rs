//! The whole state, sealed to a recovery recipient, and brought back on an empty directory.
//!
//! A backup is a tar archive inside the [`age`] format: `age --decrypt -i identity backup | tar --list` shows it.
//!
//! | name | what |
//! |---|---|
//! | `portcullis-backup.json` | version of this form; first |
//! | `root` | the root key, 32 bytes |
//! | `store.jsonl` | every row of the database, one a line |
//! | `audit/…` | the audit log's files up to the end that the database has |
//! | `state/…` | other files of the state directory |
//! | `manifest.json` | what is in it, with lengths and SHA-256; last |
//!
//! Plaintext of it is on no disk. Anybody can seal to a recipient: that a backup is this daemon's own shows in the end
//! of its audit log, which is told when it is made and when it is restored.

pub mod age;
mod archive;
mod backup;
mod manifest;
mod restore;

use std::{
    io,
    path::{Path, PathBuf},
};

use keyd_client::dek::page::PageError;
use thiserror::Error;

pub use backup::write;
pub use manifest::{Entry, Manifest};
pub use restore::{Restore, Restored, restore};

use crate::{
    error::{Failure, Fault, Refused},
    files::{FileId, Found},
    limits::RECIPIENTS_MAX,
    root::RootError,
    state_dir::StateDirError,
};
use age::{AgeError, Recipient};

const FORM: &str = "portcullis-backup.json";
const ROOT: &str = "root";
const STORE: &str = "store.jsonl";
const AUDIT: &str = "audit/";
const STATE: &str = "state/";
const MANIFEST: &str = "manifest.json";

/// Files of the state directory beside store, log and root key, if they are there: the CA that signs keyd's own
/// certificates. Clients trust it, so it comes back with the rest.
const OTHERS: [&str; 2] = ["ca.key", "ca.pem"];

/// Why there is no backup, or none comes back.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum RecoveryError {
    #[error(
        "{path}: {source}; a backup goes to a new file in a directory that keyd may write: 'keyd serve --writable DIR' names one"
    )]
    Target { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("writing the backup: {0}")]
    Write(#[source] io::Error),
    #[error("the backup: {0}")]
    Age(#[from] AgeError),
    #[error("it is no backup of keyd: {0}")]
    Form(String),
    #[error("the backup has the form {0}, which this keyd does not know: use a newer one")]
    Version(u32),
    #[error("'{0}' in the backup is not what its manifest says: use another backup")]
    Differs(String),
    #[error("'{0}' changed while it was read: make the backup again")]
    Changed(String),
    #[error(
        "{0} is there and not empty: a backup is restored into a new directory; move the old one aside"
    )]
    NotEmpty(PathBuf),
    #[error("{path} belongs to user {owner}: restore as that user, who is to run keyd")]
    Owner { path: PathBuf, owner: u32 },
    #[error(
        "the store is damaged: {0}; a backup of it would be too, so none was made; bring the state back with 'keyd restore', or accept the damage by 'keyd check --accept-damage'"
    )]
    Damaged(String),
    #[error("{0} reads otherwise than it was written: the disk under it fails; name another place")]
    Unwritten(PathBuf),
    #[error(
        "{0} is inside the state directory, and would be lost with it: name a file elsewhere, best on another disk"
    )]
    Inside(PathBuf),
    #[error("the backup's audit log does not end as its manifest says: use another backup")]
    Head,
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl RecoveryError {
    /// As who asked for a backup is told.
    #[must_use]
    pub fn told(self) -> Failure {
        match self {
            Self::Failure(failure) => failure,
            Self::Fault(fault) => fault.into(),
            other => Refused::Backup(other.to_string()).into(),
        }
    }
}

/// Whether a file is to lie outside a directory, whatever path leads there. The directory is told by device and inode.
///
/// # Errors
/// [`Refused::Backup`].
pub fn outside(file: &Path, dir: FileId) -> Result<(), Failure> {
    let id = |path: &Path| std::fs::metadata(path).ok().map(|about| Found::from(&about).id);
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut above = parent.unwrap_or(Path::new(".")).to_owned();
    // A directory that is not there is told by who tries to write in it. The root is above itself.
    while let Some(here) = id(&above) {
        if here == dir {
            return Err(RecoveryError::Inside(file.to_owned()).told());
        }
        above.push("..");
        if id(&above) == Some(here) {
            break;
        }
    }
    Ok(())
}

/// Those who are to open a backup.
///
/// # Errors
/// [`Refused::Backup`].
pub fn recipients(texts: &[String]) -> Result<Vec<Recipient>, Refused> {
    if texts.is_empty() || texts.len() > RECIPIENTS_MAX {
        return Err(Refused::Backup(format!("name 1 to {RECIPIENTS_MAX} recipients")));
    }
    let parsed = texts.iter().map(|text| text.parse());
    parsed.collect::<Result<_, AgeError>>().map_err(|error| Refused::Backup(error.to_string()))
}

/// For the audit log.
#[must_use]
pub fn names(recipients: &[Recipient]) -> String {
    let names: Vec<String> = recipients.iter().map(ToString::to_string).collect();
    names.join(",")
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> RecoveryError {
    let path = path.to_owned();
    move |source| RecoveryError::File { path, source }
}
