//! Recipients and identities, and how each wraps and unwraps a file's key.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{
        EphemeralPrivateKey, PrivateKey, UnparsedPublicKey, X25519, agree, agree_ephemeral,
    },
    hkdf::{HKDF_SHA256, Salt},
    rand::SystemRandom,
};
use keyd_client::{Locked, dek::page::scrub_stack};

use super::{AgeError, bech32};

/// Bytes of a file's key.
pub(super) const FILE_KEY_LEN: usize = 16;

/// Bytes of a wrapped one: the key and a tag.
pub(super) const WRAPPED_LEN: usize = FILE_KEY_LEN + 16;

/// Bytes of an X25519 public key or share.
pub(super) const SHARE_LEN: usize = 32;

/// A file's key.
pub(super) type FileKey = Locked<[u8; FILE_KEY_LEN]>;

const INFO: &[u8] = b"age-encryption.org/v1/X25519";

/// Who can open: a public key.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    text: String,
    key: [u8; SHARE_LEN],
}

impl FromStr for Recipient {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let mut key = [0; SHARE_LEN];
        let decoded = bech32::decode(text, "age", &mut key);
        let wrong = || AgeError::Recipient(text.chars().take(80).collect());
        decoded.map(|()| Self { text: text.to_ascii_lowercase(), key }).ok_or_else(wrong)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A file's key, wrapped to one recipient.
pub(super) struct Wrapped {
    pub(super) share: [u8; SHARE_LEN],
    pub(super) body: [u8; WRAPPED_LEN],
}

impl Recipient {
    pub(super) fn wrap(&self, key: &FileKey) -> Result<Wrapped, AgeError> {
        let random = |_| AgeError::Random;
        let ours = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(random)?;
        let public = ours.compute_public_key().map_err(random)?;
        let share: [u8; SHARE_LEN] = public.as_ref().try_into().map_err(|_| AgeError::Random)?;
        let theirs = UnparsedPublicKey::new(&X25519, self.key);
        // A key of low order has no secret with anybody.
        let wrong = || AgeError::Recipient(self.text.clone());
        let cipher = agree_ephemeral(ours, theirs, wrong(), |secret| {
            cipher(secret, &share, &self.key).ok_or_else(wrong)
        })?;
        let mut body = [0; WRAPPED_LEN];
        let (sealed, tag) = body.split_at_mut(FILE_KEY_LEN);
        sealed.copy_from_slice(&key[..]);
        let made = cipher
            .seal_in_place_separate_tag(no_nonce(), Aad::empty(), sealed)
            .map_err(|_| AgeError::Random)?;
        tag.copy_from_slice(made.as_ref());
        scrub_stack();
        Ok(Wrapped { share, body })
    }
}

/// What opens: a secret key.
pub struct Identity {
    secret: PrivateKey,
    public: [u8; SHARE_LEN],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(secret)")
    }
}

impl Identity {
    /// The identities of a file: a secret key a line, comments, empty lines.
    ///
    /// # Errors
    /// [`AgeError::Identity`]: there is none, or a line is something else.
    pub fn parse(file: &[u8]) -> Result<Vec<Self>, AgeError> {
        let text = std::str::from_utf8(file).map_err(|_| AgeError::Identity)?;
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let found: Vec<Self> = keys.map(Self::one).collect::<Result<_, _>>()?;
        if found.is_empty() { Err(AgeError::Identity) } else { Ok(found) }
    }

    fn one(line: &str) -> Result<Self, AgeError> {
        let mut bytes = Locked::new(|| [0; SHARE_LEN])?;
        bech32::decode(line, "age-secret-key-", &mut bytes).ok_or(AgeError::Identity)?;
        let wrong = |_| AgeError::Identity;
        let secret =
            PrivateKey::from_private_key(&X25519, &bytes[..]).map_err(|_| AgeError::Identity)?;
        let public = secret.compute_public_key().map_err(wrong)?;
        let public = public.as_ref().try_into().map_err(|_| AgeError::Identity)?;
        scrub_stack();
        Ok(Self { secret, public })
    }

    /// The file's key, if it was wrapped to this identity.
    pub(super) fn unwrap(&self, wrapped: &Wrapped) -> Result<Option<FileKey>, AgeError> {
        let theirs = UnparsedPublicKey::new(&X25519, wrapped.share);
        let cipher = agree(&self.secret, theirs, (), |secret| {
            cipher(secret, &wrapped.share, &self.public).ok_or(())
        });
        let cipher = cipher.map_err(|()| AgeError::Header("a share of low order"))?;
        let mut body = Locked::new(|| wrapped.body)?;
        let opened = cipher.open_in_place(no_nonce(), Aad::empty(), &mut body[..]);
        let key = match opened {
            Ok(plain) => {
                let mut key = Locked::new(|| [0; FILE_KEY_LEN])?;
                key.copy_from_slice(plain);
                Some(key)
            }
            Err(_) => None,
        };
        scrub_stack();
        Ok(key)
    }
}

/// The key that wraps: of the shared secret and both public keys.
fn cipher(secret: &[u8], share: &[u8], recipient: &[u8]) -> Option<LessSafeKey> {
    let salt = Salt::new(HKDF_SHA256, &[share, recipient].concat());
    let derived = salt.extract(secret);
    let key = derived.expand(&[INFO], &CHACHA20_POLY1305).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(key)))
}

/// Each wrapping key is used once.
fn no_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}
