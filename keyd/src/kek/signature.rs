//! The ways to sign under an RSA key (Key Vault: `alg` of sign and verify; RFC 7518, 3.3 and 3.5). What is signed is a
//! digest: the message itself never comes here.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    digest::{self, Digest, SHA256, SHA384, SHA512},
    signature::{
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
        RSA_PSS_SHA512, RsaEncoding, RsaParameters,
    },
};
use thiserror::Error;

/// A signature scheme of RFC 8017 with its hash. The salt of PSS is as long as the hash, its MGF1 uses the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 (8.2) with SHA-256.
    Rs256,
    /// The same with SHA-384.
    Rs384,
    /// The same with SHA-512.
    Rs512,
    /// RSASSA-PSS (8.1) with SHA-256.
    Ps256,
    /// The same with SHA-384.
    Ps384,
    /// The same with SHA-512.
    Ps512,
}

/// Not a [`SignatureAlgorithm`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "alg is no signature algorithm of an RSA key: use RS256, RS384, RS512, PS256, PS384 or PS512"
)]
pub struct UnknownSignatureAlgorithm;

/// A digest of another length than its algorithm's hash has.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{algorithm} signs a digest of {wanted} bytes, not of {len}")]
pub struct DigestLen {
    algorithm: SignatureAlgorithm,
    wanted: usize,
    len: usize,
}

impl SignatureAlgorithm {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Ps384, Self::Ps512];

    /// As Key Vault calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    /// Its hash.
    pub(crate) fn hash(self) -> &'static digest::Algorithm {
        match self {
            Self::Rs256 | Self::Ps256 => &SHA256,
            Self::Rs384 | Self::Ps384 => &SHA384,
            Self::Rs512 | Self::Ps512 => &SHA512,
        }
    }

    /// Whether it is PSS.
    pub(crate) fn is_pss(self) -> bool {
        matches!(self, Self::Ps256 | Self::Ps384 | Self::Ps512)
    }

    pub(super) fn signing(self) -> &'static dyn RsaEncoding {
        match self {
            Self::Rs256 => &RSA_PKCS1_SHA256,
            Self::Rs384 => &RSA_PKCS1_SHA384,
            Self::Rs512 => &RSA_PKCS1_SHA512,
            Self::Ps256 => &RSA_PSS_SHA256,
            Self::Ps384 => &RSA_PSS_SHA384,
            Self::Ps512 => &RSA_PSS_SHA512,
        }
    }

    pub(super) fn verifying(self) -> &'static RsaParameters {
        match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &RSA_PSS_2048_8192_SHA512,
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SignatureAlgorithm {
    type Err = UnknownSignatureAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownSignatureAlgorithm> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == text);
        found.ok_or(UnknownSignatureAlgorithm)
    }
}

/// What is signed: a digest of the length that its algorithm's hash has.
#[derive(Clone)]
pub struct Hashed {
    algorithm: SignatureAlgorithm,
    digest: Digest,
}

impl Hashed {
    /// A digest that was made elsewhere.
    ///
    /// # Errors
    /// [`DigestLen`].
    pub fn new(algorithm: SignatureAlgorithm, digest: &[u8]) -> Result<Self, DigestLen> {
        let hash = algorithm.hash();
        let (wanted, len) = (hash.output_len(), digest.len());
        let digest = Digest::import_less_safe(digest, hash);
        let digest = digest.map_err(|_| DigestLen { algorithm, wanted, len })?;
        Ok(Self { algorithm, digest })
    }

    /// How it is signed.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The digest.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hashed({})", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_key_vaults_and_a_digest_has_its_hashs_length() {
        for (text, len) in [
            ("RS256", 32),
            ("RS384", 48),
            ("RS512", 64),
            ("PS256", 32),
            ("PS384", 48),
            ("PS512", 64),
        ] {
            let algorithm: SignatureAlgorithm = text.parse().unwrap();
            assert_eq!(algorithm.to_string(), text);
            assert!(Hashed::new(algorithm, &vec![7; len]).is_ok(), "{text}");
            for wrong in [0, len - 1, len + 1, 100] {
                assert!(Hashed::new(algorithm, &vec![7; wrong]).is_err(), "{text} {wrong}");
            }
        }
        for wrong in ["", "rs256", "RS1", "ES256", "RSNULL", "HS256"] {
            assert!(wrong.parse::<SignatureAlgorithm>().is_err(), "{wrong}");
        }
    }
}
