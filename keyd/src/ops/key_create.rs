//! Makes an RSA key.

use keyd_client::{KeyId, message::KeyStatus};

use super::status::{self, Versions};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    kek::{KeyBits, Provider},
    limits::KEYS_MAX,
    model::key::Key,
    store::{Spelling, View},
};

/// Makes a key with its first version, enabled, for every operation.
///
/// # Errors
/// [`Refused::KeyBits`], [`Refused::NoHsm`], [`Refused::NoVault`], [`Refused::KeyExists`], [`Refused::TooManyKeys`].
pub fn run(
    core: &Core,
    permit: Permit<op::KeyCreate>,
    id: &KeyId,
    bits: u32,
    provider: Provider,
) -> Result<KeyStatus, Failure> {
    let bits = KeyBits::try_from(bits)?;
    core.keyring.has(provider)?;
    // Before the costly part, and again inside the transaction.
    creatable(&core.store.snapshot()?, id)?;
    let version = core.make_version(id, bits, provider)?;
    core.commit(&permit, |txn| {
        creatable(txn, id)?;
        let detail = format!("version={} bits={}", version.version, bits.count());
        let key = Key::new(id.clone(), false, version);
        txn.put_key(&key)?;
        Ok((status::key(txn, &key, Versions::All)?, permit.entry(id).detail(detail)))
    })
}

/// Whether a key of this name can be made: in no case of its letters there is one. A deleted key's name stays taken
/// until it is purged.
///
/// # Errors
/// [`Refused::NoVault`], [`Refused::KeyDeleted`], [`Refused::KeyExists`], [`Refused::TooManyKeys`].
pub fn creatable(view: &impl View, id: &KeyId) -> Result<(), Failure> {
    view.vault(&id.vault)?;
    if let Some(key) = view.find_key(id)? {
        key.alive()?;
        return Err(Refused::KeyExists(id.clone()).into());
    }
    if let Some(twin) = view.twin_of_key(id)? {
        view.key(&twin)?.alive()?;
        return Err(Refused::KeyExists(twin).into());
    }
    if view.count_keys(&id.vault)? >= KEYS_MAX as u64 {
        return Err(Refused::TooManyKeys(id.vault.clone()).into());
    }
    Ok(())
}
