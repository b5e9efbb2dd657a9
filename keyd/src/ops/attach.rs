//! Takes a disk's DEK under a lease.

use std::{os::unix::net::UnixStream, sync::Arc, time::Duration};

use keyd_client::{
    LeaseId,
    message::{Answer, Attach, Attached, DiskKind, IfLost, OnRevoke, UnixMillis},
};

use super::enforce;
use crate::{
    audit::Entry,
    auth::Permit,
    core::Core,
    envelope,
    error::{Failure, Refused},
    leases::{Claim, HandOver, InUse, LeaseOver, Loss},
    model::{des::Des, disk::Disk, right::Use, version::Version},
    standing,
    store::{Txn, View},
};

/// Who had the DEK before goes on where a new holder would begin.
fn what_for(ask: Attach) -> Use {
    match ask.if_lost {
        IfLost::Wait => Use::Keep,
        IfLost::Park | IfLost::Refuse => Use::Attach,
    }
}

/// Whether it waits for a key that `set` has lost.
fn waits(ask: Attach, set: &Des) -> bool {
    match ask.if_lost {
        IfLost::Refuse => false,
        IfLost::Park => set.terms.on_revoke == OnRevoke::Park,
        IfLost::Wait => true,
    }
}

/// Who goes on halts by what has come for sure: see [`enforce`].
fn when(ask: Attach, core: &Core) -> UnixMillis {
    match ask.if_lost {
        IfLost::Wait => core.proven(),
        IfLost::Park | IfLost::Refuse => core.now(),
    }
}

/// Enters the lease first, looks at the key second, hands over third: see [`crate::leases`].
///
/// # Errors
/// [`Refused::NoDisk`], [`Refused::ReadOnly`], [`Refused::InUse`], [`Refused::Withheld`], and those of
/// [`standing::opening`].
pub fn run(
    core: &Core,
    permit: Permit<Attach>,
    ask: Attach,
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
        had: ask.if_lost == IfLost::Wait,
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

fn enter(core: &Core, permit: &Permit<Attach>, ask: Attach, lease: LeaseId) -> Result<(), Failure> {
    let seen = core.commit(permit, |txn| look(core, txn, permit, ask, lease))?;
    let attached = |withheld| {
        Answer::Done(Attached {
            lease,
            record: seen.disk.record(&seen.set),
            on_revoke: seen.set.reaction(),
            lease_ms: seen.set.terms.lease_ms,
            withheld,
        })
    };
    let (handed, why) = match &seen.versions {
        Ok(versions) => {
            let dek = envelope::open(&core.keyring, &seen.set, &seen.disk, versions)?;
            let handed = core.leases.hand_over(lease, seen.epoch, &attached(None), &dek);
            (handed, Refused::Withheld.to_string())
        }
        Err(why) => (HandOver::Withheld, why.to_string()),
    };
    match handed {
        HandOver::Withheld if waits(ask, &seen.set) => {
            let reply = attached(Some(why.clone()));
            let loss = Loss { lease, reason: why, on_revoke: seen.set.reaction() };
            // A holder that is gone is noticed by the connection that now waits for it.
            let _ = core.leases.park(&loss, &reply);
            // A key that came back while its holder was being parked has nobody else to say so.
            enforce::grant_if_usable(core, lease)
        }
        HandOver::Withheld => Err(Refused::Withheld.into()),
        HandOver::Done | HandOver::Gone => Ok(()),
    }
}

/// Whether a disk that runs would halt, too: a key that has only expired bars new attaches, and is not waited for. Who
/// had the DEK waits for a key that was destroyed, too: it may be restored from its backup.
fn halts(core: &Core, txn: &Txn<'_>, ask: Attach, disk: &Disk, set: &Des) -> Result<bool, Failure> {
    match standing::opening(txn, disk, set, Use::Keep, core.proven()) {
        Ok(_) => Ok(false),
        Err(Failure::Refused(Refused::NoKey(_))) => Ok(ask.if_lost == IfLost::Wait),
        Err(Failure::Refused(why)) => Ok(why.is_loss()),
        Err(fault) => Err(fault),
    }
}

fn look(
    core: &Core,
    txn: &Txn<'_>,
    permit: &Permit<Attach>,
    ask: Attach,
    lease: LeaseId,
) -> Result<(Seen, Entry), Failure> {
    let (disk, set) = txn.disk_and_set(ask.id)?;
    let epoch = core.leases.epoch(lease);
    let judged = standing::opening(txn, &disk, &set, what_for(ask), when(ask, core));
    let (versions, outcome) = match judged {
        Ok(versions) => (Ok(versions), "ok".to_owned()),
        Err(Failure::Refused(why)) if waits(ask, &set) && halts(core, txn, ask, &disk, &set)? => {
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
