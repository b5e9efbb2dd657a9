//! What is said on the socket, as data. Bodies are JSON; a DEK never is: it follows its frame as raw bytes
//! (see [`crate::wire`]).

mod app;
mod audit;
mod clock;
mod des;
mod disk;
mod holder;
mod impact;
mod key;
mod recovery;
mod reply;
mod serving;
mod state;
mod vault;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use app::{AppRequest, AppStatus, OneTimeSecret, TokenRequest, TokenStatus};
pub use audit::{AuditCopyStatus, AuditRecord, AuditRequest, AuditStatus};
pub use clock::{ClockRequest, ClockStatus};
pub use des::{
    DesChange, DesRequest, DesStatus, EncryptionType, OnExpiry, OnRevoke, PreviousKey, Reaction,
    RotationError, Terms,
};
pub use disk::{
    DiskKind, DiskRecord, DiskRequest, DiskStatus, Geometry, Holder, Holes, KeyRelease,
    VolumeKeyDigest,
};
pub use holder::{Attached, Event, FenceReport, HolderMessage, IfLost};
pub use impact::{Affected, Consent, HolderAnswer, Impact, LeftBehind, Revocation, When};
pub use key::{
    Bound, DeletedStatus, KeyBackups, KeyChange, KeyOperation, KeyRequest, KeyStatus,
    KeyVersionStatus, RotationPolicy, Trigger, UnixSeconds,
};
pub use recovery::{BackedUp, BackupStatus, StateChecked, StoreStatus};
pub use reply::{DaemonStatus, Refusal, RefusalCode, Reply};
pub use serving::{BREAK_GLASS, QueueEngines, Serving};
pub use state::{DiskState, Phase};
pub use vault::{Edit, GrantRequest, GrantSource, GrantStatus, VaultRequest, VaultStatus};

use crate::ids::DiskId;

/// Milliseconds since 1970-01-01 UTC.
pub type UnixMillis = u64;

/// A request: the first frame of a connection, answered by one [`Reply`] or [`Refusal`]. [`Request::Attach`] turns the
/// connection into a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the daemon is.
    Status,
    /// The daemon's clock.
    Clock(ClockRequest),
    /// Keys.
    Key(KeyRequest),
    /// Vaults.
    Vault(VaultRequest),
    /// Permissions in the daemon as a whole and on disks.
    Grant(GrantRequest),
    /// Applications.
    App(AppRequest),
    /// Their tokens.
    Token(TokenRequest),
    /// The certificate of the daemon's own certification authority.
    CaCertificate,
    /// Disk encryption sets.
    Des(DesRequest),
    /// Disks, snapshots and images.
    Disk(DiskRequest),
    /// The audit log.
    Audit(AuditRequest),
    /// Check the whole state.
    Check {
        /// Every DEK too.
        deep: bool,
        /// Give up what is damaged, and go on without it.
        accept_damage: bool,
    },
    /// Write the whole state into a file, sealed.
    Backup {
        /// A path of the daemon's host, absolute; nothing is there yet.
        to: PathBuf,
        /// Who can open it: recipients of age(1).
        recipients: Vec<String>,
    },
    /// Ask for a disk's DEK under a lease. From here the connection speaks [`HolderMessage`] and [`Event`].
    Attach {
        /// Which.
        id: DiskId,
        /// A read-only holder shares the disk with other read-only holders.
        read_only: bool,
        /// What becomes of it if the key is lost.
        if_lost: IfLost,
    },
}

macro_rules! request_from {
    ($($part:ident($type:ident),)*) => {$(
        impl From<$type> for Request {
            fn from(request: $type) -> Self {
                Self::$part(request)
            }
        }
    )*};
}

request_from! {
    Clock(ClockRequest),
    Key(KeyRequest),
    Vault(VaultRequest),
    Grant(GrantRequest),
    App(AppRequest),
    Token(TokenRequest),
    Des(DesRequest),
    Disk(DiskRequest),
    Audit(AuditRequest),
}
