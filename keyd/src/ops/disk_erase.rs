//! Destroys a disk's DEK: one commit, and what is on its image can never be read again.

use std::time::Duration;

use keyd_client::DiskId;

use super::{
    impact,
    taking::{self, Ask, Taken},
};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// Forgets a disk, snapshot or image and its DEK. What was made from it stays: it has a wrapped DEK of its own.
///
/// # Errors
/// [`crate::error::Refused::NoDisk`], [`crate::error::Refused::InUseBy`].
pub fn run(
    core: &Core,
    permit: Permit<op::DiskErase>,
    id: DiskId,
    ask: &Ask<'_>,
) -> Result<Taken, Failure> {
    if ask.is_dry_run() {
        let weighed = impact::of_erasing(core, &core.store.snapshot()?, ask.verb, id)?;
        let detail = format!("would hit {}", impact::summary(&weighed));
        core.record(&permit, permit.entry(id).outcome("dry run").detail(detail))?;
        return Ok(Taken::Would(weighed));
    }
    let ((), enforced, _) = taking::commit(core, &permit, |txn| {
        let weighed = impact::of_erasing(core, txn, ask.verb, id)?;
        impact::check(ask.consent, ask, &weighed)?;
        let wrap = txn.disk(id)?.first_wrap().clone();
        txn.remove_disk(id)?;
        let detail = format!("key={} version={}", wrap.key, wrap.version);
        Ok(((), permit.entry(id).detail(detail)))
    })?;
    let told = enforced.told;
    Ok(Taken::Done { revocation: told.wait(Duration::from_millis(ask.wait_ms)), granted: 0 })
}
