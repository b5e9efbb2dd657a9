//! The time of day. Leases measure with [`keyd_client::lease::BootTime`] instead.
//!
//! A clock may be wrong: a host without a battery starts in 1970, somebody sets it to the wrong year, a clock of the
//! network is trusted that should not be. So what is decided by the time asks a [`Clock`], which has two answers.

mod judge;
mod source;

use std::{
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use keyd_client::message::UnixMillis;
pub use keyd_client::utc::text;

use crate::lock::lock;
use judge::signed;
pub use judge::{Judge, Kept, Standing};
pub use source::{Source, system};

/// The clock on the wall, in milliseconds since 1970-01-01 UTC: for what is only told.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}

/// The time that a daemon goes by.
#[derive(Debug)]
pub struct Clock {
    source: Arc<dyn Source>,
    judge: Mutex<Judge>,
}

impl Clock {
    /// At a daemon's start, with what its store keeps of the time.
    #[must_use]
    pub fn start(source: Arc<dyn Source>, kept: Option<Kept>) -> Self {
        let judge = Judge::start(kept, signed(source.wall()), signed(source.boot()));
        Self { source, judge: Mutex::new(judge) }
    }

    /// Never behind a time that was committed, and never behind the clock on the wall: for what must have ended by
    /// then, and for records.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.with(|judge, wall, boot| judge.now(wall, boot))
    }

    /// A time that has come for sure: this daemon saw it pass, or the clock has stood so for a day of running time, or
    /// an administrator said so. For what cannot be undone.
    #[must_use]
    pub fn proven(&self) -> UnixMillis {
        self.with(|judge, _, boot| judge.proven(boot))
    }

    /// How the clock on the wall is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.with(|judge, wall, boot| judge.standing(wall, boot))
    }

    /// What the clock on the wall says.
    #[must_use]
    pub fn wall(&self) -> UnixMillis {
        self.source.wall()
    }

    /// Running time of the host, milliseconds: for what is done every so often.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.source.boot()
    }

    /// A time is committed now; what is to be kept with it.
    #[must_use]
    pub fn commit(&self) -> Kept {
        self.with(Judge::commit)
    }

    /// Believes the clock on the wall from now on. What was believed before, for [`Clock::doubt`].
    #[must_use]
    pub fn confirm(&self) -> Judge {
        self.with(|judge, wall, boot| {
            let before = *judge;
            judge.confirm(wall, boot);
            before
        })
    }

    /// Believes again what it did before a confirmation that could not be recorded.
    pub fn doubt(&self, before: Judge) {
        *lock(&self.judge) = before;
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Judge, i64, i64) -> T) -> T {
        let mut judge = lock(&self.judge);
        let (wall, boot) = (signed(self.source.wall()), signed(self.source.boot()));
        judge.look(wall, boot);
        use_it(&mut judge, wall, boot)
    }
}

/// A length of time as people read it: its two largest units.
#[must_use]
pub fn length(millis: u64) -> String {
    let (seconds, minutes) = (millis / 1000 % 60, millis / 60_000 % 60);
    let (hours, days) = (millis / 3_600_000 % 24, millis / 86_400_000);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} days {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn lengths_are_told_by_their_largest_units() {
        for (millis, told) in [
            (999, "0 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h 0 min"),
            (8 * 86_400_000 + 3_600_000, "8 days 1 h"),
        ] {
            assert_eq!(length(millis), told);
        }
    }
}
