//! Holders that were told to let go, and what they have answered: revocation that proves itself.

use std::{collections::HashMap, time::Duration};

use keyd_client::{
    LeaseId,
    lease::BootTime,
    message::{Answer, FenceReport, HolderAnswer, Revocation},
};

use super::{LeaseOver, Leases, entry::Entry};
use crate::clock;

/// Answers that somebody waits for. A row is made when its holder is told and lives as long as the [`Told`] that
/// names it.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<LeaseId, Row>);

#[derive(Debug)]
struct Row {
    told: HolderAnswer,
    /// Whether something may still come.
    open: bool,
}

impl Answers {
    pub(super) fn await_from(&mut self, lease: LeaseId, entry: &Entry) {
        let left = entry.ends.map(BootTime::remaining).unwrap_or_default();
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let told = HolderAnswer {
            disk: entry.claim.disk,
            lease,
            pid: entry.claim.caller.pid,
            uid: entry.claim.caller.uid,
            answer: Answer::Unconfirmed { lease_ends: clock::now().saturating_add(left) },
        };
        self.0.insert(lease, Row { told, open: true });
    }

    pub(super) fn confirm(&mut self, lease: LeaseId, report: &FenceReport) {
        if let Some(row) = self.0.get_mut(&lease) {
            row.told.answer = Answer::Confirmed(*report);
            row.open = false;
        }
    }

    /// A holder that is gone has answered no more than it had. One whose lease ran out is not gone: it has only been
    /// waited for long enough.
    pub(super) fn gone(&mut self, lease: LeaseId, why: LeaseOver) {
        let Some(row) = self.0.get_mut(&lease) else {
            return;
        };
        row.open = false;
        if let (Answer::Unconfirmed { .. }, LeaseOver::HungUp) = (row.told.answer, why) {
            row.told.answer = Answer::HungUp { at: clock::now() };
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn open(&self, leases: &[LeaseId]) -> bool {
        leases.iter().any(|lease| self.0.get(lease).is_some_and(|row| row.open))
    }
}

/// Those that one revocation told to let go.
#[derive(Debug)]
#[must_use]
pub struct Told<'a> {
    leases: &'a Leases,
    told: Vec<LeaseId>,
}

impl<'a> Told<'a> {
    pub(super) fn new(leases: &'a Leases, told: Vec<LeaseId>) -> Self {
        Self { leases, told }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.told.len()).unwrap_or(u32::MAX)
    }

    /// Waits until each has answered, is gone, or has no lease any more, for so long at most, and says what is known of each. Not at all is
    /// not asked.
    pub fn wait(self, time: Duration) -> Revocation {
        let told = self.count();
        if time.is_zero() {
            return Revocation { told, holders: Vec::new() };
        }
        let until = BootTime::now().after(time);
        let mut state = self.leases.lock();
        while state.answers.open(&self.told) && !until.remaining().is_zero() {
            let waited = self.leases.answered.wait_timeout(state, until.remaining());
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        let mut holders: Vec<HolderAnswer> = self
            .told
            .iter()
            .filter_map(|lease| Some(state.answers.0.get(lease)?.told.clone()))
            .collect();
        drop(state);
        holders.sort_by_key(|holder| holder.disk);
        Revocation { told, holders }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let mut state = self.leases.lock();
        for lease in &self.told {
            state.answers.0.remove(lease);
        }
    }
}
