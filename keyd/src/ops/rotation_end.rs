//! Brings rotations to their end before a version that they rotate from is taken away. Without it the disks that are
//! still under that version would halt although the version that they were about to have is well, and their rotation
//! would be stuck.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Instant,
};

use keyd_client::{
    DesName, KeyId,
    message::{LeftBehind, UnixMillis},
};

use super::{des_follow, rewrap};
use crate::{
    core::Core,
    error::Failure,
    limits::ROTATION_END_TIME,
    log,
    model::{
        des::Des,
        right::{Use, right},
        version::VersionId,
    },
    store::{Txn, View},
};

/// Finishes, in a few seconds at most, the rotations of the sets that `change` would leave with DEKs behind: a version
/// that still wraps some goes, and the one that is to wrap them stays. Returns those sets. What cannot be finished
/// stands in nobody's way: the change says itself what is wrong with it, and a key is taken away in any case.
pub fn before(
    core: &Core,
    change: impl FnOnce(&Txn<'_>) -> Result<String, Failure>,
) -> Vec<DesName> {
    let found = rotating(core).and_then(|sets| match sets.is_empty() {
        true => Ok(Vec::new()),
        false => core.store.rehearse(|txn| {
            let before = behind(core, txn, &sets)?;
            change(txn)?;
            let left = before.iter().filter(|behind| is_left(core, txn, behind));
            Ok(left.map(|behind| behind.set.name.clone()).collect())
        }),
    });
    let found = found.unwrap_or_default();
    within_time(core, &found);
    found
}

/// Wraps anew what is behind in these sets, in a few seconds at most; the keeper does the rest.
pub fn within_time(core: &Core, sets: &[DesName]) {
    let until = Instant::now() + ROTATION_END_TIME;
    for set in sets {
        let done = des_follow::one(core, set).and_then(|_| rewrap::set_until(core, set, until));
        if let Err(failure) = done {
            log::line(format_args!("set {set} has DEKs behind: {}", log::chain(&failure)));
        }
    }
}

/// What these sets still have under versions that they were to leave.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn left(view: &impl View, sets: &[DesName]) -> Result<Vec<LeftBehind>, Failure> {
    let mut left = Vec::new();
    for name in sets {
        let Some(set) = view.find_set(name)? else { continue };
        let mut disks = 0;
        for version in view.versions_in(&set)? {
            if !set.is_active(&version) {
                disks += view.count_in_under(set.id, &version)?;
            }
        }
        if disks > 0 {
            left.push(LeftBehind { set: set.name, disks });
        }
    }
    Ok(left)
}

/// Sets with a rotation under way, or one to begin. A key is read once for all of its sets: whoever takes a key away
/// waits for this.
fn rotating(core: &Core) -> Result<Vec<Des>, Failure> {
    let view = core.store.snapshot()?;
    let (mut rotating, mut newest) = (Vec::new(), HashMap::new());
    for set in view.sets()? {
        let mut on_newest = set.rotation.is_none();
        for active in active(&set) {
            let newest = match newest.entry(active.key) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => {
                    let key = view.find_key(unknown.key())?;
                    *unknown.insert(key.map(|key| key.newest().version))
                }
            };
            on_newest &= newest == Some(active.version);
        }
        if !on_newest && des_follow::due(&view, &set)? {
            rotating.push(set);
        }
    }
    Ok(rotating)
}

fn active(set: &Des) -> impl Iterator<Item = VersionId> + use<> {
    let platform = set.platform_version;
    let platform = platform.map(|version| VersionId { key: KeyId::platform(), version });
    std::iter::once(set.active()).chain(platform)
}

/// A set, and what it may do under each version that it is to leave.
#[derive(Debug)]
struct Behind<'s> {
    set: &'s Des,
    leaves: Vec<(VersionId, Keeps)>,
}

/// Whether what is wrapped under a version may be opened now, and whether that has no end.
#[derive(Debug, Clone, Copy)]
struct Keeps {
    now: bool,
    for_good: bool,
}

fn behind<'s>(core: &Core, view: &impl View, sets: &'s [Des]) -> Result<Vec<Behind<'s>>, Failure> {
    let mut behind = Vec::new();
    for set in sets {
        let (customer, platform) = des_follow::wanted(view, set)?;
        let is_wanted = |id: &VersionId| {
            (id.key == set.key && id.version == customer)
                || (id.key == KeyId::platform() && Some(id.version) == platform)
        };
        let leaves = view.versions_in(set)?.into_iter().filter(|id| !is_wanted(id));
        let leaves = leaves.map(|id| {
            let keeps = keeps(core, view, set, &id);
            (id, keeps)
        });
        behind.push(Behind { set, leaves: leaves.collect() });
    }
    Ok(behind)
}

/// Whether a set has lost a version that it is to leave, in part or whole, and has kept the one that it is to have.
fn is_left(core: &Core, view: &impl View, behind: &Behind<'_>) -> bool {
    let set = behind.set;
    let has_target = des_follow::wanted(view, set).is_ok_and(|(customer, _)| {
        keeps(core, view, set, &VersionId { key: set.key.clone(), version: customer }).now
    });
    let loses = |(id, before): &(VersionId, Keeps)| {
        let after = keeps(core, view, set, id);
        before.now && (!after.now || (before.for_good && !after.for_good))
    };
    has_target && behind.leaves.iter().any(loses)
}

fn keeps(core: &Core, view: &impl View, set: &Des, id: &VersionId) -> Keeps {
    let at = |now: UnixMillis| {
        let Ok(Some(key)) = view.key_with(id) else { return false };
        let Ok(vault) = view.vault(&key.id.vault) else { return false };
        right(&vault, set, &key, id.version, Use::Keep, now).is_ok()
    };
    Keeps { now: at(core.proven()), for_good: at(UnixMillis::MAX) }
}
