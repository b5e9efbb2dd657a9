//! Tells when a key is rotated by itself (row 21).

use keyd_client::{KeyId, message::RotationPolicy};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    keyvault::reply::PolicyView,
    store::View,
};

/// The policy of a key; one that has none has a policy without actions.
///
/// # Errors
/// [`crate::error::Refused::NoKey`], [`crate::error::Refused::KeyDeleted`].
pub fn run(
    core: &Core,
    _permit: Permit<op::VaultKeyPolicyGet>,
    id: &KeyId,
) -> Result<PolicyView, Failure> {
    told(&core.store.snapshot()?, id)
}

/// The policy as it is told after it was set.
///
/// # Errors
/// As [`run`].
pub fn told(state: &impl View, id: &KeyId) -> Result<PolicyView, Failure> {
    let key = state.key(id)?;
    let first = key.alive()?.versions().last().map_or(0, |version| version.created);
    let none = RotationPolicy {
        rotate: None,
        notify: None,
        expires_after: None,
        created: first,
        updated: first,
    };
    let policy = key.rotation_policy.unwrap_or(none);
    Ok(PolicyView { name: id.name.clone(), policy })
}
