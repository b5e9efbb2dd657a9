//! Switches a vault's purge protection on. There is no way back.

use keyd_client::{VaultName, message::VaultStatus};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// Protects a vault's deleted keys until their time is over.
///
/// # Errors
/// [`crate::error::Refused::NoVault`].
pub fn run(
    core: &Core,
    permit: Permit<op::VaultProtect>,
    name: &VaultName,
) -> Result<VaultStatus, Failure> {
    core.commit(&permit, |txn| {
        let mut vault = txn.vault(name)?;
        vault.protect();
        txn.put_vault(&vault)?;
        Ok((vault.status(txn.count_keys(name)?), permit.entry(name)))
    })
}
