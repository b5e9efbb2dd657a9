//! The public half of a key: what a JWK tells of it, and what wraps under a key whose private half is elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base64_bytes;

/// An RSA public key (RFC 8017, 3.1; JWK: RFC 7518, 6.3.1). In the store its numbers are base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// The modulus: unsigned, big-endian, without leading zeros.
    #[serde(with = "base64_bytes")]
    pub n: Vec<u8>,
    /// The public exponent, likewise.
    #[serde(with = "base64_bytes")]
    pub e: Vec<u8>,
}

impl PublicKey {
    /// Length of the modulus, bits.
    #[must_use]
    pub fn bits(&self) -> u32 {
        let top = self.n.first().map_or(0, |byte| byte.leading_zeros());
        // A modulus has at most 4096 bits.
        (self.n.len() as u32 * 8).saturating_sub(top)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bits)", self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stored_as_two_base64_numbers() {
        let key = PublicKey { n: vec![0x7f, 0xff], e: vec![1, 0, 1] };
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(text, r#"{"n":"f/8=","e":"AQAB"}"#);
        assert_eq!(serde_json::from_str::<PublicKey>(&text).unwrap(), key);
        assert_eq!(key.bits(), 15);
        assert_eq!(PublicKey { n: vec![], e: vec![] }.bits(), 0);
    }
}
