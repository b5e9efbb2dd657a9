//! Where the private key of a version is, as it is stored.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A version's private key: here, sealed, or in a hardware security module (HSM) that never gives it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Material {
    /// Sealed under the root key (see [`crate::root`]).
    Sealed(SealedKey),
    /// In an HSM.
    Hsm(HsmObject),
}

impl Material {
    /// Where it is, if in an HSM.
    #[must_use]
    pub fn hsm(&self) -> Option<&HsmObject> {
        match self {
            Self::Sealed(_) => None,
            Self::Hsm(object) => Some(object),
        }
    }

    /// Who holds it.
    #[must_use]
    pub fn provider(&self) -> Provider {
        match self {
            Self::Sealed(_) => Provider::Software,
            Self::Hsm(_) => Provider::Hsm,
        }
    }
}

/// Who makes, holds and uses a private key (Key Vault: `kty` `RSA` and `RSA-HSM`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// This daemon.
    #[default]
    Software,
    /// The HSM that `keyd serve --hsm-module` names.
    Hsm,
}

/// A private key in PKCS#8 (RFC 5958), sealed: nonce, ciphertext, tag. Anyone may hold it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SealedKey(pub Vec<u8>);

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedKey({} bytes)", self.0.len())
    }
}

impl From<SealedKey> for String {
    fn from(sealed: SealedKey) -> Self {
        BASE64_STANDARD.encode(sealed.0)
    }
}

impl TryFrom<String> for SealedKey {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64_STANDARD.decode(text).map(Self)
    }
}

/// A key pair in a token (PKCS#11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmObject {
    /// Label of the token (CK_TOKEN_INFO, without its padding).
    pub token: String,
    /// CKA_ID of the key pair: the 16 bytes of this UUID.
    pub id: Uuid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_key_is_not_printed() {
        assert_eq!(format!("{:?}", SealedKey(vec![7; 5])), "SealedKey(5 bytes)");
    }

    /// What is in stores cannot change its form.
    #[test]
    fn both_kinds_are_stored_as_documented() {
        let sealed = Material::Sealed(SealedKey(b"sealed".to_vec()));
        let hsm = Material::Hsm(HsmObject { token: "t".to_owned(), id: Uuid::from_u128(1) });
        for (material, text, provider) in [
            (sealed, r#"{"sealed":"c2VhbGVk"}"#, Provider::Software),
            (
                hsm,
                r#"{"hsm":{"token":"t","id":"00000000-0000-0000-0000-000000000001"}}"#,
                Provider::Hsm,
            ),
        ] {
            assert_eq!(serde_json::to_string(&material).unwrap(), text);
            assert_eq!(serde_json::from_str::<Material>(text).unwrap(), material);
            assert_eq!(material.provider(), provider);
        }
        assert!(serde_json::from_str::<Material>(r#"{"sealed":"?"}"#).is_err());
    }
}
