//! Destroys a deleted key. What is wrapped under it can never be unwrapped again.

use keyd_client::{
    KeyId,
    message::{Impact, KeyBackups, KeyPurge, Purged, UnixMillis, Weighed},
};

use super::{
    consent::{self, Asked},
    impact,
    operation::{Operation, on},
    taking::{self, Concern},
};
use crate::{
    audit::{Class, Entry},
    auth::Permit,
    clock,
    core::Core,
    error::{Failure, Refused},
    kek::{HsmObject, Material},
    log,
    model::{key::Key, tombstone::Tombstone},
    store::{Purged as _, Txn, View},
};

impl Operation for KeyPurge {
    on!(key name);
    on!(weighed);

    /// At once if nothing is wrapped under it any more, else when two principals have asked.
    ///
    /// # Errors
    /// [`Refused::NoKey`], [`Refused::NotDeleted`], [`Refused::PurgeProtection`], and those of [`taking::run`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Weighed<Purged>, Failure> {
        let (id, asked) = (&self.name, Asked::new("key purge", &self.name, &self.consent));
        let view = core.store.snapshot()?;
        if view.vault(&id.vault)?.purge_protection() {
            return Err(Refused::PurgeProtection(id.vault.clone()).into());
        }
        let key = view.key(id)?;
        let deks = wrapped(&view, &key)?;
        let backups = key.backups(view.backed_up()?);
        drop(view);
        if !asked.is_dry_run() && !consented(core, &permit, id, &asked, deks)? {
            return Ok(Weighed::Done(Purged::Asked { lost_for_ever: deks }));
        }
        let (who, dry) = (permit.caller().principal.clone(), asked.is_dry_run());
        let taken = taking::run(core, permit, &asked, Concern::Key(id), |txn| {
            let mut key = txn.key(id)?;
            let in_use = wrapped(txn, &key)? > 0;
            // Something came under it since it was looked at: then that counts.
            if !key.ask_purge(&who, in_use)? && !dry {
                return Err(Refused::SecondPrincipal { key: id.clone(), deks }.into());
            }
            destroy(core, txn, &key)
        })?;
        Ok(match taken {
            Weighed::Would(impact) => Weighed::Would(Impact { backups: Some(backups), ..impact }),
            Weighed::Done(_) => {
                destroy_in_hsm(core, &key);
                Weighed::Done(Purged::Destroyed)
            }
        })
    }
}

/// Whether it may go on now; if not, the wish is noted for the second principal.
fn consented(
    core: &Core,
    permit: &Permit<KeyPurge>,
    id: &KeyId,
    asked: &Asked<'_>,
    deks: u64,
) -> Result<bool, Failure> {
    let who = &permit.caller().principal;
    let mut key = core.store.snapshot()?.key(id)?;
    if key.ask_purge(who, deks > 0)? {
        return Ok(true);
    }
    let weighed = core.store.rehearse(|txn| {
        let key = txn.key(id)?;
        impact::weigh(core, txn, asked.verb, &asked.subject, |txn| {
            destroy(core, txn, &key).map(drop)
        })
    })?;
    consent::check(asked, &weighed)?;
    core.commit(permit, |txn| {
        let mut key = txn.key(id)?;
        key.ask_purge(who, true)?;
        txn.put_key(&key)?;
        let told = told(key.backups(txn.backed_up()?));
        let detail = format!("deks={deks} {told} another principal must ask too");
        Ok((false, permit.entry(id).outcome("asked").detail(detail)))
    })
}

/// Destroys a key inside a transaction. Its versions are remembered: an earlier backup could bring them back.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn destroy(core: &Core, txn: &Txn<'_>, key: &Key) -> Result<String, Failure> {
    let (deks, now) = (wrapped(txn, key)?, core.now());
    for version in key.versions().iter().filter(|version| version.material.hsm().is_none()) {
        txn.put_tombstone(version.version, &Tombstone::new(key.id.clone(), now))?;
    }
    txn.remove_key(&key.id)?;
    let told = told(key.backups(txn.backed_up()?));
    Ok(format!("versions={} deks-lost={deks} {told}", key.versions().len()))
}

/// Whether and when a key was taken out of the daemon.
fn told(backups: KeyBackups) -> String {
    let text = |at: Option<UnixMillis>| {
        at.map_or_else(|| "never".to_owned(), |at| clock::text(at).replace(' ', "T"))
    };
    format!("key-backup={} state-backup={}", text(backups.own), text(backups.whole))
}

/// Destroys what a destroyed key has left in the HSM. The key is gone from the state, whatever the HSM says: a key pair
/// that stays there is written down, for the token's administrator.
pub fn destroy_in_hsm(core: &Core, key: &Key) {
    let materials = key.versions().iter().map(|version| &version.material);
    for object in materials.filter_map(Material::hsm) {
        let Err(failure) = destroy_object(core, object) else {
            continue;
        };
        let why = log::chain(&failure);
        log::line(format_args!("the key pair {} of {} stays in the HSM: {why}", object.id, key.id));
        let entry = Entry::by_daemon("key-destroy-in-hsm", &key.id).class(Class::Withdrawal);
        let detail = format!("id={} token={}", object.id, object.token);
        if let Err(failure) = core.store.record(entry.outcome("failed").detail(detail)) {
            log::line(format_args!("that was not recorded: {}", log::chain(&failure)));
        }
    }
}

/// A key that was restored from a backup under another name uses the same key pair.
fn destroy_object(core: &Core, object: &HsmObject) -> Result<(), Failure> {
    let view = core.store.snapshot()?;
    let keys = view.keys(None, usize::MAX)?;
    let materials = keys.iter().flat_map(Key::versions).map(|version| &version.material);
    if materials.filter_map(Material::hsm).any(|used| used == object) {
        return Ok(());
    }
    Ok(core.keyring.destroy(object)?)
}

/// DEKs, or shares of them, under any version of a key.
fn wrapped(view: &impl View, key: &Key) -> Result<u64, Failure> {
    let counts = key.version_ids().map(|id| view.count_under(&id));
    Ok(counts.sum::<Result<u64, _>>()?)
}
