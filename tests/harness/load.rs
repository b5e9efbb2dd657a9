//! Verified load on a disk, by a front end that keeps track of what is with the device: the device's processes may come
//! and go. Nothing acknowledged may be lost, nothing be answered twice, and no error reach the guest.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    driver::{BlkRequest, Cut},
    front_end::{FrontEnd, Options},
    tape::{Mix, Tape},
};

/// Size of the disk, as `image create` takes it.
pub const SIZE: &str = "16M";

const BLOCKS: usize = 32768;

/// Requests under way at one time, for each queue.
const DEPTH: u64 = 16;

/// A disk under load.
pub struct Load {
    /// The front end.
    pub front_end: FrontEnd,
    tapes: Vec<Tape>,
}

impl Load {
    /// On an untouched disk of [`SIZE`] that is served with `queues`.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn on(socket: &Path, queues: usize, seed: u64) -> Self {
        let options =
            Options { queues, depth: DEPTH, cut: Cut::Wild, seed, tracked: true, without: 0 };
        let mut front_end = FrontEnd::connect(socket, options);
        let capacity = front_end.config(0, 8);
        assert_eq!(capacity, (BLOCKS as u64).to_le_bytes(), "the disk is to have {SIZE}");
        let blocks = BLOCKS / queues;
        let tape = |queue: usize| {
            let first = queue * blocks;
            let mix = Mix { block: 512, first, blocks, longest: 200, discard: true };
            Tape::new(mix, seed * 64 + queue as u64)
        };
        Self { front_end, tapes: (0..queues).map(tape).collect() }
    }

    /// Keeps the rings full for some time, whether anybody serves them or not.
    pub fn load_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.front_end.load(&mut self.tapes, || Instant::now() >= end);
    }

    /// Requests answered, and rightly.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.tapes.iter().map(|tape| tape.judged).sum()
    }

    /// Everything under way is answered, and so are some more.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_running(&mut self) {
        self.front_end.play(&mut self.tapes, 100);
    }

    /// The whole disk is what it must be.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_intact(&mut self) {
        const STEP: usize = 1 << 20;
        self.assert_running();
        let span = BLOCKS / self.tapes.len() * 512;
        for (number, tape) in self.tapes.iter().enumerate() {
            for at in (0..span).step_by(STEP) {
                let sector = ((number * span + at) / 512) as u64;
                let read = BlkRequest::read(sector, STEP.min(span - at));
                let answer = self.front_end.ask(0, &read);
                assert_eq!(answer.status, 0, "at sector {sector}");
                assert_eq!(tape.first_difference(at, &answer.data), None, "at sector {sector}");
            }
        }
    }
}
