//! Tells of an application's tokens.

use keyd_client::{AppName, message::TokenStatus};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::Apps,
};

/// All of them, expired ones included.
///
/// # Errors
/// [`crate::error::Refused::NoApp`].
pub fn run(
    core: &Core,
    _permit: Permit<op::TokenList>,
    app: &AppName,
) -> Result<Vec<TokenStatus>, Failure> {
    let view = core.store.snapshot()?;
    view.app(app)?;
    Ok(view.tokens_of(app)?.iter().map(|(_, token)| token.status()).collect())
}
