//! Brings a key from elsewhere, as Key Vault does (row 2): a new key, or a new version of one.

use keyd_client::{KeyId, KeyVersion};

use super::vault_key_create;
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    kek::{ImportedKey, Provider},
    keyvault::{new_key::Import, reply::KeyView},
    model::version::Version,
};

/// Judges the key, seals it, and puts it in front.
///
/// # Errors
/// [`Refused::Import`], and those of [`vault_key_create::run`].
pub fn run(
    core: &Core,
    permit: Permit<op::KeyImport>,
    id: &KeyId,
    new: Import,
) -> Result<KeyView, Failure> {
    vault_key_create::room(&core.store.snapshot()?, id)?;
    let key = ImportedKey::new(new.key).map_err(Refused::from)?;
    let number = KeyVersion::random();
    let material = core.keyring.import(id, number, key, Provider::Software)?;
    let mut version = Version::new(number, material, core.now());
    version.imported = true;
    version.change(&new.settings, version.created);
    core.commit(&permit, |txn| {
        let detail = format!("version={number} bits={}", version.bits);
        Ok((vault_key_create::put(txn, id, version)?, permit.entry(id).detail(detail)))
    })
}
