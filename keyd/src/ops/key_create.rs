//! Makes an RSA key.

use keyd_client::{KeyName, message::KeyStatus};

use super::status::{self, Versions};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    kek::KeyBits,
    limits::KEYS_MAX,
    model::key::Key,
    store::View,
};

/// Makes a key with its first version, enabled.
///
/// # Errors
/// [`Refused::KeyBits`], [`Refused::KeyExists`], [`Refused::TooManyKeys`].
pub fn run(
    core: &Core,
    permit: Permit<op::KeyCreate>,
    name: KeyName,
    bits: u32,
) -> Result<KeyStatus, Failure> {
    let bits = KeyBits::try_from(bits)?;
    // Before the costly part, and again inside the transaction.
    creatable(&core.store.snapshot()?, &name)?;
    let version = core.make_version(&name, bits)?;
    core.store.commit(|txn| {
        creatable(txn, &name)?;
        let id = version.version;
        let key = Key::new(name.clone(), false, version);
        txn.put_key(&key)?;
        let entry = permit.entry(&name);
        let entry = entry.detail(format!("version={id} bits={}", bits.count()));
        Ok((status::key(txn, &key, Versions::All)?, entry))
    })
}

fn creatable(view: &impl View, name: &KeyName) -> Result<(), Failure> {
    if view.find_key(name)?.is_some() {
        return Err(Refused::KeyExists(name.clone()).into());
    }
    if view.keys()?.len() >= KEYS_MAX {
        return Err(Refused::TooManyKeys.into());
    }
    Ok(())
}
