//! The whole state: checked, taken as it is without what is damaged, and backed up.

use keyd_client::message::{
    BackedUp, StateAccept, StateBackup, StateCheck, StateCheckDeep, StateChecked,
};

use super::operation::{Operation, on};
use crate::{
    audit::Class,
    auth::Permit,
    core::Core,
    envelope,
    error::{Failure, Refused},
    limits::{CHECK_BATCH, DAMAGE_TOLD_MAX},
    log,
    model::{disk::Disk, right::Use},
    recovery::{self, RecoveryError},
    standing,
    store::{Damage, View},
    volume_key,
};

impl Operation for StateCheck {
    on!(all "store");

    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<StateChecked, Failure> {
        Ok(told(core.store.check()?, None))
    }
}

impl Operation for StateCheckDeep {
    on!(all "store");

    /// DEKs of a key that may not be used now are left out.
    ///
    /// # Errors
    /// [`Refused::Stopping`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<StateChecked, Failure> {
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
        Ok(told(core.store.damage(), Some((opened, left_out))))
    }
}

/// Whether a disk's DEK opens and is the one that its digest is of.
fn open(core: &Core, view: &impl View, disk: &Disk) -> Result<bool, Failure> {
    let set = view.set_of(disk)?;
    let versions = standing::opening(view, disk, &set, Use::Keep, core.proven())?;
    let dek = envelope::open(&core.keyring, &set, disk, &versions)?;
    Ok(volume_key::matches(&dek, &disk.digest))
}

impl Operation for StateAccept {
    on!(all "store");

    /// # Errors
    /// [`Refused::NothingDamaged`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<StateChecked, Failure> {
        let given_up = core.store.accept_damage(permit.entry("store"))?;
        Ok(StateChecked { given_up, ..told(core.store.check()?, None) })
    }
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

impl Operation for StateBackup {
    on!(all "store");

    /// A backup of this moment, in which the record of it is the newest. Everything goes on meanwhile.
    ///
    /// # Errors
    /// [`Refused::Backup`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<BackedUp, Failure> {
        let Self { to, recipients } = &self;
        if !to.is_absolute() {
            let why = format!("{} is no absolute path: name the file from / on", to.display());
            return Err(Refused::Backup(why).into());
        }
        // Where the store was taken away this may be all that keyd can write in, and it cannot be told of another place
        // without ending: what is made there is moved from there.
        if core.store.lost().is_none() {
            recovery::outside(to, core.store.identity()?)?;
        }
        let recipients = recovery::recipients(recipients)?;
        // Before anything leaves: it holds every key.
        let detail = format!("to={}", recovery::names(&recipients));
        // A store that was taken away is still open: a backup is the way back, and lets nobody have a key by itself.
        let class = if core.store.lost().is_some() { Class::Withdrawal } else { Class::Use };
        core.commit(&permit, |txn| {
            txn.put_backed_up(core.now())?;
            Ok(((), permit.entry(to.display()).class(class).detail(detail)))
        })?;
        let whole = core.store.whole()?;
        let manifest = recovery::write(&whole, core.keyring.root(), &recipients, to)
            .map_err(RecoveryError::told)?;
        Ok(manifest.told(to))
    }
}
