//! Lets an application fetch tokens from the identity endpoint, or not (Azure: its managed identity).

use keyd_client::{AppName, message::OneTimeSecret};

use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::Failure,
    model::token::{self, SecretHash},
    store::Apps,
};

/// Makes the secret with which it does; one that was is good no more.
///
/// # Errors
/// [`crate::error::Refused::NoApp`].
pub fn create(
    core: &Core,
    permit: Permit<op::AppIdentity>,
    name: &AppName,
) -> Result<OneTimeSecret, Failure> {
    let secret = token::make_secret()?;
    core.commit(&permit, |txn| {
        let mut app = txn.app(name)?;
        let before = app.identity.replace(SecretHash::of(secret.expose()));
        txn.put_app(&app)?;
        let detail = if before.is_some() { "replaced" } else { "made" };
        Ok(((), permit.entry(name).detail(detail)))
    })?;
    Ok(secret)
}

/// Lets it fetch no more. Tokens that it has are good until they expire.
///
/// # Errors
/// [`crate::error::Refused::NoApp`].
pub fn remove(core: &Core, permit: Permit<op::AppIdentity>, name: &AppName) -> Result<(), Failure> {
    core.commit(&permit, |txn| {
        let mut app = txn.app(name)?;
        app.identity = None;
        txn.put_app(&app)?;
        Ok(((), permit.entry(name).class(Class::Withdrawal).detail("removed")))
    })
}
