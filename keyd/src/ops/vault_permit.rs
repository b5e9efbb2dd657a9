//! Changes what a principal may do in a vault. Taking it from a disk encryption set's identity halts the set's disks.

use std::collections::BTreeSet;

use keyd_client::{
    Principal, VaultName,
    message::{Edit, Reply},
    permission::KeyPermission,
};

use super::taking::{self, Ask, Concern, Taken};
use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    store::{Grants, View},
};

/// What is to be changed.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Whose.
    pub who: &'a Principal,
    /// How.
    pub edit: Edit,
    /// What.
    pub permissions: &'a BTreeSet<KeyPermission>,
    /// Whether the principal may be one that does not exist yet.
    pub future: bool,
}

/// Changes a policy. Holders who lose their right by it are told to let go, those who regain it that it is back.
///
/// # Errors
/// [`Refused::NoVault`], [`Refused::OwnVault`], [`Refused::NoPermission`], [`Refused::NobodyYet`],
/// [`Refused::TooManyPolicies`], and those of [`taking::run`].
pub fn run(
    core: &Core,
    permit: Permit<op::VaultPolicy>,
    name: &VaultName,
    change: Change<'_>,
    ask: &Ask<'_>,
) -> Result<Reply, Failure> {
    let Change { who, edit, permissions, future } = change;
    if permissions.is_empty() && edit != Edit::Replace {
        return Err(Refused::NoPermission.into());
    }
    let gives = edit != Edit::Remove && !permissions.is_empty();
    let class = if gives { Class::Use } else { Class::Withdrawal };
    let taken = taking::run_as(core, permit, class, ask, Concern::Identity(name, who), |txn| {
        if name.is_platform() {
            return Err(Refused::OwnVault(name.clone()).into());
        }
        let mut vault = txn.vault(name)?;
        if gives && !future && !txn.exists(who)? {
            return Err(Refused::NobodyYet(who.clone()).into());
        }
        let after = edit.of(&vault.policy(who), permissions);
        vault.permit(who.clone(), after.clone())?;
        txn.put_vault(&vault)?;
        let names: Vec<&str> = after.iter().map(|permission| permission.name()).collect();
        Ok(format!("{who}={}", names.join(",")))
    })?;
    let view = core.store.snapshot()?;
    let future = gives && !view.exists(who)?;
    let vault = view.vault(name)?.status(view.count_keys(name)?);
    match taken {
        Taken::Would(impact) => Ok(Reply::Impact(impact)),
        Taken::Done { revocation, granted } => {
            Ok(Reply::PolicyChanged { vault, future, revocation, granted })
        }
    }
}
