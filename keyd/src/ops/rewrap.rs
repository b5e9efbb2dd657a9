//! The long part of a rotation: a set's DEKs wrapped anew, batch by batch, until every one is under the set's active
//! version.
//!
//! The journal is the set's `rotation` together with the index of its disks by version: what is not under an active
//! version is still to do. Each disk's wraps are replaced in one commit, after the new form was opened again, while
//! every version stays as it is; so at every moment, and after a crash at any, each disk has one working key.

use std::{collections::BTreeSet, num::NonZeroUsize, thread, time::Instant};

use keyd_client::{
    DesName, DiskId, KeyId, KeyVersion,
    message::{RotationError, UnixMillis},
};

use crate::{
    audit::Entry,
    core::Core,
    envelope::{self, Wrapper},
    error::{Failure, Refused},
    limits::REWRAP_BATCH,
    log,
    model::{
        des::Des,
        disk::{Disk, Wrap},
        right::{Use, right},
    },
    standing,
    store::{Txn, View},
};

/// Code of a set some of whose wrapped DEKs cannot be opened.
pub const DAMAGED: &str = "WrappedDekDamaged";

/// Code of a set that does not follow its key to the newest version without somebody's word.
pub const NOT_FOLLOWED: &str = "KeyVersionNotFollowed";

/// Wraps a set's DEKs anew and closes the journal. Returns how many those were, those of runs before a crash
/// included.
///
/// # Errors
/// [`Refused::RotationStopped`] if the daemon ends, a key is lost, or a DEK is damaged; the set then says why, and it
/// is tried again. [`crate::error::Fault`] of the store.
pub fn set(core: &Core, name: &DesName) -> Result<u64, Failure> {
    let _claim = core.claim_rewrap(name);
    claimed(core, name, None)
}

/// The same, as far as it comes until then; another thread that is at it already is waited for.
///
/// # Errors
/// As [`set`]; [`Refused::RotationGoesOn`] if there was not the time.
pub fn set_until(core: &Core, name: &DesName, until: Instant) -> Result<u64, Failure> {
    match core.claim_rewrap_until(name, until) {
        Some(_claim) => claimed(core, name, Some(until)),
        None => Err(Refused::RotationGoesOn(name.clone()).into()),
    }
}

fn claimed(core: &Core, name: &DesName, until: Option<Instant>) -> Result<u64, Failure> {
    let mut failed = BTreeSet::new();
    loop {
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Refused::RotationGoesOn(name.clone()).into());
        }
        if core.stopping() {
            return Err(Refused::RotationStopped(name.clone()).into());
        }
        let batch = match prepare(core, name, &failed) {
            Ok(batch) => batch,
            Err(failure) => return Err(stop(core, name, &failure)?),
        };
        let last = batch.done.is_empty() && batch.failed.is_empty();
        if let Some((disk, why)) = batch.failed.first() {
            log::line(format_args!("disk {disk} cannot be wrapped anew: {why}"));
        }
        failed.extend(batch.failed.into_iter().map(|(disk, _)| disk));
        match failed.first() {
            Some(disk) if last => {
                let why =
                    format!("{} disks cannot be wrapped anew, the first is {disk}", failed.len());
                return Err(note_error(core, name, DAMAGED, &why)?);
            }
            None if last => {
                if let Some(rewrapped) = core.store.commit(|txn| close(txn, name))? {
                    return Ok(rewrapped);
                }
            }
            _ => core.store.commit(|txn| replace(txn, name, &batch.done))?,
        }
    }
}

/// The costly part of a step, outside any transaction.
struct Batch {
    done: Vec<Rewrapped>,
    failed: Vec<(DiskId, String)>,
}

/// A disk as it was read, and its wraps as they are to be.
struct Rewrapped {
    before: Disk,
    wraps: Vec<Wrap>,
}

/// The versions that wrap for a set now.
///
/// # Errors
/// Why it may not wrap: see [`right`].
pub fn wrappers(view: &impl View, set: &Des, now: UnixMillis) -> Result<Vec<Wrapper>, Failure> {
    let one = |key: &KeyId, version: KeyVersion| -> Result<Wrapper, Failure> {
        let (key, vault) = (view.key(key)?, view.vault(&key.vault)?);
        let version = right(&vault, set, &key, version, Use::Wrap, now)?.clone();
        Ok(Wrapper { key: key.id, version })
    };
    let mut wrappers = vec![one(&set.key, set.active_version)?];
    if let Some(version) = set.platform_version {
        wrappers.push(one(&KeyId::platform(), version)?);
    }
    Ok(wrappers)
}

fn prepare(core: &Core, name: &DesName, failed: &BTreeSet<DiskId>) -> Result<Batch, Failure> {
    core.store.writable()?;
    let view = core.store.snapshot()?;
    let (set, now) = (view.set(name)?, core.now());
    let wrappers = wrappers(&view, &set, now)?;
    let behind = view.disks_behind(&set, REWRAP_BATCH + failed.len())?;
    let mut batch = Batch { done: Vec::new(), failed: Vec::new() };
    let mut to_do = Vec::new();
    for id in behind.into_iter().filter(|id| !failed.contains(id)).take(REWRAP_BATCH) {
        let disk = match view.disk(id) {
            // One that is damaged is no reason to leave the others.
            Err(Failure::Refused(why)) => {
                batch.failed.push((id, why.to_string()));
                continue;
            }
            disk => disk?,
        };
        let versions = standing::opening(&view, &disk, &set, Use::Keep, now)?;
        to_do.push((disk, versions));
    }
    let reseal = |(disk, versions): &(Disk, Vec<_>)| {
        let wraps = envelope::reseal(&core.keyring, (&set, disk, versions), (&set, &wrappers));
        match wraps {
            Ok(wraps) => Ok(Rewrapped { before: disk.clone(), wraps }),
            Err(fault) => Err((disk.id, log::chain(&fault))),
        }
    };
    for result in on_every_core(&to_do, &reseal) {
        match result {
            Ok(rewrapped) => batch.done.push(rewrapped),
            Err(failed) => batch.failed.push(failed),
        }
    }
    Ok(batch)
}

/// RSA is all the work there is: it is done by as many threads as there are cores.
fn on_every_core<T: Sync, R: Send>(items: &[T], work: &(impl Fn(&T) -> R + Sync)) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = items.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let shares = items.chunks(share);
        let threads: Vec<_> =
            shares.map(|share| scope.spawn(|| share.iter().map(work).collect())).collect();
        let results: Vec<Vec<R>> =
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
        results.into_iter().flatten().collect()
    })
}

/// Replaces the wraps of a batch. A disk that was forgotten, moved or changed meanwhile is left alone.
fn replace(txn: &Txn<'_>, name: &DesName, batch: &[Rewrapped]) -> Result<((), Entry), Failure> {
    let mut set = txn.set(name)?;
    let mut replaced = 0;
    for Rewrapped { before, wraps } in batch {
        match txn.disk(before.id) {
            Ok(mut now) if now == *before => {
                now.wraps.clone_from(wraps);
                txn.replace_disk(&now)?;
                replaced += 1;
            }
            Ok(_) | Err(Failure::Refused(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    if let Some(rotation) = &mut set.rotation {
        rotation.rewrapped += replaced;
    }
    txn.put_set(&set)?;
    let detail = format!("key={} to={} disks={replaced}", set.key, set.active_version);
    Ok(((), Entry::by_daemon("des-rewrap", name).detail(detail)))
}

/// Closes the journal, if nothing is behind.
fn close(txn: &Txn<'_>, name: &DesName) -> Result<(Option<u64>, Entry), Failure> {
    let mut set = txn.set(name)?;
    let entry = Entry::by_daemon("des-rotate", name);
    if !txn.disks_behind(&set, 1)?.is_empty() {
        return Ok((None, entry.outcome("goes on")));
    }
    let rewrapped = set.end_rotation();
    txn.put_set(&set)?;
    let detail = format!("finished key={} to={} disks={rewrapped}", set.key, set.active_version);
    Ok((Some(rewrapped), entry.detail(detail)))
}

/// A refusal is the set's to show and the keeper's to try again; a fault of the store stays one.
fn stop(core: &Core, name: &DesName, failure: &Failure) -> Result<Failure, Failure> {
    match failure {
        Failure::Refused(why) => refuse(core, name, why),
        Failure::Fault(_) => note_error(core, name, "Internal", &log::chain(failure)),
    }
}

/// Notes a refusal for which a set does not follow its key.
///
/// # Errors
/// As [`note_error`].
pub fn refuse(core: &Core, name: &DesName, why: &Refused) -> Result<Failure, Failure> {
    let code = match why {
        Refused::IdentityLacks { .. } => "KeyVaultAccessForbidden",
        Refused::NoKey(_) => "KeyNotFound",
        Refused::NotFollowed(_) => NOT_FOLLOWED,
        _ => "KeyUnusable",
    };
    note_error(core, name, code, &why.to_string())
}

/// Notes why a set does not follow its key (Azure: `autoKeyRotationError`; there it ends the tries, here it does not).
///
/// # Errors
/// [`crate::error::Fault`].
pub fn note_error(
    core: &Core,
    name: &DesName,
    code: &str,
    message: &str,
) -> Result<Failure, Failure> {
    core.store.commit(|txn| {
        let (mut set, now) = (txn.set(name)?, core.now());
        let since = set.rotation_error.as_ref().map_or(now, |error| error.since);
        let (code, message) = (code.to_owned(), message.to_owned());
        let detail = format!("{code}: {message}");
        set.rotation_error = Some(RotationError { code, message, since, tried: now });
        txn.put_set(&set)?;
        Ok(((), Entry::by_daemon("des-rotate", name).outcome("stopped").detail(detail)))
    })?;
    Ok(Refused::RotationStopped(name.clone()).into())
}
