//! The whole state: whether it is sound, and backups of it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::UnixMillis;

/// Check every record of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateCheck {}

/// Open the DEK of every disk, too, and compare it with its digest; it goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateCheckDeep {}

/// Give up what is damaged, for good, and go on without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateAccept {}

/// Write the whole state into a file, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateBackup {
    /// A path of the daemon's host, absolute; nothing is there yet.
    pub to: PathBuf,
    /// Who can open it: recipients of age(1).
    pub recipients: Vec<String>,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUp {
    /// The file.
    pub file: PathBuf,
    /// When.
    pub created: UnixMillis,
    /// Number of the audit log's newest row in it.
    pub audit_seq: u64,
    /// SHA-256 of that row's line, hexadecimal. A backup that is restored tells the same.
    pub audit_hash: String,
    /// Keys in it.
    pub keys: u64,
    /// Disks, snapshots and images in it.
    pub disks: u64,
    /// Key versions whose private part is not in it, but in a token, by its label.
    pub in_tokens: BTreeMap<String, u64>,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// When every record was checked last.
    pub checked: UnixMillis,
    /// How many records that were, those of indexes included.
    pub rows: u64,
    /// Damaged records, and what else is wrong. Not all, if there are very many.
    pub damaged: Vec<String>,
    /// What was damaged when the daemon started, and could be mended.
    pub mended: Option<String>,
    /// Backups that the daemon keeps by itself, if it does.
    pub backup: Option<BackupStatus>,
}

/// Backups that the daemon keeps by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// Their directory.
    pub to: PathBuf,
    /// When the newest was made, if there is one.
    pub newest: Option<UnixMillis>,
    /// Whether that is too long ago.
    pub old: bool,
    /// Why the last try made none.
    pub failing: Option<String>,
}

/// A state that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChecked {
    /// Records that were looked at, those of indexes included.
    pub rows: u64,
    /// DEKs that were opened and are what their digest says, if DEKs were asked for.
    pub deks_opened: Option<u64>,
    /// DEKs that were left out because their key may not be used now.
    pub deks_left_out: Option<u64>,
    /// What is damaged.
    pub damaged: Vec<String>,
    /// How much more than that.
    pub more: u64,
    /// What was given up, if that was asked for.
    pub given_up: Vec<String>,
}
