//! EME-OAEP decoding (RFC 8017, 7.1.2, step 3) for tokens that only do the bare RSA operation with the hash wanted:
//! SoftHSM 2.6 knows OAEP with SHA-1 alone. One refusal for every fault, reached in the same time whatever the fault:
//! who could tell them apart would decrypt by asking (Manger, CRYPTO 2001).

use aws_lc_rs::digest::{self, Context, digest};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Decodes a block, as long as the modulus, in place. The message is then at its start; its length is returned, or
/// nothing if this is no OAEP block without a label.
pub(crate) fn decode(hash: &'static digest::Algorithm, block: &mut [u8]) -> Option<usize> {
    let hash_len = hash.output_len();
    if block.len() < 2 * hash_len + 2 {
        return None;
    }
    let (first, masked) = block.split_first_mut()?;
    let (seed, data) = masked.split_at_mut(hash_len);
    unmask(hash, data, seed);
    unmask(hash, seed, data);
    let (label, padded) = data.split_at(hash_len);
    let head_fits = first.ct_eq(&0) & label.ct_eq(digest(hash, b"").as_ref());
    let (padding_fits, start) = find_message(padded);
    // Whether it fits is told to the asker anyway; if it does, so is the length.
    if !bool::from(head_fits & padding_fits) {
        return None;
    }
    let from = 1 + 2 * hash_len + usize::try_from(start).ok()?;
    let len = block.len() - from;
    block.copy_within(from.., 0);
    Some(len)
}

/// Padding is zeros and a one; where the message begins behind it. Every byte is looked at in the same way.
fn find_message(padded: &[u8]) -> (Choice, u32) {
    let (mut fits, mut in_padding, mut start) = (Choice::from(1), Choice::from(1), 0);
    for (byte, next) in padded.iter().zip(1u32..) {
        let (is_zero, is_one) = (byte.ct_eq(&0), byte.ct_eq(&1));
        start.conditional_assign(&next, in_padding & is_one);
        fits &= !in_padding | is_zero | is_one;
        in_padding &= !is_one;
    }
    (fits & !in_padding, start)
}

/// Takes off the mask that MGF1 (RFC 8017, B.2.1) makes of a seed.
fn unmask(hash: &'static digest::Algorithm, seed: &[u8], masked: &mut [u8]) {
    for (chunk, counter) in masked.chunks_mut(hash.output_len()).zip(0u32..) {
        let mut context = Context::new(hash);
        context.update(seed);
        context.update(&counter.to_be_bytes());
        let mask = context.finish();
        chunk.iter_mut().zip(mask.as_ref()).for_each(|(byte, mask)| *byte ^= mask);
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256};
    use proptest::prelude::*;
    use rsa::{
        BigUint, Oaep, RsaPrivateKey,
        pkcs8::DecodePrivateKey,
        rand_core::OsRng,
        traits::{PrivateKeyParts, PublicKeyParts},
    };
    use sha1::Sha1;
    use sha2::Sha256;

    use super::*;
    use crate::kek::{Algorithm, tests::vectors};

    /// What a token does with CKM_RSA_X_509: the bare operation, refused out of range.
    fn raw(key: &RsaPrivateKey, cipher: &[u8]) -> Option<Vec<u8>> {
        let number = BigUint::from_bytes_be(cipher);
        if cipher.len() != key.size() || number >= *key.n() {
            return None;
        }
        let bytes = number.modpow(key.d(), key.n()).to_bytes_be();
        Some([vec![0; key.size() - bytes.len()], bytes].concat())
    }

    fn decoded(hash: &'static digest::Algorithm, mut block: Vec<u8>) -> Option<Vec<u8>> {
        let len = decode(hash, &mut block)?;
        block.truncate(len);
        Some(block)
    }

    #[test]
    fn wycheproofs_vectors_decode_as_they_should() {
        let (mut valid, mut invalid) = (0, 0);
        for vector in vectors::oaep() {
            let key = RsaPrivateKey::from_pkcs8_der(&vector.pkcs8).unwrap();
            let hash = match vector.algorithm {
                Algorithm::RsaOaep => &SHA1_FOR_LEGACY_USE_ONLY,
                _ => &SHA256,
            };
            let found = raw(&key, &vector.cipher).and_then(|block| decoded(hash, block));
            assert_eq!(found, vector.plain, "{}", vector.about);
            if found.is_some() { valid += 1 } else { invalid += 1 }
        }
        assert_eq!((valid, invalid), (58, 76));
    }

    fn key() -> &'static RsaPrivateKey {
        static KEY: std::sync::OnceLock<RsaPrivateKey> = std::sync::OnceLock::new();
        KEY.get_or_init(|| RsaPrivateKey::new(&mut OsRng, 2048).unwrap())
    }

    /// A block of a message, made by the `rsa` crate.
    fn block(sha256: bool, message: &[u8]) -> Vec<u8> {
        let padding = if sha256 { Oaep::new::<Sha256>() } else { Oaep::new::<Sha1>() };
        let cipher = key().to_public_key().encrypt(&mut OsRng, padding, message).unwrap();
        raw(key(), &cipher).unwrap()
    }

    #[test]
    fn messages_of_every_length_come_out_whole() {
        for (sha256, limit) in [(true, 190), (false, 214)] {
            let hash = if sha256 { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY };
            for len in (0..=limit).step_by(7).chain([limit]) {
                let message: Vec<u8> = (0..len).map(|n| n as u8).collect();
                assert_eq!(decoded(hash, block(sha256, &message)), Some(message));
            }
        }
    }

    #[test]
    fn too_short_a_block_is_refused() {
        for len in [0, 1, 65] {
            assert_eq!(decoded(&SHA256, vec![0; len]), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_changed_byte_is_refused(at in 0usize..256, flip in 1u8..=255) {
            let mut block = block(true, b"message");
            block[at] ^= flip;
            prop_assert_eq!(decoded(&SHA256, block), None);
        }

        /// The oracle: padding is zeros, then a one.
        #[test]
        fn the_message_is_found_behind_the_padding(padded in proptest::collection::vec(0u8..3, 0..60)) {
            let first = padded.iter().position(|byte| *byte != 0);
            let expected = first.filter(|at| padded[*at] == 1).map(|at| at + 1);
            let (fits, start) = find_message(&padded);
            prop_assert_eq!(bool::from(fits).then_some(start as usize), expected);
        }
    }
}
