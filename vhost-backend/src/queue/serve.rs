//! The stages of a request in its queue: fetch, judge, drive, complete, answer, publish.

use std::{
    sync::atomic::Ordering,
    time::{Instant, SystemTime},
};

use rustix::io::{Errno, write};

use super::Queue;
use crate::{
    disk::{Disk, Job, Operation, Piece, Submitted},
    flight::{Flight, Settled, Step, settle},
    lease::Duty,
    limits::RANGES_MAX,
    log,
    request::{self, Action, RANGE_LEN, Status},
};

/// Whether a step was taken.
#[derive(PartialEq, Eq)]
enum Taken {
    Yes,
    /// No buffer, or the disk takes no more: after the next completion.
    Later,
}

impl<D: Disk> Queue<D> {
    /// Takes requests from the ring while there is room for them; `false` if there was none.
    pub(super) fn fetch(&mut self) -> bool {
        let mut any = false;
        while self.may_fetch() {
            let Some(&slot) = self.free.last() else { break };
            let flight = &mut self.flights[usize::from(slot)];
            let popped = match self.ring.as_mut() {
                Some(ring) => ring.vring.pop(&ring.memory, &mut flight.chain),
                None => break,
            };
            match popped {
                Ok(true) => {
                    any = true;
                    self.allowance.request();
                    self.free.pop();
                    self.begin(slot);
                }
                Ok(false) => break,
                Err(error) => {
                    self.with_ring::<()>(|_| Err(error));
                    break;
                }
            }
        }
        any
    }

    fn begin(&mut self, slot: u16) {
        let action = self.judge(slot);
        let sync_after = match action {
            Ok(Action::Flush) => true,
            Ok(Action::Write | Action::Zero) => self.write_through() && !self.has_durable_writes(),
            Ok(Action::Punch) => self.write_through(),
            Ok(Action::Read | Action::Id) | Err(_) => false,
        };
        let flight = &mut self.flights[usize::from(slot)];
        match action {
            Ok(Action::Id) => self.tell_id(slot),
            Ok(action) => {
                flight.begin(action, sync_after);
                self.drive(slot);
            }
            Err(status) => {
                flight.begin(Action::Id, false);
                self.answer(slot, status);
            }
        }
    }

    /// Reads the request once and judges what was read.
    fn judge(&mut self, slot: u16) -> Result<Action, Status> {
        let flight = &mut self.flights[usize::from(slot)];
        flight.extents.clear();
        let Some(ring) = &self.ring else { return Err(Status::IoError) };
        if flight.chain.is_malformed() || !self.gate.is_open() {
            return Err(Status::IoError);
        }
        let header = flight.chain.header(&ring.memory).map_err(|_| Status::IoError)?;
        let readable = flight.chain.data_from_guest();
        let mut ranges = [0; RANGES_MAX as usize * RANGE_LEN];
        let ranges = if header.has_ranges() {
            let len = usize::try_from(readable).unwrap_or(usize::MAX);
            let ranges = ranges.get_mut(..len).ok_or(Status::IoError)?;
            let gathered = flight.chain.source(&ring.memory, 0).gather(ranges);
            gathered.map_err(|_| Status::IoError)?;
            ranges
        } else {
            &mut []
        };
        let writable = flight.chain.data_to_guest();
        let can = &self.parts.can;
        let action = request::parse(header, readable, writable, ranges, can, &mut flight.extents)?;
        let changes = !matches!(action, Action::Read | Action::Id);
        if changes && self.is_poisoned() {
            return Err(Status::IoError);
        }
        Ok(action)
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.parts.shared.poisoned.load(Ordering::Relaxed)
    }

    /// Something that was to be durable is not: from now on nothing can be promised.
    pub(super) fn poison(&self, what: &str, errno: Errno) {
        if !self.parts.shared.poisoned.swap(true, Ordering::Relaxed) {
            self.say(&format!(
                "{what} failed: {errno}; every later write and flush is refused: check the disk below, then restart"
            ));
        }
    }

    /// The disk's id; a flight that is answered without a step.
    fn tell_id(&mut self, slot: u16) {
        let flight = &mut self.flights[usize::from(slot)];
        flight.begin(Action::Id, false);
        let Some(ring) = &self.ring else { return };
        let told = flight.chain.destination(&ring.memory, 0).scatter(&self.parts.serial);
        self.answer(slot, if told.is_ok() { Status::Ok } else { Status::IoError });
    }

    /// Takes every step of a request that can be taken now, and answers it if none is left.
    pub(super) fn drive(&mut self, slot: u16) {
        while let Some(step) = self.flights[usize::from(slot)].next_step(slot) {
            if !self.may_go_on(step) || self.take_step(step) == Taken::Later {
                return self.put_off(slot, step);
            }
        }
        if let Some(status) = self.flights[usize::from(slot)].answer() {
            self.answer(slot, status);
        }
    }

    /// Whether a step may be taken in this turn.
    fn may_go_on(&mut self, step: Step) -> bool {
        self.may_begin_steps() && self.allowance.step(step)
    }

    /// A step could not be taken, or not to its end: it is taken when its request is driven next.
    pub(super) fn put_off(&mut self, slot: u16, step: Step) {
        self.flights[usize::from(slot)].put_back(step);
        if !self.stalled.contains(&slot) {
            self.stalled.push(slot);
        }
    }

    /// Drives the requests that had to wait, oldest first.
    pub(super) fn drive_stalled(&mut self) {
        if !self.may_begin_steps() {
            return;
        }
        std::mem::swap(&mut self.stalled, &mut self.retried);
        for number in 0..self.retried.len() {
            let slot = self.retried[number];
            self.drive(slot);
            if self.stalled.last() == Some(&slot) {
                self.stalled.extend_from_slice(&self.retried[number + 1..]);
                break;
            }
        }
        self.retried.clear();
    }

    /// Tries the requests that found no space once more, if it is time; says so when there are none any more.
    pub(super) fn try_starved(&mut self) {
        let may_try = self.space.is_short() && self.gate.is_open() && self.stop.is_none();
        if !may_try || !self.space.is_due(Instant::now()) {
            return;
        }
        if !self.flights.iter().any(Flight::is_starved) {
            self.space.is_back();
            self.tell_space(false);
            let number = self.parts.number;
            let goes_on = format_args!("queue {number}: nothing waits for space any more");
            return log::provoked("running", goes_on);
        }
        if self.is_poisoned() {
            return self.fail_waiting();
        }
        for slot in 0..self.parts.size {
            let flight = &mut self.flights[usize::from(slot)];
            if flight.is_starved() {
                flight.try_again();
                if !self.stalled.contains(&slot) {
                    self.drive(slot);
                }
            }
        }
    }

    /// Has the daemon know whether requests of this queue wait for space.
    fn tell_space(&self, short: bool) {
        if let Some(keeper) = self.parts.shared.keeper.get() {
            keeper.send(Duty::Space { queue: self.parts.number, short });
        }
    }

    /// Answers what [waits](Queue::waits) with an error.
    pub(super) fn fail_waiting(&mut self) {
        for slot in 0..self.parts.size {
            if self.waits(slot) {
                self.forget(slot);
                self.answer(slot, Status::IoError);
            }
        }
    }

    /// Makes what [waits](Queue::waits) available again: the guest sees no error that it need not see, and whoever goes
    /// on with the ring serves it from its beginning.
    pub(super) fn put_back_waiting(&mut self) {
        let mut heads = Vec::new();
        for slot in 0..self.parts.size {
            if self.waits(slot) {
                self.forget(slot);
                heads.push(self.flights[usize::from(slot)].chain.head());
                self.free.push(slot);
            }
        }
        self.with_ring(|ring| ring.vring.put_back(&ring.memory, heads));
    }

    /// No step of a request is taken any more.
    fn forget(&mut self, slot: u16) {
        self.flights[usize::from(slot)].fail();
        self.stalled.retain(|&other| other != slot);
    }

    fn take_step(&mut self, step: Step) -> Taken {
        match step {
            Step::Read(piece) => self.submit_read(piece),
            Step::Write(piece) => self.submit_write(piece, Action::Write),
            Step::Zero(piece) => self.submit_write(piece, Action::Zero),
            Step::Punch(piece) => {
                let at = self.image_offset(piece);
                self.submit(piece, Operation::Punch { at, len: piece.len })
            }
            Step::Sync(piece) => {
                self.commit.ask(piece.flight);
                Taken::Yes
            }
        }
    }

    fn submit_read(&mut self, piece: Piece) -> Taken {
        let len = piece.len as usize;
        let Some(into) = self.parts.pool.take(len) else { return Taken::Later };
        let at = self.image_offset(piece);
        self.submit(piece, Operation::Read { into, at, len, done: 0 })
    }

    fn submit_write(&mut self, piece: Piece, action: Action) -> Taken {
        let Some(ring) = &self.ring else { return Taken::Later };
        let len = piece.len as usize;
        let Some(blank) = self.parts.pool.take(len) else { return Taken::Later };
        let sealer = &mut self.parts.sealer;
        let sealed = if action == Action::Zero {
            sealer.seal_zeros(blank, piece.disk_at, len)
        } else {
            let chain = &self.flights[usize::from(piece.flight)].chain;
            let mut from = chain.source(&ring.memory, piece.data_at);
            sealer.seal(blank, piece.disk_at, len, &mut from)
        };
        match sealed {
            Ok(from) => {
                let at = self.image_offset(piece);
                let durable = self.write_through() && self.has_durable_writes();
                self.submit(piece, Operation::Write { from, at, done: 0, durable })
            }
            Err((blank, _)) => {
                self.parts.pool.give(blank);
                self.flights[usize::from(piece.flight)].piece_failed();
                Taken::Yes
            }
        }
    }

    /// No check: the request was judged to lie on the disk, and the disk to lie in the image.
    fn image_offset(&self, piece: Piece) -> u64 {
        self.parts.layout.data_offset() + piece.disk_at
    }

    fn submit(&mut self, piece: Piece, operation: Operation) -> Taken {
        match self.parts.disk.submit(Job { piece, attempts: 0, operation }) {
            Submitted::Queued => Taken::Yes,
            Submitted::Ended(job, result) => self.finish(job, result),
            Submitted::Full(job) => {
                self.reclaim(job.operation);
                Taken::Later
            }
        }
    }

    /// Gives an ended operation's buffer back to the pool.
    fn reclaim(&mut self, operation: Operation) {
        match operation {
            Operation::Read { into, .. } => self.parts.pool.give(into),
            Operation::Write { from, .. } => self.parts.pool.give(from.into_blank()),
            Operation::Sync | Operation::Punch { .. } => {}
        }
    }

    /// An operation has ended: settles it, moves its request on, and then those that waited for its buffer.
    pub(super) fn complete(&mut self, job: Job, result: Result<usize, Errno>) {
        let slot = job.piece.flight;
        let step = self.flights[usize::from(slot)].step(job.piece);
        if self.finish(job, result) == Taken::Later {
            self.put_off(slot, step);
        }
        if !self.stalled.contains(&slot) {
            self.drive(slot);
        }
        self.drive_stalled();
    }

    /// Settles an operation, and the rest of it if it was short, until it is whole, has failed, or is queued again. If
    /// there is no room for the rest, as one that ended at once had none to leave, all of it is to be done later.
    fn finish(&mut self, mut job: Job, mut result: Result<usize, Errno>) -> Taken {
        while let Some(rest) = self.settled(job, result) {
            (job, result) = match self.parts.disk.submit(rest) {
                Submitted::Queued => return Taken::Yes,
                Submitted::Ended(job, result) => (job, result),
                Submitted::Full(job) => {
                    self.reclaim(job.operation);
                    return Taken::Later;
                }
            };
        }
        Taken::Yes
    }

    /// Completes an operation; what is left of it, if it was short.
    fn settled(&mut self, job: Job, result: Result<usize, Errno>) -> Option<Job> {
        match settle(job, result) {
            Settled::Whole(job) => self.complete_whole(job),
            Settled::Starved(job, errno) => self.complete_starved(job, errno),
            Settled::Failed(job, errno) => self.complete_failed(job, errno),
            Settled::Rest(rest) => return Some(rest),
        }
        None
    }

    fn complete_whole(&mut self, job: Job) {
        if is_durable(&job.operation) && self.is_poisoned() {
            return self.complete_failed(job, Errno::IO);
        }
        let flight = &mut self.flights[usize::from(job.piece.flight)];
        let Operation::Read { into, len, .. } = job.operation else {
            flight.piece_done(0);
            return self.reclaim(job.operation);
        };
        // The disk has filled it: what it holds now is ciphertext.
        let ciphertext = into.into_ciphertext(len);
        if !self.parts.sealer.has_key() {
            // The fence could not wait for this read. It is done again when the key is back.
            flight.put_back(Step::Read(job.piece));
        } else if let Some(ring) = &self.ring {
            let mut to = flight.chain.destination(&ring.memory, job.piece.data_at);
            match self.parts.sealer.open(&ciphertext, job.piece.disk_at, &mut to) {
                Ok(()) => flight.piece_done(job.piece.len),
                Err(_) => flight.piece_failed(),
            }
        } else {
            // A ring is let go only when nothing is in progress; should that ever break, no request hangs on it.
            flight.piece_failed();
        }
        self.parts.pool.give(ciphertext.into_blank());
    }

    /// The guest hears nothing of it: its request takes its time.
    fn complete_starved(&mut self, job: Job, errno: Errno) {
        if self.space.is_gone(Instant::now()) {
            self.tell_space(true);
            let number = self.parts.number;
            log::provoked(
                "waiting for space",
                format_args!(
                    "queue {number}: no space below the image: {errno}; what needs some waits, all else goes on: free some, and it goes on by itself"
                ),
            );
        }
        self.flights[usize::from(job.piece.flight)].starve(job.piece);
        self.reclaim(job.operation);
    }

    fn complete_failed(&mut self, job: Job, errno: Errno) {
        if is_durable(&job.operation) {
            self.poison("a write that was to be durable", errno);
        }
        self.flights[usize::from(job.piece.flight)].piece_failed();
        self.reclaim(job.operation);
    }

    /// Gives a request back to the guest with its status. Each slot comes here exactly once between two uses.
    fn answer(&mut self, slot: u16, status: Status) {
        let flight = &self.flights[usize::from(slot)];
        let (head, to_guest) = (flight.chain.head(), flight.to_guest());
        let malformed = flight.chain.is_malformed();
        debug_assert!(!self.free.contains(&slot), "a request was answered twice");
        self.free.push(slot);
        let Some(ring) = &self.ring else { return };
        // Without a place for the status, the chain goes back with nothing written.
        let answered = !malformed && flight.chain.answer(&ring.memory, status).is_ok();
        let id = if flight.action() == Action::Id && status == Status::Ok { 20 } else { 0 };
        let written =
            if answered { u32::try_from(to_guest + id + 1).unwrap_or(u32::MAX) } else { 0 };
        if let Some(log) = ring.vring.log() {
            // A read that failed may have come in part.
            let data =
                if flight.action() == Action::Read { flight.chain.data_to_guest() } else { id };
            flight.chain.places(data).for_each(|(address, len)| log.mark(address, len));
        }
        self.with_ring(|ring| ring.vring.push_used(&ring.memory, head, written));
    }

    /// Shows the guest what was answered in this turn: one store of the index, one interrupt at most.
    pub(super) fn publish(&mut self) {
        if !self.ring.as_ref().is_some_and(|ring| ring.vring.has_unpublished()) {
            return;
        }
        let published = self.with_ring(|ring| ring.vring.publish(&ring.memory));
        let Some(wants_interrupt) = published else { return };
        if !self.gate.is_failing() {
            self.last_io = Some(SystemTime::now());
        }
        let call = self.ring.as_ref().and_then(|ring| ring.call.as_ref());
        if let (true, Some(call)) = (wants_interrupt, call) {
            // A full counter means that the guest has not yet taken the last one: it will look.
            let _ = write(call, &1u64.to_ne_bytes());
        }
    }
}

fn is_durable(operation: &Operation) -> bool {
    matches!(operation, Operation::Write { durable: true, .. })
}
