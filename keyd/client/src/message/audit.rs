//! Audit records.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::UnixMillis;
use crate::printable::Printable;

/// One audit record as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its number, from 1.
    pub seq: u64,
    /// When.
    pub time: UnixMillis,
    /// Who: a principal, or the daemon itself.
    pub who: Printable,
    /// What was asked: a verb such as `key-disable`.
    pub operation: Printable,
    /// On what: a name or an id.
    pub subject: Printable,
    /// `ok`, or the reason of the refusal.
    pub outcome: Printable,
    /// More, where there is more: counts, versions, times. Never a secret.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub detail: Printable,
    /// SHA-256 of the previous record's line, hexadecimal.
    pub previous: Printable,
}

/// What is asked of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AuditRequest {
    /// The newest audit records.
    Tail {
        /// How many at most.
        count: u32,
    },
    /// Check the audit log's hash chain against its committed head.
    Verify,
    /// Move files with only older rows to another directory; the one that grows is closed if it is among them.
    Archive {
        /// Rows before this one; all of them if it is behind the newest.
        before: u64,
        /// The directory, as an absolute path; the daemon must be able to write there.
        to: PathBuf,
    },
    /// Go on after a break: the chain begins anew behind it.
    Reanchor {
        /// Said so: what the break hides is given up.
        accept_break: bool,
    },
}

/// How the audit log is kept, and whether there is space for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStatus {
    /// Number of the oldest row.
    pub first: u64,
    /// Number of the newest row.
    pub newest: u64,
    /// Why no key is used, if the log is broken.
    pub broken: Option<String>,
    /// Since when no key is used for want of space; none if there is enough.
    pub full_since: Option<UnixMillis>,
    /// Uses that were refused since.
    pub refused: u64,
    /// Bytes kept free for administrators; none if the file system cannot reserve any.
    pub ballast: Option<u64>,
    /// Bytes reserved behind the log's end; none if the file system cannot reserve any.
    pub log_ahead: Option<u64>,
    /// Copies.
    pub copies: Vec<AuditCopyStatus>,
}

/// A copy of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCopyStatus {
    /// Its path.
    pub path: String,
    /// Number of the newest row it has.
    pub newest: u64,
    /// Why it does not follow; none if it does.
    pub failing: Option<String>,
}
