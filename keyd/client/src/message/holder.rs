//! What is said during a lease.

use serde::{Deserialize, Serialize};

use super::{DiskRecord, Reaction, Refusal, Serving, UnixMillis};
use crate::{
    ids::{DiskId, LeaseId},
    printable::Printable,
};

/// What becomes of an attach whose key is lost. Who waits does so on its connection, for [`Event::Granted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfLost {
    /// It is refused.
    Refuse,
    /// A new holder waits where its set has disks that run [park](Reaction::Park); elsewhere it is refused.
    Park,
    /// A holder that had the DEK before, and lost its connection, waits whatever its set's terms.
    Wait,
}

/// Ask for a disk's DEK under a lease. From here the connection speaks [`HolderMessage`] and [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Which.
    pub id: DiskId,
    /// A read-only holder shares the disk with other read-only holders.
    pub read_only: bool,
    /// What becomes of it if the key is lost.
    pub if_lost: IfLost,
}

/// A lease, granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The lease.
    pub lease: LeaseId,
    /// The disk it is for.
    pub record: DiskRecord,
    /// What to do when the lease runs out unheard.
    pub on_revoke: Reaction,
    /// Its length, milliseconds, counted from the moment the holder asked.
    pub lease_ms: u64,
    /// Why the DEK is to be waited for; none if it comes with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

/// What a holder says during its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum HolderMessage {
    /// Still here; prolong the lease.
    Renew,
    /// After [`Event::Revoked`]: I/O has stopped and the key is gone.
    Fenced(FenceReport),
    /// After [`Event::Granted`]: the DEK again, please.
    Reclaim,
    /// Writes wait for space below the image from now on, or none does any more.
    Space {
        /// Whether some wait.
        short: bool,
    },
    /// It serves the disk like this from now on.
    Serving(Serving),
    /// The key is wiped and the disk is let go of: the connection ends.
    Released,
}

/// How a fence went, by the holder's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceReport {
    /// When the fence was ordered here.
    pub ordered: UnixMillis,
    /// When the last I/O was completed to the guest; none was if the disk had been idle.
    pub last_io: Option<UnixMillis>,
    /// When the last copy of the key was wiped.
    pub wiped: UnixMillis,
    /// Microseconds from the order to the wipe.
    pub took_us: u64,
    /// Requests held unanswered.
    pub held: u64,
    /// What the guest's requests get from now on.
    pub reaction: Reaction,
}

/// What the daemon says during a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Answer to [`HolderMessage::Renew`].
    Renewed {
        /// Length of the lease from now on, milliseconds, counted from the moment the holder asked.
        lease_ms: u64,
    },
    /// Let go of the key now, then say [`HolderMessage::Fenced`].
    Revoked {
        /// Why, for the log.
        reason: Printable,
        /// What the guest's requests get until the key is back.
        on_revoke: Reaction,
    },
    /// The key is back: say [`HolderMessage::Reclaim`].
    Granted,
    /// Answer to [`HolderMessage::Reclaim`]; the DEK follows the frame.
    Reclaimed,
    /// The disk is longer now, and so is its image.
    Grown {
        /// Length of the data area, bytes.
        size: u64,
    },
    /// The reclaim was refused (the key went again); wait for the next [`Event::Granted`].
    StillRevoked(Refusal),
}
