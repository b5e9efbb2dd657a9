//! Rotates a key: a new version, and every DEK under the key's sets wrapped anew.

use keyd_client::{KeyName, message::Reply};

use super::{
    rewrap,
    status::{self, Versions},
};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    kek::KeyBits,
    store::View,
};

/// Rotates. Older versions stay enabled; holders notice nothing. After a crash the rotation goes on by itself.
///
/// # Errors
/// [`crate::error::Refused::KeyDisabled`], [`crate::error::Refused::Rotating`],
/// [`crate::error::Refused::RotationStopped`].
pub fn run(core: &Core, permit: Permit<op::KeyRotate>, name: &KeyName) -> Result<Reply, Failure> {
    let _claim = core.claim_rotation(name)?;
    let key = core.store.snapshot()?.key(name)?;
    key.rotatable()?;
    let bits = KeyBits::try_from(key.newest().bits)?;
    let version = core.make_version(name, bits)?;
    core.store.commit(|txn| {
        let mut key = txn.key(name)?;
        let (new, now) = (version.version, version.created);
        let detail = format!("began from={} to={new}", key.newest().version);
        key.begin_rotation(version)?;
        txn.put_key(&key)?;
        for mut set in txn.sets()?.into_iter().filter(|set| set.key == *name) {
            set.activate(new, now);
            txn.put_set(&set)?;
        }
        Ok(((), permit.entry(name).detail(detail)))
    })?;
    let rewrapped = rewrap::all(core, name)?;
    let view = core.store.snapshot()?;
    let key = status::key(&view, &view.key(name)?, Versions::All)?;
    Ok(Reply::Rotated { key, rewrapped })
}
