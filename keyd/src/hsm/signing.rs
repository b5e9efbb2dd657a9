//! What a token is asked to sign: a digest, so the bare scheme of RFC 8017 with the hash done before.

use cryptoki::mechanism::{
    Mechanism, MechanismType,
    rsa::{PkcsMgfType, PkcsPssParams},
};

use crate::kek::{
    Hashed,
    SignatureAlgorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512},
};

/// DER of DigestInfo up to the digest itself, for SHA-256, SHA-384 and SHA-512 (RFC 8017, 9.2, note 1).
const SHA256_INFO: [u8; 19] = info(0x31, 1, 0x20);
const SHA384_INFO: [u8; 19] = info(0x41, 2, 0x30);
const SHA512_INFO: [u8; 19] = info(0x51, 3, 0x40);

const fn info(rest: u8, hash: u8, len: u8) -> [u8; 19] {
    [
        0x30, rest, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, hash,
        0x05, 0x00, 0x04, len,
    ]
}

/// How a token signs a digest, and the bytes that it is given for that.
pub(super) fn of(hashed: &Hashed) -> (Mechanism<'static>, Vec<u8>) {
    let digest = hashed.digest().as_ref();
    let (info, hash_alg, mgf) = match hashed.algorithm() {
        Rs256 | Ps256 => (SHA256_INFO, MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        Rs384 | Ps384 => (SHA384_INFO, MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        Rs512 | Ps512 => (SHA512_INFO, MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
    };
    if !hashed.algorithm().is_pss() {
        return (Mechanism::RsaPkcs, [&info[..], digest].concat());
    }
    // A hash has at most 64 bytes.
    let s_len = (digest.len() as u64).into();
    (Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len }), digest.to_vec())
}
