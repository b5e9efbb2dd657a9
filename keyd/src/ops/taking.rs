//! The one way in which keys are taken away on request: weigh, ask for consent, commit, enforce, wait for the holders.

use std::{collections::BTreeSet, time::Duration};

use keyd_client::{
    DiskId,
    message::{Consent, Impact, Revocation},
};

use super::{enforce, impact};
use crate::{
    auth::{Op, Permit},
    core::Core,
    error::Failure,
    leases::Spared,
    limits::WAIT_MS_MAX,
    store::{Txn, View},
};

/// What is asked, in words, and how.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The verb as the command line has it.
    pub verb: &'static str,
    /// On what.
    pub subject: String,
    /// How sure the asker is.
    pub consent: &'a Consent,
    /// Wait so long for the holders' confirmations, milliseconds.
    pub wait_ms: u64,
}

/// What became of it.
#[derive(Debug)]
pub enum Taken {
    /// A dry run: this would be hit.
    Would(Impact),
    /// Done.
    Done {
        /// Holders that were told to let go.
        revocation: Revocation,
        /// Parked holders that were told that their key is back.
        granted: u32,
    },
}

/// Makes `change`, which may take keys away. From the commit on no unwrap succeeds; then every holder is told.
///
/// # Errors
/// Those of `change`; [`crate::error::Refused::InUseBy`], [`crate::error::Refused::StaleToken`].
pub fn run<O: Op>(
    core: &Core,
    permit: Permit<O>,
    ask: &Ask<'_>,
    change: impl Fn(&Txn<'_>) -> Result<String, Failure>,
) -> Result<Taken, Failure> {
    if *ask.consent == Consent::DryRun {
        let weighed = core.store.rehearse(|txn| {
            impact::weigh(core, txn, ask.verb, &ask.subject, |txn| change(txn).map(drop))
        })?;
        let detail = format!("would hit {}", impact::summary(&weighed.impact));
        core.store.record(permit.entry(&ask.subject).outcome("dry run").detail(detail))?;
        return Ok(Taken::Would(weighed.impact));
    }
    let (hit, enforced) = enforce::commit(core, |txn| {
        let mut said = String::new();
        let weighed = impact::weigh(core, txn, ask.verb, &ask.subject, |txn| {
            said = change(txn)?;
            Ok(())
        })?;
        impact::check(ask.consent, ask.verb, &weighed.impact)?;
        let hit = impact::summary(&weighed.impact);
        let detail = if hit.is_empty() { said } else { format!("{said} hit={hit}") };
        Ok((weighed.hit, permit.entry(&ask.subject).detail(detail)))
    })?;
    let granted = enforced.granted;
    let told = enforced.told.and(&spared(core, &hit)?);
    let revocation = told.wait(Duration::from_millis(ask.wait_ms.min(WAIT_MS_MAX)));
    Ok(Taken::Done { revocation, granted })
}

/// Holders of what was hit, and until when their set's terms let each go on.
fn spared(core: &Core, hit: &BTreeSet<DiskId>) -> Result<Vec<Spared>, Failure> {
    let view = core.store.snapshot()?;
    let mut spared = Vec::new();
    for (lease, disk) in core.leases.all().into_iter().filter(|(_, disk)| hit.contains(disk)) {
        // A disk that is gone by now has nobody to wait for.
        if let Ok((_, set)) = view.disk_and_set(disk) {
            let halted = set.halts_after().zip(set.lost_since);
            spared.push(Spared { lease, until: halted.map(|(after, since)| since + after) });
        }
    }
    Ok(spared)
}
