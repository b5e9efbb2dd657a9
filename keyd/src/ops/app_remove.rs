//! Forgets an application with all it has: a new one of its name begins with nothing.

use std::collections::BTreeSet;

use keyd_client::{AppName, Principal};

use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::{Apps, View},
};

/// Removes its tokens, certificates, identity, grants, and its policies in every vault.
///
/// # Errors
/// [`crate::error::Refused::NoApp`].
pub fn run(core: &Core, permit: Permit<op::AppRemove>, name: &AppName) -> Result<(), Failure> {
    core.commit(&permit, |txn| {
        let (app, who) = (txn.app(name)?, Principal::App(name.clone()));
        let tokens = txn.count_tokens(name)?;
        txn.remove_app(&app)?;
        txn.remove_grants_of(&who)?;
        let mut vaults = Vec::new();
        for mut vault in txn.vaults()? {
            if !vault.policy(&who).is_empty() {
                vault.permit(who.clone(), BTreeSet::new())?;
                txn.put_vault(&vault)?;
                vaults.push(vault.name.to_string());
            }
        }
        let detail = format!("tokens={tokens} policies={}", vaults.join(","));
        Ok(((), permit.entry(name).class(Class::Withdrawal).detail(detail)))
    })
}
