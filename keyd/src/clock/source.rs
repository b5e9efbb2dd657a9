//! Where the time is read.

use std::{fmt::Debug, sync::Arc};

use keyd_client::message::UnixMillis;
use rustix::time::{ClockId, clock_gettime};

use super::now;

/// What tells the time: the system, or in tests a hand that is moved.
pub trait Source: Debug + Send + Sync {
    /// The clock on the wall, which anybody may have set.
    fn wall(&self) -> UnixMillis;

    /// Milliseconds since the host was started, those that it slept included. Nothing sets it; a start of the host
    /// begins it anew.
    fn boot(&self) -> u64;
}

/// The system's.
#[must_use]
pub fn system() -> Arc<dyn Source> {
    Arc::new(System)
}

#[derive(Debug)]
struct System;

impl Source for System {
    fn wall(&self) -> UnixMillis {
        now()
    }

    fn boot(&self) -> u64 {
        let time = clock_gettime(ClockId::Boottime);
        let millis = time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000);
        u64::try_from(millis).unwrap_or_default()
    }
}
