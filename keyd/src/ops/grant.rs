//! What principals may do in the daemon as a whole.

use std::collections::BTreeSet;

use keyd_client::{
    Principal,
    message::{GrantSource, GrantStatus},
    permission::Permission,
};

use super::taking;
use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    limits::GRANTS_MAX,
    store::View,
};

/// Replaces what a principal may; nothing takes all away. The owner of the state directory needs no grant, and cannot
/// be locked out by one.
///
/// # Errors
/// [`Refused::TooManyGrants`].
pub fn set(
    core: &Core,
    permit: Permit<op::GrantSet>,
    who: &Principal,
    permissions: &BTreeSet<Permission>,
) -> Result<(), Failure> {
    let class = if permissions.is_empty() { Class::Withdrawal } else { Class::Use };
    change(core, &permit, class, who, |_| permissions.clone())
}

/// Adds to what a principal may.
///
/// # Errors
/// [`Refused::TooManyGrants`].
pub fn add(
    core: &Core,
    permit: Permit<op::GrantSet>,
    who: &Principal,
    permissions: &BTreeSet<Permission>,
) -> Result<(), Failure> {
    change(core, &permit, Class::Use, who, |before| before | permissions)
}

/// Who may not attach any more is told to let go, who may again that its key is back.
fn change(
    core: &Core,
    permit: &Permit<op::GrantSet>,
    class: Class,
    who: &Principal,
    after: impl FnOnce(&BTreeSet<Permission>) -> BTreeSet<Permission>,
) -> Result<(), Failure> {
    taking::commit(core, permit, |txn| {
        let before = txn.grants_to(who)?;
        if before.is_empty() && txn.grants()?.len() >= GRANTS_MAX {
            return Err(Refused::TooManyGrants.into());
        }
        let after = after(&before);
        txn.put_grant(who, &after)?;
        let names: Vec<&str> = after.iter().map(|permission| permission.name()).collect();
        Ok(((), permit.entry(who).class(class).detail(names.join(","))))
    })?;
    Ok(())
}

/// All grants: what holds without the store's saying so, and what the store says.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn list(core: &Core, _permit: Permit<op::GrantList>) -> Result<Vec<GrantStatus>, Failure> {
    let source = GrantSource::Store;
    let stored = core.store.snapshot()?.grants()?.into_iter();
    let stored =
        stored.map(|(principal, permissions)| GrantStatus { principal, permissions, source });
    Ok(core.auth.said().into_iter().chain(stored).collect())
}
