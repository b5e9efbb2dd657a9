//! What a request shows for who sent it.

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderValue},
};
use keyd_client::Fingerprint;

use super::Peer;
use crate::{auth::Caller, model::token::SecretHash};

/// Proof of a principal, still to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A token, of which nobody here needs more than its hash.
    Token(SecretHash),
    /// A client certificate; TLS has seen that its holder has the key.
    Certificate(Fingerprint),
    /// A process of this host, known to the kernel.
    Local(Caller),
}

impl Credentials {
    /// What there is: a token before a certificate, either before what the socket says. Nothing if there is none, or an
    /// `Authorization` that is no token (RFC 6750, section 2.1).
    pub(super) fn of(peer: &Peer, headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        match (given.next(), given.next(), peer) {
            (Some(value), None, _) => bearer(value).map(Self::Token),
            (Some(_), Some(_), _) => None,
            (None, _, Peer::Local(caller)) => Some(Self::Local(caller.clone())),
            (None, _, Peer::Remote { certificate, .. }) => certificate.map(Self::Certificate),
        }
    }
}

fn bearer(value: &HeaderValue) -> Option<SecretHash> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| SecretHash::of(token.trim_start()))
}
