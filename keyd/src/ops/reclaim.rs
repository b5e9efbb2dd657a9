//! Hands a parked holder its DEK again; one that began without it, for the first time.

use keyd_client::{
    LeaseId,
    message::{Event, Refusal, RefusalCode},
};

use super::enforce;
use crate::{
    auth::{Permit, op},
    core::Core,
    envelope,
    error::{Failure, Refused},
    leases::{HandOver, Stage},
    log,
    model::right::Use,
    standing,
    store::View,
};

/// Looks at the key and unwraps as an attach does; recorded likewise.
///
/// # Errors
/// [`Refused::NotParked`], [`Refused::Withheld`], and those of [`standing::opening`].
pub fn run(core: &Core, permit: Permit<op::Reclaim>, lease: LeaseId) -> Result<(), Failure> {
    let claim = core.leases.claim(lease).ok_or(Refused::NotParked)?;
    if core.leases.stage(lease) != Some(Stage::Parked) {
        return Err(Refused::NotParked.into());
    }
    let (disk, set, versions, epoch) = core.commit(&permit, |txn| {
        let (disk, set) = txn.disk_and_set(claim.disk)?;
        let epoch = core.leases.epoch(lease);
        let (what_for, now) = match claim.had {
            true => (Use::Keep, core.proven()),
            false => (Use::Attach, core.now()),
        };
        let versions = standing::opening(txn, &disk, &set, what_for, now)?;
        let wrap = disk.first_wrap();
        let entry = permit.entry(claim.disk).detail(format!(
            "lease={lease} pid={} key={} version={}",
            claim.caller.pid, wrap.key, wrap.version
        ));
        Ok(((disk, set, versions, epoch), entry))
    })?;
    let dek = envelope::open(&core.keyring, &set, &disk, &versions)?;
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
    if key_went && let Err(failure) = enforce::grant_if_usable(core, lease) {
        log::line(format_args!("lease {lease}: {}", log::chain(&failure)));
    }
}
