//! A key as its maker sends it.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A private key of the `rsa` crate's, to be imported.
pub(crate) fn private() -> Value {
    use rsa::traits::{PrivateKeyParts, PublicKeyParts};
    let mut key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    key.precompute().unwrap();
    let text = |number: &rsa::BigUint| BASE64_URL_SAFE_NO_PAD.encode(number.to_bytes_be());
    let primes = key.primes();
    json!({
        "kty": "RSA",
        "n": text(key.n()), "e": text(key.e()), "d": text(key.d()),
        "p": text(&primes[0]), "q": text(&primes[1]),
        "dp": text(key.dp().unwrap()), "dq": text(key.dq().unwrap()),
        "qi": text(&key.qinv().unwrap().to_biguint().unwrap()),
    })
}
