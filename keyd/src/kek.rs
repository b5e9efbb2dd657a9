//! Key-encryption keys: RSA-OAEP with SHA-256 and MGF1-SHA-256, no label (RFC 8017, section 7.1; Key Vault:
//! `RSA-OAEP-256`). The only module that uses RSA; why aws-lc-rs and not `rsa`: RUSTSEC-2023-0071 (Marvin).
//!
//! What is wrapped is not the bare DEK but [`bound`]'s structure, so a blob moved to another disk is found out.

pub mod bound;
mod material;
mod public;

use std::fmt;

use aws_lc_rs::{
    constant_time,
    encoding::{AsDer, Pkcs8V1Der},
    io,
    rsa::{
        KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
        PrivateDecryptingKey, PublicEncryptingKey, PublicKey as Numbers,
    },
};
use keyd_client::{
    Dek, Locked, WrappedDek,
    dek::{
        DekError,
        page::{PageError, scrub_stack},
    },
};
use thiserror::Error;

pub use bound::{Binding, Mismatch};
pub use material::{HsmObject, Material, Provider, SealedKey};
pub use public::PublicKey;

use crate::error::Refused;

/// Longest RSA modulus here, bytes: RSA-4096.
const MODULUS_LEN_MAX: usize = 512;

/// Why a key operation failed. None tells why an unwrap failed beyond "it did": that would be an oracle.
#[derive(Debug, Error)]
pub enum KekError {
    /// The library gave no key.
    #[error("an RSA key could not be made")]
    Generate,
    /// Not a private key, or one the library rejects.
    #[error("a stored private key is not one")]
    Load,
    /// Wrapping failed.
    #[error("a key could not be wrapped")]
    Wrap,
    /// Unwrapping failed: not wrapped under this key, or damaged.
    #[error("a wrapped key cannot be unwrapped: it is damaged, or of another key")]
    Unwrap,
    /// It unwrapped, but belongs elsewhere.
    #[error("a wrapped key is another disk's: {0}")]
    Foreign(#[from] Mismatch),
    /// A key in an HSM, and no HSM.
    #[error(
        "a key is in a hardware security module, and keyd has none: start it with --hsm-module, --hsm-token and --hsm-pin-file"
    )]
    NoHsm,
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

/// A private key in PKCS#8 (RFC 5958), wiped when dropped. It goes to [`crate::root`] to be sealed and nowhere else.
pub struct PrivateDer(Pkcs8V1Der<'static>);

impl PrivateDer {
    /// The secret bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_ref()
    }
}

/// A key that can wrap and unwrap.
pub struct Kek {
    private: OaepPrivateDecryptingKey,
    sealer: OaepPublicEncryptingKey,
    public: PublicKey,
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
        let size = match bits {
            KeyBits::Rsa2048 => KeySize::Rsa2048,
            KeyBits::Rsa3072 => KeySize::Rsa3072,
            KeyBits::Rsa4096 => KeySize::Rsa4096,
        };
        let private = PrivateDecryptingKey::generate(size).map_err(|_| KekError::Generate)?;
        let der = private.as_der().map_err(|_| KekError::Generate)?;
        scrub_stack();
        Ok((Self::new(private)?, PrivateDer(der)))
    }

    /// Loads a key from PKCS#8.
    ///
    /// # Errors
    /// [`KekError::Load`].
    pub fn load(pkcs8: &[u8]) -> Result<Self, KekError> {
        let private = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| KekError::Load)?;
        scrub_stack();
        Self::new(private)
    }

    fn new(private: PrivateDecryptingKey) -> Result<Self, KekError> {
        let public = numbers(&private.public_key())?;
        let sealer =
            OaepPublicEncryptingKey::new(private.public_key()).map_err(|_| KekError::Load)?;
        let private = OaepPrivateDecryptingKey::new(private).map_err(|_| KekError::Load)?;
        Ok(Self { private, sealer, public })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Wraps a DEK, bound to its disk.
    ///
    /// # Errors
    /// [`KekError::Wrap`], [`KekError::Page`].
    pub fn wrap(&self, dek: &Dek, binding: &Binding) -> Result<WrappedDek, KekError> {
        let structure = bound::assemble(dek, binding)?;
        let mut wrapped = vec![0; self.sealer.ciphertext_size()];
        let result = self
            .sealer
            .encrypt(&OAEP_SHA256_MGF1SHA256, &structure[..], &mut wrapped, None)
            .map(|_| ());
        scrub_stack();
        result.map_err(|_| KekError::Wrap)?;
        Ok(WrappedDek(wrapped))
    }

    /// Unwraps a DEK and checks that it is this disk's.
    ///
    /// # Errors
    /// [`KekError::Unwrap`]; [`KekError::Foreign`]; [`KekError::Dek`]; [`KekError::Page`].
    pub fn unwrap(&self, wrapped: &WrappedDek, binding: &Binding) -> Result<Dek, KekError> {
        let mut page = Locked::new(|| [0u8; MODULUS_LEN_MAX])?;
        let plain = self.open(&wrapped.0, &mut page);
        let dek = plain.and_then(|plain| bound::take_apart(plain, binding));
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

    /// The bare primitive: RSAES-OAEP-DECRYPT (RFC 8017, 7.1.2), straight into a locked page.
    fn open<'page>(
        &self,
        wrapped: &[u8],
        page: &'page mut Locked<[u8; MODULUS_LEN_MAX]>,
    ) -> Result<&'page [u8], KekError> {
        self.private
            .decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut page[..], None)
            .map(|plain| &*plain)
            .map_err(|_| KekError::Unwrap)
    }
}

fn numbers(public: &PublicEncryptingKey) -> Result<PublicKey, KekError> {
    let der = public.as_der().map_err(|_| KekError::Load)?;
    let key = Numbers::from_der(der.as_ref()).map_err(|_| KekError::Load)?;
    let bytes = |number: io::Positive<'_>| number.big_endian_without_leading_zero().to_vec();
    Ok(PublicKey { n: bytes(key.modulus()), e: bytes(key.exponent()) })
}

#[cfg(test)]
mod tests;
