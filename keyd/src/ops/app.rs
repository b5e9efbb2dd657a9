//! Applications, their identities and their tokens: principals that may do nothing until something is granted to them.

use std::collections::BTreeSet;

use keyd_client::{
    AppName, Fingerprint, Principal, TokenId,
    message::{
        AppCertificates, AppCreate, AppList, AppRemove, AppShow, AppStatus, IdentityCreate,
        IdentityRemove, NewIdentity, NewToken, OneTimeSecret, TokenCreate, TokenList, TokenRevoke,
        TokenRevokeAll, TokenStatus,
    },
};

use super::operation::{Operation, on};
use crate::{
    audit::Class,
    auth::{Permit, op},
    clock,
    core::Core,
    error::{Failure, Refused},
    limits::{
        APPS_MAX, IDENTITY_TOKEN_LEFT_MS, IDENTITY_TOKEN_MS, TOKEN_LABEL_LEN_MAX,
        TOKEN_LIFE_MS_MAX, TOKEN_LIFE_MS_MIN, TOKENS_PER_APP_MAX,
    },
    lock::lock,
    model::{
        app::App,
        token::{self, SecretHash, Token},
    },
    store::{Apps, Spelling, Txn, View},
};

impl Operation for AppCreate {
    on!(app name);

    /// # Errors
    /// [`Refused::AppExists`], [`Refused::TooManyApps`], [`Refused::TooManyCertificates`],
    /// [`Refused::CertificateTaken`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<AppStatus, Failure> {
        let Self { name, certificates } = self;
        let app = App::new(name.clone(), certificates, core.now())?;
        core.commit(&permit, |txn| {
            if txn.find_app(&name)?.is_some() {
                return Err(Refused::AppExists(name.clone()).into());
            }
            if let Some(twin) = txn.twin_of_app(&name)? {
                return Err(Refused::AppExists(twin).into());
            }
            if txn.apps()?.len() >= APPS_MAX {
                return Err(Refused::TooManyApps.into());
            }
            txn.put_app(&app)?;
            let detail = format!("certificates={}", app.certificates().len());
            Ok((app.status(0), permit.entry(&name).detail(detail)))
        })
    }
}

impl Operation for AppShow {
    on!(app name);

    /// # Errors
    /// [`Refused::NoApp`].
    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<AppStatus, Failure> {
        let view = core.store.snapshot()?;
        Ok(view.app(&self.name)?.status(view.count_tokens(&self.name)?))
    }
}

impl Operation for AppList {
    on!(all "principals");

    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Vec<AppStatus>, Failure> {
        let view = core.store.snapshot()?;
        let apps = view.apps()?.into_iter();
        apps.map(|app| Ok(app.status(view.count_tokens(&app.name)?))).collect()
    }
}

impl Operation for AppRemove {
    on!(app name);

    /// Its tokens, certificates, identity, grants, and its policies in every vault go, too: a new one of its name
    /// begins with nothing.
    ///
    /// # Errors
    /// [`Refused::NoApp`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<(), Failure> {
        let name = &self.name;
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
}

impl Operation for AppCertificates {
    on!(app name);

    /// From the commit on others are nobody's.
    ///
    /// # Errors
    /// [`Refused::NoApp`], [`Refused::TooManyCertificates`], [`Refused::CertificateTaken`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<AppStatus, Failure> {
        let Self { name, certificates } = &self;
        core.commit(&permit, |txn| {
            let mut app = txn.app(name)?;
            app.trust(certificates.clone())?;
            txn.put_app(&app)?;
            // Fingerprints are public, and say afterwards who was trusted.
            let told: Vec<String> =
                certificates.iter().map(|one: &Fingerprint| one.to_string()[..16].into()).collect();
            let status = app.status(txn.count_tokens(name)?);
            Ok((status, permit.entry(name).detail(format!("certificates={}", told.join(",")))))
        })
    }
}

impl Operation for IdentityCreate {
    on!(app name);

    /// Azure: its managed identity.
    ///
    /// # Errors
    /// [`Refused::NoApp`], [`Refused::NoIdentityEndpoint`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<NewIdentity, Failure> {
        let name = &self.name;
        let endpoint = core.reach.identity_endpoint.clone().ok_or(Refused::NoIdentityEndpoint)?;
        let secret = token::make_secret()?;
        core.commit(&permit, |txn| {
            let mut app = txn.app(name)?;
            let before = app.identity.replace(SecretHash::of(secret.expose()));
            txn.put_app(&app)?;
            let detail = if before.is_some() { "replaced" } else { "made" };
            Ok(((), permit.entry(name).detail(detail)))
        })?;
        Ok(NewIdentity { endpoint, secret })
    }
}

impl Operation for IdentityRemove {
    on!(app name);

    /// # Errors
    /// [`Refused::NoApp`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<(), Failure> {
        let name = &self.name;
        core.commit(&permit, |txn| {
            let mut app = txn.app(name)?;
            app.identity = None;
            txn.put_app(&app)?;
            Ok(((), permit.entry(name).class(Class::Withdrawal).detail("removed")))
        })
    }
}

impl Operation for TokenCreate {
    on!(app app);

    /// # Errors
    /// [`Refused::NoApp`], [`Refused::TooManyTokens`], [`Refused::TokenLife`], [`Refused::TokenLabel`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<NewToken, Failure> {
        let Self { app, label, lifetime_ms } = &self;
        if !(TOKEN_LIFE_MS_MIN..=TOKEN_LIFE_MS_MAX).contains(lifetime_ms) {
            return Err(Refused::TokenLife(*lifetime_ms).into());
        }
        if label.chars().count() > TOKEN_LABEL_LEN_MAX || label.chars().any(char::is_control) {
            return Err(Refused::TokenLabel.into());
        }
        let (token, secret) = (token(core, app, label, *lifetime_ms), token::make_secret()?);
        core.commit(&permit, |txn| {
            add(core, txn, &token, &secret)?;
            let until = clock::text(token.expires).replace(' ', "T");
            let detail = format!("token={} expires={until} label={label}", token.id);
            Ok(((), permit.entry(app).detail(detail)))
        })?;
        Ok(NewToken { token: token.status(), secret })
    }
}

impl Operation for TokenList {
    on!(app app);

    /// All of them, expired ones included.
    ///
    /// # Errors
    /// [`Refused::NoApp`].
    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Vec<TokenStatus>, Failure> {
        let view = core.store.snapshot()?;
        view.app(&self.app)?;
        Ok(view.tokens_of(&self.app)?.iter().map(|(_, token)| token.status()).collect())
    }
}

impl Operation for TokenRevoke {
    on!(app app);

    /// From the commit on it is nobody's.
    ///
    /// # Errors
    /// [`Refused::NoToken`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<(), Failure> {
        let Self { app, id } = &self;
        core.commit(&permit, |txn| {
            let found = txn.tokens_of(app)?.into_iter().find(|(_, token)| token.id == *id);
            let (hash, token) = found.ok_or_else(|| Refused::NoToken(app.clone(), *id))?;
            txn.remove_token(&hash, &token)?;
            Ok(((), permit.entry(app).class(Class::Withdrawal).detail(format!("token={id}"))))
        })
    }
}

impl Operation for TokenRevokeAll {
    on!(app app);

    /// # Errors
    /// [`Refused::NoApp`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<u64, Failure> {
        let app = &self.app;
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
