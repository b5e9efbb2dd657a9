//! Stored forms as they are told.

use keyd_client::message::{DesStatus, DiskStatus, KeyStatus, KeyVersionStatus};

use crate::{
    core::Core,
    error::{Failure, Fault},
    model::{
        des::Des,
        disk::Disk,
        key::{Key, Version},
    },
    store::View,
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

/// All keys.
///
/// # Errors
/// [`Fault`].
pub fn keys(view: &impl View, versions: Versions) -> Result<Vec<KeyStatus>, Fault> {
    let (keys, sets) = (view.keys()?, view.sets()?);
    keys.iter().map(|key| key_among(view, key, versions, &sets)).collect()
}

fn key_among(
    view: &impl View,
    key: &Key,
    versions: Versions,
    sets: &[Des],
) -> Result<KeyStatus, Fault> {
    let told = key.versions().iter().map(|v| version(view, v)).collect::<Result<Vec<_>, _>>()?;
    let newest = key.newest().version;
    let wanted = |v: &KeyVersionStatus| {
        versions == Versions::All || v.version == newest || v.wrapped_deks > 0
    };
    let users = sets.iter().filter(|set| set.key == key.name);
    Ok(KeyStatus {
        name: key.name.clone(),
        platform: key.platform,
        enabled: key.enabled(),
        versions: told.into_iter().filter(wanted).collect(),
        sets: users.map(|set| set.name.clone()).collect(),
    })
}

fn version(view: &impl View, version: &Version) -> Result<KeyVersionStatus, Fault> {
    Ok(KeyVersionStatus {
        version: version.version,
        bits: version.bits,
        enabled: version.enabled,
        created: version.created,
        wrapped_deks: view.count_under(version.version)?,
    })
}

/// A set. Previous versions are told while a rotation runs (Azure: `previousKeys`, empty when none does).
///
/// # Errors
/// [`Fault`]; [`crate::error::Refused::NoKey`] never.
pub fn set(view: &impl View, set: &Des) -> Result<DesStatus, Failure> {
    let key = view.key(&set.key)?;
    let older = key
        .versions()
        .iter()
        .map(|v| v.version)
        .filter(|v| key.rotation.is_some() && *v != set.active_version);
    let mut previous_versions = Vec::new();
    for version in older {
        if view.wraps_in(version, set.id)? {
            previous_versions.push(version);
        }
    }
    Ok(DesStatus {
        name: set.name.clone(),
        key: set.key.clone(),
        active_version: set.active_version,
        previous_versions,
        encryption: set.encryption,
        on_revoke: set.on_revoke,
        lease_ms: set.lease_ms,
        disks: view.count_in(set.id)?,
        created: set.created,
        last_rotation: set.last_rotation,
    })
}

/// A disk.
///
/// # Errors
/// [`Fault`].
pub fn disk(core: &Core, view: &impl View, disk: &Disk) -> Result<DiskStatus, Fault> {
    let (set, key) = view.set_of(disk)?;
    Ok(DiskStatus {
        record: disk.record(&set),
        key_enabled: key.usable(disk.key_version).is_ok(),
        holders: core.leases.holders(disk.id),
    })
}
