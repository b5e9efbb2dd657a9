//! Takes a key out as Key Vault does (row 13): all versions with their settings, sealed for this daemon alone.

use keyd_client::KeyId;

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    kek::Provider,
    store::View,
};

/// For what a backup is sealed under the root key.
pub(super) const PURPOSE: &str = "keyd/key-backup/v1";

/// A key's backup: its record, sealed. Its private keys are sealed in it once more.
///
/// # Errors
/// [`Refused::NoKey`], [`Refused::KeyDeleted`], [`Refused::InHsm`].
pub fn run(core: &Core, permit: Permit<op::KeyBackup>, id: &KeyId) -> Result<Vec<u8>, Failure> {
    let mut key = core.store.snapshot()?.key(id)?;
    key.alive()?;
    let in_hsm =
        |version: &crate::model::version::Version| version.material.provider() == Provider::Hsm;
    if key.versions().iter().any(in_hsm) {
        return Err(Refused::InHsm(id.clone()).into());
    }
    let now = core.now();
    // In itself, too: who brings it back brings that with it.
    key.backed_up = Some(now);
    let blob = core.keyring.seal_blob(PURPOSE, &serde_json::to_vec(&key)?)?;
    let detail = format!("versions={}", key.versions().len());
    core.commit(&permit, |txn| {
        let mut key = txn.key(id)?;
        key.backed_up = Some(now);
        txn.put_key(&key)?;
        Ok(((), permit.entry(id).detail(detail)))
    })?;
    Ok(blob)
}
