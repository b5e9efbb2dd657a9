//! Tells of a key as Key Vault does (rows 4 and 10): its public part and its attributes, disabled or not.

use keyd_client::{KeyId, KeyVersion};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    keyvault::reply::{Deletion, KeyView, Recovery},
    model::{key::Key, vault::Vault, version::Version},
    store::View,
};

/// A version of a key; without one the newest.
///
/// # Errors
/// [`Refused::NoVault`], [`Refused::NoKey`], [`Refused::KeyDeleted`], [`Refused::NoVersion`].
pub fn run(
    core: &Core,
    _permit: Permit<op::VaultKeyGet>,
    id: &KeyId,
    version: Option<KeyVersion>,
) -> Result<KeyView, Failure> {
    alive(&core.store.snapshot()?, id, version)
}

/// A deleted key.
///
/// # Errors
/// [`Refused::NoVault`], [`Refused::NoKey`], [`Refused::NotDeleted`].
pub fn deleted(
    core: &Core,
    _permit: Permit<op::VaultKeyGet>,
    id: &KeyId,
) -> Result<KeyView, Failure> {
    gone(&core.store.snapshot()?, id)
}

/// A version as it is told after it was made or changed.
///
/// # Errors
/// As [`run`].
pub fn alive(
    state: &impl View,
    id: &KeyId,
    version: Option<KeyVersion>,
) -> Result<KeyView, Failure> {
    let vault = state.vault(&id.vault)?;
    let key = state.key(id)?;
    key.alive()?;
    let version = version.map_or(Ok(key.newest()), |version| key.version(version))?;
    Ok(view(&vault, &key, version))
}

/// A key as it is told after it was deleted.
///
/// # Errors
/// As [`deleted`].
pub fn gone(state: &impl View, id: &KeyId) -> Result<KeyView, Failure> {
    let vault = state.vault(&id.vault)?;
    let key = state.key(id)?;
    if key.deleted().is_none() {
        return Err(Refused::NotDeleted(id.clone()).into());
    }
    Ok(view(&vault, &key, key.newest()))
}

/// What others may see of a version.
#[must_use]
pub fn view(vault: &Vault, key: &Key, version: &Version) -> KeyView {
    let deletion = |gone: &crate::model::key::Deleted| Deletion {
        deleted: gone.at / 1000,
        purge: gone.purge_at / 1000,
    };
    KeyView {
        name: key.id.name.clone(),
        version: version.version,
        provider: version.material.provider(),
        public: version.public.clone(),
        operations: version.operations.clone(),
        enabled: version.enabled,
        not_before: version.not_before,
        expires: version.expires,
        created: version.created / 1000,
        updated: version.updated / 1000,
        tags: version.tags.clone(),
        recovery: Recovery {
            days: u32::from(vault.retention_days),
            purge_protection: vault.purge_protection(),
        },
        deleted: key.deleted().map(deletion),
    }
}
