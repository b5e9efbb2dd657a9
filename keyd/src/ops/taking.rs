//! The one way in which keys are taken away on request: weigh, ask for consent, commit, enforce, wait for the holders.

use std::time::Duration;

use keyd_client::message::{Consent, Impact, Revocation};

use super::{enforce, impact};
use crate::{
    audit::Class,
    auth::{Op, Permit},
    core::Core,
    error::Failure,
    limits::WAIT_MS_MAX,
    store::Txn,
};

/// What is asked, in words, and how.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The verb as the command line has it.
    pub verb: &'static str,
    /// On what.
    pub subject: String,
    /// What the command line says behind that.
    pub arguments: String,
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

/// Makes the change and says what was done. Who does not care what is hit does not wait for it to be counted: ten
/// thousand disks take longer to look through than to halt.
fn made(
    core: &Core,
    txn: &Txn<'_>,
    ask: &Ask<'_>,
    change: &impl Fn(&Txn<'_>) -> Result<String, Failure>,
) -> Result<String, Failure> {
    if *ask.consent == Consent::Force {
        return change(txn);
    }
    let mut said = String::new();
    let weighed = impact::weigh(core, txn, ask.verb, &ask.subject, |txn| {
        said = change(txn)?;
        Ok(())
    })?;
    impact::check(ask.consent, ask, &weighed)?;
    let hit = impact::summary(&weighed);
    Ok(if hit.is_empty() { said } else { format!("{said} hit={hit}") })
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
    run_as(core, permit, O::CLASS, ask, change)
}

/// The same for an operation that can give as well as take: its class is this request's.
///
/// # Errors
/// As [`run`].
pub fn run_as<O: Op>(
    core: &Core,
    permit: Permit<O>,
    class: Class,
    ask: &Ask<'_>,
    change: impl Fn(&Txn<'_>) -> Result<String, Failure>,
) -> Result<Taken, Failure> {
    let entry = permit.entry(&ask.subject).class(class);
    if *ask.consent == Consent::DryRun {
        let weighed = core.store.rehearse(|txn| {
            impact::weigh(core, txn, ask.verb, &ask.subject, |txn| change(txn).map(drop))
        })?;
        let detail = format!("would hit {}", impact::summary(&weighed));
        core.store.record(entry.outcome("dry run").detail(detail))?;
        return Ok(Taken::Would(weighed));
    }
    core.store.commit(|txn| {
        let detail = made(core, txn, ask, &change)?;
        Ok(((), entry.detail(detail)))
    })?;
    let enforced = enforce::run(core)?;
    let granted = enforced.granted;
    let revocation = enforced.told.wait(Duration::from_millis(ask.wait_ms.min(WAIT_MS_MAX)));
    Ok(Taken::Done { revocation, granted })
}
