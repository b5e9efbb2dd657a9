//! Audit records.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::UnixMillis;
use crate::{limits::AUDIT_TAIL_MAX, number, printable::Printable};

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

/// The newest audit records, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct AuditTail {
    /// How many at most, up to 500
    #[arg(short = 'n', default_value_t = 20, value_parser = number::<u32>(1..=AUDIT_TAIL_MAX as u64, 100))]
    pub count: u32,
}

/// Check the audit log's hash chain against its committed head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct AuditVerify {}

/// The audit log is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditWhole {
    /// Number of its first row.
    pub first: u64,
    /// Records in it.
    pub records: u64,
    /// Hash of the newest, hexadecimal.
    pub head: String,
}

/// Move files with only older rows to another directory; the one that grows is closed if it is among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditArchive {
    /// Rows before this one; all of them if it is behind the newest.
    pub before: u64,
    /// The directory, as an absolute path; the daemon must be able to write there.
    pub to: PathBuf,
}

/// Files of the audit log were moved elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditArchived {
    /// How many.
    pub files: u64,
    /// Number of the log's first row now.
    pub first: u64,
}

/// Go on after a break: the chain begins anew behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct AuditReanchor {
    /// Give up what the break hides
    #[arg(long)]
    pub accept_break: bool,
}

/// The audit log goes on after a break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReanchored {
    /// The break.
    pub accepted: String,
    /// Number of the log's first row now.
    pub first: u64,
    /// Files that are no part of it any more; they stay where they are.
    pub sealed: u64,
    /// SHA-256 of these, one after the other, hexadecimal.
    pub sha256: String,
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
