//! wrapkey, unwrapkey, encrypt, decrypt: an algorithm and a value.

use keyd_client::message::KeyOperation;
use serde::{Deserialize, de::IgnoredAny};

use super::{Octets, Problem, body};
use crate::kek::{Algorithm, MODULUS_LEN_MAX};

/// What is done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// wrapkey.
    Wrap,
    /// unwrapkey.
    Unwrap,
    /// encrypt.
    Encrypt,
    /// decrypt.
    Decrypt,
}

impl Use {
    /// The use that the last segment of a path names; Azure's own clients write it in lower case.
    pub(super) fn of(verb: &str) -> Option<Self> {
        let uses = [Self::Wrap, Self::Unwrap, Self::Encrypt, Self::Decrypt];
        uses.into_iter().find(|one| one.operation().name().eq_ignore_ascii_case(verb))
    }

    /// What the key must be for.
    #[must_use]
    pub fn operation(self) -> KeyOperation {
        match self {
            Self::Wrap => KeyOperation::WrapKey,
            Self::Unwrap => KeyOperation::UnwrapKey,
            Self::Encrypt => KeyOperation::Encrypt,
            Self::Decrypt => KeyOperation::Decrypt,
        }
    }
}

/// What is to be done to which bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Ask {
    /// How.
    pub algorithm: Algorithm,
    /// The plaintext or the ciphertext.
    pub value: Octets,
}

#[derive(Deserialize)]
struct Wire {
    alg: String,
    value: Octets,
    iv: Option<IgnoredAny>,
    aad: Option<IgnoredAny>,
    tag: Option<IgnoredAny>,
}

impl Ask {
    /// Judges the body of a request.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub(super) fn parse(text: &[u8]) -> Result<Self, Problem> {
        let wire: Wire = body::parse(text)?;
        let algorithm = wire.alg.parse().map_err(|_| {
            Problem::bad("alg is none of an RSA key: use RSA-OAEP-256, RSA-OAEP or RSA1_5")
        })?;
        if wire.iv.is_some() || wire.aad.is_some() || wire.tag.is_some() {
            return Err(Problem::bad("iv, aad and tag are for symmetric keys: leave them out"));
        }
        let value = wire.value;
        if value.as_bytes().len() > MODULUS_LEN_MAX {
            return Err(Problem::bad(format!(
                "value has {} bytes, more than any RSA key here takes",
                value.as_bytes().len()
            )));
        }
        Ok(Self { algorithm, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(body: &str) -> Result<Ask, Problem> {
        Ask::parse(body.as_bytes())
    }

    #[test]
    fn a_request_of_the_sdks_is_read() {
        let ask = judge(r#"{"alg":"RSA-OAEP-256","value":"Zm9v","iv":null,"k":1}"#).unwrap();
        assert_eq!((ask.algorithm, ask.value.as_bytes()), (Algorithm::RsaOaep256, &b"foo"[..]));
    }

    #[test]
    fn wrong_requests_are_refused() {
        let long = format!(r#"{{"alg":"RSA-OAEP","value":"{}"}}"#, "A".repeat(684));
        for wrong in [
            "{}",
            r#"{"alg":"RSA-OAEP"}"#,
            r#"{"alg":"A256KW","value":"Zm9v"}"#,
            r#"{"alg":"rsa-oaep","value":"Zm9v"}"#,
            r#"{"alg":"RSA-OAEP","value":"Zm8="}"#,
            r#"{"alg":"RSA-OAEP","value":7}"#,
            r#"{"alg":"RSA-OAEP","value":"Zm9v","iv":"Zm9v"}"#,
            &long,
        ] {
            assert!(judge(wrong).is_err(), "{wrong}");
        }
    }
}
