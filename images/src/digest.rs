//! Proof that a DEK is a disk's: the LUKS2 volume-key digest.
//!
//! `digest = PBKDF2-HMAC-SHA256(password = the 64 key bytes, salt, iterations)`, 32 bytes
//! (LUKS2 spec 1.1.4, section 3.5; RFC 8018, section 5.2). A wrong key is found here, never by writing garbage.

use base64::{Engine, prelude::BASE64_STANDARD};
use keyd_client::{Dek, dek::page::scrub_stack, message::VolumeKeyDigest};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::limits::{DIGEST_ITERATIONS_MAX, DIGEST_LEN};

/// Whether `dek` is the key this digest was made of. A malformed digest matches no key.
#[must_use]
pub fn digest_matches(digest: &VolumeKeyDigest, dek: &Dek) -> bool {
    let (Some(salt), Some(expected)) = (decode(&digest.salt), decode(&digest.digest)) else {
        return false;
    };
    if !(1..=DIGEST_ITERATIONS_MAX).contains(&digest.iterations) {
        return false;
    }
    let matches = derive(dek, &salt, digest.iterations).ct_eq(&expected).into();
    // HMAC pads the key on the stack.
    scrub_stack();
    matches
}

/// 32 bytes of base64 (RFC 4648, section 4).
pub(crate) fn decode(text: &str) -> Option<[u8; DIGEST_LEN]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// Out of line, so that its frames lie where [`scrub_stack`] wipes.
#[inline(never)]
fn derive(dek: &Dek, salt: &[u8], iterations: u32) -> [u8; DIGEST_LEN] {
    let mut result = [0; DIGEST_LEN];
    pbkdf2::pbkdf2_hmac::<Sha256>(dek.expose(), salt, iterations, &mut result);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of the golden 512 image: made by stock cryptsetup from `golden.vk`.
    fn golden() -> VolumeKeyDigest {
        VolumeKeyDigest {
            iterations: 1000,
            salt: "DYyKeuwUE8RQe7Wu8gku7lWE/4dnKt1fHc5wxot6A1E=".into(),
            digest: "Y8cd0SbIe8zX+GcM5AfIsz3pDBkmTOwgRbJTfCTrxVk=".into(),
        }
    }

    fn golden_key() -> Dek {
        let key = include_bytes!("../tests/golden/golden.vk");
        Dek::fill_with(|bytes| {
            bytes.copy_from_slice(key);
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn the_right_key_matches_and_one_wrong_bit_does_not() {
        assert!(digest_matches(&golden(), &golden_key()));
        for bit in [0, 255, 511] {
            let wrong = Dek::fill_with(|bytes| {
                bytes.copy_from_slice(golden_key().expose());
                bytes[bit / 8] ^= 1 << (bit % 8);
                Ok(())
            })
            .unwrap();
            assert!(!digest_matches(&golden(), &wrong), "bit {bit}");
        }
    }

    #[test]
    fn a_malformed_digest_matches_nothing() {
        let key = golden_key();
        let broken = [
            VolumeKeyDigest { iterations: 0, ..golden() },
            VolumeKeyDigest { iterations: DIGEST_ITERATIONS_MAX + 1, ..golden() },
            VolumeKeyDigest { salt: "AAAA".into(), ..golden() },
            VolumeKeyDigest { digest: String::new(), ..golden() },
            VolumeKeyDigest { digest: "not base64".into(), ..golden() },
        ];
        for digest in broken {
            assert!(!digest_matches(&digest, &key), "{digest:?}");
        }
    }
}
