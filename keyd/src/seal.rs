//! What tells a record that this daemon wrote from any other bytes.
//!
//! Each row of each table is stored with a tag in front of its value: HMAC-SHA-256 (RFC 2104, cut to 16 bytes) over
//! the table's name, the row's key and the value. So a bit that rotted, or a record that was moved to another key,
//! shows as soon as the row is read. A row that is gone, or that was put back from an older day, shows in the
//! *state's digest*: for each table the number of its rows and the sum, modulo 2^256, of a second function of each
//! row's tag (MSet-Add-Hash of Clarke et al., ASIACRYPT 2003). A commit adds and takes away what it changed, whatever
//! the state's size. The second function has another key and its results are stored nowhere; the sums are sealed
//! (AES-256-GCM) together with the audit log's head of the same commit: who can write the store sees no term that
//! could be combined into another state with the same sum.
//!
//! All keys are derived from the root key (HKDF, RFC 5869). The database is not trusted with anything but bytes.

use aws_lc_rs::{
    aead::{Aad, LessSafeKey, NONCE_LEN, Nonce},
    constant_time::verify_slices_are_equal,
    hmac, rand,
};

use crate::root::{RootError, RootKey};

/// Bytes of a row's tag.
pub(crate) const TAG_LEN: usize = 16;

/// Bytes of what a row adds to its table's sum.
pub(crate) const TERM_LEN: usize = 32;

type Tag = [u8; TAG_LEN];

/// The keys that rows and the state's digest are sealed with. None of them opens a private key.
pub struct Seal {
    tag: hmac::Key,
    term: hmac::Key,
    digest: LessSafeKey,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(secret)")
    }
}

impl Seal {
    /// Derived from the root key.
    ///
    /// # Errors
    /// [`RootError::Random`]: no key can be derived.
    pub fn new(root: &RootKey) -> Result<Self, RootError> {
        Ok(Self {
            tag: root.mac_for("keyd/state/v1/tag")?,
            term: root.mac_for("keyd/state/v1/term")?,
            digest: root.cipher_for("keyd/state/v1/digest")?,
        })
    }

    /// A row's tag. Lengths come first, so that no two rows are one text.
    fn tag(&self, table: &str, key: &[u8], value: &[u8]) -> Tag {
        let mut mac = hmac::Context::with_key(&self.tag);
        for part in [table.as_bytes(), key] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.update(value);
        cut(&mac.sign())
    }

    /// A row's value as it is stored.
    pub(crate) fn seal(&self, table: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
        [&self.tag(table, key, value), value].concat()
    }

    /// The value of a row as it is stored; nothing if it is not what was written there.
    pub(crate) fn open<'v>(&self, table: &str, key: &[u8], stored: &'v [u8]) -> Option<&'v [u8]> {
        let (tag, value) = stored.split_first_chunk::<TAG_LEN>()?;
        verify_slices_are_equal(&self.tag(table, key, value), tag).ok()?;
        Some(value)
    }

    /// What a row adds to its table's sum. A row too short for a tag adds what an empty tag does: no row of ours has
    /// one.
    pub(crate) fn term(&self, stored: &[u8]) -> [u8; TERM_LEN] {
        let tag = &stored[..stored.len().min(TAG_LEN)];
        let mut term = [0; TERM_LEN];
        term.copy_from_slice(hmac::sign(&self.term, tag).as_ref());
        term
    }

    /// Seals the digest of a state whose newest audit row is `head`.
    ///
    /// # Errors
    /// [`RootError::Random`].
    pub(crate) fn seal_digest(&self, digest: &[u8], head: &[u8]) -> Result<Vec<u8>, RootError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| RootError::Random)?;
        let mut sealed = nonce.to_vec();
        let mut body = digest.to_vec();
        let aad = Aad::from(head);
        let tag = self.digest.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            aad,
            &mut body,
        );
        sealed.append(&mut body);
        sealed.extend_from_slice(tag.map_err(|_| RootError::Random)?.as_ref());
        Ok(sealed)
    }

    /// Opens it; nothing if it is not the digest of that state.
    pub(crate) fn open_digest(&self, sealed: &[u8], head: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = self.digest.open_in_place(nonce, Aad::from(head), &mut body).ok()?.len();
        body.truncate(len);
        Some(body)
    }
}

fn cut(mac: &hmac::Tag) -> Tag {
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&mac.as_ref()[..TAG_LEN]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{self, seal};

    #[test]
    fn a_row_opens_under_its_own_table_and_key_only() {
        let seal = seal();
        let stored = seal.seal("keys", b"v/k", b"value");
        assert_eq!(seal.open("keys", b"v/k", &stored), Some(&b"value"[..]));
        for (table, key) in [("sets", &b"v/k"[..]), ("keys", b"v/l"), ("key", b"sv/k")] {
            assert_eq!(seal.open(table, key, &stored), None, "{table} {key:?}");
        }
        for at in 0..stored.len() {
            let mut changed = stored.clone();
            changed[at] ^= 1;
            assert_eq!(seal.open("keys", b"v/k", &changed), None, "byte {at}");
        }
        assert_eq!(seal.open("keys", b"v/k", &stored[..TAG_LEN - 1]), None);
    }

    /// RFC 2104 with the SHA-256 of another implementation.
    fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            key.iter().zip(&mut block).for_each(|(key, byte)| *byte ^= key);
            block
        };
        let sha = |parts: &[&[u8]]| <sha2::Sha256 as sha2::Digest>::digest(parts.concat()).to_vec();
        sha(&[&pad(0x5c), &sha(&[&pad(0x36), text])])
    }

    /// HKDF (RFC 5869) without a salt, of one block.
    #[test]
    fn a_tag_is_the_beginning_of_an_hmac_under_a_key_derived_from_the_root_key() {
        let derived = hmac(&hmac(&[0; 32], testing::ROOT), b"keyd/state/v1/tag\x01");
        let text =
            [&[0, 0, 0, 0, 0, 0, 0, 4][..], b"keys", &[0, 0, 0, 0, 0, 0, 0, 3], b"v/k", b"value"];
        let expected = hmac(&derived, &text.concat());
        let stored = testing::seal().seal("keys", b"v/k", b"value");
        assert_eq!(stored[..TAG_LEN], expected[..TAG_LEN]);
    }

    #[test]
    fn a_digest_opens_beside_its_own_head_only() {
        let seal = seal();
        let digest = b"a digest";
        let sealed = seal.seal_digest(digest, b"head 1").unwrap();
        assert_eq!(seal.open_digest(&sealed, b"head 1").as_deref(), Some(&digest[..]));
        assert_eq!(seal.open_digest(&sealed, b"head 2"), None);
        let mut changed = sealed.clone();
        changed[NONCE_LEN] ^= 1;
        assert_eq!(seal.open_digest(&changed, b"head 1"), None);
        assert_ne!(seal.seal_digest(digest, b"head 1").unwrap(), sealed, "sealed anew each time");
    }
}
