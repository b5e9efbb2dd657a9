//! Moves a disk to another set, while it runs: its DEK is wrapped anew, its data stays as it is.

use keyd_client::{
    DesName, DiskId, Principal,
    message::{DiskKind, Reply},
};

use super::{
    impact, rewrap,
    taking::{self, Ask},
};
use crate::{
    auth::{Permit, op},
    core::Core,
    envelope,
    error::{Failure, Refused},
    model::{disk::Disk, right::Use},
    standing,
    store::{Txn, View},
};

/// Moves a disk. From the commit on its holder's right is that of the new set, whose terms it hears with its next
/// renewal.
///
/// # Errors
/// [`Refused::NoDisk`], [`Refused::NoSet`], [`Refused::OneSet`]; [`Refused::MovesToItself`], for nobody lets himself
/// have a disk's DEK by moving it; those of [`standing::opening`], of [`rewrap::wrappers`] and of [`impact::check`].
pub fn run(
    core: &Core,
    permit: Permit<op::DiskMove>,
    id: DiskId,
    des: &DesName,
    ask: &Ask<'_>,
) -> Result<Reply, Failure> {
    let weigh = |txn: &Txn<'_>| {
        let mut said = String::new();
        let weighed = impact::weigh_disk(core, txn, (ask.verb, id), |txn| {
            said = put(core, txn, &permit.caller().principal, (id, des))?;
            Ok(())
        })?;
        Ok::<_, Failure>((weighed, said))
    };
    if ask.is_dry_run() {
        let (weighed, _) = core.store.rehearse(weigh)?;
        let detail = format!("would hit {}", impact::summary(&weighed));
        core.record(&permit, permit.entry(id).outcome("dry run").detail(detail))?;
        return Ok(Reply::Impact(weighed));
    }
    taking::commit(core, &permit, |txn| {
        let (weighed, detail) = weigh(txn)?;
        impact::check(ask.consent, ask, &weighed)?;
        Ok(((), permit.entry(id).detail(detail)))
    })?;
    Ok(Reply::Rewrapped { rewrapped: 1 })
}

fn put(
    core: &Core,
    txn: &Txn<'_>,
    who: &Principal,
    (id, des): (DiskId, &DesName),
) -> Result<String, Failure> {
    let (disk, from) = txn.disk_and_set(id)?;
    let (to, now) = (txn.set(des)?, core.now());
    movable(txn, &disk)?;
    let [before, after] =
        [&from.name, &to.name].map(|set| core.auth.may_attach(who, (id, set), txn));
    if !before? && after? {
        return Err(Refused::MovesToItself { who: who.clone(), disk: id, set: to.name }.into());
    }
    let versions = standing::opening(txn, &disk, &from, Use::Keep, now)?;
    let wrappers = rewrap::wrappers(txn, &to, now)?;
    let wraps = envelope::reseal(&core.keyring, (&from, &disk, &versions), (&to, &wrappers))?;
    let moved = Disk { des: to.name, wraps, ..disk };
    txn.replace_disk(&moved)?;
    let wrap = moved.first_wrap();
    Ok(format!("from={} to={des} key={} version={}", from.name, wrap.key, wrap.version))
}

/// A disk and what was made from it share one set (Azure: a disk and all its incremental snapshots).
fn movable(view: &impl View, disk: &Disk) -> Result<(), Failure> {
    let alone = disk.kind == DiskKind::Disk && disk.source.is_none();
    if !alone || !view.made_from(disk.id)?.is_empty() {
        return Err(Refused::OneSet { disk: disk.id, set: disk.des.clone() }.into());
    }
    Ok(())
}
