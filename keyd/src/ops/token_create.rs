//! Makes a bearer token of an application. The token is told once; what is stored is its hash.

use keyd_client::{
    AppName, TokenId,
    message::{OneTimeSecret, TokenStatus},
};

use crate::{
    auth::{Permit, op},
    clock,
    core::Core,
    error::{Failure, Refused},
    limits::{
        IDENTITY_TOKEN_MS, TOKEN_LABEL_LEN_MAX, TOKEN_LIFE_MS_MAX, TOKEN_LIFE_MS_MIN,
        TOKENS_PER_APP_MAX,
    },
    model::token::{self, SecretHash, Token},
    store::{Apps, Txn},
};

/// Makes one on an administrator's order.
///
/// # Errors
/// [`Refused::NoApp`], [`Refused::TooManyTokens`], [`Refused::TokenLife`], [`Refused::TokenLabel`].
pub fn run(
    core: &Core,
    permit: Permit<op::TokenCreate>,
    app: &AppName,
    label: &str,
    lifetime_ms: u64,
) -> Result<(TokenStatus, OneTimeSecret), Failure> {
    if !(TOKEN_LIFE_MS_MIN..=TOKEN_LIFE_MS_MAX).contains(&lifetime_ms) {
        return Err(Refused::TokenLife(lifetime_ms).into());
    }
    if label.chars().count() > TOKEN_LABEL_LEN_MAX || label.chars().any(char::is_control) {
        return Err(Refused::TokenLabel.into());
    }
    let (token, secret) = make(core, app, label, lifetime_ms)?;
    core.commit(&permit, |txn| {
        add(core, txn, &token, &secret)?;
        let until = clock::text(token.expires).replace(' ', "T");
        let detail = format!("token={} expires={until} label={label}", token.id);
        Ok(((), permit.entry(app).detail(detail)))
    })?;
    Ok((token.status(), secret))
}

/// Makes one for the identity that asks for itself.
///
/// # Errors
/// [`Refused::NoApp`], [`Refused::TooManyTokens`].
pub fn for_identity(
    core: &Core,
    permit: Permit<op::IdentityToken>,
    app: &AppName,
) -> Result<(TokenStatus, OneTimeSecret), Failure> {
    let (token, secret) = make(core, app, "identity", IDENTITY_TOKEN_MS)?;
    core.commit(&permit, |txn| {
        add(core, txn, &token, &secret)?;
        Ok(((), permit.entry(app).detail(format!("token={}", token.id))))
    })?;
    Ok((token.status(), secret))
}

fn make(
    core: &Core,
    app: &AppName,
    label: &str,
    lifetime_ms: u64,
) -> Result<(Token, OneTimeSecret), Failure> {
    let created = core.now();
    let token = Token {
        id: TokenId::random(),
        app: app.clone(),
        label: label.to_owned(),
        created,
        expires: created.saturating_add(lifetime_ms),
    };
    Ok((token, token::make_secret()?))
}

/// Expired tokens make room, once their time is over for sure.
fn add(core: &Core, txn: &Txn<'_>, token: &Token, secret: &OneTimeSecret) -> Result<(), Failure> {
    txn.app(&token.app)?;
    for (hash, old) in txn.tokens_of(&token.app)? {
        if old.expires <= core.proven() {
            txn.remove_token(&hash, &old)?;
        }
    }
    if txn.count_tokens(&token.app)? >= TOKENS_PER_APP_MAX {
        return Err(Refused::TooManyTokens(token.app.clone()).into());
    }
    Ok(txn.add_token(&SecretHash::of(secret.expose()), token)?)
}
