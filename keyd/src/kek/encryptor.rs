//! Encryption: needs the public key alone, so it is done here also for keys that live in an HSM.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey,
    PublicEncryptingKey, PublicKeyComponents,
};

use super::{Algorithm, KekError, PublicKey};

/// A public key, ready for use.
pub(crate) struct Encryptor {
    oaep: OaepPublicEncryptingKey,
    pkcs1: Pkcs1PublicEncryptingKey,
}

impl Encryptor {
    /// # Errors
    /// [`KekError::Load`]: not an RSA public key of 2048 bits or more.
    pub(crate) fn new(public: &PublicKey) -> Result<Self, KekError> {
        let components = PublicKeyComponents { n: &public.n, e: &public.e };
        let key: PublicEncryptingKey = components.try_into().map_err(|_| KekError::Load)?;
        let pkcs1 = Pkcs1PublicEncryptingKey::new(key.clone()).map_err(|_| KekError::Load)?;
        let oaep = OaepPublicEncryptingKey::new(key).map_err(|_| KekError::Load)?;
        Ok(Self { oaep, pkcs1 })
    }

    /// # Errors
    /// [`KekError::TooLong`], [`KekError::Wrap`].
    pub(crate) fn encrypt(&self, algorithm: Algorithm, plain: &[u8]) -> Result<Vec<u8>, KekError> {
        let mut cipher = vec![0; self.oaep.ciphertext_size()];
        let limit = cipher.len() - algorithm.overhead();
        if plain.len() > limit {
            return Err(KekError::TooLong { algorithm, limit, len: plain.len() });
        }
        let place = &mut cipher[..];
        let done = match algorithm {
            Algorithm::Rsa15 => self.pkcs1.encrypt(plain, place),
            Algorithm::RsaOaep => self.oaep.encrypt(&OAEP_SHA1_MGF1SHA1, plain, place, None),
            Algorithm::RsaOaep256 => self.oaep.encrypt(&OAEP_SHA256_MGF1SHA256, plain, place, None),
        };
        done.map(|_| ()).map_err(|_| KekError::Wrap)?;
        Ok(cipher)
    }
}
