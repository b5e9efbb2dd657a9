//! A request in progress: which pieces of it are still to be started, and how its pieces ended. Pure.

use crate::{
    disk::{Job, Operation, Piece},
    guest::Chain,
    limits::{ATTEMPTS_MAX, BUFFER_LEN},
    request::{Action, Extent, Status},
};
use rustix::io::Errno;

/// A request from its judgement to its answer. Lives in a slot of its queue and is used again.
#[derive(Debug, Default)]
pub struct Flight {
    /// The guest's buffers.
    pub chain: Chain,
    /// What the request covers; filled by the parser.
    pub extents: Vec<Extent>,
    progress: Progress,
}

#[derive(Debug)]
struct Progress {
    action: Action,
    status: Status,
    /// The extent, and the byte in it, where the next piece begins.
    next: (usize, u64),
    data_at: u64,
    /// Pieces that came back undone and must be started again.
    again: Vec<Piece>,
    outstanding: u32,
    /// A barrier is still to follow the last piece.
    sync_after: bool,
    to_guest: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            action: Action::Id,
            status: Status::Ok,
            next: (0, 0),
            data_at: 0,
            again: Vec::new(),
            outstanding: 0,
            sync_after: false,
            to_guest: 0,
        }
    }
}

/// What the next piece of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read a piece.
    Read(Piece),
    /// Gather, seal and write a piece.
    Write(Piece),
    /// Seal and write zeros.
    Zero(Piece),
    /// Give space back.
    Punch(Piece),
    /// Make durable.
    Sync(Piece),
}

impl Flight {
    /// Begins the life of a judged request. `write_through`: a punch must be durable when it is answered.
    pub fn begin(&mut self, action: Action, write_through: bool) {
        let again = std::mem::take(&mut self.progress.again);
        debug_assert!(again.is_empty());
        self.progress = Progress {
            action,
            again,
            sync_after: action == Action::Flush || (action == Action::Punch && write_through),
            ..Progress::default()
        };
    }

    /// What the request does.
    #[must_use]
    pub fn action(&self) -> Action {
        self.progress.action
    }

    /// The next piece to start; it counts as started. `None`: nothing more, or not before others have ended.
    pub fn next_step(&mut self, slot: u16) -> Option<Step> {
        let step = self.peek_step(slot)?;
        let progress = &mut self.progress;
        progress.outstanding += 1;
        if progress.again.pop().is_some() {
            return Some(step);
        }
        match step {
            Step::Sync(_) => progress.sync_after = false,
            Step::Read(piece) | Step::Write(piece) | Step::Zero(piece) | Step::Punch(piece) => {
                progress.data_at += piece.len;
                progress.next.1 += piece.len;
                if progress.next.1 == self.extents[progress.next.0].len {
                    progress.next = (progress.next.0 + 1, 0);
                }
            }
        }
        Some(step)
    }

    fn peek_step(&self, slot: u16) -> Option<Step> {
        let progress = &self.progress;
        if progress.status != Status::Ok {
            return None;
        }
        if let Some(&piece) = progress.again.last() {
            return Some(self.step(piece));
        }
        let (number, offset) = progress.next;
        if let Some(extent) = self.extents.get(number) {
            let left = extent.len - offset;
            let punch = progress.action == Action::Punch;
            let len = if punch { left } else { left.min(BUFFER_LEN as u64) };
            let disk_at = extent.start + offset;
            return Some(self.step(Piece {
                flight: slot,
                data_at: progress.data_at,
                disk_at,
                len,
            }));
        }
        let barrier = progress.sync_after && progress.outstanding == 0;
        barrier.then_some(Step::Sync(Piece { flight: slot, data_at: 0, disk_at: 0, len: 0 }))
    }

    fn step(&self, piece: Piece) -> Step {
        match self.progress.action {
            Action::Read => Step::Read(piece),
            Action::Write => Step::Write(piece),
            Action::Zero => Step::Zero(piece),
            Action::Punch => Step::Punch(piece),
            Action::Flush | Action::Id => Step::Sync(piece),
        }
    }

    /// A piece could not be started now, or came back undone: it will be a next step again.
    pub fn put_back(&mut self, step: Step) {
        self.progress.outstanding -= 1;
        match step {
            Step::Sync(_) => self.progress.sync_after = true,
            Step::Read(piece) | Step::Write(piece) | Step::Zero(piece) | Step::Punch(piece) => {
                self.progress.again.push(piece);
            }
        }
    }

    /// A piece ended well; `to_guest` bytes of data went to the guest with it.
    pub fn piece_done(&mut self, to_guest: u64) {
        self.progress.outstanding -= 1;
        self.progress.to_guest += to_guest;
    }

    /// A piece ended badly: no further one is started.
    pub fn piece_failed(&mut self) {
        self.progress.outstanding -= 1;
        self.fail();
    }

    /// The request is to end with an error.
    pub fn fail(&mut self) {
        self.progress.status = Status::IoError;
        self.progress.again.clear();
    }

    /// The answer, once no piece is at the disk and none is left to start.
    #[must_use]
    pub fn answer(&self) -> Option<Status> {
        let ended = self.progress.outstanding == 0 && self.peek_step(0).is_none();
        ended.then_some(self.progress.status)
    }

    /// Bytes of data that went to the guest.
    #[must_use]
    pub fn to_guest(&self) -> u64 {
        self.progress.to_guest
    }
}

/// How an operation ended.
#[derive(Debug)]
pub enum Settled {
    /// All of it was done.
    Whole(Job),
    /// Part of it was done: this is the rest, to be submitted.
    Rest(Job),
    /// It failed.
    Failed(Job, Errno),
}

/// Judges what the disk said of a job: less than was asked for is never success. A piece that moves nothing at all is
/// the end of the file, or a full disk, and fails.
#[must_use]
pub fn settle(mut job: Job, result: Result<usize, Errno>) -> Settled {
    let moved = match result {
        Ok(moved) => moved,
        Err(Errno::INTR | Errno::AGAIN) if job.attempts < ATTEMPTS_MAX => {
            job.attempts += 1;
            return Settled::Rest(job);
        }
        Err(errno) => return Settled::Failed(job, errno),
    };
    let (len, done) = match &mut job.operation {
        Operation::Read { len, done, .. } => (*len, done),
        Operation::Write { from, done, .. } => (from.bytes().len(), done),
        Operation::Sync | Operation::Punch { .. } => return Settled::Whole(job),
    };
    if *done + moved >= len {
        return Settled::Whole(job);
    }
    // With O_DIRECT the rest must begin on a block: bytes of a part of one are asked for again.
    let blocks = moved & !511;
    job.attempts += u16::from(blocks == 0);
    if moved == 0 || job.attempts > ATTEMPTS_MAX {
        return Settled::Failed(job, Errno::IO);
    }
    *done += blocks;
    Settled::Rest(job)
}
