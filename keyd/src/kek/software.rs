//! A private key that is AWS-LC's: on its heap, blinded in use, wiped when it is freed. A page of it cannot be locked
//! from here, so a host that swaps may write it out: swap to encrypted space, or to none.

use std::{fmt, sync::OnceLock};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    io,
    rsa::{
        KeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
        Pkcs1PrivateDecryptingKey, PrivateDecryptingKey, PublicKey as ParsedKey,
    },
};

use super::{Algorithm, Hashed, KekError, KeyBits, MODULUS_LEN_MAX, PublicKey};

/// A private key in PKCS#8 (RFC 5958), wiped when dropped. It goes to [`crate::root`] to be sealed and nowhere else.
pub struct PrivateDer(Pkcs8V1Der<'static>);

impl fmt::Debug for PrivateDer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateDer(secret)")
    }
}

impl PrivateDer {
    pub(super) fn of(key: &impl AsDer<Pkcs8V1Der<'static>>) -> Result<Self, KekError> {
        key.as_der().map(Self).map_err(|_| KekError::Generate)
    }

    /// The secret bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_ref()
    }
}

/// A private key, ready for use.
pub(super) struct Software {
    oaep: OaepPrivateDecryptingKey,
    pkcs1: Pkcs1PrivateDecryptingKey,
    /// The same key for signing: few keys are asked for that, so it is made when one is.
    signer: OnceLock<KeyPair>,
    whole: PrivateDecryptingKey,
    public: PublicKey,
}

impl Software {
    /// Makes a key, with 65537 as the public exponent, and its form to be sealed.
    pub(super) fn generate(bits: KeyBits) -> Result<(Self, PrivateDer), KekError> {
        let size = match bits {
            KeyBits::Rsa2048 => KeySize::Rsa2048,
            KeyBits::Rsa3072 => KeySize::Rsa3072,
            KeyBits::Rsa4096 => KeySize::Rsa4096,
        };
        let key = PrivateDecryptingKey::generate(size).map_err(|_| KekError::Generate)?;
        let der = PrivateDer::of(&key)?;
        Ok((Self::new(key)?, der))
    }

    /// Loads a key; AWS-LC checks that its numbers belong together.
    pub(super) fn load(pkcs8: &[u8]) -> Result<Self, KekError> {
        Self::new(PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| KekError::Load)?)
    }

    fn new(key: PrivateDecryptingKey) -> Result<Self, KekError> {
        let public = numbers(&key)?;
        let pkcs1 = Pkcs1PrivateDecryptingKey::new(key.clone()).map_err(|_| KekError::Load)?;
        let oaep = OaepPrivateDecryptingKey::new(key.clone()).map_err(|_| KekError::Load)?;
        Ok(Self { oaep, pkcs1, signer: OnceLock::new(), whole: key, public })
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Decrypts into a page; tells the plaintext's length. One error for every bad ciphertext, and padding is looked at
    /// in constant time.
    pub(super) fn decrypt(
        &self,
        algorithm: Algorithm,
        cipher: &[u8],
        page: &mut [u8; MODULUS_LEN_MAX],
    ) -> Result<usize, KekError> {
        let plain = match algorithm {
            Algorithm::Rsa15 => self.pkcs1.decrypt(cipher, page),
            Algorithm::RsaOaep => self.oaep.decrypt(&OAEP_SHA1_MGF1SHA1, cipher, page, None),
            Algorithm::RsaOaep256 => self.oaep.decrypt(&OAEP_SHA256_MGF1SHA256, cipher, page, None),
        };
        plain.map(|plain| plain.len()).map_err(|_| KekError::Unwrap)
    }
}

impl Software {
    /// Signs a digest.
    pub(super) fn sign(&self, hashed: &Hashed) -> Result<Vec<u8>, KekError> {
        let signer = self.signer()?;
        let mut signature = vec![0; signer.public_modulus_len()];
        signer
            .sign_digest(hashed.algorithm().signing(), hashed.digest(), &mut signature)
            .map_err(|_| KekError::Sign)?;
        Ok(signature)
    }

    fn signer(&self) -> Result<&KeyPair, KekError> {
        if let Some(signer) = self.signer.get() {
            return Ok(signer);
        }
        let der = PrivateDer::of(&self.whole)?;
        let made = KeyPair::from_pkcs8(der.expose()).map_err(|_| KekError::Load)?;
        Ok(self.signer.get_or_init(|| made))
    }
}

fn numbers(key: &PrivateDecryptingKey) -> Result<PublicKey, KekError> {
    let der = key.public_key().as_der().map_err(|_| KekError::Load)?;
    let parsed = ParsedKey::from_der(der.as_ref()).map_err(|_| KekError::Load)?;
    let bytes = |number: io::Positive<'_>| number.big_endian_without_leading_zero().to_vec();
    Ok(PublicKey { n: bytes(parsed.modulus()), e: bytes(parsed.exponent()) })
}
