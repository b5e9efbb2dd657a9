//! Tells of vaults.

use std::collections::BTreeMap;

use keyd_client::{VaultName, message::VaultStatus};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// One vault with its access policies.
///
/// # Errors
/// [`crate::error::Refused::NoVault`].
pub fn one(
    core: &Core,
    _permit: Permit<op::VaultShow>,
    name: &VaultName,
) -> Result<VaultStatus, Failure> {
    let view = core.store.snapshot()?;
    Ok(view.vault(name)?.status(view.count_keys(name)?))
}

/// All vaults, without their policies: those of one fill half a frame.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn all(core: &Core, _permit: Permit<op::VaultList>) -> Result<Vec<VaultStatus>, Failure> {
    let view = core.store.snapshot()?;
    let vaults = view.vaults()?;
    let told = vaults.iter().map(|vault| {
        let policies = BTreeMap::new();
        Ok(VaultStatus { policies, ..vault.status(view.count_keys(&vault.name)?) })
    });
    told.collect()
}
