//! Compares every lease with the state, and tells holders what follows. Done after each commit that can give or take a
//! key, whatever it was: nothing that takes a key away has to know whom it concerns. What takes one away by the
//! clock, an end or a grace, does so when its time has come for sure: a guest that halts by a wrong clock may not come
//! back whole.

use std::time::Duration;

use keyd_client::{
    DesName, DiskId, LeaseId, Principal,
    message::{Reaction, UnixMillis},
};

use crate::{
    audit::{Class, Entry},
    core::Core,
    error::{Failure, Refused},
    leases::{Claim, Loss, Spared, Told},
    lock::lock,
    log,
    model::{des::Des, right::Use},
    standing::{self, Standing, Verdict},
    store::{Txn, View},
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
    tell(core).map(|(enforced, _)| enforced)
}

/// Makes a change, and tells all holders before anybody else can: so who lost its DEK by it was told now, or is among
/// the others. A change whose record did not reach a required copy is told as failed, and is made all the same: then
/// holders are told, whatever its asker is.
///
/// # Errors
/// Those of `change`; [`Refused::AuditCopy`]; [`crate::error::Fault`].
pub fn commit<T>(
    core: &Core,
    change: impl FnOnce(&Txn<'_>) -> Result<(T, Entry), Failure>,
) -> Result<(T, Enforced<'_>, Others), Failure> {
    let _in_order = lock(&core.enforcing);
    let made = core.store.commit(change);
    match made {
        Ok(value) => tell(core).map(|(enforced, others)| (value, enforced, others)),
        Err(Failure::Refused(why @ Refused::AuditCopy(..))) => {
            tell(core)?;
            Err(why.into())
        }
        Err(nothing_made) => Err(nothing_made),
    }
}

/// Holders whose key is lost and who were not told now: they are spared, or they had been told before, or they hold
/// nothing.
pub type Others = Vec<(LeaseId, Claim)>;

fn tell(core: &Core) -> Result<(Enforced<'_>, Others), Failure> {
    let now = core.proven();
    // What cannot be written down about some sets is no reason to leave the holders of all untold.
    if let Err(failure) = date_losses(core, now) {
        let why = log::chain(&failure);
        log::line(format_args!("since when a set has lost its key could not be recorded: {why}"));
    }
    let view = core.store.snapshot()?;
    let mut standing = Standing::new(&view, now);
    let (mut losses, mut usable, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for (lease, claim) in core.leases.all() {
        match judge(core, &view, &mut standing, (lease, &claim), now)? {
            Outcome::GoesOn(length) => {
                core.leases.go_on(lease, length);
                usable.push(lease);
                continue;
            }
            Outcome::NotYet(spared) => core.leases.spare(&spared),
            Outcome::Halts(loss) => losses.push(loss),
        }
        others.push((lease, claim));
    }
    let told = core.leases.revoke(&losses);
    others.retain(|(other, _)| !told.includes(*other));
    let granted = core.leases.grant(&usable);
    record(core, &losses, told.count(), granted)?;
    Ok((Enforced { told, granted }, others))
}

/// What a lease's holder is to do.
enum Outcome {
    /// With a lease of this length.
    GoesOn(Duration),
    /// Its key is lost; its set's terms let it run on for now.
    NotYet(Spared),
    Halts(Loss),
}

fn judge(
    core: &Core,
    view: &impl View,
    standing: &mut Standing<'_, impl View>,
    (lease, claim): (LeaseId, &Claim),
    now: UnixMillis,
) -> Result<Outcome, Failure> {
    let who = &claim.caller.principal;
    Ok(match standing.disk(claim.disk)? {
        Verdict::Usable(set) if may_attach(core, who, (claim.disk, &set.name), view)? => {
            if let Some(reason) = bar_to_begin(view, set, claim, now)? {
                return Ok(Outcome::Halts(Loss { lease, reason, on_revoke: set.reaction() }));
            }
            Outcome::GoesOn(Duration::from_millis(set.terms.lease_ms))
        }
        Verdict::Usable(set) => {
            let reason = format!("{who} has no permission 'attach' for it any more");
            Outcome::Halts(Loss { lease, reason, on_revoke: set.reaction() })
        }
        Verdict::Lost(set, why) if !set.halts_now(now) => {
            let until = set.halts_after().zip(set.lost_since).map(|(after, since)| since + after);
            let since = set.lost_since.unwrap_or(now);
            Outcome::NotYet(Spared { lease, until, since, why: why.to_owned() })
        }
        Verdict::Lost(set, why) => {
            Outcome::Halts(Loss { lease, reason: why.to_owned(), on_revoke: set.reaction() })
        }
        // It can be taken back: what is damaged may come back.
        Verdict::Damaged(reason) => {
            Outcome::Halts(Loss { lease, reason, on_revoke: Reaction::Park })
        }
        Verdict::Erased => {
            let reason = format!("disk {} was erased", claim.disk);
            Outcome::Halts(Loss { lease, reason, on_revoke: Reaction::Fail })
        }
    })
}

/// A grant that is damaged grants nothing, and keeps no other holder from being judged.
fn may_attach(
    core: &Core,
    who: &Principal,
    disk: (DiskId, &DesName),
    view: &impl View,
) -> Result<bool, Failure> {
    match core.auth.may_attach(who, disk, view) {
        Err(Failure::Refused(_)) => Ok(false),
        may => may,
    }
}

/// Why who has not begun may not, although those that have may go on.
fn bar_to_begin(
    view: &impl View,
    set: &Des,
    claim: &Claim,
    now: UnixMillis,
) -> Result<Option<String>, Failure> {
    if claim.had {
        return Ok(None);
    }
    match standing::opening(view, &view.disk(claim.disk)?, set, Use::Attach, now) {
        Ok(_) => Ok(None),
        Err(Failure::Refused(why)) => Ok(Some(why.to_string())),
        Err(fault) => Err(fault),
    }
}

/// What was said to holders, after it was said: their time is short, the state that it follows from is recorded.
fn record(core: &Core, losses: &[Loss], told: u32, granted: u32) -> Result<(), Failure> {
    if told + granted == 0 {
        return Ok(());
    }
    let why = losses.first().map_or_else(String::new, |loss| format!(" first: {}", loss.reason));
    // A withdrawal has taken effect by now: on a full disk, or beside a broken log, it must not be told as refused.
    let class = if told > 0 { Class::Withdrawal } else { Class::Administration };
    let entry = Entry::by_daemon("enforce", "leases").class(class);
    core.store.record(entry.detail(format!("told-to-let-go={told} granted={granted}{why}")))
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
    let now = core.proven();
    let mut standing = Standing::new(&view, now);
    if let Outcome::GoesOn(_) = judge(core, &view, &mut standing, (lease, &claim), now)? {
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
        // Holders are told after this: nothing may be in its way.
        Ok(((), entry.class(Class::Withdrawal)))
    })
}
