//! Names of things, parsed once at the border: behind it an id is always well formed.

mod fingerprint;
mod key_id;
mod principal;
mod scope;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

pub use fingerprint::Fingerprint;
pub use key_id::{KeyId, VaultName};
pub use principal::Principal;
pub use scope::Scope;

use crate::limits::{NAME_LEN_MAX, VAULT_NAME_LEN_MAX, VAULT_NAME_LEN_MIN};

/// Why a text is not an id.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdError {
    /// A key or DES name with other characters than Key Vault allows, or none, or too many.
    #[error("'{0}' is not a name: use 1 to {NAME_LEN_MAX} letters, digits and hyphens")]
    Name(String),
    /// A vault's name is also a DNS label.
    #[error(
        "'{0}' is not a vault's name: use {VAULT_NAME_LEN_MIN} to {VAULT_NAME_LEN_MAX} letters, digits and hyphens, a letter first, no hyphen last"
    )]
    Vault(String),
    /// Not a principal.
    #[error("'{0}' is not a principal: write uid:1000, app:NAME or des:NAME")]
    Principal(String),
    /// Not what a grant can be for.
    #[error("'{0}' is not what a permission is for: write all, des:NAME or disk:ID")]
    Scope(String),
    /// Not a certificate's fingerprint.
    #[error(
        "'{0}' is not a certificate's fingerprint: it is 32 hexadecimal bytes, as 'openssl x509 -noout -fingerprint -sha256 -in FILE' prints them"
    )]
    Fingerprint(String),
    /// Not a UUID.
    #[error("'{0}' is not a disk id: it is a UUID as 'keyd disk list' and 'image info' print it")]
    Uuid(String),
    /// Not a token's id.
    #[error("'{0}' is not a token's id: it is a UUID as 'keyd token list' prints it")]
    Token(String),
    /// Not a key version.
    #[error(
        "'{0}' is not a key version: it is 32 hexadecimal digits as 'keyd key show' prints them"
    )]
    Version(String),
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let legal = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                if text.is_empty() || text.len() > NAME_LEN_MAX || !legal {
                    return Err(IdError::Name(text.chars().take(NAME_LEN_MAX).collect()));
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type! {
    /// Name of a key-encryption key (KEK).
    KeyName
}
name_type! {
    /// Name of a disk encryption set (DES).
    DesName
}
name_type! {
    /// Name of an application principal: who speaks with a token or a client certificate.
    AppName
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident, $wrong:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh random id.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text).map(Self).map_err(|_| IdError::$wrong(text.chars().take(64).collect()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0.hyphenated().to_string())
            }
        }
    };
}

uuid_type! {
    /// Id of a disk: the UUID in its LUKS2 header and in the daemon's record.
    DiskId, Uuid
}
uuid_type! {
    /// Id of a disk encryption set inside the wrapped DEK; its name may be reused after deletion, its id never.
    DesId, Uuid
}
uuid_type! {
    /// Id of one holder's lease of one disk's DEK.
    LeaseId, Uuid
}

uuid_type! {
    /// Id of a token: public, and by it the token is revoked.
    TokenId, Token
}

/// Version of a key: 32 lower-case hexadecimal digits, as in a Key Vault key URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyVersion(Uuid);

impl KeyVersion {
    /// A fresh random version.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for KeyVersion {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Version(text.chars().take(64).collect());
        if text.len() != 32 {
            return Err(wrong());
        }
        Uuid::try_parse(text).map(Self).map_err(|_| wrong())
    }
}

impl TryFrom<String> for KeyVersion {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<KeyVersion> for String {
    fn from(version: KeyVersion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.simple().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_letters_digits_and_hyphens_only() {
        assert!("prod-Key-1".parse::<KeyName>().is_ok());
        for wrong in ["", "a b", "a/b", "../x", "käse", &"x".repeat(NAME_LEN_MAX + 1)] {
            assert!(wrong.parse::<KeyName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_version_prints_as_it_parses() {
        let text = "0123456789abcdef0123456789abcdef";
        assert_eq!(text.parse::<KeyVersion>().unwrap().to_string(), text);
        assert!("0123456789abcdef0123456789abcde".parse::<KeyVersion>().is_err());
        assert!("01234567-89ab-cdef-0123-456789abcdef".parse::<KeyVersion>().is_err());
    }

    #[test]
    fn names_are_checked_when_they_come_by_the_wire() {
        assert!(serde_json::from_str::<DesName>("\"a/b\"").is_err());
        assert!(serde_json::from_str::<DesName>("\"a-b\"").is_ok());
    }
}
