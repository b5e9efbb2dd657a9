//! The long part of a rotation: DEKs wrapped anew, batch by batch, until no older version wraps any.
//!
//! The journal is the key's `rotation` together with the index of disks by version: what is still under an older
//! version is still to do. Each disk's wrapped DEK is replaced in one commit, after the new form was unwrapped again,
//! while every version stays enabled; so at every moment, and after a crash at any, each disk has one working key.

use std::{sync::Arc, thread};

use keyd_client::KeyName;

use crate::{
    audit::Entry,
    core::Core,
    error::{Failure, Refused},
    limits::REWRAP_BATCH,
    log,
    model::{disk::Disk, key::Key},
    store::{Snapshot, Txn, View},
};

/// Wraps every DEK under a key's older versions anew and closes the journal. Returns how many those were, those of
/// runs before a crash included. The caller claimed the rotation.
///
/// # Errors
/// [`Refused::RotationStopped`] if the daemon ends or the key was disabled; [`crate::error::Fault`].
pub fn all(core: &Core, name: &KeyName) -> Result<u64, Failure> {
    loop {
        if core.stopping() {
            return Err(Refused::RotationStopped(name.clone()).into());
        }
        let batch = prepare(core, name)?;
        let rewrapped = if batch.is_empty() {
            core.store.commit(|txn| close(txn, name))?
        } else {
            core.store.commit(|txn| replace(txn, name, &batch))?
        };
        if let Some(rewrapped) = rewrapped {
            return Ok(rewrapped);
        }
    }
}

/// Goes on, in a thread of its own, with a rotation that a crash or a disabled key interrupted.
pub fn resume(core: &Arc<Core>, name: &KeyName) {
    let (core, name) = (core.clone(), name.clone());
    thread::spawn(move || {
        let Ok(_claim) = core.claim_rotation(&name) else {
            return;
        };
        match all(&core, &name) {
            Ok(rewrapped) => log::line(format_args!(
                "rotation of key {name} resumed and finished, {rewrapped} disks"
            )),
            Err(failure) => {
                log::line(format_args!("rotation of key {name} stopped: {}", log::chain(&failure)))
            }
        }
    });
}

/// A disk as it was read, and as it is to be.
struct Rewrapped {
    before: Disk,
    after: Disk,
}

/// The costly part, outside any transaction.
fn prepare(core: &Core, name: &KeyName) -> Result<Vec<Rewrapped>, Failure> {
    let view = core.store.snapshot()?;
    core.store.writable()?;
    let key = enabled(&view, name)?;
    let newest = core.keyring.kek(name, key.newest())?;
    let to_do = next_disks(&view, &key)?;
    let mut batch = Vec::with_capacity(to_do.len());
    for before in to_do {
        let (set, _) = view.set_of(&before)?;
        let old = core.keyring.kek(name, key.usable(before.key_version)?)?;
        let wrapped = old.rewrap(&newest, &before.wrapped, &before.binding(&set))?;
        let mut after = before.clone();
        after.rewrap(key.newest().version, wrapped);
        batch.push(Rewrapped { before, after });
    }
    Ok(batch)
}

/// Some disks under the key's older versions; none when there are none.
fn next_disks(view: &Snapshot, key: &Key) -> Result<Vec<Disk>, Failure> {
    let mut disks = Vec::new();
    for version in key.versions().iter().skip(1) {
        let wanted = REWRAP_BATCH - disks.len();
        for id in view.disks_under(version.version, wanted)? {
            disks.push(view.disk(id)?);
        }
    }
    Ok(disks)
}

/// A key that may go on rotating. A key that was disabled meanwhile goes on when it is enabled.
fn enabled(view: &impl View, name: &KeyName) -> Result<Key, Failure> {
    let key = view.key(name)?;
    if !key.enabled() {
        return Err(Refused::RotationStopped(name.clone()).into());
    }
    Ok(key)
}

type Step = Result<(Option<u64>, Entry), Failure>;

/// Replaces the wrapped DEKs of a batch. A disk that was forgotten or changed meanwhile is left alone.
fn replace(txn: &Txn<'_>, name: &KeyName, batch: &[Rewrapped]) -> Step {
    let mut key = enabled(txn, name)?;
    let mut replaced = 0;
    for Rewrapped { before, after } in batch {
        match txn.disk(before.id) {
            Ok(mut now) if now.wrapped == before.wrapped => {
                now.rewrap(after.key_version, after.wrapped.clone());
                txn.replace_disk(&now)?;
                replaced += 1;
            }
            Ok(_) | Err(Failure::Refused(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    if let Some(rotation) = &mut key.rotation {
        rotation.rewrapped += replaced;
    }
    txn.put_key(&key)?;
    let entry = Entry::by_daemon("key-rewrap", name);
    let detail = format!("to={} disks={replaced}", key.newest().version);
    Ok((None, entry.detail(detail)))
}

/// Closes the journal, if nothing came under an older version meanwhile.
fn close(txn: &Txn<'_>, name: &KeyName) -> Step {
    let mut key = enabled(txn, name)?;
    let newest = key.newest().version;
    let rewrapped = key.end_rotation();
    txn.put_key(&key)?;
    let entry = Entry::by_daemon("key-rotate", name);
    let detail = format!("finished to={newest} disks={rewrapped}");
    Ok((Some(rewrapped), entry.detail(detail)))
}
