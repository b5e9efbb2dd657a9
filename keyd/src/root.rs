//! The root key: 32 random bytes, under which every private key is sealed with AES-256-GCM (NIST SP 800-38D). Where it
//! lies itself is its [`RootKind`]: in a file of its own, sealed under a passphrase, or wrapped by a key of an HSM.

mod document;
mod file;
mod passphrase;
mod place;
mod source;
mod terminal;
mod token;

use std::{fmt, io, path::PathBuf};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Prk, Salt},
    hmac::{self, HMAC_SHA256},
    rand,
};
use clap::ValueEnum;
use keyd_client::{
    KeyVersion, Locked,
    dek::page::{PageError, scrub_stack},
};
use thiserror::Error;
use zeroize::Zeroizing;

pub use place::{Means, Moved, Place};
pub use source::PassphraseSource;

use crate::{
    hsm::HsmError,
    kek::{KekError, PrivateDer, SealedKey},
    opened::Opened,
    secret_file::SecretFileError,
};

/// Bytes of the root key.
pub const ROOT_LEN: usize = 32;

/// Bytes of a secret that is derived from it: as many as HKDF's hash has.
pub const DERIVED_LEN: usize = 32;

/// Longest private key, bytes: RSA-4096 in PKCS#8 has about 2400, and the tag is added.
const PRIVATE_LEN_MAX: usize = 4096;

/// Bytes of AES-GCM's tag.
const TAG_LEN: usize = 16;

/// Where the root key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RootKind {
    /// As it is, in the file root.key of mode 0600
    File,
    /// Sealed under a key from a passphrase (Argon2id), in root.json
    Passphrase,
    /// Wrapped by an RSA key of a token, in root.json
    Pkcs11,
}

impl fmt::Display for RootKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::File => "file",
            Self::Passphrase => "passphrase",
            Self::Pkcs11 => "pkcs11",
        })
    }
}

/// Why there is no root key, or what is sealed under it cannot be opened.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum RootError {
    #[error(
        "the root key {0} is missing, and the keys in the store are sealed under it: put it back from its copy"
    )]
    Missing(PathBuf),
    #[error("the root key: {0}")]
    Secret(#[from] SecretFileError),
    #[error("the root key {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the root key {0} is not a file of {ROOT_LEN} bytes: put it back from its copy")]
    Form(PathBuf),
    #[error("{path} is not a root of this release: {why}: put it back from its copy")]
    Document { path: PathBuf, why: String },
    #[error(
        "the root key is of the kind '{there}', not '{asked}': leave out --root, or change it with 'keyd root move --to {asked}'"
    )]
    Kind { there: RootKind, asked: RootKind },
    #[error("the root key has no passphrase, it is of the kind '{0}'")]
    NotPassphrase(RootKind),
    #[error("the root key is of the kind '{0}' already: nothing was changed")]
    SameKind(RootKind),
    #[error(
        "{new} and {old} hold different root keys: put one of them aside; the daemon starts with the right one only"
    )]
    TwoRoots { new: PathBuf, old: PathBuf },
    #[error("the passphrase is wrong, or {0} was changed: nothing was opened")]
    WrongPassphrase(PathBuf),
    #[error("a passphrase has {min} to {max} bytes, this one {len}: choose another")]
    PassphraseLen { min: usize, max: usize, len: usize },
    #[error("the two passphrases differ: nothing was changed")]
    PassphrasesDiffer,
    #[error(
        "no passphrase: give --passphrase-file, or the systemd credential 'keyd-passphrase', or start keyd from a terminal"
    )]
    NoPassphrase,
    #[error("a new passphrase: give --new-passphrase-file, or use a terminal")]
    NoNewPassphrase,
    #[error("the terminal: {0}")]
    Terminal(io::Error),
    #[error("a key cannot be derived from the passphrase: {0}")]
    Derive(String),
    #[error(
        "the root key is wrapped by a key of a token: give --hsm-module, --hsm-token and --hsm-pin-file"
    )]
    NoHsm,
    #[error("the root key: {0}")]
    Hsm(#[from] HsmError),
    #[error("the root key in the token: {0}")]
    Token(#[from] KekError),
    #[error("no random bytes for a key")]
    Random,
    #[error(
        "the private key of '{0}' cannot be opened: the root key is another one, or the store was changed: put back the copy that belongs with the other"
    )]
    Sealed(String),
    #[error("a private key is longer than {PRIVATE_LEN_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Page(#[from] PageError),
}

/// The root key.
pub struct RootKey(Locked<[u8; ROOT_LEN]>);

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(secret)")
    }
}

/// A private key in PKCS#8, opened.
pub type OpenedKey = Opened<PRIVATE_LEN_MAX>;

impl RootKey {
    /// Makes a root key.
    ///
    /// # Errors
    /// [`RootError::Random`], [`RootError::Page`].
    pub fn generate() -> Result<Self, RootError> {
        Self::fill_with(|bytes| rand::fill(bytes).map_err(|_| RootError::Random))
    }

    /// A root key made in its page.
    pub(crate) fn fill_with<E: From<PageError>>(
        fill: impl FnOnce(&mut [u8; ROOT_LEN]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut page = Locked::new(|| [0; ROOT_LEN])?;
        fill(&mut page)?;
        Ok(Self(page))
    }

    /// The secret bytes: for who seals the root key itself.
    #[must_use]
    pub(crate) fn expose(&self) -> &[u8; ROOT_LEN] {
        &self.0
    }

    /// Seals a private key; the result is bound to its key's id and version.
    ///
    /// # Errors
    /// [`RootError::Random`], [`RootError::TooLong`], [`RootError::Page`].
    pub fn seal(
        &self,
        id: &impl fmt::Display,
        version: KeyVersion,
        private: &PrivateDer,
    ) -> Result<SealedKey, RootError> {
        self.seal_bytes(id, version, private.expose())
    }

    /// Seals a sealed private key anew, bound to another key's id.
    ///
    /// # Errors
    /// Those of [`RootKey::unseal`] and [`RootKey::seal`].
    pub fn reseal(
        &self,
        (from, to): (&impl fmt::Display, &impl fmt::Display),
        version: KeyVersion,
        sealed: &SealedKey,
    ) -> Result<SealedKey, RootError> {
        let opened = self.unseal(from, version, sealed)?;
        self.seal_bytes(to, version, opened.expose())
    }

    fn seal_bytes(
        &self,
        id: &impl fmt::Display,
        version: KeyVersion,
        plain: &[u8],
    ) -> Result<SealedKey, RootError> {
        if plain.len() + TAG_LEN > PRIVATE_LEN_MAX {
            return Err(RootError::TooLong);
        }
        let mut page = Locked::new(|| [0u8; PRIVATE_LEN_MAX])?;
        let body = &mut page[..plain.len()];
        body.copy_from_slice(plain);
        self.seal_in_place(&associated(id, version), body).map(SealedKey)
    }

    /// Opens a sealed private key, into a locked page.
    ///
    /// # Errors
    /// [`RootError::Sealed`], [`RootError::TooLong`], [`RootError::Page`].
    pub fn unseal(
        &self,
        id: &impl fmt::Display,
        version: KeyVersion,
        sealed: &SealedKey,
    ) -> Result<OpenedKey, RootError> {
        let wrong = || RootError::Sealed(id.to_string());
        let (nonce, body) = sealed.0.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        let context = associated(id, version);
        let opened = Opened::fill_with(|page| {
            let place = page.get_mut(..body.len()).ok_or(RootError::TooLong)?;
            place.copy_from_slice(body);
            self.open_in_place(&context, nonce, place)?.ok_or_else(wrong)
        });
        scrub_stack();
        opened
    }

    /// Seals other things that only this daemon is to read, such as a key's backup. `purpose` is the protocol's name.
    ///
    /// # Errors
    /// [`RootError::Random`].
    pub fn seal_blob(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, RootError> {
        let mut body = Zeroizing::new(plain.to_vec());
        self.seal_in_place(purpose.as_bytes(), &mut body)
    }

    /// Opens what [`RootKey::seal_blob`] sealed for the same purpose.
    ///
    /// # Errors
    /// [`RootError::Sealed`].
    pub fn open_blob(&self, purpose: &str, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, RootError> {
        let wrong = || RootError::Sealed(purpose.to_owned());
        let (nonce, body) = blob.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        let mut place = Zeroizing::new(body.to_vec());
        let len = self.open_in_place(purpose.as_bytes(), nonce, &mut place)?.ok_or_else(wrong)?;
        place.truncate(len);
        Ok(place)
    }

    /// Secret bytes that only this daemon can make, and makes again: of one purpose always the same (HKDF, RFC 5869).
    ///
    /// # Errors
    /// [`RootError::Random`].
    pub fn derive(&self, purpose: &str) -> Result<Zeroizing<[u8; DERIVED_LEN]>, RootError> {
        let derived = Salt::new(HKDF_SHA256, &[]).extract(&self.0[..]);
        let info = [b"keyd/derive/v1|".as_slice(), purpose.as_bytes()];
        let mut bytes = Zeroizing::new([0; DERIVED_LEN]);
        let key = derived.expand(&info, HKDF_SHA256).map_err(|_| RootError::Random)?;
        key.fill(&mut bytes[..]).map_err(|_| RootError::Random)?;
        scrub_stack();
        Ok(bytes)
    }

    /// Nonce, ciphertext, tag.
    fn seal_in_place(&self, context: &[u8], body: &mut [u8]) -> Result<Vec<u8>, RootError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| RootError::Random)?;
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                body,
            )
            .map_err(|_| RootError::TooLong)?;
        scrub_stack();
        Ok([&nonce, &*body, tag.as_ref()].concat())
    }

    /// The plaintext's length, or nothing if it is not what was sealed.
    fn open_in_place(
        &self,
        context: &[u8],
        nonce: &[u8; NONCE_LEN],
        body: &mut [u8],
    ) -> Result<Option<usize>, RootError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher()?.open_in_place(nonce, Aad::from(context), body);
        let len = opened.map(|plain| plain.len()).ok();
        scrub_stack();
        Ok(len)
    }

    /// The key that seals: derived (HKDF, RFC 5869), so that the root key itself stays free for other uses. Made for
    /// each use: between uses its schedule exists nowhere.
    fn cipher(&self) -> Result<LessSafeKey, RootError> {
        self.cipher_for("keyd/seal/v2")
    }

    /// A key that seals one kind of thing. Unlike the root key's own it may be kept: it opens no private key.
    ///
    /// # Errors
    /// [`RootError::Random`]: it cannot be derived.
    pub(crate) fn cipher_for(&self, purpose: &str) -> Result<LessSafeKey, RootError> {
        let info = [purpose.as_bytes()];
        let derived = self.extracted();
        let key = derived.expand(&info, &AES_256_GCM).map_err(|_| RootError::Random)?;
        Ok(LessSafeKey::new(UnboundKey::from(key)))
    }

    /// A key that authenticates one kind of thing (HMAC-SHA-256). It may be kept, as above.
    ///
    /// # Errors
    /// [`RootError::Random`]: it cannot be derived.
    pub(crate) fn mac_for(&self, purpose: &str) -> Result<hmac::Key, RootError> {
        let info = [purpose.as_bytes()];
        let derived = self.extracted();
        let key = derived.expand(&info, HMAC_SHA256).map_err(|_| RootError::Random)?;
        Ok(hmac::Key::from(key))
    }

    fn extracted(&self) -> Prk {
        Salt::new(HKDF_SHA256, &[]).extract(&self.0[..])
    }
}

fn associated(id: &impl fmt::Display, version: KeyVersion) -> Vec<u8> {
    format!("keyd/kek/v2|{id}|{version}").into_bytes()
}

#[cfg(test)]
mod tests;
