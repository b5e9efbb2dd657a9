//! Applications: principals that are known by a token, a client certificate, or a managed identity.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use super::UnixMillis;
use crate::ids::{AppName, Fingerprint, TokenId};

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

/// What is asked of applications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AppRequest {
    /// Make one. It may do nothing yet.
    Create {
        /// Its name, not in use yet.
        name: AppName,
        /// Client certificates that are its own.
        #[serde(default)]
        certificates: BTreeSet<Fingerprint>,
    },
    /// All applications.
    List,
    /// One.
    Show {
        /// Which.
        name: AppName,
    },
    /// Forget one, with its tokens, certificates, identity, grants and policies.
    Remove {
        /// Which.
        name: AppName,
    },
    /// Say which client certificates are its own, in place of those that were.
    Certificates {
        /// Which.
        name: AppName,
        /// They.
        certificates: BTreeSet<Fingerprint>,
    },
    /// Make the secret with which it fetches tokens from the identity endpoint; one that was is good no more.
    CreateIdentity {
        /// Which.
        name: AppName,
    },
    /// Let it fetch no more tokens there.
    RemoveIdentity {
        /// Which.
        name: AppName,
    },
}

/// What is asked of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TokenRequest {
    /// Make one.
    Create {
        /// For whom.
        app: AppName,
        /// What it is for.
        #[serde(default)]
        label: String,
        /// How long it is good, milliseconds.
        lifetime_ms: u64,
    },
    /// The tokens of an application.
    List {
        /// Which.
        app: AppName,
    },
    /// Let all of an application's be good no more.
    RevokeAll {
        /// Whose.
        app: AppName,
    },
    /// Let one be good no more.
    Revoke {
        /// Whose.
        app: AppName,
        /// Which.
        id: TokenId,
    },
}
