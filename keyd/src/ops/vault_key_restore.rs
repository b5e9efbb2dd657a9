//! Brings a key back from its backup as Key Vault does (row 14): under its name, into any vault of the daemon that
//! backed it up. Its versions keep their numbers, so what they wrapped can be unwrapped.

use keyd_client::{KeyId, VaultName};

use super::{key_create, vault_key_backup::PURPOSE, vault_key_get};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    keyvault::reply::KeyView,
    model::key::Key,
};

/// Opens a backup, binds its private keys to the vault, and stores the key as it was.
///
/// # Errors
/// [`Refused::KeyBackup`], and those of [`key_create::creatable`].
pub fn run(
    core: &Core,
    permit: Permit<op::KeyRestore>,
    vault: &VaultName,
    blob: &[u8],
) -> Result<KeyView, Failure> {
    let opened = core.keyring.open_blob(PURPOSE, blob)?.ok_or(Refused::KeyBackup)?;
    let key: Key = serde_json::from_slice(&opened)?;
    let (from, to) = (key.id.clone(), KeyId::new(vault.clone(), key.id.name.clone()));
    let key = key.moved(to.clone(), |version| core.keyring.reseal((&from, &to), version))?;
    core.commit(&permit, |txn| {
        key_create::creatable(txn, &to)?;
        txn.put_key(&key)?;
        let detail = format!("from={from} versions={}", key.versions().len());
        Ok((vault_key_get::alive(txn, &to, None)?, permit.entry(&to).detail(detail)))
    })
}
