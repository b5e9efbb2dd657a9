//! Holders whose key was taken away, and what they have answered: revocation that proves itself.

use std::{collections::HashMap, sync::PoisonError, time::Duration};

use keyd_client::{
    LeaseId,
    lease::BootTime,
    message::{DiskState, FenceReport, HolderAnswer, Phase, Revocation, UnixMillis},
};

use super::{
    LeaseOver, Leases,
    entry::{Entry, Stage},
};
use crate::clock;

/// A holder whose key is lost and that goes on for now, by the terms of its set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spared {
    /// Its lease.
    pub lease: LeaseId,
    /// When it will be told; never if only its next attach is refused.
    pub until: Option<UnixMillis>,
    /// Since when its key is lost.
    pub since: UnixMillis,
    /// Why it is.
    pub why: String,
}

impl Spared {
    pub(super) fn state(&self) -> DiskState {
        let (phase, why) = (Phase::Deferred { until: self.until }, Some(self.why.clone()));
        DiskState { phase, since: self.since, why }
    }
}

/// Answers that somebody waits for. A row lives as long as a [`Told`] that names it; several may.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<LeaseId, Row>);

#[derive(Debug)]
struct Row {
    known: HolderAnswer,
    wanted_by: usize,
    /// Whether its lease is over: nothing comes any more.
    over: bool,
}

impl Answers {
    /// One more wants to know of a holder.
    pub(super) fn watch(&mut self, lease: LeaseId, entry: &Entry) {
        let spared = entry.spared.as_ref().map(Spared::state);
        let Some(state) = spared.or_else(|| entry.state()) else {
            return;
        };
        let known = HolderAnswer {
            disk: entry.claim.disk,
            lease,
            pid: entry.claim.caller.pid,
            uid: entry.claim.caller.uid,
            state,
            report: None,
        };
        let row = self.0.entry(lease).or_insert_with(|| Row {
            known: known.clone(),
            wanted_by: 0,
            over: false,
        });
        row.known = known;
        row.wanted_by += 1;
    }

    fn unwatch(&mut self, lease: LeaseId) {
        if let Some(row) = self.0.get_mut(&lease) {
            row.wanted_by -= 1;
            if row.wanted_by == 0 {
                self.0.remove(&lease);
            }
        }
    }

    pub(super) fn confirm(&mut self, lease: LeaseId, report: &FenceReport) {
        if let Some(row) = self.0.get_mut(&lease) {
            row.known.state.phase = Phase::halted(report.reaction);
            row.known.state.since = report.wiped;
            row.known.report = Some(*report);
        }
    }

    pub(super) fn released(&mut self, lease: LeaseId) {
        self.becomes(lease, Phase::Released);
    }

    fn becomes(&mut self, lease: LeaseId, phase: Phase) {
        if let Some(row) = self.0.get_mut(&lease).filter(|row| row.known.report.is_none()) {
            row.known.state = DiskState { phase, since: clock::now(), why: None };
        }
    }

    /// A holder that is gone has answered no more than it had. One whose lease ran out is not gone: it has only been
    /// waited for long enough.
    pub(super) fn gone(&mut self, lease: LeaseId, why: LeaseOver) {
        let Some(row) = self.0.get_mut(&lease) else {
            return;
        };
        row.over = true;
        if row.known.state.phase != Phase::Released && why == LeaseOver::HungUp {
            self.becomes(lease, Phase::Gone);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is something to wait for.
    fn open(&self, leases: &[LeaseId]) -> bool {
        let open = |row: &Row| {
            let phase = row.known.state.phase;
            let is_waited_for =
                |phase| matches!(phase, Phase::Halting { .. } | Phase::Deferred { until: Some(_) });
            row.known.report.is_none() && is_waited_for(phase)
        };
        leases.iter().any(|lease| self.0.get(lease).is_some_and(|row| !row.over && open(row)))
    }
}

/// Those that one loss of a key concerns.
#[derive(Debug)]
#[must_use]
pub struct Told<'a> {
    leases: &'a Leases,
    /// In order.
    told: Vec<LeaseId>,
    /// Watched beside those: told before by somebody else, or spared.
    others: Vec<LeaseId>,
    spared: u32,
}

impl<'a> Told<'a> {
    pub(super) fn new(leases: &'a Leases, mut told: Vec<LeaseId>) -> Self {
        told.sort_unstable();
        Self { leases, told, others: Vec::new(), spared: 0 }
    }

    /// Whether a holder was told.
    #[must_use]
    pub fn includes(&self, lease: LeaseId) -> bool {
        self.told.binary_search(&lease).is_ok()
    }

    /// How many were told.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.told.len()).unwrap_or(u32::MAX)
    }

    /// Watches those too that the same loss concerns and that were not told now: they are spared, or had been told
    /// before and not confirmed yet. Whoever holds nothing is passed over.
    pub fn and(mut self, concerned: &[LeaseId]) -> Self {
        let leases = self.leases;
        let mut state = leases.lock();
        let state = &mut *state;
        for lease in concerned {
            let Some(entry) = state.entries.get(lease).filter(|_| !self.includes(*lease)) else {
                continue;
            };
            match entry.stage {
                Stage::Held => self.spared += 1,
                Stage::Revoking => {}
                Stage::Attaching | Stage::Parked => continue,
            }
            state.answers.watch(*lease, entry);
            self.others.push(*lease);
        }
        self
    }

    /// Waits until each has answered or is gone, for so long at most, and says what is known of each. Not at all is
    /// not asked. Who is spared for good is not waited for.
    pub fn wait(self, time: Duration) -> Revocation {
        let (told, spared) = (self.count(), self.spared);
        if time.is_zero() {
            return Revocation { told, spared, ..Revocation::default() };
        }
        let watched = [self.told.as_slice(), &self.others].concat();
        let until = BootTime::now().after(time);
        let mut state = self.leases.lock();
        while state.answers.open(&watched) && !until.remaining().is_zero() {
            let waited = self.leases.answered.wait_timeout(state, until.remaining());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let known = |lease: &LeaseId| state.answers.0.get(lease).map(|row| row.known.clone());
        let mut holders: Vec<HolderAnswer> = watched.iter().filter_map(known).collect();
        drop(state);
        holders.sort_by_key(|holder| holder.disk);
        Revocation { told, spared, holders, left: Vec::new() }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let mut state = self.leases.lock();
        self.told.iter().chain(&self.others).for_each(|lease| state.answers.unwatch(*lease));
    }
}
