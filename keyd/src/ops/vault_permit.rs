//! Lets a principal do more in a vault. It takes nothing from anybody, so it asks for no consent.

use std::collections::BTreeSet;

use keyd_client::{
    Principal, VaultName,
    message::{Reply, Revocation},
    permission::KeyPermission,
};

use super::taking;
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    store::View,
};

/// Adds to what a principal may, and tells every parked holder whose key is back by it.
///
/// # Errors
/// [`Refused::NoVault`], [`Refused::OwnVault`], [`Refused::TooManyPolicies`].
pub fn run(
    core: &Core,
    permit: Permit<op::VaultPolicy>,
    name: &VaultName,
    (principal, permissions): (&Principal, &BTreeSet<KeyPermission>),
) -> Result<Reply, Failure> {
    let (vault, enforced, _) = taking::commit(core, &permit, |txn| {
        if name.is_platform() {
            return Err(Refused::OwnVault(name.clone()).into());
        }
        let mut vault = txn.vault(name)?;
        vault.permit_also(principal, permissions)?;
        txn.put_vault(&vault)?;
        let after = vault.policy(principal);
        let names: Vec<&str> = after.iter().map(|permission| permission.name()).collect();
        let detail = format!("{principal}={}", names.join(","));
        Ok((vault.status(txn.count_keys(name)?), permit.entry(name).detail(detail)))
    })?;
    let granted = enforced.granted;
    Ok(Reply::PolicyChanged { vault, revocation: Revocation::default(), granted })
}
