//! How long a queue without work looks for more before it sleeps. Pure.

use std::time::{Duration, Instant};

use crate::limits::SPIN_TIME_MAX;

/// Adaptive, by success: what is looked for in vain is looked for half as long the next time, until a queue without
/// work sleeps at once and an idle disk costs no CPU. Sleeps that were short say that a look might have done; then one is
/// tried, more and more seldom if it is in vain. How long the sleeps are must not decide alone: whoever looks keeps the
/// core from a kernel thread that may be just about to complete the request (a loop device's), and would wait for
/// himself.
#[derive(Debug)]
pub struct Spin {
    time: Duration,
    idle_since: Option<Instant>,
    /// Short sleeps until the next try.
    until_try: u32,
    /// Short sleeps between tries.
    pause: u32,
}

/// Looking for less than this is not looking.
const STEP: Duration = Duration::from_micros(4);

/// Longest pause between tries, in short sleeps.
const PAUSE_MAX: u32 = 1024;

impl Spin {
    /// Begins by looking.
    #[must_use]
    pub fn new() -> Self {
        Self { time: SPIN_TIME_MAX, idle_since: None, until_try: 1, pause: 1 }
    }

    /// There was work.
    pub fn worked(&mut self) {
        if self.idle_since.take().is_some() {
            self.time = SPIN_TIME_MAX;
            self.pause = 1;
        }
    }

    /// There was none at `now`: whether to look again rather than sleep.
    pub fn may_look_again(&mut self, now: Instant) -> bool {
        if self.time.is_zero() {
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        now.duration_since(since) < self.time
    }

    /// A sleep of this length has ended.
    pub fn slept(&mut self, time: Duration) {
        if self.idle_since.take().is_some() {
            let half = self.time / 2;
            self.time = if half < STEP { Duration::ZERO } else { half };
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            self.until_try = self.pause;
        } else if time < SPIN_TIME_MAX {
            self.until_try -= 1;
            if self.until_try == 0 {
                self.time = SPIN_TIME_MAX;
            }
        }
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

    const SHORT: Duration = Duration::from_micros(9);
    const LONG: Duration = Duration::from_secs(1);

    /// A rest without work: whether it looked before it slept.
    fn rest(spin: &mut Spin, sleep: Duration) -> bool {
        let looked = spin.may_look_again(Instant::now());
        spin.slept(sleep);
        looked
    }

    #[test]
    fn a_look_lasts_its_time() {
        let mut spin = Spin::new();
        let now = Instant::now();
        assert!(spin.may_look_again(now));
        assert!(spin.may_look_again(now + SPIN_TIME_MAX - Duration::from_nanos(1)));
        assert!(!spin.may_look_again(now + SPIN_TIME_MAX));
    }

    #[test]
    fn an_idle_queue_soon_sleeps_at_once_and_for_good() {
        let mut spin = Spin::new();
        let looks = (0..10_000).filter(|_| rest(&mut spin, LONG)).count();
        assert_eq!(looks, 4, "50, 25, 12 and 6 us");
    }

    #[test]
    fn looks_in_vain_become_rare_though_sleeps_are_short() {
        let mut spin = Spin::new();
        let looks = (0..100_000).filter(|_| rest(&mut spin, SHORT)).count();
        assert!((100..1000).contains(&looks), "{looks} looks");
    }

    #[test]
    fn a_look_that_finds_work_brings_the_next_one() {
        let mut spin = Spin::new();
        while rest(&mut spin, LONG) {}
        while !spin.may_look_again(Instant::now()) {
            spin.slept(SHORT);
        }
        for _ in 0..100 {
            assert!(spin.may_look_again(Instant::now()));
            spin.worked();
        }
        assert!(rest(&mut spin, SHORT));
    }
}
