//! Whether requests may pass: the queue's side of a fence. Pure.

use std::time::{Duration, Instant, SystemTime};

use keyd_client::message::Reaction;

use super::command::{FenceReply, Fenced};
use crate::limits::DRAIN_TIME;

/// A queue's gate. It begins closed: there is no key yet.
#[derive(Debug)]
pub struct Gate {
    state: State,
    reaction: Reaction,
    /// Who wants to hear that the fence is complete.
    replies: Vec<FenceReply>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// No request is fetched; what is at the disk may end, until the deadline.
    Draining {
        until: Instant,
    },
    Closed,
}

impl Default for Gate {
    fn default() -> Self {
        Self { state: State::Closed, reaction: Reaction::Park, replies: Vec::new() }
    }
}

impl Gate {
    /// Orders a fence. A second order joins the first.
    pub fn close(&mut self, reaction: Reaction, reply: FenceReply) {
        self.reaction = reaction;
        self.replies.push(reply);
        match self.state {
            State::Draining { .. } => {}
            // Closed drains at once: nothing is at the disk.
            State::Open | State::Closed => {
                self.state = State::Draining { until: Instant::now() + DRAIN_TIME };
            }
        }
    }

    /// Lets requests through again.
    pub fn open(&mut self) {
        self.state = State::Open;
        self.replies.clear();
    }

    /// The key has been let go: confirms the fence. `disk_is_idle`: nothing is at the disk any more.
    pub fn confirm(&mut self, last_io: Option<SystemTime>, held: u64, disk_is_idle: bool) {
        self.state = State::Closed;
        let fenced = Fenced { last_io, key_dropped: Instant::now(), held, disk_is_idle };
        self.replies.drain(..).for_each(|reply| {
            let _ = reply.send(fenced);
        });
    }

    /// Whether there is a key and requests pass.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether a fence waits for operations at the disk.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        matches!(self.state, State::Draining { .. })
    }

    /// Whether requests are to be taken only to be answered with an error.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.state == State::Closed && self.reaction == Reaction::Fail
    }

    /// Whether requests are taken from the ring at all.
    #[must_use]
    pub fn lets_requests_in(&self) -> bool {
        self.is_open() || self.is_failing()
    }

    /// Whether the drain has taken too long: then the key goes under what is still at the disk.
    #[must_use]
    pub fn drain_time_is_up(&self, now: Instant) -> bool {
        matches!(self.state, State::Draining { until } if now >= until)
    }

    /// How long a sleep may last for the drain to end in time.
    #[must_use]
    pub fn drain_time_left(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Draining { until } => Some(until.saturating_duration_since(now)),
            State::Open | State::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_gate_begins_closed_and_holds() {
        let gate = Gate::default();
        assert!(!gate.is_open() && !gate.is_failing() && !gate.lets_requests_in());
    }

    #[test]
    fn a_fence_drains_and_is_confirmed_to_everyone_who_ordered_it() {
        let mut gate = Gate::default();
        gate.open();
        let (reply, confirmed) = mpsc::channel();
        gate.close(Reaction::Park, reply.clone());
        gate.close(Reaction::Park, reply);
        assert!(gate.is_draining() && !gate.lets_requests_in());
        gate.confirm(None, 3, true);
        assert_eq!(confirmed.try_iter().map(|fenced| fenced.held).collect::<Vec<_>>(), [3, 3]);
        assert!(!gate.is_draining() && !gate.lets_requests_in());
    }

    #[test]
    fn a_failing_gate_lets_requests_in_to_refuse_them() {
        let mut gate = Gate::default();
        gate.close(Reaction::Fail, mpsc::channel().0);
        assert!(!gate.is_failing());
        gate.confirm(None, 0, true);
        assert!(gate.is_failing() && gate.lets_requests_in() && !gate.is_open());
        gate.open();
        assert!(!gate.is_failing() && gate.is_open());
    }

    #[test]
    fn a_drain_has_its_time_and_no_more() {
        let mut gate = Gate::default();
        gate.close(Reaction::Park, mpsc::channel().0);
        let now = Instant::now();
        assert!(!gate.drain_time_is_up(now));
        assert!(gate.drain_time_left(now).is_some_and(|left| left <= DRAIN_TIME));
        assert!(gate.drain_time_is_up(now + DRAIN_TIME));
    }
}
