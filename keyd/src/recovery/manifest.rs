//! What a backup says of itself.

use std::{collections::BTreeMap, path::Path};

use keyd_client::message::{BackedUp, UnixMillis};
use serde::{Deserialize, Serialize};

/// Version of a backup's form.
pub(super) const VERSION: u32 = 1;

/// The first file: nothing else in it changes before this does.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Form {
    pub(super) version: u32,
}

/// The last file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Release of keyd that made it.
    pub keyd: String,
    /// When.
    pub created: UnixMillis,
    /// Number of the audit log's newest row.
    pub audit_seq: u64,
    /// SHA-256 of that row's line, hexadecimal.
    pub audit_hash: String,
    /// Keys, deleted ones included.
    pub keys: u64,
    /// Disks, snapshots and images.
    pub disks: u64,
    /// Key versions whose private part is in a token, by its label: it is not in the backup.
    pub in_tokens: BTreeMap<String, u64>,
    /// The files before this one.
    pub files: Vec<Entry>,
}

impl Manifest {
    /// As it is told to who asked for the backup.
    #[must_use]
    pub fn told(self, file: &Path) -> BackedUp {
        let Self { created, audit_seq, audit_hash, keys, disks, in_tokens, .. } = self;
        let file = file.to_owned();
        BackedUp { file, created, audit_seq, audit_hash, keys, disks, in_tokens }
    }
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length, bytes.
    pub len: u64,
    /// SHA-256 of it, hexadecimal.
    pub sha256: String,
}
