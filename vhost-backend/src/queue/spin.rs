//! How long a queue without work looks for more before it sleeps. Pure.

use std::time::{Duration, Instant};

use crate::limits::SPIN_TIME_MAX;

/// Adaptive, by success: what is looked for in vain is looked for half as long the next time, until a queue without
/// work sleeps at once and an idle disk costs no CPU. Sleeps that were short say that a look might have done; then one
/// is tried, more and more seldom if it is in vain. How long the sleeps are must not decide alone: whoever looks keeps
/// the core from a kernel thread that may be just about to complete the request (a loop device's), and would wait for
/// himself.
#[derive(Debug)]
pub struct Spin {
    stance: Stance,
    /// Short sleeps between tries.
    pause: u32,
}

#[derive(Debug, Clone, Copy)]
enum Stance {
    /// Looks for so long before it sleeps; `since`: it is looking.
    Looks { time: Duration, since: Option<Instant> },
    /// Sleeps at once, for so many more short sleeps.
    Sleeps { until_try: u32 },
}

impl Stance {
    const fn looks(time: Duration) -> Self {
        Self::Looks { time, since: None }
    }
}

/// Looking for less than this is not looking.
const STEP: Duration = Duration::from_micros(4);

/// Longest pause between tries, in short sleeps.
const PAUSE_MAX: u32 = 1024;

impl Spin {
    /// Begins by looking.
    #[must_use]
    pub const fn new() -> Self {
        Self { stance: Stance::looks(SPIN_TIME_MAX), pause: 1 }
    }

    /// There was work.
    pub const fn worked(&mut self) {
        if let Stance::Looks { since: Some(_), .. } = self.stance {
            *self = Self::new();
        }
    }

    /// There was none at `now`: whether to look again rather than sleep.
    pub fn may_look_again(&mut self, now: Instant) -> bool {
        match &mut self.stance {
            Stance::Looks { time, since } => now.duration_since(*since.get_or_insert(now)) < *time,
            Stance::Sleeps { .. } => false,
        }
    }

    /// A sleep of this length has ended. Without a look before it (while no requests are let in) it says nothing.
    pub fn slept(&mut self, time: Duration) {
        self.stance = match self.stance {
            Stance::Looks { since: None, .. } => self.stance,
            Stance::Looks { time, since: Some(_) } => self.looked_in_vain(time),
            Stance::Sleeps { .. } if time >= SPIN_TIME_MAX => self.stance,
            Stance::Sleeps { until_try: 0 } => Stance::looks(SPIN_TIME_MAX),
            Stance::Sleeps { until_try } => Stance::Sleeps { until_try: until_try - 1 },
        }
    }

    fn looked_in_vain(&mut self, time: Duration) -> Stance {
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        match time / 2 {
            half if half < STEP => Stance::Sleeps { until_try: self.pause - 1 },
            half => Stance::looks(half),
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
    fn sleeps_without_a_look_change_nothing() {
        let mut spin = Spin::new();
        for _ in 0..100_000 {
            spin.slept(SHORT);
        }
        assert!(spin.may_look_again(Instant::now()), "nothing has been looked for in vain");
        // And when it has just been told to try again.
        while rest(&mut spin, LONG) {}
        while !spin.may_look_again(Instant::now()) {
            spin.slept(SHORT);
        }
        spin.worked();
        spin.slept(SHORT);
        assert!(spin.may_look_again(Instant::now()));
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
