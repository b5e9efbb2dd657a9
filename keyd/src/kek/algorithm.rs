//! The ways to encrypt under an RSA key (Key Vault: `alg` of wrapkey, unwrapkey, encrypt and decrypt).

use std::{fmt, str::FromStr};

use thiserror::Error;

/// An encryption scheme of RFC 8017.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSAES-PKCS1-v1_5 (7.2). Its very errors tell an attacker of the plaintext (Bleichenbacher 1998): who lets others
    /// see whether a decryption failed gives them the key's use. It is here for what was encrypted elsewhere.
    Rsa15,
    /// RSAES-OAEP (7.1) with SHA-1 and MGF1 with SHA-1, no label.
    RsaOaep,
    /// RSAES-OAEP (7.1) with SHA-256 and MGF1 with SHA-256, no label.
    RsaOaep256,
}

/// Not an [`Algorithm`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{0}' is not an algorithm of an RSA key: use RSA-OAEP-256, RSA-OAEP or RSA1_5")]
pub struct UnknownAlgorithm(String);

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rsa15, Self::RsaOaep, Self::RsaOaep256];

    /// As Key Vault calls it (RFC 7518, 4.1; `RSA1_5` is RFC 7518's too).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa15 => "RSA1_5",
            Self::RsaOaep => "RSA-OAEP",
            Self::RsaOaep256 => "RSA-OAEP-256",
        }
    }

    /// How many bytes less than the modulus a plaintext may have (RFC 8017, 7.2.1: 11; 7.1.1: two hashes and 2).
    #[must_use]
    pub fn overhead(self) -> usize {
        match self {
            Self::Rsa15 => 11,
            Self::RsaOaep => 2 * 20 + 2,
            Self::RsaOaep256 => 2 * 32 + 2,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == text);
        found.ok_or_else(|| UnknownAlgorithm(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_key_vaults_and_nothing_else_is_one() {
        for (text, algorithm) in [
            ("RSA1_5", Algorithm::Rsa15),
            ("RSA-OAEP", Algorithm::RsaOaep),
            ("RSA-OAEP-256", Algorithm::RsaOaep256),
        ] {
            assert_eq!(text.parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string(), text);
        }
        for wrong in ["", "rsa-oaep", "RSA-OAEP-512", "A256KW", "RSA-OAEP-256 "] {
            assert!(wrong.parse::<Algorithm>().is_err(), "{wrong}");
        }
    }
}
