//! Key-encryption keys (KEKs): RSA encryption and signatures after RFC 8017. The only module that uses RSA; why
//! aws-lc-rs and not
//! `rsa`: RUSTSEC-2023-0071 (Marvin).
//!
//! A disk's DEK is wrapped with OAEP, SHA-256 and MGF1-SHA-256, no label (Key Vault: `RSA-OAEP-256`). What is wrapped
//! is not the bare DEK but [`bound`]'s structure, so a blob moved to another disk is found out.

mod algorithm;
pub mod bound;
mod encryptor;
mod jwk;
mod material;
mod public;
pub mod shares;
mod signature;
mod software;
mod verifier;

use std::fmt;

use aws_lc_rs::constant_time;
use keyd_client::{
    Dek, WrappedDek,
    dek::{
        DekError,
        page::{PageError, scrub_stack},
    },
};
use thiserror::Error;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use bound::{Binding, Mismatch, Purpose};
pub use jwk::{ImportError, ImportedKey, PrivateJwk};
pub use material::{HsmObject, Material, Provider, SealedKey};
pub use public::PublicKey;
pub use signature::{DigestLen, Hashed, SignatureAlgorithm, UnknownSignatureAlgorithm};
pub use software::PrivateDer;

pub(crate) use encryptor::Encryptor;
use software::Software;
pub(crate) use verifier::verify;

use crate::{
    error::Refused,
    hsm::{HsmError, HsmKey},
    opened::Opened,
};

/// Longest RSA modulus here, bytes: RSA-4096.
pub const MODULUS_LEN_MAX: usize = 512;

/// What was decrypted under a key.
pub type Plaintext = Opened<MODULUS_LEN_MAX>;

/// Why a key operation failed. None tells why an unwrap failed beyond "it did": that would be an oracle.
#[derive(Debug, Error)]
pub enum KekError {
    /// The library gave no key.
    #[error("an RSA key could not be made")]
    Generate,
    /// Not a private key, or one the library rejects.
    #[error("a stored private key is not one")]
    Load,
    /// The public key beside a private key is another one.
    #[error("a stored public key is not that of its private key: the store was changed")]
    Public,
    /// Encryption failed.
    #[error("a key could not be wrapped")]
    Wrap,
    /// More than the padding leaves room for (RFC 8017: "message too long").
    #[error("{algorithm} under this key takes at most {limit} bytes, not {len}")]
    TooLong {
        /// The scheme.
        algorithm: Algorithm,
        /// What it takes, bytes.
        limit: usize,
        /// What was given, bytes.
        len: usize,
    },
    /// Decryption failed: not encrypted under this key, or in another way, or damaged (RFC 8017: "decryption error").
    #[error("what is to be unwrapped is damaged, or of another key or algorithm")]
    Unwrap,
    /// The library gave no signature.
    #[error("a digest could not be signed")]
    Sign,
    /// It unwrapped, but belongs elsewhere.
    #[error("a wrapped key is another disk's: {0}")]
    Foreign(#[from] Mismatch),
    /// A key in an HSM, and no HSM.
    #[error(
        "a key is in a hardware security module, and keyd has none: start it with --hsm-module, --hsm-token and --hsm-pin-file"
    )]
    NoHsm,
    /// The HSM.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The DEK inside is none.
    #[error(transparent)]
    Dek(#[from] DekError),
    /// No page for a secret.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// Modulus length of a key (Azure: disk encryption sets take RSA 2048, 3072 and 4096 only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyBits {
    /// 2048 bits.
    Rsa2048,
    /// 3072 bits.
    Rsa3072,
    /// 4096 bits.
    Rsa4096,
}

impl KeyBits {
    /// The number.
    #[must_use]
    pub fn count(self) -> u32 {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        }
    }
}

impl TryFrom<u32> for KeyBits {
    type Error = Refused;

    fn try_from(bits: u32) -> Result<Self, Refused> {
        match bits {
            2048 => Ok(Self::Rsa2048),
            3072 => Ok(Self::Rsa3072),
            4096 => Ok(Self::Rsa4096),
            other => Err(Refused::KeyBits(other)),
        }
    }
}

/// A key that encrypts, decrypts, signs and verifies.
pub struct Kek {
    private: Private,
    encryptor: Encryptor,
}

/// Where the private half is.
enum Private {
    Software(Software),
    Hsm(HsmKey),
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek(secret)")
    }
}

impl Kek {
    /// Makes a key, and its form to be sealed.
    ///
    /// # Errors
    /// [`KekError::Generate`].
    pub fn generate(bits: KeyBits) -> Result<(Self, PrivateDer), KekError> {
        let (private, der) = Software::generate(bits)?;
        scrub_stack();
        Ok((Self::new(Private::Software(private))?, der))
    }

    /// Loads a key from PKCS#8.
    ///
    /// # Errors
    /// [`KekError::Load`].
    pub fn load(pkcs8: &[u8]) -> Result<Self, KekError> {
        let private = Software::load(pkcs8)?;
        scrub_stack();
        Self::new(Private::Software(private))
    }

    /// A key whose private half is in an HSM.
    ///
    /// # Errors
    /// [`KekError::Load`]: its public half is no RSA key of 2048 bits or more.
    pub fn in_hsm(key: HsmKey) -> Result<Self, KekError> {
        Self::new(Private::Hsm(key))
    }

    fn new(private: Private) -> Result<Self, KekError> {
        let encryptor = Encryptor::new(private.public())?;
        Ok(Self { private, encryptor })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        self.private.public()
    }

    /// Encrypts a few bytes (Key Vault: wrapkey and encrypt).
    ///
    /// # Errors
    /// [`KekError::TooLong`], [`KekError::Wrap`].
    pub fn encrypt(&self, algorithm: Algorithm, plain: &[u8]) -> Result<Vec<u8>, KekError> {
        let cipher = self.encryptor.encrypt(algorithm, plain);
        scrub_stack();
        cipher
    }

    /// Decrypts, straight into a locked page (Key Vault: unwrapkey and decrypt).
    ///
    /// # Errors
    /// [`KekError::Unwrap`], [`KekError::Page`], [`KekError::Hsm`].
    pub fn decrypt(&self, algorithm: Algorithm, cipher: &[u8]) -> Result<Plaintext, KekError> {
        let plain = Opened::fill_with(|page| match &self.private {
            Private::Software(key) => key.decrypt(algorithm, cipher, page),
            Private::Hsm(key) => key.decrypt(algorithm, cipher, page),
        });
        scrub_stack();
        plain
    }

    /// Signs a digest (Key Vault: sign).
    ///
    /// # Errors
    /// [`KekError::Sign`], [`KekError::Hsm`].
    pub fn sign(&self, hashed: &Hashed) -> Result<Vec<u8>, KekError> {
        let signature = match &self.private {
            Private::Software(key) => key.sign(hashed),
            Private::Hsm(key) => key.sign(hashed),
        };
        scrub_stack();
        signature
    }

    /// Whether a signature is this key's of a digest (Key Vault: verify). It needs the public half alone.
    ///
    /// # Errors
    /// [`KekError::Load`]: the public half is none.
    pub fn verify(&self, hashed: &Hashed, signature: &[u8]) -> Result<bool, KekError> {
        verify(self.public(), hashed, signature)
    }

    /// Wraps a DEK, bound to its disk.
    ///
    /// # Errors
    /// [`KekError::Wrap`], [`KekError::Page`].
    pub fn wrap(&self, dek: &Dek, binding: &Binding) -> Result<WrappedDek, KekError> {
        let structure = bound::assemble(dek, binding)?;
        self.encrypt(Algorithm::RsaOaep256, &structure[..]).map(WrappedDek)
    }

    /// Unwraps a DEK and checks that it is this disk's.
    ///
    /// # Errors
    /// [`KekError::Unwrap`]; [`KekError::Foreign`]; [`KekError::Dek`]; [`KekError::Page`].
    pub fn unwrap(&self, wrapped: &WrappedDek, binding: &Binding) -> Result<Dek, KekError> {
        let plain = self.decrypt(Algorithm::RsaOaep256, &wrapped.0)?;
        let dek = bound::take_apart(plain.expose(), binding);
        scrub_stack();
        dek
    }

    /// Wraps the same DEK under `to`, and unwraps it again before saying that it did: the old form is about to be given
    /// up for the new one.
    ///
    /// # Errors
    /// As [`Kek::unwrap`] and [`Kek::wrap`]; [`KekError::Wrap`] if the new form does not hold the same DEK.
    pub fn rewrap(
        &self,
        to: &Self,
        wrapped: &WrappedDek,
        binding: &Binding,
    ) -> Result<WrappedDek, KekError> {
        let dek = self.unwrap(wrapped, binding)?;
        let anew = to.wrap(&dek, binding)?;
        let check = to.unwrap(&anew, binding)?;
        let same = constant_time::verify_slices_are_equal(dek.expose(), check.expose());
        same.map_err(|_| KekError::Wrap)?;
        Ok(anew)
    }
}

impl Private {
    fn public(&self) -> &PublicKey {
        match self {
            Self::Software(key) => key.public(),
            Self::Hsm(key) => key.public(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
