//! Stored forms as they are told.

use std::collections::BTreeMap;

use keyd_client::message::{
    DeletedStatus, DesStatus, DiskStatus, KeyStatus, KeyVersionStatus, PreviousKey,
};

use crate::{
    core::Core,
    error::{Failure, Fault},
    kek::Provider,
    model::{des::Des, disk::Disk, key::Key, right::Use, version::Version},
    standing,
    store::{Purged, View},
};

/// How much of a key is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// All of it.
    All,
    /// The newest, and those that still wrap something: a list stays short.
    InUse,
}

/// A key.
///
/// # Errors
/// [`Fault`].
pub fn key(view: &impl View, key: &Key, versions: Versions) -> Result<KeyStatus, Fault> {
    key_among(view, key, versions, &view.sets()?)
}

/// A key, all sets being known.
///
/// # Errors
/// [`Fault`].
pub fn key_among(
    view: &impl View,
    key: &Key,
    versions: Versions,
    sets: &[Des],
) -> Result<KeyStatus, Fault> {
    let newest = key.newest().version;
    let told = key.versions().iter().zip(key.version_ids()).map(|(v, id)| {
        let active = sets.iter().any(|set| set.is_active(&id));
        Ok(version(v, view.count_under(&id)?, active))
    });
    let told = told.collect::<Result<Vec<_>, Fault>>()?;
    let wanted = |v: &KeyVersionStatus| {
        versions == Versions::All || v.version == newest || v.wrapped_deks > 0
    };
    let users = sets.iter().filter(|set| set.key == key.id);
    Ok(KeyStatus {
        name: key.id.clone(),
        platform: key.platform,
        enabled: key.enabled(),
        deleted: key.deleted().map(|d| DeletedStatus { at: d.at, purge_at: d.purge_at }),
        versions: told.into_iter().filter(wanted).collect(),
        sets: users.map(|set| set.name.clone()).collect(),
        tags: match versions {
            Versions::All => key.newest().tags.clone(),
            Versions::InUse => BTreeMap::new(),
        },
        rotation_policy: key.rotation_policy.clone(),
        backups: key.backups(view.backed_up()?),
    })
}

fn version(version: &Version, wrapped_deks: u64, active: bool) -> KeyVersionStatus {
    KeyVersionStatus {
        version: version.version,
        bits: version.bits,
        hsm: version.material.provider() == Provider::Hsm,
        imported: version.imported,
        restored: version.restored,
        enabled: version.enabled,
        not_before: version.not_before,
        expires: version.expires,
        operations: version.operations.clone(),
        created: version.created,
        wrapped_deks,
        retirable: wrapped_deks == 0 && !active,
    }
}

/// A set.
///
/// # Errors
/// [`Fault`].
pub fn set(core: &Core, view: &impl View, set: &Des) -> Result<DesStatus, Failure> {
    let lost = standing::set_lost(view, set, core.proven())?;
    Ok(DesStatus {
        name: set.name.clone(),
        identity: set.identity(),
        key: set.key.clone(),
        active_version: set.active_version,
        previous_keys: previous_keys(view, set)?,
        auto_rotate: set.auto_rotate,
        encryption: set.encryption,
        terms: set.terms,
        disks: view.count_in(set)?,
        created: set.created,
        last_rotation: set.last_rotation,
        rotation_error: set.rotation_error.clone(),
        key_lost: lost.map(|why| why.to_string()),
    })
}

/// What still wraps DEKs of a set beside its active versions (Azure: `previousKeys`, empty when no rotation runs).
fn previous_keys(view: &impl View, set: &Des) -> Result<Vec<PreviousKey>, Fault> {
    let mut previous = Vec::new();
    for id in view.versions_in(set)? {
        if !set.is_active(&id) {
            let wrapped_deks = view.count_in_under(set.id, &id)?;
            previous.push(PreviousKey { key: id.key, version: id.version, wrapped_deks });
        }
    }
    Ok(previous)
}

/// A disk.
///
/// # Errors
/// [`Fault`].
pub fn disk(core: &Core, view: &impl View, disk: &Disk) -> Result<DiskStatus, Fault> {
    let set = view.set_of(disk)?;
    let lost = match standing::opening(view, disk, &set, Use::Keep, core.proven()) {
        Ok(_) => None,
        Err(Failure::Refused(why)) => Some(why.to_string()),
        Err(Failure::Fault(fault)) => return Err(fault),
    };
    Ok(DiskStatus {
        record: disk.record(&set),
        wrapped: None,
        key_enabled: lost.is_none(),
        key_lost: lost,
        released: disk.released.clone(),
        last: core.leases.last_of(disk.id),
        holders: core.leases.holders(disk.id),
        grants: Vec::new(),
        grants_more: false,
    })
}
