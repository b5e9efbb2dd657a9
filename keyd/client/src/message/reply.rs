//! What the daemon answers.

use serde::{Deserialize, Serialize};

use super::{
    AppStatus, Attached, AuditRecord, AuditStatus, BackedUp, ClockStatus, DesStatus, DiskStatus,
    GrantStatus, Impact, KeyStatus, OneTimeSecret, Revocation, StateChecked, StoreStatus,
    TokenStatus, UnixMillis, VaultStatus,
};
use crate::printable::Printable;

/// The answer to a [`super::Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "body", rename_all = "kebab-case")]
pub enum Reply {
    /// Done, nothing to tell.
    Done,
    /// How the daemon is.
    Status(DaemonStatus),
    /// The daemon's clock.
    Clock(ClockStatus),
    /// A key.
    Key(KeyStatus),
    /// A page of keys.
    Keys {
        /// In order of vault and name.
        keys: Vec<KeyStatus>,
        /// Whether more follow.
        more: bool,
    },
    /// A key that was changed, deleted or brought back.
    KeyChanged {
        /// The key after it.
        key: KeyStatus,
        /// Holders that were told to let go.
        revocation: Revocation,
        /// Parked holders that were told that their key is back.
        granted: u32,
    },
    /// A purge that waits for a second principal.
    PurgeAsked {
        /// How many DEKs can never be unwrapped after it.
        lost_for_ever: u64,
    },
    /// What would be hit; nothing was done.
    Impact(Impact),
    /// A finished rotation.
    Rotated {
        /// The key after it.
        key: KeyStatus,
        /// DEKs wrapped anew.
        rewrapped: u64,
    },
    /// A vault.
    Vault(VaultStatus),
    /// A vault whose policy was changed.
    PolicyChanged {
        /// The vault after it.
        vault: VaultStatus,
        /// The principal does not exist: whoever is made under its name has this.
        #[serde(default)]
        future: bool,
        /// Holders that were told to let go.
        revocation: Revocation,
        /// Parked holders that were told that their key is back.
        granted: u32,
    },
    /// Vaults.
    Vaults(Vec<VaultStatus>),
    /// A page of grants.
    Grants {
        /// In order of principal and of what they are for, behind those that no command can change.
        grants: Vec<GrantStatus>,
        /// Whether more follow.
        more: bool,
    },
    /// What a principal may do after that was changed.
    Granted {
        /// All of it, or as much as fits.
        grants: Vec<GrantStatus>,
        /// Whether there is more.
        more: bool,
        /// The principal does not exist: whoever is made under its name has this.
        future: bool,
    },
    /// An application.
    App(AppStatus),
    /// Applications.
    Apps(Vec<AppStatus>),
    /// A new token, and its secret this once.
    NewToken {
        /// The token.
        token: TokenStatus,
        /// What is sent as `Authorization: Bearer`.
        secret: OneTimeSecret,
    },
    /// Tokens.
    Tokens(Vec<TokenStatus>),
    /// So many tokens are good no more.
    TokensRevoked(u64),
    /// A new identity.
    NewIdentity {
        /// Where its tokens are: `IDENTITY_ENDPOINT`.
        endpoint: String,
        /// `IDENTITY_HEADER`, this once.
        secret: OneTimeSecret,
    },
    /// A certificate, PEM.
    CaCertificate(String),
    /// A disk encryption set.
    Des(DesStatus),
    /// A page of disk encryption sets.
    DesSets {
        /// In order of name.
        sets: Vec<DesStatus>,
        /// Whether more follow.
        more: bool,
    },
    /// A set or a disk whose DEKs were wrapped anew.
    Rewrapped {
        /// How many.
        rewrapped: u64,
    },
    /// A disk.
    Disk(Box<DiskStatus>),
    /// A page of disks, and whether more follow.
    Disks {
        /// In order of id.
        disks: Vec<DiskStatus>,
        /// Whether more follow.
        more: bool,
    },
    /// The DEK follows the frame.
    ReleasedKey,
    /// Audit records, oldest first.
    Audit(Vec<AuditRecord>),
    /// The audit log is whole.
    AuditWhole {
        /// Number of its first row.
        first: u64,
        /// Records in it.
        records: u64,
        /// Hash of the newest, hexadecimal.
        head: String,
    },
    /// Files of the audit log were moved elsewhere.
    AuditArchived {
        /// How many.
        files: u64,
        /// Number of the log's first row now.
        first: u64,
    },
    /// The audit log goes on after a break.
    AuditReanchored {
        /// The break.
        accepted: String,
        /// Number of the log's first row now.
        first: u64,
        /// Files that are no part of it any more; they stay where they are.
        sealed: u64,
        /// SHA-256 of these, one after the other, hexadecimal.
        sha256: String,
    },
    /// The state was checked.
    StateChecked(StateChecked),
    /// A backup was written.
    BackedUp(BackedUp),
    /// A lease. The DEK follows the frame, unless the key is lost and the holder asked to wait.
    Attached(Box<Attached>),
    /// Refused; says why and what to do next.
    Refused(Refusal),
}

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
