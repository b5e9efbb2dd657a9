//! A backup of the whole state.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::UnixMillis;

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
