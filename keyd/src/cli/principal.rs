//! `keyd principal`, `keyd token` and `keyd identity`.

use std::collections::BTreeSet;

use keyd_client::{
    Fingerprint, Page,
    message::{
        AppCertificates, AppCreate, AppStatus, NewIdentity, TokenRevoke, TokenRevokeAll,
        TokenStatus,
    },
};

use super::{
    Error, Exit,
    args::principal::{IdentityVerb, OwnCertificates, PrincipalVerb, TokenVerb},
    console::Console,
    table::{list, table, yes},
};
use crate::{clock, tls};

pub(super) fn principal(console: &Console, verb: PrincipalVerb) -> Result<Exit, Error> {
    match verb {
        PrincipalVerb::Create { name, certificates } => {
            let certificates = fingerprints(certificates)?;
            console.show(AppCreate { name, certificates }, one)
        }
        PrincipalVerb::List(ask) => console.show(ask, |apps| all(apps)),
        PrincipalVerb::Show(ask) => console.show(ask, one),
        PrincipalVerb::Remove(ask) => {
            console.ask(ask)?;
            console.print(&serde_json::json!({ "removed": true }), |_| {
                "removed, with its tokens, certificates, identity, grants and policies".to_owned()
            })
        }
        PrincipalVerb::Certificates { name, certificates } => {
            let certificates = fingerprints(certificates)?;
            console.show(AppCertificates { name, certificates }, one)
        }
    }
}

pub(super) fn token(console: &Console, verb: TokenVerb) -> Result<Exit, Error> {
    match verb {
        // The token alone, for a script to take.
        TokenVerb::Create(ask) => console.show(ask, |new| new.secret.expose().to_owned()),
        TokenVerb::List(ask) => console.show(ask, |tokens| all_tokens(tokens)),
        TokenVerb::Revoke { app, id: Some(id), .. } => {
            console.ask(TokenRevoke { app, id })?;
            console.print(&serde_json::json!({ "revoked": true }), |_| "revoked".to_owned())
        }
        TokenVerb::Revoke { app, id: None, .. } => {
            let count = console.ask(TokenRevokeAll { app })?;
            console.print(&serde_json::json!({ "revoked": count }), |_| {
                format!("tokens revoked: {count}; an identity it has can fetch another")
            })
        }
    }
}

pub(super) fn identity(console: &Console, verb: IdentityVerb) -> Result<Exit, Error> {
    match verb {
        IdentityVerb::Create(ask) => console.show(ask, |NewIdentity { endpoint, secret }| {
            Page::default()
                .line(format_args!("IDENTITY_ENDPOINT={endpoint}"))
                .line(format_args!("IDENTITY_HEADER={}", secret.expose()))
        }),
        IdentityVerb::Remove(ask) => {
            console.ask(ask)?;
            console.print(&serde_json::json!({ "removed": true }), |_| "removed".to_owned())
        }
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
