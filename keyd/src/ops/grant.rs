//! What principals may do in the daemon as a whole.

use std::collections::BTreeSet;

use keyd_client::{Principal, message::GrantStatus, permission::Permission};

use super::enforce;
use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    limits::GRANTS_MAX,
    store::View,
};

/// Replaces what a principal may; nothing takes all away. Who may not attach any more is told to let go. The owner of the state directory needs no grant, and cannot
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
    core.store.commit(|txn| {
        let known = !txn.grants_to(who)?.is_empty();
        if !known && txn.grants()?.len() >= GRANTS_MAX {
            return Err(Refused::TooManyGrants.into());
        }
        txn.put_grant(who, permissions)?;
        let names: Vec<&str> = permissions.iter().map(|permission| permission.name()).collect();
        Ok(((), permit.entry(who).class(class).detail(names.join(","))))
    })?;
    enforce::run(core)?;
    Ok(())
}

/// All grants of the store; those of `keyd serve --grant` are its command line's.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn list(core: &Core, _permit: Permit<op::GrantList>) -> Result<Vec<GrantStatus>, Failure> {
    let grants = core.store.snapshot()?.grants()?;
    let told = grants.into_iter();
    Ok(told.map(|(principal, permissions)| GrantStatus { principal, permissions }).collect())
}
