//! How the clock is, and what an administrator says of it.

use keyd_client::message::{ClockConfirm, ClockShow, ClockStatus};

use super::operation::{Operation, on};
use crate::{
    auth::Permit,
    clock::{self, Standing},
    core::Core,
    error::Failure,
};

impl Operation for ClockShow {
    on!(all "clock");

    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<ClockStatus, Failure> {
        Ok(status(core))
    }
}

impl Operation for ClockConfirm {
    on!(all "clock");

    /// What the clock says is what the time is, for what cannot be undone as well.
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<ClockStatus, Failure> {
        let before = status(core);
        let time = |millis| clock::text(millis).replace(' ', "T");
        let detail = format!(
            "clock={} newest-committed={} proven={}",
            time(before.clock),
            time(before.now),
            time(before.proven)
        );
        core.store.confirm_clock(permit.entry("clock").detail(detail))?;
        Ok(status(core))
    }
}

fn status(core: &Core) -> ClockStatus {
    let told = core.store.clock();
    ClockStatus { clock: told.wall(), now: told.now(), proven: told.proven(), wrong: warning(core) }
}

/// What is wrong with the clock, and what to do.
#[must_use]
pub fn warning(core: &Core) -> Option<String> {
    let told = core.store.clock();
    let says = clock::text(told.wall());
    match told.standing() {
        Standing::Right => None,
        Standing::Ahead { by, wait } => Some(format!(
            "the clock says {says}, {} more than keyd saw pass: deleted keys are not destroyed by it until it has stood so for {} more; set it right, or say that it is right by 'keyd clock confirm'",
            clock::length(by),
            clock::length(wait)
        )),
        Standing::Behind { by } => Some(format!(
            "the clock says {says}, {} before the newest time that keyd has committed, from which keyd goes on; set it right, or say that it is right by 'keyd clock confirm'",
            clock::length(by)
        )),
    }
}
