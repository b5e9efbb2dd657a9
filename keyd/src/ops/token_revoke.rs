//! Lets a token be good no more.

use keyd_client::{AppName, TokenId};

use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    store::Apps,
};

/// Forgets it: from the commit on it is nobody's.
///
/// # Errors
/// [`Refused::NoToken`].
pub fn run(
    core: &Core,
    permit: Permit<op::TokenRevoke>,
    app: &AppName,
    id: TokenId,
) -> Result<(), Failure> {
    core.commit(&permit, |txn| {
        let found = txn.tokens_of(app)?.into_iter().find(|(_, token)| token.id == id);
        let (hash, token) = found.ok_or_else(|| Refused::NoToken(app.clone(), id))?;
        txn.remove_token(&hash, &token)?;
        Ok(((), permit.entry(app).class(Class::Withdrawal).detail(format!("token={id}"))))
    })
}

/// Forgets all of an application's; tells how many. Its identity and its certificates stay.
///
/// # Errors
/// [`Refused::NoApp`].
pub fn all(core: &Core, permit: Permit<op::TokenRevoke>, app: &AppName) -> Result<u64, Failure> {
    core.commit(&permit, |txn| {
        txn.app(app)?;
        let tokens = txn.tokens_of(app)?;
        for (hash, token) in &tokens {
            txn.remove_token(hash, token)?;
        }
        let detail = format!("tokens={}", tokens.len());
        Ok((tokens.len() as u64, permit.entry(app).class(Class::Withdrawal).detail(detail)))
    })
}
