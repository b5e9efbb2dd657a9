//! One lease: its stages and what each event does to it.

use std::{net::Shutdown, os::unix::net::UnixStream, sync::Arc, time::Duration};

use keyd_client::{
    DiskId,
    lease::BootTime,
    message::{Event, Reaction, Refusal, UnixMillis},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::send;
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
    pub(super) since: UnixMillis,
    pub(super) stage: Stage,
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
            since: clock::now(),
            stage: Stage::Attaching,
            epoch: 0,
            ends: None,
            cut_off: false,
            stream,
            granted: false,
            grown: None,
        }
    }

    pub(super) fn hold(&mut self) {
        self.stage = Stage::Held;
        self.prolong();
    }

    pub(super) fn park(&mut self) {
        self.stage = Stage::Parked;
        self.ends = None;
        self.granted = false;
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

    /// Whether there is something to let go. Who is attaching will not get it, for the epoch is another.
    pub(super) fn revoke(&mut self, reason: &str, on_revoke: Reaction) -> bool {
        self.epoch += 1;
        self.granted = false;
        if self.stage != Stage::Held {
            return false;
        }
        self.stage = Stage::Revoking;
        self.say(&Event::Revoked { reason: reason.to_owned(), on_revoke });
        true
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
