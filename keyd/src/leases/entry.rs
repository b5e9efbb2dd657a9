//! One lease: its stages and what each event does to it.

use std::{net::Shutdown, os::unix::net::UnixStream, sync::Arc, time::Duration};

use keyd_client::{
    DiskId, LeaseId,
    lease::BootTime,
    message::{
        DiskState, Event, FenceReport, Holder, Phase, Reaction, Refusal, Serving, UnixMillis,
    },
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{LeaseOver, Loss, Spared, send};
use crate::{auth::Caller, clock};

/// What a holder asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The disk.
    pub disk: DiskId,
    /// Who asks.
    pub caller: Caller,
    /// Whether it only reads.
    pub read_only: bool,
    /// Length of the lease.
    pub length: Duration,
    /// Whether it has, or had before, what it asks for: then it goes on where a new holder would begin.
    pub had: bool,
}

/// How far a lease is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Entered; nothing handed over yet.
    Attaching,
    /// The holder has the DEK.
    Held,
    /// It was told to let go and has not said that it did.
    Revoking,
    /// It has nothing and waits.
    Parked,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) claim: Claim,
    /// When it was entered.
    pub(super) attached: UnixMillis,
    pub(super) stage: Stage,
    /// Since when it is that far.
    since: UnixMillis,
    /// Why it has nothing, or is to let go.
    why: Option<String>,
    /// What its guest's requests get while it has nothing.
    reaction: Reaction,
    /// Its key is lost, and it goes on by the terms of its set.
    pub(super) spared: Option<Spared>,
    /// Since when its writes wait for space below the image.
    short_of_space: Option<UnixMillis>,
    /// How it serves the disk, by its own account.
    pub(super) serving: Option<Serving>,
    /// It was told to let go, or to answer otherwise, and has not said that it does.
    pub(super) awaited: bool,
    /// It said that it has let go of the disk.
    pub(super) released: bool,
    /// Raised each time the key is taken away.
    pub(super) epoch: u64,
    /// When the lease ends, if something is held.
    pub(super) ends: Option<BootTime>,
    /// Its socket was shut from here: it is silent, but may hold the DEK until its lease ends.
    pub(super) cut_off: bool,
    pub(super) stream: Arc<UnixStream>,
    /// It was told that the key is back.
    granted: bool,
    /// The disk has grown to so many bytes since it began to attach, and it was not told yet.
    grown: Option<u64>,
}

impl Entry {
    pub(super) fn new(claim: Claim, stream: Arc<UnixStream>) -> Self {
        Self {
            claim,
            attached: clock::now(),
            stage: Stage::Attaching,
            since: clock::now(),
            why: None,
            reaction: Reaction::default(),
            spared: None,
            short_of_space: None,
            serving: None,
            awaited: false,
            released: false,
            epoch: 0,
            ends: None,
            cut_off: false,
            stream,
            granted: false,
            grown: None,
        }
    }

    fn enter(&mut self, stage: Stage, since: UnixMillis, why: Option<String>) {
        self.stage = stage;
        self.since = since;
        self.why = why;
    }

    pub(super) fn hold(&mut self) {
        self.enter(Stage::Held, clock::now(), None);
        self.claim.had = true;
        (self.awaited, self.released, self.spared) = (false, false, None);
        self.prolong();
    }

    /// It gets nothing for now.
    pub(super) fn park(&mut self, loss: &Loss) {
        self.reaction = loss.on_revoke;
        self.have_nothing(clock::now(), Some(loss.reason.clone()));
    }

    /// It has let go, by its own clock at this time.
    pub(super) fn fenced(&mut self, report: &FenceReport) {
        self.reaction = report.reaction;
        let why = self.why.take();
        self.have_nothing(report.wiped.min(clock::now()), why);
    }

    /// It has let go of the disk too.
    pub(super) fn release(&mut self) {
        self.have_nothing(clock::now(), None);
        self.released = true;
    }

    fn have_nothing(&mut self, since: UnixMillis, why: Option<String>) {
        self.enter(Stage::Parked, since, why);
        self.ends = None;
        (self.granted, self.awaited, self.spared) = (false, false, None);
    }

    pub(super) fn set_space(&mut self, short: bool) {
        self.short_of_space = short.then(|| self.short_of_space.unwrap_or_else(clock::now));
    }

    /// What it does now; nothing yet while it attaches.
    pub(super) fn state(&self) -> Option<DiskState> {
        let state = |phase, since, why| Some(DiskState { phase, since, why });
        let why = self.why.clone();
        match (self.stage, self.short_of_space, &self.spared) {
            (Stage::Attaching, ..) => None,
            (Stage::Parked, ..) if self.released => state(Phase::Released, self.since, why),
            (Stage::Parked, ..) => state(Phase::halted(self.reaction), self.since, why),
            (Stage::Revoking, ..) => {
                let left = self.ends.map(BootTime::remaining).unwrap_or_default();
                let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                let lease_ends = clock::now().saturating_add(left);
                state(Phase::Halting { lease_ends }, self.since, why)
            }
            (Stage::Held, Some(since), _) => {
                let why = "there is no space left below the image".to_owned();
                state(Phase::WaitingForSpace, since, Some(why))
            }
            (Stage::Held, None, Some(spared)) => Some(spared.state()),
            (Stage::Held, None, None) => state(Phase::Running, self.since, why),
        }
    }

    /// As lists tell it; not while it attaches.
    pub(super) fn told(&self, lease: LeaseId) -> Option<Holder> {
        let caller = &self.claim.caller;
        let (pid, uid, attached) = (caller.pid, caller.uid, self.attached);
        let serving = self.serving.clone();
        self.state().map(|state| Holder { lease, pid, uid, attached, state, serving })
    }

    /// How it ended, for who looks later: nothing if it never had anything.
    pub(super) fn last(&self, over: LeaseOver) -> Option<DiskState> {
        let since = clock::now();
        let gone = |why: &str| DiskState { phase: Phase::Gone, since, why: Some(why.to_owned()) };
        match (self.stage, over) {
            (Stage::Attaching, _) => None,
            _ if self.released => Some(DiskState { phase: Phase::Released, since, why: None }),
            (_, LeaseOver::HungUp) => Some(gone("its process ended without a word")),
            (_, LeaseOver::RanOut) => Some(gone("its lease ran out")),
        }
    }

    /// What is told after two commits may come in any order: a disk never becomes shorter.
    pub(super) fn grow(&mut self, size: u64) {
        self.grown = self.grown.max(Some(size));
        if self.stage != Stage::Attaching {
            self.tell_growth();
        }
    }

    /// Says what could not be said before its attach was answered.
    pub(super) fn tell_growth(&mut self) {
        if let Some(size) = self.grown.take() {
            self.say(&Event::Grown { size });
        }
    }

    pub(super) fn renew(&mut self) {
        let answered = match self.stage {
            Stage::Held | Stage::Parked => self.say(&Event::Renewed { lease_ms: self.lease_ms() }),
            Stage::Attaching | Stage::Revoking => false,
        };
        if answered && self.stage == Stage::Held {
            self.prolong();
        }
    }

    /// Whether there is something to let go. Who is attaching will not get it, for the epoch is another. Who has
    /// nothing is told only if its guest's requests are to get something else from now on.
    pub(super) fn revoke(&mut self, loss: &Loss) -> bool {
        self.epoch += 1;
        self.granted = false;
        let had = self.stage == Stage::Held;
        let otherwise = self.stage == Stage::Parked && self.reaction != loss.on_revoke;
        if had {
            self.enter(Stage::Revoking, clock::now(), None);
        }
        if self.stage != Stage::Attaching {
            self.why = Some(loss.reason.clone());
        }
        if had || (otherwise && !self.awaited && !self.released) {
            self.awaited = true;
            let (reason, on_revoke) = (loss.reason.as_str().into(), loss.on_revoke);
            self.say(&Event::Revoked { reason, on_revoke });
        }
        had
    }

    /// Whether the holder was told.
    pub(super) fn grant(&mut self) -> bool {
        if self.stage != Stage::Parked || self.granted {
            return false;
        }
        self.granted = self.say(&Event::Granted);
        self.granted
    }

    pub(super) fn still_revoked(&mut self, refusal: Refusal) {
        self.granted = false;
        self.say(&Event::StillRevoked(refusal));
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.claim.length.as_millis()).unwrap_or(u64::MAX)
    }

    /// Counted from after the answer was sent: the holder counts from before it asked, and so ends first.
    fn prolong(&mut self) {
        self.ends = Some(BootTime::now().after(self.claim.length));
    }

    /// A holder that does not take a frame at once is cut off.
    fn say(&mut self, event: &Event) -> bool {
        let sent = send::frame(&self.stream, event, None).is_ok();
        if !sent {
            self.cut_off();
        }
        sent
    }

    /// A peer that hung up itself is not cut off: its hang-up is the end of the lease.
    pub(super) fn cut_off(&mut self) {
        if !hung_up(&self.stream) {
            self.cut_off = true;
            // It fails only if the peer is gone already.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

/// Whether the peer closed its end.
pub(super) fn hung_up(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
    match poll(&mut fds, Some(&now)) {
        Ok(_) => fds[0].revents().intersects(gone),
        Err(_) => false,
    }
}
