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
    /// A piece came back for want of space below: none is started before [`Flight::try_again`].
    starved: bool,
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
            starved: false,
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
    /// Begins the life of a judged request. `sync_after`: a barrier follows its last piece.
    pub fn begin(&mut self, action: Action, sync_after: bool) {
        let mut again = std::mem::take(&mut self.progress.again);
        again.clear();
        self.progress = Progress { action, again, sync_after, ..Progress::default() };
    }

    /// What the request does.
    #[must_use]
    pub fn action(&self) -> Action {
        self.progress.action
    }

    /// The next piece to start; it counts as started. `None`: nothing more, or not before others have ended.
    pub fn next_step(&mut self, slot: u16) -> Option<Step> {
        let step = self.peek_step(slot).filter(|_| !self.is_starved())?;
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

    /// The step that does a piece of the request.
    #[must_use]
    pub fn step(&self, piece: Piece) -> Step {
        match self.progress.action {
            Action::Read => Step::Read(piece),
            Action::Write => Step::Write(piece),
            Action::Zero => Step::Zero(piece),
            Action::Punch => Step::Punch(piece),
            Action::Flush | Action::Id => Step::Sync(piece),
        }
    }

    /// A piece found no space below: it will be a next step again, once it is time to [try](Self::try_again), unless
    /// another has failed.
    pub fn starve(&mut self, piece: Piece) {
        self.put_back(self.step(piece));
        self.progress.starved = self.progress.status == Status::Ok;
    }

    /// There may be space again.
    pub fn try_again(&mut self) {
        self.progress.starved = false;
    }

    /// Whether it waits for space.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.progress.starved
    }

    /// Whether nothing of it is at the disk.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.progress.outstanding == 0
    }

    /// A piece could not be started now, or came back undone: it will be a next step again, unless another has failed:
    /// nothing may be left to start of a request that can be answered.
    pub fn put_back(&mut self, step: Step) {
        self.progress.outstanding -= 1;
        if self.progress.status != Status::Ok {
            return;
        }
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
        self.progress.starved = false;
    }

    /// The answer, once no piece is at the disk and none is left to start.
    #[must_use]
    pub fn answer(&self) -> Option<Status> {
        let ended = self.is_at_rest() && self.peek_step(0).is_none();
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
    /// There is no space for it below: it can be done whole when there is.
    Starved(Job, Errno),
    /// It failed.
    Failed(Job, Errno),
}

/// Judges what the disk said of a job: less than was asked for is never success. A piece that moves nothing at all is
/// the end of the file, and fails.
///
/// What finds no space can wait for some, as it brings its data along each time (QEMU's `werror=enospc`): a write, also
/// one that is to be durable at once, and a hole, for which a file system may have to split what it knows of a file.
/// Not so a flush, which can find none where blocks are chosen late or a quota is kept late. What it was about are
/// writes answered before, and the kernel may have dropped their pages when it said so (fsync(2)): a second one would
/// succeed without them.
#[must_use]
pub fn settle(mut job: Job, result: Result<usize, Errno>) -> Settled {
    let moved = match result {
        Ok(moved) => moved,
        Err(Errno::INTR | Errno::AGAIN) if job.attempts < ATTEMPTS_MAX => {
            job.attempts += 1;
            return Settled::Rest(job);
        }
        Err(errno @ (Errno::NOSPC | Errno::DQUOT)) if takes_space(&job.operation) => {
            return Settled::Starved(job, errno);
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

fn takes_space(operation: &Operation) -> bool {
    matches!(operation, Operation::Write { .. } | Operation::Punch { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::buffer::Pool;

    const BUFFER: u64 = BUFFER_LEN as u64;

    fn flight(action: Action, extents: &[(u64, u64)], sync_after: bool) -> Flight {
        let extents = extents.iter().map(|&(start, len)| Extent { start, len }).collect();
        let mut flight = Flight { extents, ..Flight::default() };
        flight.begin(action, sync_after);
        flight
    }

    fn piece(data_at: u64, disk_at: u64, len: u64) -> Piece {
        Piece { flight: 3, data_at, disk_at, len }
    }

    #[test]
    fn a_long_read_goes_in_pieces_of_a_buffer() {
        let mut flight = flight(Action::Read, &[(4096, 2 * BUFFER + 512)], false);
        assert_eq!(flight.next_step(3), Some(Step::Read(piece(0, 4096, BUFFER))));
        assert_eq!(flight.next_step(3), Some(Step::Read(piece(BUFFER, 4096 + BUFFER, BUFFER))));
        assert_eq!(
            flight.next_step(3),
            Some(Step::Read(piece(2 * BUFFER, 4096 + 2 * BUFFER, 512)))
        );
        assert_eq!(flight.next_step(3), None);
        assert_eq!(flight.answer(), None, "three pieces are at the disk");
        flight.piece_done(BUFFER);
        flight.piece_done(BUFFER);
        assert_eq!(flight.answer(), None);
        flight.piece_done(512);
        assert_eq!((flight.answer(), flight.to_guest()), (Some(Status::Ok), 2 * BUFFER + 512));
    }

    #[test]
    fn what_was_put_back_comes_again_before_what_is_new() {
        let mut flight = flight(Action::Write, &[(0, 2 * BUFFER)], false);
        let first = flight.next_step(3).unwrap();
        flight.put_back(first);
        assert_eq!(flight.answer(), None, "there is a piece to start");
        assert_eq!(flight.next_step(3), Some(first));
        assert_eq!(flight.next_step(3), Some(Step::Write(piece(BUFFER, BUFFER, BUFFER))));
    }

    #[test]
    fn a_failed_piece_starts_no_further_one_and_waits_for_the_others() {
        let mut flight = flight(Action::Write, &[(0, 3 * BUFFER)], false);
        assert!(flight.next_step(3).is_some() && flight.next_step(3).is_some());
        flight.piece_failed();
        assert_eq!((flight.next_step(3), flight.answer()), (None, None));
        flight.piece_done(0);
        assert_eq!(flight.answer(), Some(Status::IoError));
    }

    #[test]
    fn a_punch_goes_whole_and_a_barrier_follows_all_of_its_ranges() {
        let mut flight = flight(Action::Punch, &[(0, 9 * BUFFER), (1 << 30, 512)], true);
        assert_eq!(flight.next_step(3), Some(Step::Punch(piece(0, 0, 9 * BUFFER))));
        assert_eq!(flight.next_step(3), Some(Step::Punch(piece(9 * BUFFER, 1 << 30, 512))));
        assert_eq!(flight.next_step(3), None, "the barrier waits");
        flight.piece_done(0);
        assert_eq!(flight.next_step(3), None);
        flight.piece_done(0);
        assert_eq!(flight.answer(), None);
        assert!(matches!(flight.next_step(3), Some(Step::Sync(_))));
        flight.piece_done(0);
        assert_eq!(flight.answer(), Some(Status::Ok));
    }

    #[test]
    fn a_slot_is_clean_when_it_is_used_again() {
        let mut flight = flight(Action::Write, &[(0, 512)], false);
        flight.next_step(3);
        flight.piece_failed();
        assert_eq!(flight.answer(), Some(Status::IoError));
        flight.extents.clear();
        flight.begin(Action::Flush, true);
        assert!(matches!(flight.next_step(3), Some(Step::Sync(_))));
        flight.piece_done(0);
        assert_eq!((flight.answer(), flight.to_guest()), (Some(Status::Ok), 0));
    }

    fn read_job(pool: &mut Pool, len: usize) -> Job {
        let into = pool.take(len).unwrap();
        let operation = Operation::Read { into, at: 0, len, done: 0 };
        Job { piece: piece(0, 0, len as u64), attempts: 0, operation }
    }

    #[test]
    fn less_than_was_asked_for_is_never_success() {
        let mut pool = Pool::new().unwrap();
        let Settled::Rest(job) = settle(read_job(&mut pool, 4096), Ok(1024)) else { panic!() };
        assert!(matches!(job.operation, Operation::Read { done: 1024, .. }));
        let Settled::Rest(job) = settle(job, Ok(1500)) else { panic!() };
        assert!(matches!(job.operation, Operation::Read { done: 2048, .. }), "whole blocks only");
        let Settled::Rest(job) = settle(job, Ok(100)) else { panic!() };
        assert!(matches!(job.operation, Operation::Read { done: 2048, .. }));
        assert!(matches!(settle(job, Ok(2048)), Settled::Whole(_)));
    }

    #[test]
    fn the_end_of_the_file_fails() {
        let mut pool = Pool::new().unwrap();
        let settled = settle(read_job(&mut pool, 4096), Ok(0));
        assert!(matches!(settled, Settled::Failed(_, Errno::IO)));
    }

    #[test]
    fn a_piece_without_space_holds_its_request_until_it_is_tried_again() {
        let mut flight = flight(Action::Zero, &[(0, 3 * BUFFER)], false);
        let steps = [flight.next_step(3), flight.next_step(3)];
        flight.starve(piece(BUFFER, BUFFER, BUFFER));
        assert_eq!((flight.next_step(3), flight.answer()), (None, None));
        assert!(flight.is_starved() && !flight.is_at_rest());
        flight.piece_done(0);
        assert_eq!((flight.next_step(3), flight.answer()), (None, None));
        assert!(flight.is_at_rest());
        flight.try_again();
        assert_eq!(flight.next_step(3), steps[1]);
        assert_eq!(flight.next_step(3), Some(Step::Zero(piece(2 * BUFFER, 2 * BUFFER, BUFFER))));
        flight.piece_done(0);
        flight.piece_done(0);
        assert_eq!(flight.answer(), Some(Status::Ok));
    }

    #[test]
    fn what_comes_back_undone_after_another_failed_is_not_started_again() {
        type ComeBack = fn(&mut Flight);
        let ways: [ComeBack; 2] = [
            |flight| flight.starve(piece(BUFFER, BUFFER, BUFFER)),
            |flight| flight.put_back(Step::Write(piece(BUFFER, BUFFER, BUFFER))),
        ];
        for come_back in ways {
            let mut flight = flight(Action::Write, &[(0, 2 * BUFFER)], false);
            assert!(flight.next_step(3).is_some() && flight.next_step(3).is_some());
            flight.piece_failed();
            come_back(&mut flight);
            assert_eq!(flight.answer(), Some(Status::IoError));
            assert!(!flight.is_starved(), "it is answered, and waits for nothing");
            flight.extents = vec![Extent { start: 1 << 20, len: 512 }];
            flight.begin(Action::Write, false);
            assert_eq!(flight.next_step(3), Some(Step::Write(piece(0, 1 << 20, 512))));
            flight.piece_done(0);
            assert_eq!((flight.next_step(3), flight.answer()), (None, Some(Status::Ok)));
        }
    }

    #[test]
    fn a_starved_request_can_be_ended() {
        let mut flight = flight(Action::Punch, &[(0, 512)], true);
        assert!(flight.next_step(3).is_some());
        flight.starve(piece(0, 0, 512));
        flight.fail();
        assert_eq!(flight.answer(), Some(Status::IoError));
    }

    #[test]
    fn want_of_space_is_no_failure_but_of_a_flush() {
        let job = |operation| Job { piece: piece(0, 0, 0), attempts: 0, operation };
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let punch = job(Operation::Punch { at: 0, len: 512 });
            assert!(matches!(settle(punch, Err(errno)), Settled::Starved(_, _)));
            let sync = job(Operation::Sync);
            assert!(matches!(settle(sync, Err(errno)), Settled::Failed(_, _)));
        }
    }

    #[test]
    fn trying_again_has_an_end() {
        let mut pool = Pool::new().unwrap();
        let mut job = read_job(&mut pool, 4096);
        for _ in 0..ATTEMPTS_MAX {
            let Settled::Rest(again) = settle(job, Err(Errno::AGAIN)) else { panic!() };
            job = again;
        }
        assert!(matches!(settle(job, Err(Errno::AGAIN)), Settled::Failed(_, Errno::AGAIN)));
    }
}
