//! A root key wrapped by an RSA key that a token made for it and never gives out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ROOT_LEN, RootError, RootKey};
use crate::{
    base64_bytes,
    hsm::{Hsm, HsmKey},
    kek::{Algorithm, HsmObject, Kek, KekError, KeyBits},
};

/// What an administrator of the token sees.
const LABEL: &str = "keyd root";

/// A wrapped root key.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRoot {
    /// The key that opens it.
    key: HsmObject,
    /// RSA-OAEP-256.
    #[serde(with = "base64_bytes")]
    wrapped: Vec<u8>,
}

impl TokenRoot {
    /// Makes a key in the token and wraps a root key under it.
    pub(super) fn seal(root: &RootKey, hsm: &Arc<Hsm>) -> Result<Self, RootError> {
        let key = HsmKey::generate(hsm, KeyBits::Rsa3072, LABEL)?;
        let object = key.object().clone();
        let wrapped = Kek::in_hsm(key)?.encrypt(Algorithm::RsaOaep256, root.expose())?;
        Ok(Self { key: object, wrapped })
    }

    /// Has the token open it.
    pub(super) fn open(&self, hsm: &Arc<Hsm>) -> Result<RootKey, RootError> {
        let kek = Kek::in_hsm(HsmKey::open(hsm, &self.key)?)?;
        let opened = kek.decrypt(Algorithm::RsaOaep256, &self.wrapped)?;
        let bytes: &[u8; ROOT_LEN] = opened.expose().try_into().map_err(|_| KekError::Unwrap)?;
        RootKey::fill_with(|page| {
            page.copy_from_slice(bytes);
            Ok(())
        })
    }
}
