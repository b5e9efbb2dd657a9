//! Compares every lease with the state, and tells holders what follows. Done after each commit that can give or take a
//! key, whatever it was: nothing that takes a key away has to know whom it concerns.

use std::time::Duration;

use keyd_client::{LeaseId, message::UnixMillis};

use crate::{
    audit::Entry,
    clock,
    core::Core,
    error::Failure,
    leases::{Loss, Told},
    lock::lock,
    model::des::Des,
    standing::{self, Standing, Verdict},
    store::View,
};

/// What followed.
#[derive(Debug)]
pub struct Enforced<'a> {
    /// Holders that were told to let go.
    pub told: Told<'a>,
    /// Parked holders that were told that their key is back.
    pub granted: u32,
}

/// Tells all holders.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn run(core: &Core) -> Result<Enforced<'_>, Failure> {
    let _in_order = lock(&core.enforcing);
    let now = clock::now();
    date_losses(core, now)?;
    let view = core.store.snapshot()?;
    let mut standing = Standing::new(&view, now);
    let (mut losses, mut usable) = (Vec::new(), Vec::new());
    for (lease, disk) in core.leases.all() {
        match judge(core, &mut standing, lease, disk, now)? {
            Some(loss) => losses.extend(loss),
            None => usable.push(lease),
        }
    }
    let told = core.leases.revoke(&losses);
    let granted = core.leases.grant(&usable);
    Ok(Enforced { told, granted })
}

/// None if it may go on; a loss, or nothing yet, if not.
fn judge(
    core: &Core,
    standing: &mut Standing<'_, impl View>,
    lease: LeaseId,
    disk: keyd_client::DiskId,
    now: UnixMillis,
) -> Result<Option<Option<Loss>>, Failure> {
    Ok(match standing.disk(disk)? {
        Verdict::Usable(set) => {
            core.leases.set_length(lease, Duration::from_millis(set.terms.lease_ms));
            None
        }
        Verdict::Lost(set, why) => {
            let (reason, on_revoke) = (why.to_owned(), set.reaction());
            Some(set.halts_now(now).then_some(Loss { lease, reason, on_revoke }))
        }
        Verdict::Erased => Some(Some(Loss {
            lease,
            reason: format!("disk {disk} was erased"),
            on_revoke: keyd_client::message::Reaction::Fail,
        })),
    })
}

/// Tells one holder that its key is back, if it is: one that was parked meanwhile has nobody else to say so.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn grant_if_usable(core: &Core, lease: LeaseId) -> Result<(), Failure> {
    let _in_order = lock(&core.enforcing);
    let Some(claim) = core.leases.claim(lease) else {
        return Ok(());
    };
    let view = core.store.snapshot()?;
    if let Verdict::Usable(_) = Standing::new(&view, clock::now()).disk(claim.disk)? {
        core.leases.grant(&[lease]);
    }
    Ok(())
}

/// Sets whose terms give a grace remember since when their key is lost: the grace must outlast a restart.
fn date_losses(core: &Core, now: UnixMillis) -> Result<(), Failure> {
    let view = core.store.snapshot()?;
    for set in view.sets()?.iter().filter(|set| set.halts_after().is_some_and(|ms| ms > 0)) {
        let lost = standing::set_lost(&view, set, now)?.map(|why| why.to_string());
        if lost.is_some() != set.lost_since.is_some() {
            date_loss(core, set, lost, now)?;
        }
    }
    Ok(())
}

fn date_loss(core: &Core, set: &Des, lost: Option<String>, now: UnixMillis) -> Result<(), Failure> {
    core.store.commit(|txn| {
        let mut set = txn.set(&set.name)?;
        set.lost_since = lost.is_some().then_some(now);
        txn.put_set(&set)?;
        let halts = set.halts_after().unwrap_or(0) / 1000;
        let entry = match &lost {
            Some(why) => Entry::by_daemon("des-key-lost", &set.name)
                .detail(format!("{why}; its disks are halted in {halts} s")),
            None => Entry::by_daemon("des-key-back", &set.name),
        };
        Ok(((), entry))
    })
}
