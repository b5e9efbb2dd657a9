//! Whether there is space below the image: the clock by which requests that found none are tried again. Pure.

use std::time::{Duration, Instant};

use crate::limits::SPACE_RETRY_TIME;

/// What a queue knows of the space below. Nobody tells when there is some again: it is tried.
#[derive(Debug, Default)]
pub struct Space {
    trial: Option<Trial>,
}

/// There was none.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// When it is tried next.
    at: Instant,
    /// How long after that the next time.
    pause: Duration,
}

impl Space {
    /// An operation found none at `now`. `true` if that is news.
    pub fn is_gone(&mut self, now: Instant) -> bool {
        let (first, _) = SPACE_RETRY_TIME;
        let is_news = self.trial.is_none();
        self.trial.get_or_insert(Trial { at: now + first, pause: first });
        is_news
    }

    /// There is some, or nobody asks for it any more. `true` if that is news.
    pub fn is_back(&mut self) -> bool {
        self.trial.take().is_some()
    }

    /// Whether there was none when last asked for.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether to try again now. If so, the next time is later than this one by twice as long, up to a longest pause.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let Some(trial) = self.trial.as_mut().filter(|trial| now >= trial.at) else { return false };
        trial.pause = (trial.pause * 2).min(SPACE_RETRY_TIME.1);
        trial.at = now + trial.pause;
        true
    }

    /// How long a sleep may last for the next try to be in time.
    #[must_use]
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        self.trial.map(|trial| trial.at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_is_tried_more_and_more_seldom_but_every_second() {
        let (mut space, begin) = (Space::default(), Instant::now());
        assert!(space.is_gone(begin));
        let tries: Vec<u32> = (0..5000).filter(|&ms| space.is_due(begin + ms * MS)).collect();
        assert_eq!(tries, [100, 300, 700, 1500, 2500, 3500, 4500]);
    }

    #[test]
    fn what_finds_none_while_there_is_none_is_no_news_and_puts_nothing_off() {
        let (mut space, begin) = (Space::default(), Instant::now());
        assert!(space.is_gone(begin));
        assert!(!space.is_gone(begin + 99 * MS));
        assert_eq!(space.time_left(begin + 99 * MS), Some(MS));
        assert!(space.is_due(begin + 100 * MS));
    }

    #[test]
    fn with_space_nothing_is_due_and_the_next_time_begins_anew() {
        let (mut space, begin) = (Space::default(), Instant::now());
        assert!(!space.is_short() && !space.is_back() && !space.is_due(begin));
        assert_eq!(space.time_left(begin), None);
        space.is_gone(begin);
        assert!(space.is_due(begin + 1000 * MS) && space.is_back());
        assert!(space.is_gone(begin + 2000 * MS));
        assert_eq!(space.time_left(begin + 2000 * MS), Some(100 * MS));
    }
}
