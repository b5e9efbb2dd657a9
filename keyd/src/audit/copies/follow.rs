//! A thread that brings one copy up to the log, reading the rows from the log itself: so nothing is queued, however
//! long a copy was away.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use keyd_client::message::AuditCopyStatus;

use super::Sink;
use crate::{
    audit::{
        Head, chain,
        lines::{self, Lines},
        segments::{self, CURRENT, closed_name},
    },
    files::{Dir, Stream},
    limits::COPY_PATIENCE,
    lock::lock,
    log,
};

/// A copy that failed is tried again after this time, and one that is well is looked at as often.
const RETRY: Duration = Duration::from_secs(1);

/// A copy that follows.
#[derive(Debug)]
pub struct Follower(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    status: AuditCopyStatus,
    target: Head,
    /// Who wants it looked at: how many asked, and up to which of them it was done.
    asked: u64,
    looked: u64,
    /// It is to be begun anew where it was moved away.
    rotate: bool,
    ended: bool,
}

/// What a turn of the thread begins with.
struct Turn {
    failed: bool,
    rotate: bool,
    asked: u64,
}

/// The newest row that a copy has.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its number.
    pub seq: u64,
    /// First row of the segment of the next one.
    pub segment: u64,
    /// Where in it the next one begins, bytes.
    pub offset: u64,
}

impl Follower {
    /// Follows a log, whose newest committed row is `head`, from a place on.
    ///
    /// # Errors
    /// No thread.
    pub fn start(
        dir: Arc<dyn Dir>,
        place: Place,
        head: Head,
        sink: Box<dyn Sink>,
    ) -> io::Result<Self> {
        let status = AuditCopyStatus { path: sink.path(), newest: place.seq, failing: None };
        let (asked, looked, rotate, ended) = (0, 0, false, false);
        let state = Mutex::new(State { status, target: head, asked, looked, rotate, ended });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let worker = Worker { shared: shared.clone(), dir, place, sink };
        thread::Builder::new().name("audit-copy".to_owned()).spawn(move || worker.run())?;
        Ok(Self(shared))
    }

    /// There is a newer committed row.
    pub fn announce(&self, head: &Head) {
        let mut state = lock(&self.0.state);
        if head.seq > state.target.seq {
            state.target = head.clone();
            self.0.changed.notify_all();
        }
    }

    /// Waits until the copy has a row, as long as it is well and not too long.
    pub fn wait(&self, row: u64) {
        self.wait_while(lock(&self.0.state), |state| {
            state.status.newest < row && state.status.failing.is_none()
        });
    }

    /// Looks at the copy, as long as it is well and not too long: [`Follower::status`] tells what was seen.
    pub fn look(&self) {
        let mut state = lock(&self.0.state);
        state.asked += 1;
        let asked = state.asked;
        self.0.changed.notify_all();
        self.wait_while(state, |state| state.looked < asked && state.status.failing.is_none());
    }

    /// Has the copy begun anew where it was moved away, and waits for it, not too long.
    pub fn rotate(&self) {
        let mut state = lock(&self.0.state);
        state.rotate = true;
        self.0.changed.notify_all();
        self.wait_while(state, |state| state.rotate);
    }

    fn wait_while(&self, state: MutexGuard<'_, State>, waiting: impl Fn(&mut State) -> bool) {
        let waited = self.0.changed.wait_timeout_while(state, COPY_PATIENCE, waiting);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            state.fails("it takes too long");
        }
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> AuditCopyStatus {
        lock(&self.0.state).status.clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        lock(&self.0.state).ended = true;
        self.0.changed.notify_all();
    }
}

impl State {
    fn fails(&mut self, why: &str) {
        if self.status.failing.is_none() {
            log::line(format_args!("the audit copy {} does not follow: {why}", self.status.path));
        }
        self.status.failing = Some(why.to_owned());
    }
}

struct Worker {
    shared: Arc<Shared>,
    dir: Arc<dyn Dir>,
    place: Place,
    sink: Box<dyn Sink>,
}

impl Worker {
    fn run(mut self) {
        while let Some(turn) = self.turn() {
            let done = match turn {
                Turn { rotate: true, .. } => self.sink.rotate(),
                Turn { failed: true, .. } => self.sink.renew(),
                Turn { .. } => self.sink.look(),
            };
            let done = done.and_then(|()| self.catch_up());
            let mut state = lock(&self.shared.state);
            state.looked = turn.asked;
            state.rotate &= !turn.rotate;
            match done {
                Ok(()) if state.status.failing.take().is_some() => log::line(format_args!(
                    "the audit copy {} follows again, at row {}",
                    state.status.path, self.place.seq
                )),
                Ok(()) => {}
                Err(error) => state.fails(&error.to_string()),
            }
            self.shared.changed.notify_all();
        }
    }

    /// Waits until there is something to do, at the latest until it is time for a look. None at the end.
    fn turn(&self) -> Option<Turn> {
        let state = lock(&self.shared.state);
        // What failed is tried again by the clock only, or when it was rotated.
        let idle = |state: &mut State| {
            let well = state.status.failing.is_none();
            let due = state.target.seq > self.place.seq || state.asked > state.looked;
            !(state.ended || state.rotate || (well && due))
        };
        let waited = self.shared.changed.wait_timeout_while(state, RETRY, idle);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let turn = Turn {
            failed: state.status.failing.is_some(),
            rotate: state.rotate,
            asked: state.asked,
        };
        (!state.ended).then_some(turn)
    }

    /// Brings the copy up to the newest row, also to those that come meanwhile.
    fn catch_up(&mut self) -> io::Result<()> {
        loop {
            let target = lock(&self.shared.state).target.clone();
            if self.place.seq >= target.seq {
                return Ok(());
            }
            self.copy_up_to(&target)?;
            lock(&self.shared.state).status.newest = self.place.seq;
            self.shared.changed.notify_all();
        }
    }

    fn copy_up_to(&mut self, target: &Head) -> io::Result<()> {
        while self.place.seq < target.seq {
            let before = self.place.seq;
            self.copy_segment(target)?;
            if self.place.seq < target.seq {
                let next = self.next_segment(target)?;
                let stuck = self.place.seq == before && next == self.place.segment;
                if stuck {
                    return Err(io::Error::other("the audit log has not got the next row"));
                }
                (self.place.segment, self.place.offset) = (next, 0);
            }
        }
        self.sink.settle()
    }

    /// The segment of the next row; of the next that is there, if rows were archived or given up meanwhile.
    fn next_segment(&self, target: &Head) -> io::Result<u64> {
        let closed = segments::closed(&*self.dir)?;
        let next = closed.into_iter().chain([target.segment]).find(|first| *first > self.place.seq);
        Ok(next.unwrap_or(target.segment))
    }

    /// Copies what a segment has of the rows up to the target.
    fn copy_segment(&mut self, target: &Head) -> io::Result<()> {
        // The current one is opened first: should it be the next segment already, this one is there as a closed one.
        let current = self.dir.open(CURRENT)?;
        let closed = self.dir.open(&closed_name(self.place.segment))?;
        let Some(file) = closed.or(current) else { return Ok(()) };
        let mut lines = Lines::new(Stream::new(file, self.place.offset));
        while self.place.seq < target.seq
            && let Some(line) = lines.read()?
        {
            let Some((record, body)) = lines::parse(&line) else { return Ok(()) };
            let first = self.place.offset == 0 && record.seq == self.place.segment;
            if record.seq != self.place.seq + 1 && !first {
                return Ok(());
            }
            self.sink.put(body, record.outcome != "ok")?;
            self.place.seq = record.seq;
            self.place.offset += line.len() as u64;
        }
        Ok(())
    }
}

/// Where a copy that ends with row `seq` of this hash goes on in the log; none if the log's row is another one. A copy
/// without rows (0), or one that ends before the log begins, goes on at the beginning.
///
/// # Errors
/// The system's.
pub fn place_of(
    segments: &segments::Segments,
    begin: u64,
    seq: u64,
    hash: &str,
) -> io::Result<Option<Place>> {
    let start = |segment| Place { seq, segment, offset: 0 };
    if seq < begin {
        return Ok(Some(start(begin)));
    }
    let Some(segment) = segments.holding(seq).first().copied() else {
        return Ok(None);
    };
    let Some(mut lines) = segments.lines(segment, 0)? else {
        return Ok(None);
    };
    let mut offset = 0;
    while let Some(line) = lines.read()? {
        offset += line.len() as u64;
        match lines::parse(&line) {
            Some((record, body)) if record.seq == seq => {
                let same = chain::hash(body) == hash;
                return Ok(same.then_some(Place { seq, segment: segment.first, offset }));
            }
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
