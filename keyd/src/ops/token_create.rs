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
        IDENTITY_TOKEN_LEFT_MS, IDENTITY_TOKEN_MS, TOKEN_LABEL_LEN_MAX, TOKEN_LIFE_MS_MAX,
        TOKEN_LIFE_MS_MIN, TOKENS_PER_APP_MAX,
    },
    lock::lock,
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
    let (token, secret) = (token(core, app, label, lifetime_ms), token::make_secret()?);
    core.commit(&permit, |txn| {
        add(core, txn, &token, &secret)?;
        let until = clock::text(token.expires).replace(' ', "T");
        let detail = format!("token={} expires={until} label={label}", token.id);
        Ok(((), permit.entry(app).detail(detail)))
    })?;
    Ok((token.status(), secret))
}

/// What a token of the identity endpoint is labelled.
const OF_IDENTITY: &str = "identity";

/// The token of the identity that asks for itself: the one it has until that is near its end, then another. Programs
/// ask anew with every start, and each would make one.
///
/// # Errors
/// [`Refused::NoApp`], [`Refused::TooManyTokens`].
pub fn for_identity(
    core: &Core,
    permit: Permit<op::IdentityToken>,
    app: &AppName,
) -> Result<(TokenStatus, OneTimeSecret), Failure> {
    if let Some(kept) = kept(core, app)? {
        return Ok(kept);
    }
    // One at a time: of those who ask at once the first makes it for all.
    let _one = lock(&core.identity_tokens);
    if let Some(kept) = kept(core, app)? {
        return Ok(kept);
    }
    let token = token(core, app, OF_IDENTITY, IDENTITY_TOKEN_MS);
    let secret = derived(core, token.id)?;
    core.commit(&permit, |txn| {
        add(core, txn, &token, &secret)?;
        Ok(((), permit.entry(app).detail(format!("token={}", token.id))))
    })?;
    Ok((token.status(), secret))
}

/// An identity's token that has time left, and its secret. That is nowhere kept: it is derived anew from the root key,
/// and known again by its hash.
fn kept(core: &Core, app: &AppName) -> Result<Option<(TokenStatus, OneTimeSecret)>, Failure> {
    let until = core.now() + IDENTITY_TOKEN_LEFT_MS;
    for (hash, token) in core.store.snapshot()?.tokens_of(app)? {
        if token.label == OF_IDENTITY && token.good(until) {
            let secret = derived(core, token.id)?;
            if SecretHash::of(secret.expose()) == hash {
                return Ok(Some((token.status(), secret)));
            }
        }
    }
    Ok(None)
}

fn derived(core: &Core, id: TokenId) -> Result<OneTimeSecret, Failure> {
    let bytes = core.keyring.derive(&format!("identity-token|{id}"))?;
    Ok(token::secret_of(&bytes))
}

fn token(core: &Core, app: &AppName, label: &str, lifetime_ms: u64) -> Token {
    let created = core.now();
    Token {
        id: TokenId::random(),
        app: app.clone(),
        label: label.to_owned(),
        created,
        expires: created.saturating_add(lifetime_ms),
    }
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
