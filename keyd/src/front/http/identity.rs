//! The identity endpoint: programs that run on this host get tokens without being given one. It speaks what Azure App
//! Service speaks to managed identities (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`, version 2019-08-01), so that their
//! libraries take it unmodified: plain HTTP on loopback, and a secret in a header.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Request, Response, body::Incoming};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Peer, Shared, authority::is_resource, exchange::respond, headers::Ids};
use crate::{
    keyvault::{Kind, Problem, query::Parameters},
    model::token::SecretHash,
};

/// The path of its one operation.
pub(super) const PATH: &str = "/msi/token";

const SECRET: &str = "x-identity-header";

/// Answers a request.
pub(super) async fn answer(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, _) = request.into_parts();
    let ids = Ids::of(&head.headers);
    let done = match asked(head.method.as_str(), head.uri.path(), head.uri.query(), &head.headers) {
        Ok(asked) if !is_resource(&asked.resource, &shared.names) => Err(no_such_resource()),
        Ok(asked) => token(&shared, &peer, asked).await.map_err(Refusal::from),
        Err(problem) => Err(problem.into()),
    };
    let mut response = match done {
        Ok(body) => respond(200, body),
        Err(Refusal { problem: Problem { kind, message }, error }) => {
            // App Service tells a text, and the kind as a number; the endpoint of a virtual machine (IMDS) the same as
            // OAuth does. Libraries show either.
            let mut body = json!({ "statusCode": kind.status(), "message": message });
            if let Some(error) = error {
                body["error"] = error.into();
                body["error_description"] = message.into();
            }
            respond(kind.status(), Zeroizing::new(body.to_string()))
        }
    };
    ids.dress(&mut response);
    response
}

/// Why there is no token, with OAuth's name for it where there is one.
struct Refusal {
    problem: Problem,
    error: Option<&'static str>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, error: None }
    }
}

/// What Azure says of a resource that its directory does not have.
fn no_such_resource() -> Refusal {
    let problem = Problem::bad(
        "AADSTS500011: The resource principal named by resource was not found: this endpoint gives tokens for keyd's vaults only, such as resource=https://localhost:8443",
    );
    Refusal { problem, error: Some("invalid_resource") }
}

/// What is asked for.
struct Asked {
    secret: SecretHash,
    resource: String,
    client_id: Option<String>,
}

fn asked(
    method: &str,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Asked, Problem> {
    if method != "GET" || path != PATH {
        return Err(Problem::bad(format!("there is nothing here but GET {PATH}")));
    }
    let secret = headers.get(SECRET).map(SecretHash::of);
    let secret = secret.ok_or_else(|| {
        Problem::new(
            Kind::Unauthorized,
            "X-IDENTITY-HEADER is missing: it is the value of IDENTITY_HEADER",
        )
    })?;
    let mut parameters = Parameters::parse(query.unwrap_or_default())?;
    parameters.take("api-version").ok_or_else(|| Problem::bad("api-version must be specified"))?;
    let resource =
        parameters.take("resource").ok_or_else(|| Problem::bad("resource is missing"))?;
    Ok(Asked { secret, resource, client_id: parameters.take("client_id") })
}

async fn token(shared: &Shared, peer: &Peer, asked: Asked) -> Result<Zeroizing<String>, Problem> {
    let (service, peer) = (shared.service.clone(), peer.clone());
    let Asked { secret, resource, client_id } = asked;
    let made = shared
        .workers
        .run(false, move || service.identity_token(&secret, client_id.as_deref(), &peer.origin()));
    let (token, secret) = made.await?;
    let body = json!({
        "access_token": secret.expose(),
        "expires_on": (token.expires / 1000).to_string(),
        "resource": resource,
        "token_type": "Bearer",
        "client_id": token.app,
    });
    Ok(Zeroizing::new(body.to_string()))
}
