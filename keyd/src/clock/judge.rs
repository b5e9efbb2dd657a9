//! What of the clock's word is believed. All times are milliseconds; an *offset* is what to add to boot time to have a
//! time of day, so that it stays the same while time just passes.

use keyd_client::message::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::limits::{CLOCK_JITTER_MS, CLOCK_LONG_MS, CLOCK_WAIT_MS};

/// What a store keeps of it with each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The newest time that was committed.
    pub newest: UnixMillis,
    /// The time that had come for sure.
    pub proven: UnixMillis,
    /// How long a clock that is ahead of that had stood so, milliseconds of running time.
    pub waited: u64,
}

/// How the clock is, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As it should be.
    Right,
    /// It went further than time passed, as far as this daemon saw.
    Ahead {
        /// By how much, milliseconds.
        by: u64,
        /// So much longer it must stand so, or be confirmed.
        wait: u64,
    },
    /// It is behind the newest time that was committed.
    Behind {
        /// By how much, milliseconds.
        by: u64,
    },
}

/// The judge. Two times come out of it: one that is never behind a committed one, for what must have ended by then; and
/// one that has come for sure, for what cannot be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    newest: i64,
    proven: i64,
    ahead: Option<Ahead>,
}

/// The clock went further than time passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ahead {
    offset: i64,
    since: i64,
}

impl Judge {
    /// At a start. Time that passed while no daemon ran was seen by nobody: the clock may be right about it, and must
    /// stand so for a while first.
    pub(super) fn start(kept: Option<Kept>, wall: i64, boot: i64) -> Self {
        let offset = wall - boot;
        let Some(kept) = kept else {
            return Self { newest: offset, proven: offset, ahead: None };
        };
        let (newest, proven) = (signed(kept.newest), signed(kept.proven));
        // A short stop does not begin the wait anew.
        let same = (0..=CLOCK_JITTER_MS).contains(&(wall - newest));
        let waited = if same { signed(kept.waited) } else { 0 };
        let ahead = (wall > proven).then_some(Ahead { offset, since: boot - waited });
        Self { newest: newest - boot, proven: proven - boot, ahead }
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self, wall: i64, boot: i64) {
        let offset = wall - boot;
        if offset <= self.proven {
            self.ahead = None;
            return;
        }
        let same = |ahead: &Ahead| (offset - ahead.offset).abs() <= CLOCK_JITTER_MS;
        let ahead = self.ahead.filter(same).unwrap_or(Ahead { offset, since: boot });
        // Time that nobody saw must pass once more, a day of it at most.
        self.ahead = (self.left(ahead, boot) > 0).then_some(ahead);
        if self.ahead.is_none() {
            self.proven = ahead.offset;
        }
    }

    fn left(&self, ahead: Ahead, boot: i64) -> i64 {
        let wait = (ahead.offset - self.proven).min(CLOCK_WAIT_MS);
        wait - (boot - ahead.since)
    }

    /// Never behind what was committed, and never behind the clock.
    pub(super) fn now(&self, wall: i64, boot: i64) -> UnixMillis {
        unsigned(wall.max(self.newest + boot))
    }

    /// What has come for sure.
    pub(super) fn proven(&self, boot: i64) -> UnixMillis {
        unsigned(self.proven + boot)
    }

    /// A time was committed; what is kept with it.
    pub(super) fn commit(&mut self, wall: i64, boot: i64) -> Kept {
        self.newest = self.newest.max(wall - boot);
        Kept {
            newest: unsigned(self.newest + boot),
            proven: self.proven(boot),
            waited: self.ahead.map_or(0, |ahead| unsigned(boot - ahead.since)),
        }
    }

    /// Somebody says that the clock is right.
    pub(super) fn confirm(&mut self, wall: i64, boot: i64) {
        *self = Self::start(None, wall, boot);
    }

    pub(super) fn standing(&self, wall: i64, boot: i64) -> Standing {
        let (behind, ahead) = (self.newest - (wall - boot), wall - boot - self.proven);
        match self.ahead {
            _ if behind > CLOCK_JITTER_MS => Standing::Behind { by: unsigned(behind) },
            Some(seen) if ahead >= CLOCK_LONG_MS => {
                Standing::Ahead { by: unsigned(ahead), wait: unsigned(self.left(seen, boot)) }
            }
            _ => Standing::Right,
        }
    }
}

pub(super) fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX / 4)
}

fn unsigned(millis: i64) -> u64 {
    u64::try_from(millis).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1000;
    const HOUR: i64 = 3600 * SECOND;
    const DAY: i64 = 24 * HOUR;
    /// 2026-11-21.
    const NOW: i64 = 1_795_300_000_000;

    /// A host whose clock can be set.
    struct Host {
        wall: i64,
        boot: i64,
        judge: Judge,
    }

    impl Host {
        fn new() -> Self {
            Self { wall: NOW, boot: 5000, judge: Judge::start(None, NOW, 5000) }
        }

        /// The daemon runs, and looks at the clock every second.
        fn runs(&mut self, millis: i64) {
            for _ in 0..millis / SECOND {
                self.wall += SECOND;
                self.boot += SECOND;
                self.judge.look(self.wall, self.boot);
            }
        }

        /// The daemon ends, and another is started when so much more is on the clock, on a host that was started anew.
        fn stops(&mut self, on_the_clock: i64) {
            let kept = self.judge.commit(self.wall, self.boot);
            self.wall += on_the_clock;
            self.boot = 3000;
            self.judge = Judge::start(Some(kept), self.wall, self.boot);
            self.judge.look(self.wall, self.boot);
        }

        fn now(&self) -> i64 {
            signed(self.judge.now(self.wall, self.boot))
        }

        fn proven(&self) -> i64 {
            signed(self.judge.proven(self.boot))
        }

        fn standing(&self) -> Standing {
            self.judge.standing(self.wall, self.boot)
        }
    }

    #[test]
    fn time_that_passes_is_believed() {
        let mut host = Host::new();
        host.runs(3 * HOUR);
        assert_eq!((host.now(), host.proven()), (NOW + 3 * HOUR, NOW + 3 * HOUR));
        assert_eq!(host.standing(), Standing::Right);
    }

    #[test]
    fn a_jump_ahead_is_believed_after_a_day_in_which_it_stands() {
        let mut host = Host::new();
        host.wall += 8 * DAY;
        host.runs(23 * HOUR);
        assert_eq!((host.now(), host.proven()), (NOW + 8 * DAY + 23 * HOUR, NOW + 23 * HOUR));
        assert!(matches!(host.standing(), Standing::Ahead { by, wait }
            if by == 8 * DAY as u64 && wait.abs_diff(HOUR as u64) <= 1000));
        host.runs(HOUR + 2 * SECOND);
        assert_eq!(host.proven(), host.wall);
        assert_eq!(host.standing(), Standing::Right);
    }

    #[test]
    fn a_jump_that_is_mended_changes_nothing_that_has_come_for_sure() {
        let mut host = Host::new();
        host.wall += 8 * DAY;
        host.runs(HOUR);
        host.wall -= 8 * DAY;
        host.runs(HOUR);
        assert_eq!((host.now(), host.proven()), (NOW + 2 * HOUR, NOW + 2 * HOUR));
        assert_eq!(host.standing(), Standing::Right);
    }

    #[test]
    fn further_jumps_begin_the_wait_anew() {
        let mut host = Host::new();
        for _ in 0..5 {
            host.wall += 8 * DAY;
            host.runs(23 * HOUR);
        }
        assert_eq!(host.proven(), NOW + 5 * 23 * HOUR);
    }

    /// A clock that runs twice as fast as time passes is never believed by as much.
    #[test]
    fn a_clock_that_runs_away_is_not_followed() {
        let mut host = Host::new();
        for _ in 0..30 {
            host.wall += DAY;
            host.runs(HOUR);
        }
        assert_eq!(host.proven(), NOW + 30 * HOUR);
    }

    #[test]
    fn a_stop_is_waited_for_as_long_as_it_was_a_day_at_most() {
        for (stop, wait) in
            [(5 * SECOND, 5 * SECOND), (HOUR, HOUR), (8 * DAY, DAY), (900 * DAY, DAY)]
        {
            let mut host = Host::new();
            host.stops(stop);
            let told = matches!(host.standing(), Standing::Ahead { .. });
            assert_eq!(told, stop >= CLOCK_LONG_MS, "{stop}");
            host.runs(wait - SECOND);
            assert_eq!(host.proven(), NOW + wait - SECOND, "{stop}");
            assert_eq!(host.now(), NOW + stop + wait - SECOND);
            host.runs(2 * SECOND);
            assert_eq!(host.proven(), host.wall, "{stop}");
        }
    }

    #[test]
    fn a_wait_goes_on_over_a_short_stop_and_begins_anew_after_a_long_one() {
        let mut host = Host::new();
        host.stops(8 * DAY);
        host.runs(20 * HOUR);
        host.stops(10 * SECOND);
        host.runs(3 * HOUR);
        assert_eq!(host.proven(), NOW + 23 * HOUR);
        host.stops(2 * HOUR);
        host.runs(23 * HOUR);
        assert_eq!(host.proven(), NOW + 46 * HOUR);
        host.runs(2 * HOUR);
        assert_eq!(host.proven(), host.wall);
    }

    #[test]
    fn a_clock_that_is_behind_is_not_followed() {
        let mut host = Host::new();
        host.runs(HOUR);
        // 1970, as of a host without a battery.
        host.stops(-host.wall);
        assert_eq!((host.now(), host.proven()), (NOW + HOUR, NOW + HOUR));
        assert_eq!(host.standing(), Standing::Behind { by: (NOW + HOUR) as u64 });
        host.runs(HOUR);
        assert_eq!((host.now(), host.proven()), (NOW + 2 * HOUR, NOW + 2 * HOUR));
        // The network sets it.
        host.wall = NOW + 2 * HOUR + 20 * SECOND;
        host.runs(HOUR);
        assert_eq!(host.proven(), host.wall);
        assert_eq!(host.standing(), Standing::Right);
    }

    /// Also while it runs: what was committed counts.
    #[test]
    fn a_clock_that_is_set_back_is_not_followed() {
        let mut host = Host::new();
        let _ = host.judge.commit(host.wall, host.boot);
        host.wall -= 3 * DAY;
        host.runs(HOUR);
        assert_eq!((host.now(), host.proven()), (NOW + HOUR, NOW + HOUR));
    }

    #[test]
    fn who_confirms_the_clock_is_believed_in_both_directions() {
        for jump in [8 * DAY, -8 * DAY, -NOW] {
            let mut host = Host::new();
            host.stops(jump);
            assert_ne!(host.standing(), Standing::Right);
            host.judge.confirm(host.wall, host.boot);
            assert_eq!((host.now(), host.proven()), (host.wall, host.wall));
            assert_eq!(host.standing(), Standing::Right);
            host.stops(5 * SECOND);
            assert_eq!(host.now(), host.wall);
        }
    }
}
