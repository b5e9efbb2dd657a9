//! A disk's new key and the proof of it.

use std::{io, num::NonZeroU32};

use aws_lc_rs::{
    pbkdf2::{self, PBKDF2_HMAC_SHA256},
    rand,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use keyd_client::{
    Dek,
    dek::{DekError, page::scrub_stack},
    message::VolumeKeyDigest,
};

use crate::limits::DIGEST_ITERATIONS;

/// Bytes of salt and of digest, as cryptsetup writes them.
const DIGEST_LEN: usize = 32;

/// A fresh random DEK, made in its page (NIST SP 800-90A generator of AWS-LC). Equal halves are refused there.
///
/// # Errors
/// [`DekError`]: no page, or no random bytes.
pub fn generate() -> Result<Dek, DekError> {
    let dek = Dek::fill_with(|bytes| random(bytes));
    scrub_stack();
    dek
}

/// The LUKS2 digest of a DEK: PBKDF2-HMAC-SHA256 (RFC 8018) under a random salt.
///
/// # Errors
/// [`DekError::Source`]: no random bytes.
pub fn digest(dek: &Dek) -> Result<VolumeKeyDigest, DekError> {
    let mut salt = [0; DIGEST_LEN];
    random(&mut salt)?;
    let mut digest = [0; DIGEST_LEN];
    pbkdf2::derive(PBKDF2_HMAC_SHA256, ITERATIONS, &salt, dek.expose(), &mut digest);
    scrub_stack();
    Ok(VolumeKeyDigest {
        iterations: DIGEST_ITERATIONS,
        salt: BASE64_STANDARD.encode(salt),
        digest: BASE64_STANDARD.encode(digest),
    })
}

/// Whether a digest is a DEK's.
#[must_use]
pub fn matches(dek: &Dek, of: &VolumeKeyDigest) -> bool {
    let bytes = |text: &str| BASE64_STANDARD.decode(text).ok();
    let (Some(salt), Some(digest)) = (bytes(&of.salt), bytes(&of.digest)) else {
        return false;
    };
    let Some(iterations) = NonZeroU32::new(of.iterations) else {
        return false;
    };
    let matches =
        pbkdf2::verify(PBKDF2_HMAC_SHA256, iterations, &salt, dek.expose(), &digest).is_ok();
    scrub_stack();
    matches
}

const ITERATIONS: NonZeroU32 = NonZeroU32::new(DIGEST_ITERATIONS).expect("a digest has iterations");

fn random(bytes: &mut [u8]) -> io::Result<()> {
    rand::fill(bytes).map_err(|_| io::Error::other("no random bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_differ_and_so_do_two_digests_of_one() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert_ne!(a.expose(), b.expose());
        let of_a = digest(&a).unwrap();
        assert_ne!(of_a, digest(&a).unwrap());
        assert!(matches(&a, &of_a) && !matches(&b, &of_a));
        let short = VolumeKeyDigest { digest: String::new(), ..of_a };
        assert!(!matches(&a, &short));
    }

    /// Oracle: PBKDF2 written out with the `sha2` crate. One output block: T1 = U1 ^ U2 ^ ... (RFC 8018, 5.2).
    #[test]
    fn the_digest_is_pbkdf2_hmac_sha256() {
        use sha2::{Digest, Sha256};
        let dek = generate().unwrap();
        let told = digest(&dek).unwrap();
        let hmac = |message: &[u8]| -> [u8; 32] {
            let pad = |byte: u8| dek.expose().map(|k| k ^ byte);
            let inner = Sha256::new_with_prefix(pad(0x36)).chain_update(message);
            Sha256::new_with_prefix(pad(0x5c)).chain_update(inner.finalize()).finalize().into()
        };
        let mut salt = BASE64_STANDARD.decode(&told.salt).unwrap();
        salt.extend([0, 0, 0, 1]);
        let mut u = hmac(&salt);
        let mut sum = u;
        for _ in 1..told.iterations {
            u = hmac(&u);
            sum.iter_mut().zip(u).for_each(|(s, u)| *s ^= u);
        }
        assert_eq!(BASE64_STANDARD.encode(sum), told.digest);
        assert_eq!(salt.len(), 36);
    }
}
