//! Tells of keys. A disabled key can still be shown (Key Vault: get and list stay allowed).

use keyd_client::{
    KeyId, KeyName, VaultName,
    message::{KeyStatus, Reply},
};

use super::status::{self, Versions};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    limits::KEYS_PER_PAGE,
    model::key::Key,
    store::View,
};

/// One key with all its versions.
///
/// # Errors
/// [`crate::error::Refused::NoKey`].
pub fn one(core: &Core, _permit: Permit<op::KeyShow>, id: &KeyId) -> Result<KeyStatus, Failure> {
    let view = core.store.snapshot()?;
    Ok(status::key(&view, &view.key(id)?, Versions::All)?)
}

/// A page of keys with the versions in use, in order of vault and name, after one.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn page(
    core: &Core,
    _permit: Permit<op::KeyList>,
    after: Option<&KeyId>,
) -> Result<Reply, Failure> {
    let view = core.store.snapshot()?;
    told(&view, view.keys(after, KEYS_PER_PAGE + 1)?)
}

/// The same of one vault.
///
/// # Errors
/// [`crate::error::Refused::NoVault`].
pub fn page_in(
    core: &Core,
    _permit: Permit<op::KeyListIn>,
    vault: &VaultName,
    after: Option<KeyName>,
) -> Result<Reply, Failure> {
    let view = core.store.snapshot()?;
    view.vault(vault)?;
    let after = after.map(|name| KeyId::new(vault.clone(), name));
    told(&view, view.keys_of(vault, after.as_ref(), KEYS_PER_PAGE + 1)?)
}

fn told(view: &impl View, mut keys: Vec<Key>) -> Result<Reply, Failure> {
    let more = keys.len() > KEYS_PER_PAGE;
    keys.truncate(KEYS_PER_PAGE);
    let sets = view.sets()?;
    let told = keys.iter().map(|key| status::key_among(view, key, Versions::InUse, &sets));
    let keys = told.collect::<Result<_, _>>()?;
    Ok(Reply::Keys { keys, more })
}
