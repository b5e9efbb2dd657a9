//! One request and its answer: whom it asks, who asks, and only then what.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
    http::request::Parts,
};
use keyd_client::Printable;
use tokio::sync::OwnedSemaphorePermit;
use zeroize::Zeroizing;

use super::{
    Peer, Shared,
    authority::Asked,
    body::{self, Body},
    credentials,
    headers::Ids,
};
use crate::{
    keyvault::{
        self, Kind, Problem, Query, Target,
        render::{Rendered, render},
    },
    limits::LOG_PATH_MAX,
    log,
};

/// Where a client is told to get its token. Its SDK takes the path for a tenant; there is one.
const TENANT: &str = "00000000-0000-0000-0000-000000000000";

/// Answers a request.
pub(super) async fn answer(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let ids = Ids::of(&head.headers);
    let asked = Asked::parse(peer.scheme(), &head.uri, &head.headers, &shared.names);
    let done = match &asked {
        Ok(asked) => exchange(&shared, &peer, asked, &head, body).await,
        Err(problem) => Err(problem.clone()),
    };
    let mut response = match &done {
        Ok(rendered) => respond(rendered.status, rendered.body.clone()),
        Err(problem) => refuse(problem, asked.as_ref().ok()),
    };
    ids.dress(&mut response);
    note(&peer, &head, response.status(), &ids);
    response
}

/// A line for each request that was done, and for the first of many that were not.
fn note(peer: &Peer, head: &Parts, status: StatusCode, ids: &Ids) {
    let path = Printable::cut(head.uri.path(), LOG_PATH_MAX);
    let method = Printable::cut(&head.method, LOG_PATH_MAX);
    let event = Printable::new(format_args!("{peer} {method} {path} {} {ids}", status.as_u16()));
    match status.is_success() {
        true => log::line(format_args!("{event}")),
        false => log::provoked(
            &peer.origin().place,
            format_args!("HTTP status {}", status.as_u16()),
            format_args!("{event}"),
        ),
    }
}

async fn exchange(
    shared: &Shared,
    peer: &Peer,
    asked: &Asked,
    head: &Parts,
    body: Incoming,
) -> Result<Rendered, Problem> {
    let caller = {
        let credentials = credentials::of(peer, &head.headers).ok_or_else(no_token)?;
        let (service, peer) = (shared.service.clone(), peer.clone());
        shared.workers.run(false, move || service.identify(&credentials, &peer.origin())).await?
    };
    let read = read(shared, head, body).await;
    let makes_key = read.as_ref().is_ok_and(|(target, ..)| target.makes_key());
    let (service, asked, peer) = (shared.service.clone(), asked.clone(), peer.clone());
    let work = move || {
        let judged = read.and_then(|(target, query, body, _room)| {
            Ok((keyvault::Request::parse(target, &query, &body)?, query))
        });
        let (request, query) =
            judged.inspect_err(|problem| service.misasked(&caller, &peer.origin(), problem))?;
        let reply = service.keyvault(&caller, &asked.vault, request)?;
        Ok(render(reply, &asked.origin, &query))
    };
    shared.workers.run(makes_key, work).await
}

/// What is asked, still without what the body means; the room that a long body takes is given back when it was read.
type Read = (Target, Query, Body, Option<OwnedSemaphorePermit>);

async fn read(shared: &Shared, head: &Parts, body: Incoming) -> Result<Read, Problem> {
    let target = Target::parse(head.method.as_str(), head.uri.path())?;
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let len_max = target.body_len_max();
    let room = shared.workers.room(len_max).await?;
    let body = body::read(body, len_max, shared.patience.body).await?;
    Ok((target, query, body, room))
}

fn no_token() -> Problem {
    Problem::new(Kind::Unauthorized, "AKV10000: Request is missing a Bearer or PoP token.")
}

pub(super) fn respond(status: u16, body: Zeroizing<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_owner(body)));
    // Every status here is one; another would be a mistake of ours.
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Who is not known is told where to become so: the SDKs take the tenant and the resource from there, see that the
/// vault's host is below the resource's, and come again with a token.
fn refuse(problem: &Problem, asked: Option<&Asked>) -> Response<Full<Bytes>> {
    let body = Zeroizing::new(problem.json().to_string());
    let mut response = respond(problem.kind.status(), body);
    let mut set = |name, value: String| {
        // Hosts and numbers: they are header values.
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    if let (Kind::Unauthorized, Some(Asked { resource, .. })) = (problem.kind, asked) {
        let challenge =
            format!("Bearer authorization=\"{resource}/{TENANT}\", resource=\"{resource}\"");
        set(WWW_AUTHENTICATE, challenge);
    }
    if let Some(after) = problem.kind.retry_after() {
        set(RETRY_AFTER, after.as_secs().to_string());
    }
    response
}
