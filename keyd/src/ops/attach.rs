//! Takes a disk's DEK under a lease.

use std::{os::unix::net::UnixStream, sync::Arc, time::Duration};

use keyd_client::{
    DiskId, LeaseId,
    message::{Attached, DiskKind, Reply},
};

use super::enforce;
use crate::{
    audit::Entry,
    auth::{Permit, op},
    clock,
    core::Core,
    envelope,
    error::{Failure, Refused},
    leases::{Claim, HandOver, InUse, LeaseOver, Loss},
    model::{des::Des, disk::Disk, right::Use, version::Version},
    standing,
    store::{Txn, View},
};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Which disk.
    pub id: DiskId,
    /// Whether other readers may share it.
    pub read_only: bool,
    /// Whether to wait for a lost key. Only who had the DEK before does: it goes on where a new one would begin.
    pub wait: bool,
}

impl Ask {
    fn what_for(self) -> Use {
        if self.wait { Use::Keep } else { Use::Attach }
    }
}

/// Enters the lease first, looks at the key second, hands over third: see [`crate::leases`].
///
/// # Errors
/// [`Refused::NoDisk`], [`Refused::ReadOnly`], [`Refused::InUse`], [`Refused::Withheld`], and those of
/// [`standing::opening`].
pub fn run(
    core: &Core,
    permit: Permit<op::Attach>,
    ask: Ask,
    stream: &Arc<UnixStream>,
) -> Result<LeaseId, Failure> {
    let (disk, set) = core.store.snapshot()?.disk_and_set(ask.id)?;
    // Until it is confirmed, its maker writes it.
    if disk.kind != DiskKind::Disk && disk.confirmed && !ask.read_only {
        return Err(Refused::ReadOnly(ask.id).into());
    }
    let claim = Claim {
        disk: ask.id,
        caller: permit.caller().clone(),
        read_only: ask.read_only,
        length: Duration::from_millis(set.terms.lease_ms),
    };
    let disk = ask.id;
    let lease = core
        .leases
        .register(claim, stream)
        .map_err(|InUse { pid }| Refused::InUse { disk, pid })?;
    let entered = enter(core, &permit, ask, lease);
    if entered.is_err() {
        core.leases.end(lease, LeaseOver::HungUp);
    }
    entered.map(|()| lease)
}

/// What the transaction saw.
struct Seen {
    disk: Disk,
    set: Des,
    /// The versions that open it, or why its key is lost.
    versions: Result<Vec<Version>, Refused>,
    epoch: u64,
}

fn enter(
    core: &Core,
    permit: &Permit<op::Attach>,
    ask: Ask,
    lease: LeaseId,
) -> Result<(), Failure> {
    let seen = core.commit(permit, |txn| look(core, txn, permit, ask, lease))?;
    let attached = Reply::Attached(Box::new(Attached {
        lease,
        record: seen.disk.record(&seen.set),
        on_revoke: seen.set.reaction(),
        lease_ms: seen.set.terms.lease_ms,
    }));
    let (handed, why) = match &seen.versions {
        Ok(versions) => {
            let dek = envelope::open(&core.keyring, &seen.set, &seen.disk, versions)?;
            let handed = core.leases.hand_over(lease, seen.epoch, &attached, &dek);
            (handed, Refused::Withheld.to_string())
        }
        Err(why) => (HandOver::Withheld, why.to_string()),
    };
    match handed {
        HandOver::Withheld if ask.wait => {
            let loss = Loss { lease, reason: why, on_revoke: seen.set.reaction() };
            // A holder that is gone is noticed by the connection that now waits for it.
            let _ = core.leases.park(&loss, &attached);
            // A key that came back while its holder was being parked has nobody else to say so.
            enforce::grant_if_usable(core, lease)
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
    let (disk, set) = txn.disk_and_set(ask.id)?;
    let epoch = core.leases.epoch(lease);
    let (versions, outcome) =
        match standing::opening(txn, &disk, &set, ask.what_for(), clock::now()) {
            Ok(versions) => (Ok(versions), "ok".to_owned()),
            // A key that was destroyed may be restored from its backup.
            Err(Failure::Refused(why))
                if ask.wait && (why.is_loss() || matches!(why, Refused::NoKey(_))) =>
            {
                let outcome = format!("parked: {why}");
                (Err(why), outcome)
            }
            Err(other) => return Err(other),
        };
    let wrap = disk.first_wrap();
    let detail = format!(
        "lease={lease} pid={} key={} version={}{}",
        permit.caller().pid,
        wrap.key,
        wrap.version,
        if ask.read_only { " read-only" } else { "" }
    );
    let entry = permit.entry(ask.id).outcome(outcome).detail(detail);
    Ok((Seen { disk, set, versions, epoch }, entry))
}
