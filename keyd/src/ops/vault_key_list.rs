//! Lists a vault's keys, a key's versions, a vault's deleted keys (rows 6, 7 and 9).

use keyd_client::{KeyId, KeyName, KeyVersion, VaultName};

use super::vault_key_get::view;
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    keyvault::{reply::Listed, request::Page},
    store::{KeyLists, View},
};

/// Keys that are not deleted, in order of name.
///
/// # Errors
/// [`Refused::NoVault`].
pub fn keys(
    core: &Core,
    _permit: Permit<op::VaultKeyList>,
    vault: &VaultName,
    page: &Page<KeyName>,
) -> Result<Listed, Failure> {
    let state = core.store.snapshot()?;
    let vault = state.vault(vault)?;
    let after = page.after.clone().map(|name| KeyId::new(vault.name.clone(), name));
    let keys = state.keys_alive(&vault.name, after.as_ref(), page.limit + 1)?;
    let items = keys.iter().map(|key| view(&vault, key, key.newest())).collect();
    Ok(Listed::cut(items, page.limit))
}

/// Deleted keys, in order of name.
///
/// # Errors
/// [`Refused::NoVault`].
pub fn deleted(
    core: &Core,
    _permit: Permit<op::VaultKeyList>,
    vault: &VaultName,
    page: &Page<KeyName>,
) -> Result<Listed, Failure> {
    let state = core.store.snapshot()?;
    let vault = state.vault(vault)?;
    let after = page.after.clone().map(|name| KeyId::new(vault.name.clone(), name));
    let keys = state.keys_deleted(&vault.name, after.as_ref(), page.limit + 1)?;
    let items = keys.iter().map(|key| view(&vault, key, key.newest())).collect();
    Ok(Listed::cut(items, page.limit))
}

/// A key's versions, newest first.
///
/// # Errors
/// [`Refused::NoVault`], [`Refused::NoKey`], [`Refused::KeyDeleted`]; [`Refused::NoVersion`] if the page is to begin
/// after one that is not the key's.
pub fn versions(
    core: &Core,
    _permit: Permit<op::VaultKeyList>,
    id: &KeyId,
    page: &Page<KeyVersion>,
) -> Result<Listed, Failure> {
    let state = core.store.snapshot()?;
    let (vault, key) = (state.vault(&id.vault)?, state.key(id)?);
    let all = key.alive()?.versions();
    let begin = match page.after {
        None => 0,
        Some(last) => {
            let position = all.iter().position(|version| version.version == last);
            position.ok_or_else(|| Refused::NoVersion(id.clone(), last))? + 1
        }
    };
    let wanted = all.iter().skip(begin).take(page.limit + 1);
    let items = wanted.map(|version| view(&vault, &key, version)).collect();
    Ok(Listed::cut(items, page.limit))
}
