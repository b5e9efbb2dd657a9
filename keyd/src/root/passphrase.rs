//! A root key under a passphrase: AES-256-GCM under a key that Argon2id (RFC 9106) makes of it. The root key is random
//! and stays the same when the passphrase changes.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use keyd_client::{Locked, dek::page::scrub_stack};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{ROOT_LEN, RootError, RootKey, TAG_LEN};
use crate::{
    base64_bytes,
    limits::{
        ARGON2_ITERATIONS, ARGON2_ITERATIONS_MAX, ARGON2_LANES, ARGON2_LANES_MAX,
        ARGON2_MEMORY_KIB, ARGON2_MEMORY_KIB_MAX, ARGON2_MEMORY_KIB_MIN, PASSPHRASE_LEN_MAX,
    },
    opened::Opened,
};

/// A passphrase as it was given, without a line end.
pub(super) type Passphrase = Opened<PASSPHRASE_LEN_MAX>;

/// Bytes of salt (RFC 9106, 4: 16 bytes suffice for every use).
const SALT_LEN: usize = 16;

/// What the seal is for. Cost and salt need not be in it: with others, the key is another.
const CONTEXT: &[u8] = b"keyd/root/v1";

/// A sealed root key.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PassphraseRoot {
    argon2id: Cost,
    #[serde(with = "base64_bytes")]
    salt: Vec<u8>,
    /// Nonce, ciphertext, tag.
    #[serde(with = "base64_bytes")]
    sealed: Vec<u8>,
}

/// What a guess costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cost {
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
}

impl Cost {
    /// RFC 9106, 4, second recommendation.
    const RECOMMENDED: Self =
        Self { memory_kib: ARGON2_MEMORY_KIB, iterations: ARGON2_ITERATIONS, lanes: ARGON2_LANES };

    /// What was read from a file is not done blindly.
    fn params(self) -> Option<Params> {
        let Self { memory_kib, iterations, lanes } = self;
        let bounded = (ARGON2_MEMORY_KIB_MIN..=ARGON2_MEMORY_KIB_MAX).contains(&memory_kib)
            && (1..=ARGON2_ITERATIONS_MAX).contains(&iterations)
            && (1..=ARGON2_LANES_MAX).contains(&lanes);
        bounded.then(|| Params::new(memory_kib, iterations, lanes, Some(ROOT_LEN)).ok())?
    }
}

impl PassphraseRoot {
    /// Seals a root key.
    pub(super) fn seal(root: &RootKey, passphrase: &Passphrase) -> Result<Self, RootError> {
        let mut random = [0; SALT_LEN + NONCE_LEN];
        rand::fill(&mut random).map_err(|_| RootError::Random)?;
        let (salt, nonce) = random.split_at(SALT_LEN);
        let cost = Cost::RECOMMENDED;
        let cipher = cipher(cost, salt, passphrase)?;
        let mut body = Locked::new(|| [0; ROOT_LEN])?;
        body.copy_from_slice(root.expose());
        let once = Nonce::try_assume_unique_for_key(nonce).map_err(|_| RootError::Random)?;
        let tag = cipher
            .seal_in_place_separate_tag(once, Aad::from(CONTEXT), &mut body[..])
            .map_err(|_| RootError::Random)?;
        scrub_stack();
        let sealed = [nonce, &body[..], tag.as_ref()].concat();
        Ok(Self { argon2id: cost, salt: salt.to_vec(), sealed })
    }

    /// Opens it; nothing comes of a wrong passphrase.
    pub(super) fn open(&self, passphrase: &Passphrase) -> Result<Option<RootKey>, RootError> {
        let cipher = cipher(self.argon2id, &self.salt, passphrase)?;
        let Some((nonce, body)) = self.sealed.split_first_chunk::<NONCE_LEN>() else {
            return Ok(None);
        };
        let mut page = Locked::new(|| [0; ROOT_LEN + TAG_LEN])?;
        if body.len() != page.len() {
            return Ok(None);
        }
        page.copy_from_slice(body);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = match cipher.open_in_place(nonce, Aad::from(CONTEXT), &mut page[..]) {
            Ok(plain) => RootKey::fill_with(|root| {
                root.copy_from_slice(plain);
                Ok(())
            })
            .map(Some),
            Err(_) => Ok(None),
        };
        scrub_stack();
        opened
    }
}

fn cipher(cost: Cost, salt: &[u8], passphrase: &Passphrase) -> Result<LessSafeKey, RootError> {
    let bounds = || RootError::Derive("the cost of Argon2id is out of bounds".to_owned());
    let params = cost.params().ok_or_else(bounds)?;
    let mut key = Locked::new(|| [0; ROOT_LEN])?;
    // Too much to lock, so it is wiped: its last blocks are as good as the key.
    let mut memory = vec![Block::new(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let derived = argon2.hash_password_into_with_memory(
        passphrase.expose(),
        salt,
        &mut key[..],
        &mut memory[..],
    );
    memory.iter_mut().for_each(|block| block.as_mut().zeroize());
    scrub_stack();
    derived.map_err(|error| RootError::Derive(error.to_string()))?;
    let key = UnboundKey::new(&AES_256_GCM, &key[..]).map_err(|_| RootError::Random)?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Opened::fill_with(|page| {
            page[..text.len()].copy_from_slice(text.as_bytes());
            Ok::<_, RootError>(text.len())
        })
        .unwrap()
    }

    #[test]
    fn only_the_passphrase_opens_the_root_key() {
        let root = RootKey::generate().unwrap();
        let sealed = PassphraseRoot::seal(&root, &passphrase("correct horse")).unwrap();
        let opened = sealed.open(&passphrase("correct horse")).unwrap().unwrap();
        assert_eq!(opened.expose(), root.expose());
        for wrong in ["correct horsf", "correct horse ", "", "Correct horse"] {
            assert!(sealed.open(&passphrase(wrong)).unwrap().is_none(), "{wrong}");
        }
    }

    /// Made with the Python packages argon2-cffi 25.1 and cryptography 50.0: 3 passes over 8 MiB in 4 lanes, the salt
    /// 00..0f, the nonce 64..6f, the root key c8..e7.
    #[test]
    fn what_other_implementations_sealed_is_opened() {
        let text = r#"{
            "argon2id": { "memory_kib": 8192, "iterations": 3, "lanes": 4 },
            "salt": "AAECAwQFBgcICQoLDA0ODw==",
            "sealed": "ZGVmZ2hpamtsbW5vRd1ELJy4GsFsDtCmCj52MgqRDWXtZOdkAxFPO7vWpsRzb4ET/4gFyNB3DFGVDXaF"
        }"#;
        let sealed: PassphraseRoot = serde_json::from_str(text).unwrap();
        let root = sealed.open(&passphrase("correct horse battery")).unwrap().unwrap();
        assert!(root.expose().iter().copied().eq(200..232));
    }

    #[test]
    fn any_changed_field_opens_nothing() {
        let root = RootKey::generate().unwrap();
        let right = passphrase("correct horse");
        let spoil: [fn(&mut PassphraseRoot); 7] = [
            |sealed| sealed.salt[0] ^= 1,
            |sealed| sealed.sealed[0] ^= 1,
            |sealed| sealed.sealed[20] ^= 1,
            |sealed| sealed.sealed[59] ^= 1,
            |sealed| sealed.sealed.truncate(59),
            |sealed| sealed.sealed.clear(),
            |sealed| sealed.argon2id.iterations += 1,
        ];
        for (n, spoil) in spoil.into_iter().enumerate() {
            let mut sealed = PassphraseRoot::seal(&root, &right).unwrap();
            spoil(&mut sealed);
            assert!(sealed.open(&right).unwrap().is_none(), "{n}");
        }
    }

    /// A file from elsewhere must not make the daemon allocate or compute without bounds, nor guess cheaply.
    #[test]
    fn costs_out_of_bounds_are_refused() {
        for (memory_kib, iterations, lanes, allowed) in [
            (65_536, 3, 4, true),
            (8192, 1, 1, true),
            (1 << 20, 16, 16, true),
            (8191, 3, 4, false),
            ((1 << 20) + 1, 3, 4, false),
            (u32::MAX, 3, 4, false),
            (65_536, 0, 4, false),
            (65_536, 17, 4, false),
            (65_536, 3, 0, false),
            (65_536, 3, 17, false),
        ] {
            let cost = Cost { memory_kib, iterations, lanes };
            assert_eq!(cost.params().is_some(), allowed, "{cost:?}");
        }
    }
}
