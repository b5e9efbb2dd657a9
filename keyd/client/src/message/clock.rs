//! The daemon's clock.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::UnixMillis;

/// What the host's clock says, and what is believed of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct ClockShow {}

/// The host's clock is right: to be believed from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct ClockConfirm {}

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
