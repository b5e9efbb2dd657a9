//! What is done because its time has come, by nobody's wish of the moment. Each is found in the state, so that none is
//! forgotten over a restart.

use std::{sync::atomic::Ordering, time::Instant};

use keyd_client::{
    KeyId, Period,
    message::{OnExpiry, Trigger, UnixMillis},
};

use super::{des_follow, enforce, purge, rewrap, rotate};
use crate::{
    audit::{Class, Entry},
    clock,
    core::Core,
    error::Failure,
    limits::{CHECK_INTERVAL_MS, NOTICE_DAYS, ROTATION_RETRY_MS},
    log,
    model::{calendar, des::Des, key::Key, version::Version},
    store::{Txn, View},
};

/// Looks whether the files of the state directory still have their names.
///
/// # Errors
/// None.
pub fn look(core: &Core) -> Result<(), Failure> {
    core.store.look();
    Ok(())
}

/// Begins copies of the audit log anew, if that was asked for by SIGHUP.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn rotate_copies(core: &Core) -> Result<(), Failure> {
    if core.hangup.swap(false, Ordering::Relaxed) { core.store.rotate_copies() } else { Ok(()) }
}

/// Destroys deleted keys whose vault's retention is over (Key Vault: automatic purge).
///
/// # Errors
/// [`crate::error::Fault`].
pub fn purge(core: &Core) -> Result<(), Failure> {
    let now = core.proven();
    // What is damaged may be what says that a key is still needed.
    if !core.store.damage().names.is_empty() {
        return Ok(());
    }
    for id in core.store.snapshot()?.keys_to_purge(now)? {
        let purged = core.store.commit(|txn| {
            let key = txn.key(&id)?;
            let over = key.deleted().is_some_and(|deleted| deleted.purge_at <= now);
            let entry = Entry::by_daemon("key-purge", &id).class(Class::Administration);
            if !over {
                return Ok((None, entry.outcome("recovered meanwhile")));
            }
            let detail = purge::destroy(core, txn, &key)?;
            Ok((Some(key), entry.detail(format!("retention over {detail}"))))
        })?;
        if let Some(key) = purged {
            purge::destroy_in_hsm(core, &key);
            log::line(format_args!("key {id} destroyed: its retention is over"));
        }
    }
    Ok(())
}

/// Writes down how many refusals had no row of their own, of each kind whose minute is over. What finds no space is
/// counted until it does.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn tell_refusals(core: &Core) -> Result<(), Failure> {
    let mut told = Ok(());
    for (row, counted) in core.refusals.due(Instant::now()) {
        log::line(format_args!(
            "{} {} {}: {}, {}",
            row.who, row.operation, row.subject, row.outcome, row.detail
        ));
        if let Err(failure) = core.store.record(row) {
            core.refusals.put_back(&counted);
            told = if matches!(failure, Failure::Fault(_)) { Err(failure) } else { told };
        }
    }
    told
}

/// Rotates keys whose policy says so (Key Vault: `KeyRotateIfDue`), and tells of ends that come near.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn rotate(core: &Core) -> Result<(), Failure> {
    let now = core.proven();
    for id in core.store.snapshot()?.keys_watched()? {
        let key = match core.store.snapshot()?.key(&id) {
            // It is named elsewhere, and no reason to leave the others.
            Err(Failure::Refused(_)) => continue,
            key => key?,
        };
        if key.alive().is_err() || !key.enabled() {
            continue;
        }
        if rotation_due(&key, now) {
            let entry =
                |_: &Txn<'_>, detail| Ok(Entry::by_daemon("key-rotate-if-due", &id).detail(detail));
            // The sets' own catching up wraps the DEKs anew.
            match rotate::new_version(core, &id, entry) {
                Ok(_) => log::line(format_args!("key {id} rotated by its policy")),
                Err(failure) => {
                    log::line(format_args!("key {id} is due: {}", log::chain(&failure)));
                }
            }
        } else if notice_due(&key, now) {
            tell_end(core, &id)?;
        }
    }
    Ok(())
}

fn rotation_due(key: &Key, now: UnixMillis) -> bool {
    let trigger = key.rotation_policy.as_ref().and_then(|policy| policy.rotate);
    trigger.is_some_and(|trigger| reached(trigger, key.newest(), now))
}

/// An end is told once, a month before if no policy says otherwise.
fn notice_due(key: &Key, now: UnixMillis) -> bool {
    let notify = key.rotation_policy.as_ref().and_then(|policy| policy.notify);
    let trigger = notify.unwrap_or(Trigger::BeforeExpiry(Period::days(NOTICE_DAYS)));
    !key.newest().end_told && reached(trigger, key.newest(), now)
}

fn reached(trigger: Trigger, version: &Version, now: UnixMillis) -> bool {
    match trigger {
        Trigger::AfterCreate(period) => now >= calendar::after(version.created, period),
        Trigger::BeforeExpiry(period) => version
            .expires
            .is_some_and(|expires| now >= calendar::before(expires.saturating_mul(1000), period)),
    }
}

fn tell_end(core: &Core, id: &KeyId) -> Result<(), Failure> {
    core.store.commit(|txn| {
        let mut key = txn.key(id)?;
        key.end_was_told();
        txn.put_key(&key)?;
        let newest = key.newest();
        let end = newest.expires.map_or_else(String::new, |s| clock::text(s * 1000));
        let detail = format!("version={} expires={}", newest.version, end.replace(' ', "T"));
        log::line(format_args!("key {id} is near its end: {detail}"));
        Ok(((), Entry::by_daemon("key-near-expiry", id).detail(detail)))
    })
}

/// Checks every record, once a day of running time, whatever the clock on the wall says.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn check(core: &Core) -> Result<(), Failure> {
    let known = core.store.damage();
    if core.store.clock().boot().saturating_sub(known.checked_boot) < CHECK_INTERVAL_MS {
        return Ok(());
    }
    let found = core.store.check()?;
    for name in found.names.iter().filter(|name| !known.names.contains(name)) {
        log::line(format_args!("damaged in the store: {name}"));
    }
    Ok(())
}

/// Sets that have something to catch up with, and were not tried a moment ago.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn catch_up(core: &Core) -> Result<(), Failure> {
    let (view, now) = (core.store.snapshot()?, core.now());
    for set in view.sets()? {
        if des_follow::due(&view, &set)? && ready(&view, &set, now)? && !core.stopping() {
            des_follow::catch_up(core, &set.name);
        }
    }
    Ok(())
}

/// What failed is tried again after a while, or as soon as it could succeed.
fn ready(view: &impl View, set: &Des, now: UnixMillis) -> Result<bool, Failure> {
    let Some(error) = &set.rotation_error else {
        return Ok(true);
    };
    if error.code == rewrap::NOT_FOLLOWED {
        // It waits for somebody's word, or for a time: to try before there is anything new would only make rows.
        let (why, platform) =
            (des_follow::why_not(view, set, now)?, des_follow::wanted(view, set)?.1);
        let has_work = set.rotation.is_some() || platform != set.platform_version;
        return Ok(has_work || why.is_none_or(|why| why.to_string() != error.message));
    }
    let mended = error.code != rewrap::DAMAGED && des_follow::possible(view, set, now)?;
    // What was tried in the future was tried by a clock that was wrong.
    Ok(mended || now < error.tried || now >= error.tried + ROTATION_RETRY_MS)
}

/// Holders whose right depends on the time: graces that run, keys whose end is a revocation.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn enforce(core: &Core) -> Result<(), Failure> {
    let sets = core.store.snapshot()?.sets()?;
    let timed = |set: &Des| {
        set.terms.on_expiry == OnExpiry::Revoke || set.halts_after().is_some_and(|ms| ms > 0)
    };
    if !sets.iter().any(timed) {
        return Ok(());
    }
    let enforced = enforce::run(core)?;
    let told = enforced.told.count();
    if told + enforced.granted > 0 {
        log::line(format_args!(
            "by the clock: {told} holders were told to let go, {} that their key is back",
            enforced.granted
        ));
    }
    Ok(())
}
