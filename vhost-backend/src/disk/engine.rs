//! A queue's disk: what waits for the device, and the calls that spare it where it would only cost.

use std::{fmt, fs::File, io, os::fd::OwnedFd};

use super::{Disk, Event, Job, Submitted, Wait, way::Way};
use crate::limits::WORKERS;

/// What waits for the device while the queue goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel: [`Uring`](super::uring::Uring).
    IoUring {
        /// Whether it has registered the queue's buffers.
        registered: bool,
    },
    /// [`Threads`](super::threads::Threads) of ours, where a kernel's or container's rules leave no io_uring.
    Threads,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IoUring { .. } => f.write_str("io_uring"),
            Self::Threads => write!(f, "{WORKERS} threads a queue"),
        }
    }
}

/// One queue's access to the image.
#[derive(Debug)]
pub struct Engine {
    waiting: Box<dyn Disk>,
    image: File,
    way: Way,
}

impl Engine {
    /// `waiting` serves `image` too: it has the watches, and whatever calls are not for.
    #[must_use]
    pub fn new(waiting: Box<dyn Disk>, image: File, way: Way) -> Self {
        Self { waiting, image, way }
    }
}

impl Disk for Engine {
    fn submit(&mut self, mut job: Job) -> Submitted {
        match self.way.attempt(&self.image, &mut job.operation) {
            Some(result) => Submitted::Ended(job, result),
            None => self.waiting.submit(job),
        }
    }

    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        self.waiting.wait(wait)
    }

    fn next(&mut self) -> Option<Event> {
        self.waiting.next()
    }

    fn watch_kicks(&mut self, kick: Option<OwnedFd>) {
        self.waiting.watch_kicks(kick);
    }

    fn has_durable_writes(&self) -> bool {
        self.way.has_durable_writes()
    }

    fn in_flight(&self) -> usize {
        self.waiting.in_flight()
    }
}
