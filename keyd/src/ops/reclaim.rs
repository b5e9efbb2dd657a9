//! Hands a parked holder its DEK again.

use keyd_client::{
    LeaseId,
    message::{Event, Refusal, RefusalCode},
};

use super::attach::grant_if_enabled;
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    leases::{HandOver, Stage},
    log,
    store::View,
};

/// Looks at the key and unwraps as an attach does; recorded likewise.
///
/// # Errors
/// [`Refused::NotParked`], [`Refused::KeyDisabled`], [`Refused::Withheld`].
pub fn run(core: &Core, permit: Permit<op::Reclaim>, lease: LeaseId) -> Result<(), Failure> {
    let claim = core.leases.claim(lease).ok_or(Refused::NotParked)?;
    if core.leases.stage(lease) != Some(Stage::Parked) {
        return Err(Refused::NotParked.into());
    }
    let (disk, set, key, epoch) = core.store.commit(|txn| {
        let (disk, set, key) = txn.disk_whole(claim.disk)?;
        let epoch = core.leases.epoch(lease);
        let version = key.usable(disk.key_version)?.version;
        let entry = permit.entry(claim.disk).detail(format!(
            "lease={lease} pid={} key={} version={version}",
            claim.caller.pid, key.name
        ));
        Ok(((disk, set, key, epoch), entry))
    })?;
    let dek = core.unwrap(&disk, &set, &key)?;
    match core.leases.hand_over(lease, epoch, &Event::Reclaimed, &dek) {
        HandOver::Done | HandOver::Gone => Ok(()),
        HandOver::Withheld => Err(Refused::Withheld.into()),
    }
}

/// Tells a holder that its reclaim was refused. Should its key be back already, it is told that too: a `Granted` that
/// overtook this refusal would be forgotten.
pub fn refuse(core: &Core, lease: LeaseId, refusal: Refusal) {
    let key_went = refusal.code == RefusalCode::KeyDisabled;
    core.leases.still_revoked(lease, refusal);
    if let Some(claim) = core.leases.claim(lease).filter(|_| key_went)
        && let Err(failure) = grant_if_enabled(core, lease, &claim.key)
    {
        log::line(format_args!("lease {lease}: {}", log::chain(&failure)));
    }
}
