//! Makes a key, or a new version of one, as Key Vault does (row 1). A set that follows the key follows by itself.

use keyd_client::{KeyId, KeyVersion, message::KeyCreate};

use super::{key, vault_key_get};
use crate::{
    auth::Permit,
    core::Core,
    error::Failure,
    keyvault::{new_key::Create, reply::KeyView},
    model::{key::Key, version::Version},
    store::{Txn, View},
};

/// Makes a version with these settings; it is in front from the commit on.
///
/// # Errors
/// [`crate::error::Refused::NoHsm`], and those of [`room`].
pub fn run(
    core: &Core,
    permit: Permit<KeyCreate>,
    id: &KeyId,
    new: &Create,
) -> Result<KeyView, Failure> {
    // Before the costly part, and again inside the transaction.
    room(&core.store.snapshot()?, id)?;
    core.keyring.has(new.provider)?;
    let mut version = core.make_version(id, new.bits, new.provider)?;
    version.change(&new.settings, version.created);
    core.commit(&permit, |txn| {
        let detail = format!("version={} bits={}", version.version, version.bits);
        Ok((put(txn, id, version)?, permit.entry(id).detail(detail)))
    })
}

/// Whether a version can be put in front of the key, or the key made.
///
/// # Errors
/// [`crate::error::Refused::KeyDeleted`], [`crate::error::Refused::TooManyVersions`], and those of
/// [`key::creatable`].
pub(super) fn room(state: &impl View, id: &KeyId) -> Result<(), Failure> {
    match state.find_key(id)? {
        Some(key) => Ok(key.extendable()?),
        None => key::creatable(state, id),
    }
}

/// Puts a version in front of the key, or makes the key with it.
///
/// # Errors
/// Those of [`room`].
pub(super) fn put(txn: &Txn<'_>, id: &KeyId, version: Version) -> Result<KeyView, Failure> {
    room(txn, id)?;
    let newest: KeyVersion = version.version;
    let key = match txn.find_key(id)? {
        Some(mut key) => {
            key.push(version)?;
            key
        }
        None => Key::new(id.clone(), false, version),
    };
    txn.put_key(&key)?;
    vault_key_get::alive(txn, id, Some(newest))
}
