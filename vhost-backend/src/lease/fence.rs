//! The fence: every queue lets go of the key, and the daemon is told how it went.

use std::{
    sync::mpsc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use keyd_client::message::{FenceReport, Phase, Reaction, UnixMillis};

use super::{Keeper, LeaseError};
use crate::{
    limits::FENCE_TIME,
    log,
    patience::Patience,
    queue::command::{Command, Fenced},
};

impl Keeper {
    /// Fences, and confirms it to the daemon.
    pub(super) fn fence_and_report(
        &mut self,
        reason: &str,
        reaction: Reaction,
    ) -> Result<(), LeaseError> {
        let report = self.fence(reason, reaction).report();
        match &mut self.lease {
            Some(lease) => Ok(lease.fenced(report)?),
            None => Ok(()),
        }
    }

    /// Takes the key away from every queue, and says so. When this returns no copy of it is left, or the process is
    /// gone.
    pub(super) fn fence(&mut self, reason: &str, reaction: Reaction) -> Fence {
        let fence = self.take_key(reaction);
        let phase = Phase::halted(reaction);
        fence.say(phase, reason);
        self.manager.status(&format!("{phase}: {reason}"));
        fence
    }

    pub(super) fn take_key(&mut self, reaction: Reaction) -> Fence {
        let (ordered, began) = (SystemTime::now(), Instant::now());
        let (reply, replies) = mpsc::channel();
        for queue in &self.queues {
            queue.tell(Command::Fence(reaction, reply.clone()));
        }
        let mut patience = Patience::of(FENCE_TIME);
        let mut queues = Vec::with_capacity(self.queues.len());
        while queues.len() < self.queues.len() {
            match patience.answer(&replies) {
                Ok(fenced) => queues.push(fenced),
                Err(_) => self.die("a queue did not let go of the key in time"),
            }
        }
        if self.holds_key() {
            self.die("the key is still held after every queue has let go");
        }
        Fence { ordered, began, queues, reaction }
    }

    /// The end of the process is the last way to take a key away: better a guest without a disk than a disk without an
    /// owner. The key goes first, as a queue that hangs in the kernel keeps the process from ending.
    fn die(&self, why: &str) -> ! {
        log::line(format_args!("{why}: ending the process, so that the key goes with it"));
        match self.key.upgrade() {
            Some(key) => key.end_process(1),
            None => std::process::exit(1),
        }
    }
}

/// How a fence went.
pub(super) struct Fence {
    ordered: SystemTime,
    began: Instant,
    queues: Vec<Fenced>,
    reaction: Reaction,
}

impl Fence {
    /// Whether nothing is at the disk any more.
    pub(super) fn disk_is_idle(&self) -> bool {
        self.queues.iter().all(|queue| queue.disk_is_idle)
    }

    /// What the disk does from now on, and why.
    pub(super) fn say(&self, phase: Phase, reason: &str) {
        let FenceReport { took_us, held, .. } = self.report();
        log::line(format_args!("{phase}: fenced in {took_us} us, {held} requests held: {reason}"));
    }

    fn report(&self) -> FenceReport {
        let dropped = self.queues.iter().map(|queue| queue.key_dropped).max().unwrap_or(self.began);
        let took = dropped.duration_since(self.began);
        FenceReport {
            ordered: unix_millis(self.ordered),
            last_io: self.queues.iter().filter_map(|queue| queue.last_io).max().map(unix_millis),
            wiped: unix_millis(self.ordered + took),
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            held: self.queues.iter().map(|queue| queue.held).sum(),
            reaction: self.reaction,
        }
    }
}

fn unix_millis(time: SystemTime) -> UnixMillis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
