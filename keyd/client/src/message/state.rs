//! What a disk does now. One model for the daemon, for the processes that serve disks, and for every listing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Reaction, UnixMillis};

/// What the process of a disk does with its guest's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Phase {
    /// Answers them.
    Running,
    /// Answers them, except writes that find no space below the image: those wait.
    WaitingForSpace,
    /// Answers them although its key is lost: the terms of its set let it go on.
    Deferred {
        /// When it is halted; without a time it goes on until it detaches.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<UnixMillis>,
    },
    /// It was told to let go of its key and has not confirmed that it did.
    Halting {
        /// It holds nothing after this time.
        lease_ends: UnixMillis,
    },
    /// Without a key: holds them unanswered until the key is back.
    Parked,
    /// Without a key: answers them with I/O errors.
    Failing,
    /// Its process has wiped the key and let go of the disk.
    Released,
    /// Its process is gone without a word. A process that may still run holds nothing beyond the end of its lease.
    Gone,
}

impl Phase {
    /// What a process without a key does, by the reaction that it was told.
    #[must_use]
    pub fn halted(reaction: Reaction) -> Self {
        match reaction {
            Reaction::Park => Self::Parked,
            Reaction::Fail => Self::Failing,
        }
    }

    /// Whether the process may have the disk's key.
    #[must_use]
    pub fn has_key(self) -> bool {
        matches!(
            self,
            Self::Running | Self::WaitingForSpace | Self::Deferred { .. } | Self::Halting { .. }
        )
    }

    /// Whether a process is there that serves no request for want of a key.
    #[must_use]
    pub fn is_halted(self) -> bool {
        matches!(self, Self::Parked | Self::Failing)
    }
}

impl fmt::Display for Phase {
    /// The word for people; times are told beside it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::WaitingForSpace => "waiting for space",
            Self::Deferred { .. } => "deferred",
            Self::Halting { .. } => "halting",
            Self::Parked => "parked",
            Self::Failing => "failing",
            Self::Released => "released",
            Self::Gone => "gone",
        })
    }
}

/// What a disk's process does, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskState {
    /// What it does.
    #[serde(flatten)]
    pub phase: Phase,
    /// Since when it does that.
    pub since: UnixMillis,
    /// Why, if it is not what it should do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_one_flat_object() {
        let why = Some("key 'k' is disabled".to_owned());
        for (phase, text) in [
            (Phase::Running, r#"{"state":"running","since":7}"#),
            (Phase::WaitingForSpace, r#"{"state":"waiting-for-space","since":7}"#),
            (Phase::Deferred { until: None }, r#"{"state":"deferred","since":7}"#),
            (Phase::Deferred { until: Some(9) }, r#"{"state":"deferred","until":9,"since":7}"#),
            (Phase::Halting { lease_ends: 9 }, r#"{"state":"halting","lease_ends":9,"since":7}"#),
        ] {
            let state = DiskState { phase, since: 7, why: None };
            assert_eq!(serde_json::to_string(&state).unwrap(), text);
            assert_eq!(serde_json::from_str::<DiskState>(text).unwrap(), state);
        }
        let text = r#"{"state":"parked","since":7,"why":"key 'k' is disabled"}"#;
        let state = DiskState { phase: Phase::Parked, since: 7, why };
        assert_eq!(serde_json::from_str::<DiskState>(text).unwrap(), state);
    }

    #[test]
    fn a_halted_disk_does_what_its_set_asks_for() {
        assert_eq!(Phase::halted(Reaction::Park), Phase::Parked);
        assert_eq!(Phase::halted(Reaction::Fail), Phase::Failing);
        assert!(Phase::Halting { lease_ends: 1 }.has_key() && !Phase::Gone.has_key());
        assert!(Phase::Failing.is_halted() && !Phase::Released.is_halted());
    }
}
