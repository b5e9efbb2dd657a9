//! Forgets an empty vault.

use keyd_client::VaultName;

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    store::View,
};

/// Forgets a vault that has no keys, deleted ones included: a deleted key must stay recoverable.
///
/// # Errors
/// [`Refused::NoVault`], [`Refused::VaultInUse`], [`Refused::OwnVault`].
pub fn run(core: &Core, permit: Permit<op::VaultDelete>, name: &VaultName) -> Result<(), Failure> {
    core.commit(&permit, |txn| {
        txn.vault(name)?;
        if *name == VaultName::default_vault() || name.is_platform() {
            return Err(Refused::OwnVault(name.clone()).into());
        }
        if txn.count_keys(name)? > 0 {
            return Err(Refused::VaultInUse(name.clone()).into());
        }
        txn.remove_vault(name)?;
        Ok(((), permit.entry(name)))
    })
}
