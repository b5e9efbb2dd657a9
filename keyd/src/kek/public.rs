//! The public half of a key: what a JWK tells of it, and what wraps under a key whose private half is elsewhere.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

/// An RSA public key (RFC 8017, 3.1; JWK: RFC 7518, 6.3.1). In the store its numbers are base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// The modulus: unsigned, big-endian, without leading zeros.
    #[serde(with = "number")]
    pub n: Vec<u8>,
    /// The public exponent, likewise.
    #[serde(with = "number")]
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

mod number {
    use super::{BASE64_STANDARD, Engine};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(number: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(number))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
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
