//! Checks the whole state: every record, and every DEK if that is asked for.

use keyd_client::message::{Reply, StateChecked};

use crate::{
    auth::{Permit, op},
    core::Core,
    envelope,
    error::{Failure, Refused},
    limits::{CHECK_BATCH, DAMAGE_TOLD_MAX},
    log,
    model::{disk::Disk, right::Use},
    standing,
    store::{Damage, View},
    volume_key,
};

/// Every record, and the file that they are in.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn run(core: &Core, _permit: Permit<op::StateCheck>) -> Result<Reply, Failure> {
    let damage = core.store.check()?;
    Ok(Reply::StateChecked(told(damage, None)))
}

/// The DEKs too: each is opened and compared with its digest, and goes nowhere. Those of a key that may not be used now
/// are left out.
///
/// # Errors
/// [`crate::error::Fault`]; [`Refused::Stopping`].
pub fn deep(core: &Core, permit: Permit<op::StateCheckDeep>) -> Result<Reply, Failure> {
    core.record(&permit, permit.entry("store"))?;
    core.store.check()?;
    let (mut opened, mut left_out, mut wrong) = (0, 0, Vec::new());
    let mut after = None;
    loop {
        let view = core.store.snapshot()?;
        let disks = view.disks(after, CHECK_BATCH)?;
        let Some(last) = disks.last() else {
            break;
        };
        after = Some(last.id);
        for disk in &disks {
            if core.stopping() {
                return Err(Refused::Stopping.into());
            }
            match open(core, &view, disk) {
                Ok(true) => opened += 1,
                Ok(false) => wrong.push(format!("disk {}: its DEK is another", disk.id)),
                Err(Failure::Refused(_)) => left_out += 1,
                Err(Failure::Fault(why)) => {
                    wrong.push(format!("disk {}: its DEK: {}", disk.id, log::chain(&why)));
                }
            }
        }
    }
    core.store.note_deks(wrong);
    Ok(Reply::StateChecked(told(core.store.damage(), Some((opened, left_out)))))
}

/// Whether a disk's DEK opens and is the one that its digest is of.
fn open(core: &Core, view: &impl View, disk: &Disk) -> Result<bool, Failure> {
    let set = view.set_of(disk)?;
    let versions = standing::opening(view, disk, &set, Use::Keep, core.proven())?;
    let dek = envelope::open(&core.keyring, &set, disk, &versions)?;
    Ok(volume_key::matches(&dek, &disk.digest))
}

/// Takes the state as it is, without what is damaged.
///
/// # Errors
/// [`Refused::NothingDamaged`]; [`crate::error::Fault`].
pub fn accept(core: &Core, permit: Permit<op::StateAccept>) -> Result<Reply, Failure> {
    let given_up = core.store.accept_damage(permit.entry("store"))?;
    let mut checked = told(core.store.check()?, None);
    checked.given_up = given_up;
    Ok(Reply::StateChecked(checked))
}

fn told(damage: Damage, deks: Option<(u64, u64)>) -> StateChecked {
    let mut damaged = [damage.names, damage.deks].concat();
    let more = damaged.len().saturating_sub(DAMAGE_TOLD_MAX) as u64;
    damaged.truncate(DAMAGE_TOLD_MAX);
    let (deks_opened, deks_left_out) = deks.unzip();
    StateChecked {
        rows: damage.rows,
        deks_opened,
        deks_left_out,
        damaged,
        more,
        given_up: Vec::new(),
    }
}
