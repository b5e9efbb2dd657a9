//! `keyd principal`, `keyd token` and `keyd identity`.

use std::collections::BTreeSet;

use keyd_client::{
    Fingerprint, Page,
    message::{AppRequest, AppStatus, Reply, Request, TokenRequest, TokenStatus},
};

use super::{
    Error, Exit,
    args::principal::{IdentityVerb, OwnCertificates, PrincipalVerb, TokenVerb},
    ask::{Ask, unexpected},
    table::{list, table, yes},
};
use crate::{clock, tls};

pub(super) fn principal(ask: &Ask, verb: PrincipalVerb) -> Result<Exit, Error> {
    let request = match verb {
        PrincipalVerb::Create { name, certificates } => {
            AppRequest::Create { name, certificates: fingerprints(certificates)? }
        }
        PrincipalVerb::List => AppRequest::List,
        PrincipalVerb::Show { name } => AppRequest::Show { name },
        PrincipalVerb::Remove { name } => AppRequest::Remove { name },
        PrincipalVerb::Certificates { name, certificates } => {
            AppRequest::Certificates { name, certificates: fingerprints(certificates)? }
        }
    };
    match ask.call(request)? {
        Reply::App(app) => ask.print(&app, one),
        Reply::Apps(apps) => ask.print(&apps, |apps| all(apps)),
        Reply::Done => ask.print(&serde_json::json!({ "removed": true }), |_| {
            "removed, with its tokens, certificates, identity, grants and policies".to_owned()
        }),
        _ => Err(unexpected()),
    }
}

pub(super) fn token(ask: &Ask, verb: TokenVerb) -> Result<Exit, Error> {
    let request = match verb {
        TokenVerb::Create { app, expires, label } => {
            let lifetime_ms = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX);
            TokenRequest::Create { app, label, lifetime_ms }
        }
        TokenVerb::List { app } => TokenRequest::List { app },
        TokenVerb::Revoke { app, id, .. } => match id {
            Some(id) => TokenRequest::Revoke { app, id },
            None => TokenRequest::RevokeAll { app },
        },
    };
    let reply = ask.call(request)?;
    match &reply {
        // The token alone, for a script to take.
        Reply::NewToken { secret, .. } => ask.print_reply(&reply, secret.expose().to_owned()),
        Reply::Tokens(tokens) => ask.print(tokens, |tokens| all_tokens(tokens)),
        Reply::TokensRevoked(count) => ask.print(&serde_json::json!({ "revoked": count }), |_| {
            format!("tokens revoked: {count}; an identity it has can fetch another")
        }),
        Reply::Done => ask.print(&serde_json::json!({ "revoked": true }), |_| "revoked".to_owned()),
        _ => Err(unexpected()),
    }
}

pub(super) fn identity(ask: &Ask, verb: IdentityVerb) -> Result<Exit, Error> {
    let request: Request = match verb {
        IdentityVerb::Create { name } => AppRequest::CreateIdentity { name }.into(),
        IdentityVerb::Remove { name } => AppRequest::RemoveIdentity { name }.into(),
    };
    let reply = ask.call(request)?;
    match &reply {
        Reply::NewIdentity { endpoint, secret } => {
            let header = secret.expose();
            let text = Page::default()
                .line(format_args!("IDENTITY_ENDPOINT={endpoint}"))
                .line(format_args!("IDENTITY_HEADER={header}"));
            ask.print_reply(&reply, text)
        }
        Reply::Done => ask.print(&serde_json::json!({ "removed": true }), |_| "removed".to_owned()),
        _ => Err(unexpected()),
    }
}

fn fingerprints(given: OwnCertificates) -> Result<BTreeSet<Fingerprint>, Error> {
    let mut all: BTreeSet<Fingerprint> = given.fingerprint.into_iter().collect();
    for file in given.certificate {
        // The first is the holder's own; those behind it are its authority's.
        let certificates = tls::certificates(&file)?;
        all.extend(certificates.first().map(tls::fingerprint));
    }
    Ok(all)
}

fn one(app: &AppStatus) -> Page {
    let prints: Vec<String> = app.certificates.iter().map(ToString::to_string).collect();
    list(&[
        ("name", app.name.to_string()),
        ("principal", format!("app:{}", app.name)),
        ("created", clock::text(app.created)),
        ("tokens", app.tokens.to_string()),
        ("identity", yes(app.identity)),
        ("certificates", prints.join(" ")),
    ])
}

fn all(apps: &[AppStatus]) -> Page {
    let row = |app: &AppStatus| {
        [
            app.name.to_string(),
            app.tokens.to_string(),
            app.certificates.len().to_string(),
            yes(app.identity),
            clock::text(app.created),
        ]
    };
    let rows: Vec<_> = apps.iter().map(row).collect();
    table(["NAME", "TOKENS", "CERTIFICATES", "IDENTITY", "CREATED"], &rows)
}

fn all_tokens(tokens: &[TokenStatus]) -> Page {
    let row = |token: &TokenStatus| {
        [
            token.id.to_string(),
            token.label.clone(),
            clock::text(token.created),
            clock::text(token.expires),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    table(["ID", "LABEL", "CREATED", "EXPIRES"], &rows)
}
