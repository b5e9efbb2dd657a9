//! What uses a key: wrapkey, unwrapkey, encrypt and decrypt have an algorithm and a value, sign a digest, verify a
//! signature beside it.

use keyd_client::message::KeyOperation;
use serde::{Deserialize, de::IgnoredAny};

use super::{Octets, Problem, body};
use crate::kek::{Algorithm, Hashed, MODULUS_LEN_MAX};

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
        no_longer_than_a_key(&value)?;
        Ok(Self { algorithm, value })
    }
}

fn no_longer_than_a_key(value: &Octets) -> Result<(), Problem> {
    match value.as_bytes().len() {
        len if len > MODULUS_LEN_MAX => {
            Err(Problem::bad(format!("value has {len} bytes, more than any RSA key here takes")))
        }
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct WireSign {
    alg: String,
    value: Octets,
}

/// Judges the body of a request to sign.
///
/// # Errors
/// [`super::Kind::BadParameter`].
pub(super) fn sign(text: &[u8]) -> Result<Hashed, Problem> {
    let WireSign { alg, value } = body::parse(text)?;
    hashed(&alg, "value", &value)
}

#[derive(Deserialize)]
struct WireVerify {
    alg: String,
    digest: Octets,
    value: Octets,
}

/// Judges the body of a request to verify: what was signed, and the signature.
///
/// # Errors
/// [`super::Kind::BadParameter`].
pub(super) fn verify(text: &[u8]) -> Result<(Hashed, Octets), Problem> {
    let WireVerify { alg, digest, value } = body::parse(text)?;
    no_longer_than_a_key(&value)?;
    Ok((hashed(&alg, "digest", &digest)?, value))
}

fn hashed(alg: &str, field: &str, digest: &Octets) -> Result<Hashed, Problem> {
    let algorithm = alg
        .parse()
        .map_err(|error: crate::kek::UnknownSignatureAlgorithm| Problem::bad(error.to_string()))?;
    Hashed::new(algorithm, digest.as_bytes())
        .map_err(|error| Problem::bad(format!("{field}: {error}")))
}

/// Most random bytes at once (Managed HSM's own limit).
const RANDOM_MAX: u8 = 128;

#[derive(Deserialize)]
struct WireRandom {
    count: u64,
}

/// How many random bytes are asked for.
///
/// # Errors
/// [`super::Kind::BadParameter`].
pub(super) fn random(text: &[u8]) -> Result<u8, Problem> {
    let WireRandom { count } = body::parse(text)?;
    let known = u8::try_from(count).ok().filter(|count| (1..=RANDOM_MAX).contains(count));
    known.ok_or_else(|| Problem::bad(format!("count is 1 to {RANDOM_MAX} bytes, not {count}")))
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
    fn what_is_signed_is_a_digest_of_its_algorithms_length() {
        // 32 bytes.
        let digest = "A".repeat(43);
        let signed = sign(format!(r#"{{"alg":"PS256","value":"{digest}"}}"#).as_bytes()).unwrap();
        assert_eq!(signed.algorithm().name(), "PS256");
        let body = format!(r#"{{"alg":"RS256","digest":"{digest}","value":"Zm9v"}}"#);
        let (_, signature) = verify(body.as_bytes()).unwrap();
        assert_eq!(signature.as_bytes(), b"foo");
        let refused = |body: String| sign(body.as_bytes()).unwrap_err().message;
        let long = refused(format!(r#"{{"alg":"RS512","value":"{digest}"}}"#));
        assert_eq!(long, "value: RS512 signs a digest of 64 bytes, not of 32");
        assert!(refused(format!(r#"{{"alg":"ES256","value":"{digest}"}}"#)).contains("RS256"));
        assert!(verify(format!(r#"{{"alg":"RS256","value":"{digest}"}}"#).as_bytes()).is_err());
    }

    #[test]
    fn random_bytes_are_1_to_128() {
        for (count, asked) in
            [("1", Some(1)), ("128", Some(128)), ("0", None), ("129", None), ("-1", None)]
        {
            let body = format!(r#"{{"count":{count}}}"#);
            assert_eq!(random(body.as_bytes()).ok(), asked, "{count}");
        }
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
