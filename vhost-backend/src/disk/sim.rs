//! The disk's faulty twin: an image in memory that is slow, short, out of order, failing and forgetful on command.
//! Tests and benches run the unchanged queue on it.

mod record;

use std::{collections::VecDeque, io, os::fd::OwnedFd};

use rustix::io::Errno;

pub use record::{Change, Happening};

use super::{Disk, Event, Job, Operation, Submitted, Wait};
use crate::limits::{BARE_OPERATIONS_MAX, BUFFERS};

/// What goes wrong, in how many of 256 operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Reads and writes that move a part only.
    pub short: u8,
    /// Operations that the kernel wants tried again.
    pub again: u8,
    /// Operations that fail with EIO.
    pub error: u8,
    /// Writes and holes that find no space.
    pub full: u8,
    /// Flushes that find none for what was written before.
    pub full_late: u8,
    /// Flushes that fail with EIO.
    pub sync_error: u8,
    /// Looks at a disk with work to do that find nothing ended.
    pub slow: u8,
    /// Operations that end where they are submitted, as plain calls do.
    pub at_once: u8,
    /// Operations whose end is told only after that of others.
    pub late: u8,
    /// Operations take effect and end in random order.
    pub reorder: bool,
    /// A part of a write is whole sectors of 512 bytes.
    pub whole_sectors: bool,
    /// No write is durable by itself.
    pub page_cache: bool,
}

/// A disk in memory.
#[derive(Debug)]
pub struct SimDisk {
    image: Vec<u8>,
    jobs: VecDeque<(u64, Job)>,
    /// What has ended, but that is not told yet.
    untold: VecDeque<Event>,
    faults: Faults,
    random: u64,
    bell: bool,
    /// Operations do not end while this is set.
    stuck: bool,
    syncs: u64,
    /// Operations so far: each has its number.
    number: u64,
    record: Option<Vec<Happening>>,
    /// How the next operations end, whatever else goes wrong.
    ordered: VecDeque<Errno>,
}

impl SimDisk {
    /// A disk that holds `image`; the same seed brings the same faults.
    #[must_use]
    pub fn new(image: Vec<u8>, faults: Faults, seed: u64) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self {
            image,
            jobs: VecDeque::new(),
            untold: VecDeque::new(),
            faults,
            random,
            bell: false,
            stuck: false,
            syncs: 0,
            number: 0,
            record: None,
            ordered: VecDeque::new(),
        }
    }

    /// The bytes on the disk.
    #[must_use]
    pub fn image(&self) -> &[u8] {
        &self.image
    }

    /// Flushes that reached the disk.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Announces a command, as the eventfd does for the real disk.
    pub fn ring_bell(&mut self) {
        self.bell = true;
    }

    /// Lets operations hang, or go on.
    pub fn set_stuck(&mut self, stuck: bool) {
        self.stuck = stuck;
    }

    /// Changes what goes wrong.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// The next operations to end fail so, in this order.
    pub fn fail_next(&mut self, errnos: impl IntoIterator<Item = Errno>) {
        self.ordered.extend(errnos);
    }

    /// From now on writes down what happens to it.
    pub fn start_record(&mut self) {
        self.record = Some(Vec::new());
    }

    /// What has happened since it was last asked.
    pub fn take_record(&mut self) -> Vec<Happening> {
        self.record.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn begin(&mut self, operation: &Operation) -> u64 {
        self.number += 1;
        if let Some(record) = &mut self.record {
            record.extend(Change::of(operation).map(|what| Happening::Began(self.number, what)));
        }
        self.number
    }

    fn end(&mut self, number: u64, job: &mut Job) -> Result<usize, Errno> {
        let result = self.perform(job);
        let changes = !matches!(job.operation, Operation::Read { .. });
        if let Some(record) = self.record.as_mut().filter(|_| changes) {
            record.push(match result {
                Ok(moved) => Happening::Ended(number, moved),
                Err(Errno::AGAIN) => Happening::Again(number),
                Err(_) => Happening::Failed(number),
            });
        }
        result
    }

    /// xorshift64* (Vigna 2016): enough for faults, and the same on every machine.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn happens(&mut self, in_256: u8) -> bool {
        self.draw() % 256 < u64::from(in_256)
    }

    fn perform(&mut self, job: &mut Job) -> Result<usize, Errno> {
        if let Some(errno) = self.ordered.pop_front() {
            return Err(errno);
        }
        let is_sync = matches!(job.operation, Operation::Sync);
        if self.happens(self.faults.error) || is_sync && self.happens(self.faults.sync_error) {
            return Err(Errno::IO);
        }
        if self.happens(self.faults.again) {
            return Err(Errno::AGAIN);
        }
        let full = match job.operation {
            Operation::Read { .. } => 0,
            Operation::Write { .. } | Operation::Punch { .. } => self.faults.full,
            Operation::Sync => self.faults.full_late,
        };
        if full > 0 && self.happens(full) {
            return Err(Errno::NOSPC);
        }
        let short = self.happens(self.faults.short);
        let part = self.draw() as usize;
        let moved = |left: usize| if short { 1 + part % left } else { left };
        match &mut job.operation {
            Operation::Read { into, at, len, done } => {
                let (count, start) = (moved(*len - *done), *at as usize + *done);
                let from = self.image.get(start..start + count).ok_or(Errno::IO)?;
                into.bytes_mut()[*done..*done + count].copy_from_slice(from);
                Ok(count)
            }
            Operation::Write { from, at, done, .. } => {
                let left = from.bytes().len() - *done;
                let part = moved(left);
                let count = if self.faults.whole_sectors {
                    part.next_multiple_of(512).min(left)
                } else {
                    part
                };
                let start = *at as usize + *done;
                let to = self.image.get_mut(start..start + count).ok_or(Errno::NOSPC)?;
                to.copy_from_slice(&from.bytes()[*done..*done + count]);
                Ok(count)
            }
            Operation::Sync => {
                self.syncs += 1;
                Ok(0)
            }
            Operation::Punch { at, len } => {
                let (start, len) = (*at as usize, *len as usize);
                self.image.get_mut(start..start + len).ok_or(Errno::IO)?.fill(0);
                Ok(0)
            }
        }
    }
}

impl Disk for SimDisk {
    fn submit(&mut self, mut job: Job) -> Submitted {
        // A plain call needs no room.
        if !self.stuck && self.happens(self.faults.at_once) {
            let number = self.begin(&job.operation);
            let result = self.end(number, &mut job);
            return Submitted::Ended(job, result);
        }
        if self.in_flight() >= BUFFERS + BARE_OPERATIONS_MAX {
            return Submitted::Full(job);
        }
        let number = self.begin(&job.operation);
        self.jobs.push_back((number, job));
        Submitted::Queued
    }

    fn wait(&mut self, _: Wait) -> io::Result<()> {
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.bell) {
            return Some(Event::Command);
        }
        if self.stuck || self.in_flight() == 0 || self.happens(self.faults.slow) {
            return None;
        }
        if self.jobs.is_empty() {
            return self.untold.pop_front();
        }
        let place = if self.faults.reorder { self.draw() as usize % self.jobs.len() } else { 0 };
        let (number, mut job) = self.jobs.remove(place)?;
        let result = self.end(number, &mut job);
        let event = Event::Done(job, result);
        if self.happens(self.faults.late) {
            self.untold.push_back(event);
            return None;
        }
        Some(event)
    }

    fn watch_kicks(&mut self, _: Option<OwnedFd>) {}

    fn has_durable_writes(&self) -> bool {
        !self.faults.page_cache
    }

    fn in_flight(&self) -> usize {
        self.jobs.len() + self.untold.len()
    }
}
