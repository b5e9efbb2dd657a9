//! Rotates a key: a new version, and every DEK under the sets that follow the key wrapped anew.

use keyd_client::{
    DesName, KeyId,
    message::{KeyRotate, Rotated},
};

use super::{
    des_follow,
    operation::{Operation, on},
    rewrap,
    status::{self, Versions},
};
use crate::{
    audit::Entry,
    auth::Permit,
    core::Core,
    error::Failure,
    kek::KeyBits,
    model::{calendar, key::Key, version::Version},
    store::{Txn, View},
};

impl Operation for KeyRotate {
    on!(key name);

    /// Returns when every DEK is under the new version. Older versions stay enabled; holders notice nothing. After a
    /// crash the rotation goes on by itself.
    ///
    /// # Errors
    /// Those of [`new_version`] and [`rewrap::set`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Rotated, Failure> {
        let followers = permitted(core, &permit, &self.name)?;
        let mut rewrapped = 0;
        for set in &followers {
            rewrapped += rewrap::set(core, set)?;
        }
        let view = core.store.snapshot()?;
        let key = status::key(&view, &view.key(&self.name)?, Versions::All)?;
        Ok(Rotated { key, rewrapped })
    }
}

/// [`new_version`], if who asked for it may still have it.
///
/// # Errors
/// As [`crate::auth::Auth::still`] and [`new_version`].
pub(super) fn permitted(
    core: &Core,
    permit: &Permit<KeyRotate>,
    id: &KeyId,
) -> Result<Vec<DesName>, Failure> {
    new_version(core, id, |txn, detail| {
        core.auth.still(permit, txn)?;
        Ok(permit.entry(id).detail(detail))
    })
}

/// Makes a version with fresh material and the newest one's attributes, puts it in front, and lets the sets that follow
/// the key follow. Returns those; their DEKs are still to be wrapped anew.
///
/// # Errors
/// [`crate::error::Refused::NoKey`], [`crate::error::Refused::KeyDisabled`],
/// [`crate::error::Refused::TooManyVersions`].
pub fn new_version(
    core: &Core,
    id: &KeyId,
    entry: impl Fn(&Txn<'_>, String) -> Result<Entry, Failure>,
) -> Result<Vec<DesName>, Failure> {
    let key = core.store.snapshot()?.key(id)?;
    key.rotatable()?;
    let newest = key.newest();
    let bits = KeyBits::try_from(newest.bits)?;
    let made = core.make_version(id, bits, newest.material.provider())?;
    core.store.commit(|txn| {
        let mut key = txn.key(id)?;
        key.rotatable()?;
        let version = successor(&key, &made);
        let detail = format!("from={} to={}", key.newest().version, version.version);
        key.push(version)?;
        txn.put_key(&key)?;
        Ok(((), entry(txn, detail)?))
    })?;
    des_follow::all_on(core, id)
}

/// Attributes go over; the validity is the policy's to say.
fn successor(key: &Key, made: &Version) -> Version {
    let mut version = made.clone();
    version.operations.clone_from(&key.newest().operations);
    version.tags.clone_from(&key.newest().tags);
    let life = key.rotation_policy.as_ref().and_then(|policy| policy.expires_after);
    version.expires = life.map(|life| calendar::after(made.created, life) / 1000);
    version
}
