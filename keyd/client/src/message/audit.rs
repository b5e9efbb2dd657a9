//! Audit records.

use serde::{Deserialize, Serialize};

use super::UnixMillis;

/// One audit record as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its number, from 1.
    pub seq: u64,
    /// When.
    pub time: UnixMillis,
    /// Who: a principal, or the daemon itself.
    pub who: String,
    /// What was asked: a verb such as `key-disable`.
    pub operation: String,
    /// On what: a name or an id.
    pub subject: String,
    /// `ok`, or the reason of the refusal.
    pub outcome: String,
    /// More, where there is more: counts, versions, times. Never a secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// SHA-256 of the previous record's line, hexadecimal.
    pub previous: String,
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
}
