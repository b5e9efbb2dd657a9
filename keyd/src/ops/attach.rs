//! Takes a disk's DEK under a lease.

use std::{os::unix::net::UnixStream, sync::Arc};

use keyd_client::{
    DiskId, KeyName, LeaseId,
    message::{Attached, Reply},
};

use crate::{
    audit::Entry,
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    leases::{Claim, HandOver, InUse, length},
    model::{des::Des, disk::Disk, key::Key},
    store::{Txn, View},
};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Which disk.
    pub id: DiskId,
    /// Whether other readers may share it.
    pub read_only: bool,
    /// Whether to wait for a disabled key.
    pub wait: bool,
}

/// Enters the lease first, looks at the key second, hands over third: see [`crate::leases`].
///
/// # Errors
/// [`Refused::NoDisk`], [`Refused::InUse`], [`Refused::KeyDisabled`], [`Refused::Withheld`].
pub fn run(
    core: &Core,
    permit: Permit<op::Attach>,
    ask: Ask,
    stream: &Arc<UnixStream>,
) -> Result<LeaseId, Failure> {
    let (_, set, key) = core.store.snapshot()?.disk_whole(ask.id)?;
    let claim = Claim {
        disk: ask.id,
        key: key.name,
        caller: permit.caller(),
        read_only: ask.read_only,
        length: length(set.lease_ms),
    };
    let disk = ask.id;
    let lease = core
        .leases
        .register(claim, stream)
        .map_err(|InUse { pid }| Refused::InUse { disk, pid })?;
    let entered = enter(core, &permit, ask, lease);
    if entered.is_err() {
        core.leases.end(lease);
    }
    entered.map(|()| lease)
}

/// What the transaction saw.
struct Seen {
    disk: Disk,
    set: Des,
    key: Key,
    epoch: u64,
    enabled: bool,
}

fn enter(
    core: &Core,
    permit: &Permit<op::Attach>,
    ask: Ask,
    lease: LeaseId,
) -> Result<(), Failure> {
    let seen = core.store.commit(|txn| look(core, txn, permit, ask, lease))?;
    let attached = Reply::Attached(Box::new(Attached {
        lease,
        record: seen.disk.record(&seen.set),
        on_revoke: seen.set.on_revoke,
        lease_ms: seen.set.lease_ms,
    }));
    let handed = if seen.enabled {
        let dek = core.unwrap(&seen.disk, &seen.set, &seen.key)?;
        core.leases.hand_over(lease, seen.epoch, &attached, &dek)
    } else {
        HandOver::Withheld
    };
    match handed {
        HandOver::Withheld if ask.wait => {
            // A holder that is gone is noticed by the connection that now waits for it.
            let _ = core.leases.park(lease, &attached);
            grant_if_enabled(core, lease, &seen.key.name)
        }
        HandOver::Withheld => Err(Refused::Withheld.into()),
        HandOver::Done | HandOver::Gone => Ok(()),
    }
}

fn look(
    core: &Core,
    txn: &Txn<'_>,
    permit: &Permit<op::Attach>,
    ask: Ask,
    lease: LeaseId,
) -> Result<(Seen, Entry), Failure> {
    let (disk, set, key) = txn.disk_whole(ask.id)?;
    let epoch = core.leases.epoch(lease);
    let enabled = match key.usable(disk.key_version) {
        Ok(_) => true,
        Err(Refused::KeyDisabled(_)) if ask.wait => false,
        Err(refused) => return Err(refused.into()),
    };
    let detail = format!(
        "lease={lease} pid={} key={} version={}{}",
        permit.caller().pid,
        key.name,
        disk.key_version,
        if ask.read_only { " read-only" } else { "" }
    );
    let outcome = if enabled { "ok" } else { "parked: key disabled" };
    let entry = permit.entry(ask.id).outcome(outcome).detail(detail);
    let seen = Seen { disk, set, key, epoch, enabled };
    Ok((seen, entry))
}

/// A key that was enabled while its holder was being parked has nobody else to say so.
///
/// # Errors
/// [`crate::error::Fault`].
pub(super) fn grant_if_enabled(core: &Core, lease: LeaseId, key: &KeyName) -> Result<(), Failure> {
    if core.store.snapshot()?.key(key)?.enabled() {
        core.leases.grant_one(lease);
    }
    Ok(())
}
