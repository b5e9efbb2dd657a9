//! How long a thread waits for the answers of others of its process.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

/// A stop of the process costs no more than this.
const SLICE: Duration = Duration::from_millis(50);

/// What is left of a time to wait.
///
/// While a process is stopped (SIGSTOP, a paused container, a debugger, a paused machine) clocks go on: when it runs
/// again all time would be up, and threads be taken for hung that could not run. So it is waited for in slices.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Duration,
}

impl Patience {
    /// For `time`, and a slice more, should a stop take one.
    #[must_use]
    pub(crate) fn of(time: Duration) -> Self {
        Self { left: time + SLICE }
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// None came in what was left, or none can come any more.
    pub(crate) fn answer<T>(&mut self, from: &Receiver<T>) -> Result<T, RecvTimeoutError> {
        loop {
            let began = Instant::now();
            let answer = from.recv_timeout(self.left.min(SLICE));
            self.left = self.left.saturating_sub(began.elapsed().min(SLICE));
            if !matches!(answer, Err(RecvTimeoutError::Timeout)) || self.left.is_zero() {
                return answer;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn all_answers_together_have_the_time_and_what_has_come_is_taken_without_any() {
        let (reply, answers) = mpsc::channel();
        let mut patience = Patience::of(SLICE);
        let began = Instant::now();
        assert_eq!(patience.answer(&answers), Err(RecvTimeoutError::Timeout));
        assert!(began.elapsed() >= 2 * SLICE);
        reply.send(7).unwrap();
        assert_eq!(patience.answer(&answers), Ok(7));
        assert_eq!(patience.answer(&answers), Err(RecvTimeoutError::Timeout));
        drop(reply);
        assert_eq!(patience.answer(&answers), Err(RecvTimeoutError::Disconnected));
    }
}
