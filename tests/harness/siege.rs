//! A disk under verified load whose processes are killed. Nothing acknowledged may be lost, nothing be answered twice,
//! and no error reach the guest.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    driver::{BlkRequest, Cut},
    front_end::{Base, FrontEnd, Options},
    process::{PATIENCE, Process},
    tape::{Mix, Tape},
    world::World,
};

/// Size of a besieged disk, as `image create` takes it.
pub const SIZE: &str = "16M";

const BLOCKS: usize = 32768;

/// Requests under way at one time, for each queue.
const DEPTH: u64 = 16;

/// A disk under load.
pub struct Siege {
    /// The front end, which keeps track of what is with the device.
    pub front_end: FrontEnd,
    /// The device's process of the moment.
    pub backend: Process,
    tapes: Vec<Tape>,
    name: String,
    more: String,
}

impl Siege {
    /// Serves an untouched disk `name` with `queues`.
    ///
    /// # Panics
    /// If it is not served.
    #[must_use]
    pub fn of(world: &World, name: &str, queues: usize, seed: u64) -> Self {
        let more = format!("--num-queues {queues}");
        let backend = world.start_backend(name, &more);
        let options =
            Options { queues, depth: DEPTH, cut: Cut::Wild, seed, tracked: true, without: 0 };
        let front_end = FrontEnd::connect(&world.path(&format!("{name}.sock")), options);
        let blocks = BLOCKS / queues;
        let tape = |queue: usize| {
            let first = queue * blocks;
            let mix = Mix { block: 512, first, blocks, longest: 200, discard: true };
            Tape::new(mix, seed * 64 + queue as u64)
        };
        let tapes = (0..queues).map(tape).collect();
        Self { front_end, backend, tapes, name: name.to_owned(), more }
    }

    /// Keeps the rings full for some time, whether anybody serves them or not.
    pub fn load_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.front_end.load(&mut self.tapes, || Instant::now() >= end);
    }

    /// Starts the next process, again and again if it cannot have its key, as a supervisor does, and hands it the
    /// rings.
    ///
    /// # Panics
    /// If none comes up in time.
    pub fn restart(&mut self, world: &World, base: Base) {
        let deadline = Instant::now() + PATIENCE;
        while !self.try_start(world) {
            assert!(Instant::now() < deadline, "it does not start again: {}", self.backend.said());
            thread::sleep(Duration::from_millis(50));
        }
        self.front_end.reconnect(base);
    }

    /// Starts the next process; `false` if it ended at once.
    pub fn try_start(&mut self, world: &World) -> bool {
        let log = world.path(&format!("{}.log", self.name));
        let mut command = world.backend_command(&self.name, &self.more);
        self.backend = Process::start("vhost-backend", &mut command, &log);
        let deadline = Instant::now() + PATIENCE;
        while !self.backend.has_ended() {
            if self.backend.said().contains("serving") {
                return true;
            }
            assert!(Instant::now() < deadline, "it does not come up: {}", self.backend.said());
            thread::sleep(Duration::from_millis(2));
        }
        false
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
