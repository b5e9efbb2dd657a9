//! Applications: principals that are known by a token, a client certificate, or a managed identity.

use std::{collections::BTreeSet, fmt};

use clap::Args;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use super::UnixMillis;
use crate::{
    ids::{AppName, Fingerprint, TokenId},
    value::millis,
};

/// An application as `principal show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    /// Its name.
    pub name: AppName,
    /// When it was made.
    pub created: UnixMillis,
    /// Client certificates that are its own.
    pub certificates: BTreeSet<Fingerprint>,
    /// Whether it may fetch tokens from the identity endpoint.
    pub identity: bool,
    /// Its tokens, expired ones included.
    pub tokens: u64,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStatus {
    /// By this it is revoked.
    pub id: TokenId,
    /// Whose it is.
    pub app: AppName,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub created: UnixMillis,
    /// Until when it is good.
    pub expires: UnixMillis,
}

/// A secret that is told once, to be kept by who asked for it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct OneTimeSecret(Zeroizing<String>);

impl OneTimeSecret {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for OneTimeSecret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Serialize for OneTimeSecret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl fmt::Debug for OneTimeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeSecret")
    }
}

/// Make an application: a principal that may do nothing until something is granted to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppCreate {
    /// Its name, not in use yet.
    pub name: AppName,
    /// Client certificates that are its own.
    #[serde(default)]
    pub certificates: BTreeSet<Fingerprint>,
}

/// All applications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct AppList {}

/// One application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct AppShow {
    /// The application
    pub name: AppName,
}

/// Forget an application with its tokens, certificates, identity, grants and policies: a new one of its name begins
/// with nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct AppRemove {
    /// The application
    pub name: AppName,
}

/// Say which client certificates are an application's, in place of those that were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppCertificates {
    /// Which.
    pub name: AppName,
    /// They.
    pub certificates: BTreeSet<Fingerprint>,
}

/// Make the secret with which an application fetches tokens from the identity endpoint; one that was is good no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct IdentityCreate {
    /// The application
    pub name: AppName,
}

/// Let an application fetch no more tokens there. Those that it has are good until they expire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct IdentityRemove {
    /// The application
    pub name: AppName,
}

/// A new identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewIdentity {
    /// Where its tokens are: `IDENTITY_ENDPOINT`.
    pub endpoint: String,
    /// `IDENTITY_HEADER`, this once.
    pub secret: OneTimeSecret,
}

/// Make a bearer token of an application. It is told once; what is stored is its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// The application
    pub app: AppName,
    /// How long it is good, such as 12h or 30d
    #[arg(long = "expires", default_value = "90d", value_parser = millis, allow_hyphen_values = true, value_name = "TIME")]
    pub lifetime_ms: u64,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    #[serde(default)]
    pub label: String,
}

/// A new token, and its secret this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// The token.
    pub token: TokenStatus,
    /// What is sent as `Authorization: Bearer`.
    pub secret: OneTimeSecret,
}

/// An application's tokens, without their secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct TokenList {
    /// The application
    pub app: AppName,
}

/// Let all of an application's tokens be good no more; so many there were. Its identity and its certificates stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRevokeAll {
    /// Whose.
    pub app: AppName,
}

/// Let one token be good no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRevoke {
    /// Whose.
    pub app: AppName,
    /// Which.
    pub id: TokenId,
}
