//! A queue's disk: its ring, and the calls that spare it where it would only cost.

use std::{fs::File, io, os::fd::OwnedFd};

use super::{Disk, Event, Job, Submitted, Wait, uring::Uring, way::Way};

/// One queue's access to the image.
#[derive(Debug)]
pub struct Engine {
    ring: Uring,
    image: File,
    way: Way,
}

impl Engine {
    /// `ring` serves `image` too: it has the watches, and whatever calls are not for.
    #[must_use]
    pub fn new(ring: Uring, image: File, way: Way) -> Self {
        Self { ring, image, way }
    }
}

impl Disk for Engine {
    fn submit(&mut self, mut job: Job) -> Submitted {
        match self.way.attempt(&self.image, &mut job.operation) {
            Some(result) => Submitted::Ended(job, result),
            None => self.ring.submit(job),
        }
    }

    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        self.ring.wait(wait)
    }

    fn next(&mut self) -> Option<Event> {
        self.ring.next()
    }

    fn watch_kicks(&mut self, kick: Option<OwnedFd>) {
        self.ring.watch_kicks(kick);
    }

    fn in_flight(&self) -> usize {
        self.ring.in_flight()
    }
}
