//! What a verb that takes keys away would hit, and what it did hit.

use serde::{Deserialize, Serialize};

use super::{DiskKind, DiskState, FenceReport, KeyBackups, Phase, UnixMillis};
use crate::ids::{DesName, DiskId, LeaseId};

/// The answer to a verb that is weighed before it is done: it can hit disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighed<T> {
    /// A dry run: this would be hit, and nothing was done.
    Would(Impact),
    /// It was done.
    Done(T),
}

impl<T> Weighed<T> {
    /// Goes on with what was done.
    ///
    /// # Errors
    /// Those of `next`.
    pub fn and_then<U, E>(self, next: impl FnOnce(T) -> Result<U, E>) -> Result<Weighed<U>, E> {
        match self {
            Self::Would(impact) => Ok(Weighed::Would(impact)),
            Self::Done(done) => next(done).map(Weighed::Done),
        }
    }
}

/// What a change did to those who hold DEKs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed<T> {
    /// What was changed, after it.
    #[serde(flatten)]
    pub now: T,
    /// Holders that were told to let go.
    pub revocation: Revocation,
    /// Parked holders that were told that their key is back.
    pub granted: u32,
}

impl Changed<()> {
    /// The same, with what was changed.
    #[must_use]
    pub fn to<T>(self, now: T) -> Changed<T> {
        Changed { now, revocation: self.revocation, granted: self.granted }
    }
}

/// What a verb would hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    /// The verb.
    pub verb: String,
    /// On what.
    pub subject: String,
    /// Disks whose DEK could not be had after it.
    pub disks: u64,
    /// Snapshots, likewise.
    pub snapshots: u64,
    /// Images, likewise.
    pub images: u64,
    /// Processes that would have to let go of a DEK.
    pub held: u64,
    /// How many of all those could never be read again.
    pub lost_for_ever: u64,
    /// How many of all those would not be hit at once.
    pub later: u64,
    /// When the first of those is, if it is by the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_later: Option<UnixMillis>,
    /// One row each, a limited number of them.
    pub listed: Vec<Affected>,
    /// Whether there are more than are listed.
    pub more: bool,
    /// Says yes to exactly this.
    pub token: String,
    /// Of a purge: the backups from which the key could come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<KeyBackups>,
}

/// A disk, snapshot or image that a verb would hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    /// Which.
    pub id: DiskId,
    /// What it is.
    pub kind: DiskKind,
    /// Its set.
    pub des: DesName,
    /// Processes that hold its DEK.
    pub processes: Vec<u32>,
    /// When it would be hit.
    #[serde(flatten)]
    pub when: When,
}

/// When a change hits a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "when", rename_all = "kebab-case")]
pub enum When {
    /// At once.
    AtOnce,
    /// By the clock: a grace, or the end of a key.
    Later {
        /// Not before.
        at: UnixMillis,
    },
    /// A process that has the DEK goes on; the next attach is refused.
    NextAttach {
        /// From then on, if not at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<UnixMillis>,
    },
}

/// What taking a key away did to those who held DEKs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Revocation {
    /// Holders that were told to let go.
    pub told: u32,
    /// Holders that were not, because their set's terms let them go on for now.
    #[serde(default)]
    pub spared: u32,
    /// What each has answered, if that was waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<HolderAnswer>,
    /// Sets whose rotation away from what was taken could not be finished before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftBehind>,
}

/// What a rotation has left behind under a version that was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// The set.
    pub set: DesName,
    /// DEKs of it that are not wrapped anew.
    pub disks: u64,
}

/// A holder, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderAnswer {
    /// The disk.
    pub disk: DiskId,
    /// The lease.
    pub lease: LeaseId,
    /// Its process.
    pub pid: u32,
    /// And user.
    pub uid: u32,
    /// What it does.
    #[serde(flatten)]
    pub state: DiskState,
    /// It has let go, and said when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<FenceReport>,
}

impl Revocation {
    /// Whether every holder that is to let go has confirmed it, as far as was waited for. One that goes on by the terms
    /// of its set is not to let go yet.
    #[must_use]
    pub fn confirmed(&self) -> bool {
        let (told, spared) = (self.told as usize, self.spared as usize);
        let has_answered = |holder: &HolderAnswer| {
            holder.report.is_some()
                || matches!(holder.state.phase, Phase::Deferred { .. } | Phase::Released)
        };
        self.holders.iter().all(has_answered) && self.holders.len() >= told + spared
    }
}
