//! Bearer tokens (RFC 6750) and the secrets of identities: random, opaque, and stored as their hash only.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyd_client::{
    AppName, TokenId,
    message::{OneTimeSecret, TokenStatus, UnixMillis},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::Fault;

/// Bytes of a secret: not to be guessed.
pub const SECRET_LEN: usize = 32;

/// What a secret begins with, so that programs which look for leaked secrets find it.
const PREFIX: &str = "keyd_";

/// SHA-256 of a secret. The secret has 256 random bits: no salt and no stretching makes it harder to find. What is
/// looked up is the hash, so the time of a search tells nothing of the secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of what somebody shows.
    #[must_use]
    pub fn of(secret: impl AsRef<[u8]>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, secret.as_ref()).as_ref());
        Self(bytes)
    }

    /// One of these bytes, if they are as many as it has.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        BASE64_URL_SAFE_NO_PAD.encode(hash.0)
    }
}

impl TryFrom<String> for SecretHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("not a hash of a secret")
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// Makes a secret.
///
/// # Errors
/// [`Fault::Random`].
pub fn make_secret() -> Result<OneTimeSecret, Fault> {
    let mut bytes = Zeroizing::new([0; SECRET_LEN]);
    rand::fill(&mut bytes[..]).map_err(|_| Fault::Random)?;
    Ok(secret_of(&bytes))
}

/// The secret that has these bytes.
#[must_use]
pub fn secret_of(bytes: &Zeroizing<[u8; SECRET_LEN]>) -> OneTimeSecret {
    let mut text = String::with_capacity(PREFIX.len() + SECRET_LEN * 4 / 3 + 1);
    text.push_str(PREFIX);
    BASE64_URL_SAFE_NO_PAD.encode_string(&bytes[..], &mut text);
    OneTimeSecret::from(text)
}

/// A token as it is stored, under its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its public id.
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

impl Token {
    /// Whether it is good. One that was made in the future was made by a clock that was wrong, which would prolong it.
    #[must_use]
    pub fn good(&self, now: UnixMillis) -> bool {
        self.created <= now && now < self.expires
    }

    /// The token as it is told.
    #[must_use]
    pub fn status(&self) -> TokenStatus {
        let Self { id, app, label, created, expires } = self.clone();
        TokenStatus { id, app, label, created, expires }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_are_known_by_their_hash() {
        let (one, other) = (make_secret().unwrap(), make_secret().unwrap());
        assert_ne!(one, other);
        assert!(one.expose().starts_with("keyd_") && one.expose().len() == 48);
        assert_eq!(SecretHash::of(one.expose()), SecretHash::of(one.expose()));
        // FIPS 180-4, SHA-256 of "abc".
        assert_eq!(SecretHash::of("abc").as_bytes()[..4], [0xba, 0x78, 0x16, 0xbf]);
        let stored = serde_json::to_string(&SecretHash::of("abc")).unwrap();
        assert_eq!(serde_json::from_str::<SecretHash>(&stored).unwrap(), SecretHash::of("abc"));
        assert_eq!(format!("{one:?}{:?}", SecretHash::of("abc")), "OneTimeSecretSecretHash");
    }

    #[test]
    fn a_token_ends_at_its_time() {
        let app = "ci".parse().unwrap();
        let token =
            Token { id: TokenId::random(), app, label: String::new(), created: 1, expires: 10 };
        assert!(token.good(9) && !token.good(10) && !token.good(0));
    }
}
