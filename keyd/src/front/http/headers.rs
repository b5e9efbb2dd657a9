//! Headers that every answer has.

use std::fmt;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY},
};
use uuid::Uuid;

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// Longest client's name for a request that is repeated to it, bytes: a UUID, with room.
const CLIENT_ID_LEN_MAX: usize = 64;

/// The same on every answer: where the service is, what it is, that nobody keeps what it says, and that it is only ever
/// asked over TLS (RFC 6797; for this name, not for those below it, which may be others' on this host).
const ALWAYS: [(HeaderName, HeaderValue); 6] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store")),
    (CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")),
    (STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000")),
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("x-ms-keyvault-region"), HeaderValue::from_static("local")),
    (
        HeaderName::from_static("x-ms-keyvault-service-version"),
        HeaderValue::from_static(env!("CARGO_PKG_VERSION")),
    ),
];

/// The names of a request: ours, and the client's, under which it may come several times.
#[derive(Debug)]
pub(super) struct Ids {
    ours: Uuid,
    clients: Option<HeaderValue>,
}

impl Ids {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let clients = headers.get(CLIENT_REQUEST_ID).filter(|id| is_plain(id)).cloned();
        Self { ours: Uuid::new_v4(), clients }
    }

    /// Puts the headers on.
    pub(super) fn dress(&self, response: &mut Response<Full<Bytes>>) {
        let headers = response.headers_mut();
        headers.extend(ALWAYS);
        if let Ok(id) = HeaderValue::from_str(&self.ours.to_string()) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(id) = &self.clients {
            headers.insert(CLIENT_REQUEST_ID, id.clone());
        }
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request={}", self.ours)?;
        match self.clients.as_ref().and_then(|id| id.to_str().ok()) {
            Some(id) => write!(f, " client-request={id}"),
            None => Ok(()),
        }
    }
}

fn is_plain(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= CLIENT_ID_LEN_MAX && bytes.iter().all(plain)
}
