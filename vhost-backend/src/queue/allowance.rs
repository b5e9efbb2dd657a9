//! What a queue may do before it looks at its commands again. Pure.
//!
//! Where operations end at once (plain calls, a disk in memory), a driver that refills its ring, or one request of
//! gigabytes of zeros, would keep a queue from a fence for seconds.

use crate::{
    flight::Step,
    limits::{TURN_LEN, TURN_REQUESTS},
};

/// What is left of a turn.
#[derive(Debug)]
pub(super) struct Allowance {
    requests: u16,
    bytes: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { requests: TURN_REQUESTS, bytes: TURN_LEN }
    }
}

impl Allowance {
    /// A request was taken from the ring.
    pub(super) fn request(&mut self) {
        self.requests = self.requests.saturating_sub(1);
    }

    /// Whether a step may be taken; if so, its bytes are spent. The last one may be more than was left.
    pub(super) fn step(&mut self, step: Step) -> bool {
        let may = self.bytes > 0;
        self.bytes = self.bytes.saturating_sub(match step {
            Step::Read(piece) | Step::Write(piece) | Step::Zero(piece) => piece.len,
            // They move nothing, however long they are.
            Step::Punch(_) | Step::Sync(_) => 0,
        });
        may
    }

    /// Whether the rest must wait for the next turn.
    pub(super) fn is_used_up(&self) -> bool {
        self.requests == 0 || self.bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Piece;

    fn piece(len: u64) -> Piece {
        Piece { flight: 0, data_at: 0, disk_at: 0, len }
    }

    #[test]
    fn a_turn_has_so_many_requests() {
        let mut left = Allowance::default();
        (1..TURN_REQUESTS).for_each(|_| left.request());
        assert!(!left.is_used_up());
        left.request();
        assert!(left.is_used_up());
    }

    #[test]
    fn a_turn_has_so_many_bytes_and_the_last_step_is_taken_whole() {
        let mut left = Allowance::default();
        assert!(left.step(Step::Write(piece(TURN_LEN - 1))));
        assert!(left.step(Step::Punch(piece(1 << 30))) && left.step(Step::Sync(piece(0))));
        assert!(!left.is_used_up());
        assert!(left.step(Step::Zero(piece(4096))));
        assert!(left.is_used_up() && !left.step(Step::Read(piece(512))));
    }
}
