//! How long a queue without work looks for more before it sleeps. Pure.

use std::time::{Duration, Instant};

use crate::limits::SPIN_TIME_MAX;

/// Adaptive: a sleep that was short would have been better spent looking, so the time grows; a long one shows that
/// nothing was coming, so it shrinks to nothing and an idle disk costs no CPU.
#[derive(Debug)]
pub struct Spin {
    time: Duration,
    idle_since: Option<Instant>,
}

/// The first step up from zero.
const STEP: Duration = Duration::from_micros(4);

impl Spin {
    /// Begins cautiously.
    #[must_use]
    pub fn new() -> Self {
        Self { time: STEP, idle_since: None }
    }

    /// There was work.
    pub fn worked(&mut self) {
        self.idle_since = None;
    }

    /// There was none at `now`: whether to look again rather than sleep.
    pub fn may_look_again(&mut self, now: Instant) -> bool {
        let since = *self.idle_since.get_or_insert(now);
        now.duration_since(since) < self.time
    }

    /// A sleep of this length has ended.
    pub fn slept(&mut self, time: Duration) {
        self.idle_since = None;
        self.time = if time < SPIN_TIME_MAX {
            (self.time * 2).clamp(STEP, SPIN_TIME_MAX)
        } else if self.time > STEP {
            self.time / 2
        } else {
            Duration::ZERO
        };
    }
}

impl Default for Spin {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sleeps_end_the_looking_and_short_ones_bring_it_back() {
        let mut spin = Spin::new();
        let now = Instant::now();
        assert!(spin.may_look_again(now));
        (0..20).for_each(|_| spin.slept(Duration::from_secs(1)));
        assert!(!spin.may_look_again(now));
        (0..20).for_each(|_| spin.slept(Duration::from_micros(1)));
        assert!(spin.may_look_again(now));
        assert!(spin.may_look_again(now + SPIN_TIME_MAX - Duration::from_nanos(1)));
        assert!(!spin.may_look_again(now + SPIN_TIME_MAX));
    }
}
