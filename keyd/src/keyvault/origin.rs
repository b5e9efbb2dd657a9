//! URLs in answers. They are built from the authority that was asked: nothing stored names a host, so keys keep their
//! ids' form behind another port or name, and clients go on where they were.

use std::fmt;

use keyd_client::{KeyName, KeyVersion};

use super::{Query, query};

/// Where a request was sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `https`, or `http` on the Unix socket.
    pub scheme: &'static str,
    /// The vault's host name, and the port unless it is the scheme's own.
    pub authority: String,
}

impl Origin {
    /// A key's id (`kid`), with its version.
    #[must_use]
    pub fn kid(&self, name: &KeyName, version: KeyVersion) -> String {
        format!("{self}/keys/{name}/{version}")
    }

    /// A key's id without a version, as lists of keys have it.
    #[must_use]
    pub fn key(&self, name: &KeyName) -> String {
        format!("{self}/keys/{name}")
    }

    /// Where a deleted key is recovered.
    #[must_use]
    pub fn recovery_id(&self, name: &KeyName) -> String {
        format!("{self}/deletedkeys/{name}")
    }

    /// A rotation policy's id.
    #[must_use]
    pub fn rotation_policy(&self, name: &KeyName) -> String {
        format!("{self}/keys/{name}/rotationpolicy")
    }

    /// The page of a list after the one that ended with `last`, asked for as that one was. `path` begins with a slash.
    #[must_use]
    pub fn next_page(&self, path: &str, query: &Query, last: &impl fmt::Display) -> String {
        let (version, limit) = (query.api_version.as_str(), query.limit);
        let token = query::skip_token(last);
        format!("{self}{path}?api-version={version}&$skiptoken={token}&maxresults={limit}")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}
