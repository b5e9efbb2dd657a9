//! What a request shows for who sent it.

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderValue},
};

use super::Peer;
use crate::{auth::Credentials, model::token::SecretHash};

/// What there is: a token before a certificate, either before what the socket says. Nothing if there is none, or an
/// `Authorization` that is no token (RFC 6750, section 2.1).
pub(super) fn of(peer: &Peer, headers: &HeaderMap) -> Option<Credentials> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    match (given.next(), given.next(), peer) {
        (Some(value), None, _) => bearer(value).map(Credentials::Token),
        (Some(_), Some(_), _) => None,
        (None, _, Peer::Local(caller)) => Some(Credentials::Local(caller.clone())),
        (None, _, Peer::Remote { certificate, .. }) => certificate.map(Credentials::Certificate),
    }
}

fn bearer(value: &HeaderValue) -> Option<SecretHash> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| SecretHash::of(token.trim_start()))
}
