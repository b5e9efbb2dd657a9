//! Who holds which DEK now.
//!
//! One mutex guards all of it, and everything that is said to a holder is said under it, so a holder hears things in
//! the order in which they were decided. Nothing here waits: what a holder's socket does not take at once is a holder
//! that is cut off, and whose lease then runs out.
//!
//! A lease is entered *before* the key's state is looked at. A key that is switched off meanwhile raises the lease's
//! epoch, and a DEK is handed over only in the epoch in which its key was seen enabled: an attach that races with a
//! disable is refused, or told; never forgotten.

mod entry;
mod send;
mod told;

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use keyd_client::{
    Dek, DiskId, LeaseId,
    lease::BootTime,
    message::{DiskState, FenceReport, Holder, Reaction, Refusal, Serving},
};
use serde::Serialize;

pub use entry::{Claim, Stage};
use entry::{Entry, hung_up};
pub use told::{Spared, Told};

use crate::{limits::LAST_HOLDERS_MAX, lock::lock};

/// Another process holds the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InUse {
    /// Which.
    pub pid: u32,
}

/// How handing over went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum HandOver {
    /// The holder has it.
    Done,
    /// The key was taken away since it was seen enabled. Nothing was sent.
    Withheld,
    /// The holder is gone.
    Gone,
}

/// What a holder had when its lease was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The disk.
    pub disk: DiskId,
    /// The holder's process.
    pub pid: u32,
    /// And user.
    pub uid: u32,
    /// How far it was.
    pub stage: Stage,
    /// Whether it said that it has let go of the disk.
    pub released: bool,
}

/// Why a lease is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOver {
    /// The holder closed the connection, or spoke nonsense.
    HungUp,
    /// Its time ran out.
    RanOut,
}

/// How long to wait for a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Until it speaks or hangs up: it holds nothing.
    Endless,
    /// Until its lease ends.
    Until(BootTime),
    /// As before, but it is cut off and will not speak.
    Deaf(BootTime),
}

/// A holder that is to let go, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Its lease.
    pub lease: LeaseId,
    /// For its log.
    pub reason: String,
    /// What its guest's requests get.
    pub on_revoke: Reaction,
}

/// All leases.
#[derive(Debug, Default)]
pub struct Leases {
    state: Mutex<State>,
    /// Somebody who was told to let go has answered, or is gone.
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<LeaseId, Entry>,
    /// What those who were told to let go have answered, while somebody wants to know.
    answers: told::Answers,
    /// How the last holder of each disk ended.
    last: HashMap<DiskId, DiskState>,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Enters a lease. One writer, or any number of readers, share a disk; a holder that hung up counts no more, also
    /// before its own thread noticed.
    ///
    /// # Errors
    /// [`InUse`].
    pub fn register(&self, claim: Claim, stream: &Arc<UnixStream>) -> Result<LeaseId, InUse> {
        let mut state = self.lock();
        let rival = state
            .entries
            .values()
            .filter(|other| other.claim.disk == claim.disk)
            .filter(|other| !(other.claim.read_only && claim.read_only))
            .find(|other| other.cut_off || !hung_up(&other.stream));
        if let Some(rival) = rival {
            let pid = rival.claim.caller.pid;
            return Err(InUse { pid });
        }
        let id = LeaseId::random();
        state.entries.insert(id, Entry::new(claim, stream.clone()));
        Ok(id)
    }

    /// The epoch in which a key is being looked at.
    #[must_use]
    pub fn epoch(&self, lease: LeaseId) -> u64 {
        self.lock().entries.get(&lease).map_or(u64::MAX, |e| e.epoch)
    }

    /// Sends a frame with the DEK that belongs to it; the lease begins.
    pub fn hand_over(
        &self,
        lease: LeaseId,
        epoch: u64,
        frame: &impl Serialize,
        dek: &Dek,
    ) -> HandOver {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(&lease) else {
            return HandOver::Gone;
        };
        if entry.epoch != epoch {
            return HandOver::Withheld;
        }
        let sent = send::frame(&entry.stream, frame, Some(dek));
        // Also if it failed: part of the DEK may have gone out, and a lease that is believed in does no harm.
        entry.hold();
        match sent {
            Ok(()) => {
                entry.tell_growth();
                HandOver::Done
            }
            Err(_) => {
                entry.cut_off();
                HandOver::Gone
            }
        }
    }

    /// Sends a frame without a DEK; the holder is parked, for this loss.
    pub fn park(&self, loss: &Loss, frame: &impl Serialize) -> HandOver {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(&loss.lease) else {
            return HandOver::Gone;
        };
        entry.park(loss);
        match send::frame(&entry.stream, frame, None) {
            Ok(()) => {
                entry.tell_growth();
                HandOver::Done
            }
            Err(_) => {
                entry.cut_off();
                HandOver::Gone
            }
        }
    }

    /// Tells holders to let go. Who has nothing is not told; who is just getting it does not get it.
    pub fn revoke(&self, losses: &[Loss]) -> Told<'_> {
        let mut state = self.lock();
        let state = &mut *state;
        let told = losses.iter().filter(|loss| {
            let entry = state.entries.get_mut(&loss.lease);
            entry.is_some_and(|entry| entry.revoke(loss))
        });
        let told: Vec<LeaseId> = told.map(|loss| loss.lease).collect();
        for lease in &told {
            if let Some(entry) = state.entries.get(lease) {
                state.answers.watch(*lease, entry);
            }
        }
        Told::new(self, told)
    }

    /// Tells parked holders that their key is back, and says how many were.
    pub fn grant(&self, leases: &[LeaseId]) -> u32 {
        let mut state = self.lock();
        let told = leases
            .iter()
            .filter_map(|lease| state.entries.get_mut(lease).map(|entry| u32::from(entry.grant())));
        told.sum()
    }

    /// Tells the holders of a disk that it is longer now. One that is attaching hears it behind the record that it
    /// gets, which may be the older one.
    pub fn grown(&self, disk: DiskId, size: u64) {
        let mut state = self.lock();
        let of_disk = state.entries.values_mut().filter(|entry| entry.claim.disk == disk);
        of_disk.for_each(|entry| entry.grow(size));
    }

    /// Every lease and what it is of.
    #[must_use]
    pub fn all(&self) -> Vec<(LeaseId, Claim)> {
        let state = self.lock();
        state.entries.iter().map(|(lease, entry)| (*lease, entry.claim.clone())).collect()
    }

    /// A holder goes on with its key; its lease has another length from its next renewal on.
    pub fn go_on(&self, lease: LeaseId, length: Duration) {
        if let Some(entry) = self.lock().entries.get_mut(&lease) {
            entry.claim.length = length;
            entry.spared = None;
        }
    }

    /// A holder goes on for now although its key is lost.
    pub fn spare(&self, spared: &Spared) {
        if let Some(entry) = self.lock().entries.get_mut(&spared.lease) {
            // The first time that it was seen is since when.
            let since = entry.spared.as_ref().map_or(spared.since, |before| before.since);
            entry.spared = Some(Spared { since: since.min(spared.since), ..spared.clone() });
        }
    }

    /// A holder's writes wait for space, or wait no more.
    pub fn set_space(&self, lease: LeaseId, short: bool) {
        if let Some(entry) = self.lock().entries.get_mut(&lease) {
            entry.set_space(short);
        }
    }

    /// A holder says how it serves its disk.
    pub fn set_serving(&self, lease: LeaseId, serving: Serving) {
        if let Some(entry) = self.lock().entries.get_mut(&lease) {
            entry.serving = Some(serving.bounded());
        }
    }

    /// A holder has let go of its key and its disk.
    pub fn released(&self, lease: LeaseId) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(&lease) {
            entry.release();
            state.answers.released(lease);
            self.answered.notify_all();
        }
    }

    /// Prolongs a lease, and says so to its holder; a revoked one is not prolonged.
    pub fn renew(&self, lease: LeaseId) {
        if let Some(entry) = self.lock().entries.get_mut(&lease) {
            entry.renew();
        }
    }

    /// The holder has let go.
    pub fn fenced(&self, lease: LeaseId, report: &FenceReport) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(&lease) {
            entry.fenced(report);
            state.answers.confirm(lease, report);
            self.answered.notify_all();
        }
    }

    /// Tells a holder that its reclaim was refused. It hears of the next time its key is back.
    pub fn still_revoked(&self, lease: LeaseId, refusal: Refusal) {
        if let Some(entry) = self.lock().entries.get_mut(&lease) {
            entry.still_revoked(refusal);
        }
    }

    /// What a lease is of.
    #[must_use]
    pub fn claim(&self, lease: LeaseId) -> Option<Claim> {
        self.lock().entries.get(&lease).map(|entry| entry.claim.clone())
    }

    /// How far a lease is.
    #[must_use]
    pub fn stage(&self, lease: LeaseId) -> Option<Stage> {
        self.lock().entries.get(&lease).map(|entry| entry.stage)
    }

    /// Whether a holder was told something that it has not confirmed yet.
    #[must_use]
    pub fn is_awaited(&self, lease: LeaseId) -> bool {
        self.lock().entries.get(&lease).is_some_and(|entry| entry.awaited)
    }

    /// Shuts a holder's connection from here, unless it hung up itself. What it holds it may hold until its lease ends.
    pub fn cut_off(&self, lease: LeaseId) {
        if let Some(entry) = self.lock().entries.get_mut(&lease) {
            entry.cut_off();
        }
    }

    /// How long to wait for a holder's next word.
    #[must_use]
    pub fn patience(&self, lease: LeaseId) -> Patience {
        match self.lock().entries.get(&lease) {
            Some(Entry { ends: Some(ends), cut_off: true, .. }) => Patience::Deaf(*ends),
            Some(Entry { ends: Some(ends), .. }) => Patience::Until(*ends),
            _ => Patience::Endless,
        }
    }

    /// Forgets a lease.
    pub fn end(&self, lease: LeaseId, why: LeaseOver) -> Option<Ended> {
        let mut state = self.lock();
        let entry = state.entries.remove(&lease)?;
        if let Some(last) = entry.last(why) {
            state.remember(entry.claim.disk, last);
        }
        state.answers.gone(lease, why);
        self.answered.notify_all();
        let Entry { claim, stage, released, .. } = entry;
        let (pid, uid) = (claim.caller.pid, claim.caller.uid);
        Some(Ended { disk: claim.disk, pid, uid, stage, released })
    }

    /// How many there are, parked ones included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether anyone holds or waits for a disk.
    #[must_use]
    pub fn holder_of(&self, disk: DiskId) -> Option<u32> {
        self.lock()
            .entries
            .values()
            .find(|entry| entry.claim.disk == disk)
            .map(|entry| entry.claim.caller.pid)
    }

    /// The holders of a disk.
    #[must_use]
    pub fn holders(&self, disk: DiskId) -> Vec<Holder> {
        let state = self.lock();
        let of_disk = state.entries.iter().filter(|(_, entry)| entry.claim.disk == disk);
        of_disk.filter_map(|(lease, entry)| entry.told(*lease)).collect()
    }

    /// Every holder, with its disk.
    #[must_use]
    pub fn every_holder(&self) -> Vec<(DiskId, Holder)> {
        let state = self.lock();
        let told =
            |(lease, entry): (&LeaseId, &Entry)| Some((entry.claim.disk, entry.told(*lease)?));
        state.entries.iter().filter_map(told).collect()
    }

    /// How the last holder of a disk ended, if none is there and one was seen since the daemon began.
    #[must_use]
    pub fn last_of(&self, disk: DiskId) -> Option<DiskState> {
        let state = self.lock();
        let mut of_disk = state.entries.values().filter(|entry| entry.claim.disk == disk);
        match of_disk.any(|entry| entry.stage != Stage::Attaching) {
            true => None,
            false => state.last.get(&disk).cloned(),
        }
    }
}

impl State {
    /// Of too many disks the one whose holder ended first is forgotten.
    fn remember(&mut self, disk: DiskId, last: DiskState) {
        if self.last.len() >= LAST_HOLDERS_MAX {
            let oldest = self.last.iter().min_by_key(|(_, last)| last.since);
            let oldest = oldest.map(|(disk, _)| *disk);
            oldest.map(|disk| self.last.remove(&disk));
        }
        self.last.insert(disk, last);
    }
}

/// A lease's length from a set's milliseconds.
#[must_use]
pub fn length(lease_ms: u64) -> Duration {
    Duration::from_millis(lease_ms)
}

#[cfg(test)]
mod tests;
