//! Group commit: at most one sync of a queue is at the disk. It is for every request that had asked when it began; who
//! asks while it is there has the next one, in common.
//!
//! The kernel tells each open file once of what it could not write (`errseq_t`). Of two syncs at a time one would hear
//! it, the other would end well, and might be seen first: what is lost would be answered as durable.

use rustix::io::Errno;

use super::Queue;
use crate::{
    disk::{Disk, Job, Operation, Piece, Submitted},
    flight::{Settled, Step, settle},
};

/// Requests, by their slots, that are to be durable.
#[derive(Debug)]
pub(super) struct Commit {
    /// Their sync is at the disk.
    begun: Vec<u16>,
    /// They want one that is yet to begin.
    waiting: Vec<u16>,
}

impl Commit {
    /// For a queue of `size` slots.
    pub(super) fn new(size: u16) -> Self {
        let room = usize::from(size);
        Self { begun: Vec::with_capacity(room), waiting: Vec::with_capacity(room) }
    }

    /// A request wants all that has ended by now to be durable.
    pub(super) fn ask(&mut self, slot: u16) {
        self.waiting.push(slot);
    }

    /// A sync begins, if it may and somebody wants one: the first of those whom it is for.
    fn begin(&mut self) -> Option<u16> {
        if self.begun.is_empty() {
            std::mem::swap(&mut self.begun, &mut self.waiting);
            return self.begun.first().copied();
        }
        None
    }

    /// It could not begin, or not again: the next is for them, too.
    fn put_off(&mut self) {
        self.waiting.append(&mut self.begun);
    }
}

impl<D: Disk> Queue<D> {
    /// Begins a sync for all who wait for one, unless one is at the disk; `false` if none was begun.
    pub(super) fn commit(&mut self) -> bool {
        if !self.may_begin_steps() {
            for number in 0..self.commit.waiting.len() {
                let slot = self.commit.waiting[number];
                self.put_off(slot, Step::Sync(of(slot)));
            }
            self.commit.waiting.clear();
        }
        let Some(first) = self.commit.begin() else { return false };
        self.sync(Job { piece: of(first), attempts: 0, operation: Operation::Sync })
    }

    /// Has a sync done at the disk; `false` if there is no room for it.
    fn sync(&mut self, mut job: Job) -> bool {
        loop {
            match self.parts.disk.submit(job) {
                Submitted::Queued => return true,
                Submitted::Full(_) => {
                    self.commit.put_off();
                    return false;
                }
                Submitted::Ended(ended, result) => match self.settle_commit(ended, result) {
                    Some(rest) => job = rest,
                    None => return true,
                },
            }
        }
    }

    /// A sync has ended.
    pub(super) fn complete_commit(&mut self, job: Job, result: Result<usize, Errno>) {
        if let Some(rest) = self.settle_commit(job, result) {
            self.sync(rest);
        }
        self.drive_stalled();
    }

    /// Ends the requests of a sync as it did; if it is to be tried again, what with.
    fn settle_commit(&mut self, job: Job, result: Result<usize, Errno>) -> Option<Job> {
        match settle(job, result) {
            Settled::Rest(rest) => return Some(rest),
            Settled::Whole(_) => {}
            Settled::Starved(_, errno) | Settled::Failed(_, errno) => self.poison("a flush", errno),
        }
        // Another queue's sync may have failed meanwhile.
        let durable = !self.is_poisoned();
        for number in 0..self.commit.begun.len() {
            let slot = self.commit.begun[number];
            let flight = &mut self.flights[usize::from(slot)];
            if durable {
                flight.piece_done(0)
            } else {
                flight.piece_failed()
            }
            self.drive(slot);
        }
        self.commit.begun.clear();
        None
    }
}

/// A sync's own piece: it covers no bytes.
fn of(slot: u16) -> Piece {
    Piece { flight: slot, data_at: 0, disk_at: 0, len: 0 }
}
