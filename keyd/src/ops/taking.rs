//! The one way in which keys are taken away on request: finish the rotations that it would cut off, weigh, ask for
//! consent, commit, enforce, wait for the holders.

use keyd_client::{
    DesName, KeyId, LeaseId, Principal, VaultName,
    message::{Changed, Consent, Revocation, Weighed},
};

use super::{
    consent::{self, Asked},
    enforce::{self, Enforced, Others},
    impact, rotation_end,
};
use crate::{
    audit::{Class, Entry},
    auth::{Op, Permit},
    core::Core,
    error::Failure,
    leases::Claim,
    model::{des::Des, disk::Disk},
    store::{Txn, View},
};

/// Whose DEKs are taken away. Whoever of them holds one yet is told of in the answer, whenever it was told to let go:
/// asking again is asking about the same holders.
#[derive(Debug, Clone, Copy)]
pub enum Concern<'a> {
    /// Those under a key.
    Key(&'a KeyId),
    /// Those that a set's identity has in a vault.
    Identity(&'a VaultName, &'a Principal),
    /// Those of a set.
    Set(&'a DesName),
}

impl Concern<'_> {
    fn includes(self, disk: &Disk, set: &Des) -> bool {
        let mut keys = disk.wraps.iter().map(|wrap| &wrap.key);
        match self {
            Self::Key(key) => keys.any(|wrapper| wrapper == key),
            Self::Identity(vault, who) => {
                set.identity() == *who && keys.any(|wrapper| wrapper.vault == *vault)
            }
            Self::Set(name) => set.name == *name,
        }
    }

    fn among(self, view: &impl View, others: Others) -> Vec<LeaseId> {
        let concerned = |claim: &Claim| {
            // A disk that is gone by now has nobody to wait for.
            view.disk_and_set(claim.disk).is_ok_and(|(disk, set)| self.includes(&disk, &set))
        };
        others.into_iter().filter(|(_, claim)| concerned(claim)).map(|(lease, _)| lease).collect()
    }
}

/// Makes the change and says what was done. Who does not care what is hit does not wait for it to be counted: ten
/// thousand disks take longer to look through than to halt.
fn made(
    core: &Core,
    txn: &Txn<'_>,
    asked: &Asked<'_>,
    change: &impl Fn(&Txn<'_>) -> Result<String, Failure>,
) -> Result<String, Failure> {
    if *asked.consent == Consent::Force {
        return change(txn);
    }
    let mut said = String::new();
    let weighed = impact::weigh(core, txn, asked.verb, &asked.subject, |txn| {
        said = change(txn)?;
        Ok(())
    })?;
    consent::check(asked, &weighed)?;
    let hit = impact::summary(&weighed);
    Ok(if hit.is_empty() { said } else { format!("{said} hit={hit}") })
}

/// Makes a change that somebody is permitted, if they still are, and tells all holders what follows.
///
/// # Errors
/// As [`Core::commit`] and [`enforce::commit`].
pub(super) fn commit<'a, O: Op, T>(
    core: &'a Core,
    permit: &Permit<O>,
    change: impl FnOnce(&Txn<'_>) -> Result<(T, Entry), Failure>,
) -> Result<(T, Enforced<'a>, Others), Failure> {
    enforce::commit(core, |txn| {
        core.auth.still(permit, txn)?;
        change(txn)
    })
}

/// Makes `change`, which may take keys away. From the commit on no unwrap succeeds; then every holder is told.
///
/// # Errors
/// Those of `change`; [`crate::error::Refused::InUseBy`], [`crate::error::Refused::StaleToken`].
pub fn run<O: Op>(
    core: &Core,
    permit: Permit<O>,
    asked: &Asked<'_>,
    concern: Concern<'_>,
    change: impl Fn(&Txn<'_>) -> Result<String, Failure>,
) -> Result<Weighed<Changed<()>>, Failure> {
    run_as(core, permit, O::CLASS, asked, concern, change)
}

/// The same for an operation that can give as well as take: its class is this request's.
///
/// # Errors
/// As [`run`].
pub fn run_as<O: Op>(
    core: &Core,
    permit: Permit<O>,
    class: Class,
    asked: &Asked<'_>,
    concern: Concern<'_>,
    change: impl Fn(&Txn<'_>) -> Result<String, Failure>,
) -> Result<Weighed<Changed<()>>, Failure> {
    let entry = permit.entry(&asked.subject).class(class);
    if asked.is_dry_run() {
        let weighed = core.store.rehearse(|txn| {
            impact::weigh(core, txn, asked.verb, &asked.subject, |txn| change(txn).map(drop))
        })?;
        let detail = format!("would hit {}", impact::summary(&weighed));
        core.record(&permit, entry.outcome("dry run").detail(detail))?;
        return Ok(Weighed::Would(weighed));
    }
    let rotating = rotation_end::before(core, &change);
    let (left, Enforced { told, granted }, others) = commit(core, &permit, |txn| {
        let detail = made(core, txn, asked, &change)?;
        let left = rotation_end::left(txn, &rotating)?;
        let behind = left.iter().map(|left| format!(" left-behind={}:{}", left.set, left.disks));
        let detail = detail + &behind.collect::<String>();
        Ok((left, entry.detail(detail)))
    })?;
    let told = told.and(&concern.among(&core.store.snapshot()?, others));
    let revocation = told.wait(asked.wait());
    let revocation = Revocation { left, ..revocation };
    Ok(Weighed::Done(Changed { now: (), revocation, granted }))
}
