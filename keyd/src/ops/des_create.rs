//! Makes a disk encryption set.

use keyd_client::{DesName, KeyId, KeyVersion, message::DesStatus};

use super::status;
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    limits::SETS_MAX,
    model::{
        des::{Choice, Des},
        key::Key,
        right::{IDENTITY_NEEDS, Use, right},
    },
    store::{Spelling, Txn, View},
};

/// The key that a set is to be on.
#[derive(Debug, Clone)]
pub struct On<'a> {
    /// The key.
    pub key: &'a KeyId,
    /// A version of it; the newest if none.
    pub version: Option<KeyVersion>,
    /// Whether the set's identity gets what it needs in the key's vault, if the asker may give that.
    pub permit: bool,
}

/// Makes a set on an existing key that its identity may use.
///
/// # Errors
/// [`Refused::SetExists`], [`Refused::TooManySets`], [`Refused::NoKey`], those of [`Des::on_key`] and of [`right`].
pub fn run(
    core: &Core,
    permit: Permit<op::DesCreate>,
    name: &DesName,
    on: &On<'_>,
    choice: Choice,
) -> Result<DesStatus, Failure> {
    core.commit(&permit, |txn| {
        if txn.find_set(name)?.is_some() {
            return Err(Refused::SetExists(name.clone()).into());
        }
        if let Some(twin) = txn.twin_of_set(name)? {
            return Err(Refused::SetExists(twin).into());
        }
        if txn.sets()?.len() >= SETS_MAX {
            return Err(Refused::TooManySets.into());
        }
        let now = core.now();
        let key = txn.key(on.key)?;
        let version = on.version.unwrap_or(key.newest().version);
        let platform = txn.key(&KeyId::platform())?.newest().version;
        let set = Des::on_key(name.clone(), (&key, version), platform, choice, now)?;
        let permitted = on.permit && permit.administrator();
        settle(core, txn, &set, &key, version, permitted).map_err(before_it_exists)?;
        txn.put_set(&set)?;
        let detail = format!(
            "key={} version={version} lease_ms={} identity-permitted={permitted}",
            on.key, choice.terms.lease_ms
        );
        Ok((status::set(core, txn, &set)?, permit.entry(name).detail(detail)))
    })
}

/// The set does not exist yet, and neither does its identity.
fn before_it_exists(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(Refused::IdentityLacks { set, vault, permission, .. }) => {
            Refused::IdentityLacks { set, vault, permission, future: true }.into()
        }
        other => other,
    }
}

/// Gives a set's identity what it needs, if that is wished, and sees to it that the set may wrap and unwrap under a
/// key.
///
/// # Errors
/// Those of [`right`].
pub(super) fn settle(
    core: &Core,
    txn: &Txn<'_>,
    set: &Des,
    key: &Key,
    version: KeyVersion,
    permit: bool,
) -> Result<(), Failure> {
    let now = core.now();
    let mut vault = txn.vault(&key.id.vault)?;
    if permit {
        vault.permit_also(&set.identity(), &IDENTITY_NEEDS.into())?;
        txn.put_vault(&vault)?;
    }
    right(&vault, set, key, version, Use::Wrap, now)?;
    right(&vault, set, key, version, Use::Attach, now)?;
    Ok(())
}
