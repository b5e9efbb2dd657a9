//! Says what a principal may do in a vault. Taking it from a disk encryption set's identity halts the set's disks.

use std::collections::BTreeSet;

use keyd_client::{Principal, VaultName, message::Reply, permission::KeyPermission};

use super::taking::{self, Ask, Concern, Taken};
use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    store::View,
};

/// Replaces what a principal may; nothing takes all away.
///
/// # Errors
/// [`Refused::NoVault`], [`Refused::OwnVault`], [`Refused::TooManyPolicies`], and those of [`taking::run`].
pub fn run(
    core: &Core,
    permit: Permit<op::VaultPolicy>,
    name: &VaultName,
    (principal, permissions): (&Principal, &BTreeSet<KeyPermission>),
    ask: &Ask<'_>,
) -> Result<Reply, Failure> {
    let class = if permissions.is_empty() { Class::Withdrawal } else { Class::Use };
    let taken =
        taking::run_as(core, permit, class, ask, Concern::Identity(name, principal), |txn| {
            if name.is_platform() {
                return Err(Refused::OwnVault(name.clone()).into());
            }
            let mut vault = txn.vault(name)?;
            vault.permit(principal.clone(), permissions.clone())?;
            txn.put_vault(&vault)?;
            let names: Vec<&str> = permissions.iter().map(|permission| permission.name()).collect();
            Ok(format!("{principal}={}", names.join(",")))
        })?;
    let view = core.store.snapshot()?;
    let vault = view.vault(name)?.status(view.count_keys(name)?);
    match taken {
        Taken::Would(impact) => Ok(Reply::Impact(impact)),
        Taken::Done { revocation, granted } => {
            Ok(Reply::PolicyChanged { vault, revocation, granted })
        }
    }
}
