//! A disk under verified load whose processes are killed.

use std::{
    ops::{Deref, DerefMut},
    thread,
    time::{Duration, Instant},
};

use crate::{
    front_end::Base,
    load::Load,
    process::{PATIENCE, Process},
    world::World,
};

pub use crate::load::SIZE;

/// Load on a disk, and who serves it.
pub struct Siege {
    /// The load.
    pub load: Load,
    /// The device's process of the moment.
    pub backend: Process,
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
        let load = Load::on(&world.path(&format!("{name}.sock")), queues, seed);
        Self { load, backend, name: name.to_owned(), more }
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
}

impl Deref for Siege {
    type Target = Load;

    fn deref(&self) -> &Load {
        &self.load
    }
}

impl DerefMut for Siege {
    fn deref_mut(&mut self) -> &mut Load {
        &mut self.load
    }
}
