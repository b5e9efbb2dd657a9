//! Tells of keys. A disabled key can still be shown (Key Vault: get and list stay allowed).

use keyd_client::{KeyName, message::KeyStatus};

use super::status::{self, Versions};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// One key with all its versions.
///
/// # Errors
/// [`crate::error::Refused::NoKey`].
pub fn one(
    core: &Core,
    _permit: Permit<op::KeyShow>,
    name: &KeyName,
) -> Result<KeyStatus, Failure> {
    let view = core.store.snapshot()?;
    Ok(status::key(&view, &view.key(name)?, Versions::All)?)
}

/// All keys, with the versions in use.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn all(core: &Core, _permit: Permit<op::KeyList>) -> Result<Vec<KeyStatus>, Failure> {
    Ok(status::keys(&core.store.snapshot()?, Versions::InUse)?)
}
