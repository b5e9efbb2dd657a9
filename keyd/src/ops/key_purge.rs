//! Destroys a deleted key. What is wrapped under it can never be unwrapped again.

use keyd_client::{
    KeyId,
    message::{Consent, Reply},
};

use super::{
    impact,
    taking::{self, Ask},
};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    model::key::Key,
    store::{Txn, View},
};

/// What became of it.
#[derive(Debug)]
pub enum Purge {
    /// It is destroyed, or would be.
    Taken(taking::Taken),
    /// It wraps so many DEKs; another principal must ask too.
    Asked(u64),
}

/// Destroys a key, at once if nothing is wrapped under it any more, else when two principals have asked.
///
/// # Errors
/// [`Refused::NoKey`], [`Refused::NotDeleted`], [`Refused::PurgeProtection`], and those of [`taking::run`].
pub fn run(
    core: &Core,
    permit: Permit<op::KeyPurge>,
    id: &KeyId,
    ask: &Ask<'_>,
) -> Result<Purge, Failure> {
    let view = core.store.snapshot()?;
    if view.vault(&id.vault)?.purge_protection() {
        return Err(Refused::PurgeProtection(id.vault.clone()).into());
    }
    let deks = wrapped(&view, &view.key(id)?)?;
    drop(view);
    if *ask.consent != Consent::DryRun && !consented(core, &permit, id, ask, deks)? {
        return Ok(Purge::Asked(deks));
    }
    let (who, dry) = (permit.caller().principal.clone(), *ask.consent == Consent::DryRun);
    let taken = taking::run(core, permit, ask, |txn| {
        let mut key = txn.key(id)?;
        let in_use = wrapped(txn, &key)? > 0;
        // Something came under it since it was looked at: then that counts.
        if !key.ask_purge(&who, in_use)? && !dry {
            return Err(Refused::SecondPrincipal { key: id.clone(), deks }.into());
        }
        destroy(txn, &key)
    })?;
    Ok(Purge::Taken(taken))
}

/// Whether it may go on now; if not, the wish is noted for the second principal.
fn consented(
    core: &Core,
    permit: &Permit<op::KeyPurge>,
    id: &KeyId,
    ask: &Ask<'_>,
    deks: u64,
) -> Result<bool, Failure> {
    let who = &permit.caller().principal;
    let mut key = core.store.snapshot()?.key(id)?;
    if key.ask_purge(who, deks > 0)? {
        return Ok(true);
    }
    let weighed = core.store.rehearse(|txn| {
        let key = txn.key(id)?;
        impact::weigh(core, txn, ask.verb, &ask.subject, |txn| destroy(txn, &key).map(drop))
    })?;
    impact::check(ask.consent, ask, &weighed)?;
    core.store.commit(|txn| {
        let mut key = txn.key(id)?;
        key.ask_purge(who, true)?;
        txn.put_key(&key)?;
        let detail = format!("deks={deks} another principal must ask too");
        Ok((false, permit.entry(id).outcome("asked").detail(detail)))
    })
}

/// Destroys a key inside a transaction.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn destroy(txn: &Txn<'_>, key: &Key) -> Result<String, Failure> {
    let deks = wrapped(txn, key)?;
    txn.remove_key(&key.id)?;
    Ok(format!("versions={} deks-lost={deks}", key.versions().len()))
}

/// DEKs, or shares of them, under any version of a key.
fn wrapped(view: &impl View, key: &Key) -> Result<u64, Failure> {
    let counts = key.versions().iter().map(|version| view.count_under(version.version));
    Ok(counts.sum::<Result<u64, _>>()?)
}

/// The answer as the socket tells it.
#[must_use]
pub fn reply(purge: Purge) -> Reply {
    match purge {
        Purge::Taken(taking::Taken::Would(impact)) => Reply::Impact(impact),
        Purge::Taken(taking::Taken::Done { .. }) => Reply::Done,
        Purge::Asked(lost_for_ever) => Reply::PurgeAsked { lost_for_ever },
    }
}
