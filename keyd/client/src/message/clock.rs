//! The daemon's clock.

use serde::{Deserialize, Serialize};

use super::UnixMillis;

/// What is asked of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClockRequest {
    /// What it says, and what is believed of it.
    Show,
    /// It is right: to be believed from now on.
    Confirm,
}

/// The clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// What the host's clock says.
    pub clock: UnixMillis,
    /// The time that the daemon goes by: never behind one that it committed.
    pub now: UnixMillis,
    /// The time that has come for sure: by it what cannot be undone is done.
    pub proven: UnixMillis,
    /// What is wrong with the clock; none if it is right.
    pub wrong: Option<String>,
}
