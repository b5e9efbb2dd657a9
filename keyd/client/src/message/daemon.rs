//! How the daemon is, and how it refuses.

use serde::{Deserialize, Serialize};

use super::{AuditStatus, StoreStatus, UnixMillis};
use crate::printable::Printable;

/// How the daemon is, and what somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {}

/// The certificate of the daemon's own certification authority, PEM. It is public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaShow {}

/// How the daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its release.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub started: UnixMillis,
    /// Vaults.
    pub vaults: u64,
    /// Keys, deleted ones included.
    pub keys: u64,
    /// Disk encryption sets.
    pub sets: u64,
    /// Disks, snapshots and images.
    pub disks: u64,
    /// Leases, parked ones included.
    pub leases: u64,
    /// The store.
    pub store: StoreStatus,
    /// The audit log.
    pub audit: AuditStatus,
    /// What somebody should look at, a line each; nothing if all is well.
    pub warnings: Vec<String>,
    /// What could be better, a line each, although nothing is wrong.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable, for programs.
    pub code: RefusalCode,
    /// For people: what is wrong and what to do next.
    pub message: Printable,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// The request is malformed or out of range.
    BadRequest,
    /// The caller may not do this.
    Forbidden,
    /// No such key, DES or disk.
    NotFound,
    /// The name is taken, or the state does not allow it.
    Conflict,
    /// The key cannot be used: it, or its set's right to it, is switched off.
    KeyDisabled,
    /// It would hit disks, and the asker did not say that it may.
    NeedsConsent,
    /// Another process holds the disk.
    InUse,
    /// It cannot be done now: no space, or an audit log that cannot be written.
    Unavailable,
    /// A fault of the daemon's; its log has the chain.
    Internal,
}
