//! Bodies that make or change a key: create, import, update.

use keyd_client::message::KeyChange;
use serde::{Deserialize, de::IgnoredAny};
use zeroize::Zeroizing;

use super::{Octets, Problem, attributes, body, tags::Tags};
use crate::kek::{KeyBits, PrivateJwk, Provider};

/// Modulus length of a key that is made without saying one, bits (the service's own).
const BITS: u32 = 2048;

/// The one public exponent of keys that are made here (NIST SP 800-56B, 6.2.1 allows others; AWS-LC makes this one).
const EXPONENT: u64 = 65_537;

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// Who makes and holds it.
    pub provider: Provider,
    /// Modulus length.
    pub bits: KeyBits,
    /// What it has beside; what is not there is as new keys have it.
    pub settings: KeyChange,
}

/// A key to be imported.
#[derive(Debug)]
pub struct Import {
    /// Its numbers, not yet judged.
    pub key: PrivateJwk,
    /// What it has beside; what is not there is as new keys have it.
    pub settings: KeyChange,
}

#[derive(Deserialize)]
struct WireCreate {
    kty: String,
    key_size: Option<u32>,
    public_exponent: Option<u64>,
    key_ops: Option<Vec<String>>,
    attributes: Option<attributes::Wire>,
    tags: Option<Tags>,
    release_policy: Option<IgnoredAny>,
}

impl Create {
    /// Judges the body of a request.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub(super) fn parse(text: &[u8]) -> Result<Self, Problem> {
        let wire: WireCreate = body::parse(text)?;
        let provider = provider(&wire.kty)?;
        let bits = wire.key_size.unwrap_or(BITS);
        let bits = KeyBits::try_from(bits).map_err(|_| {
            Problem::bad(format!("key_size of an RSA key is 2048, 3072 or 4096, not {bits}"))
        })?;
        if wire.public_exponent.is_some_and(|exponent| exponent != EXPONENT) {
            return Err(Problem::bad(format!("public_exponent is {EXPONENT}: leave it out")));
        }
        not_released(wire.release_policy)?;
        let settings = attributes::judge(wire.key_ops, wire.attributes, wire.tags)?;
        Ok(Self { provider, bits, settings })
    }
}

#[derive(Deserialize)]
struct WireImport {
    #[serde(rename = "Hsm")]
    hsm: Option<bool>,
    key: WireJwk,
    attributes: Option<attributes::Wire>,
    tags: Option<Tags>,
    release_policy: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WireJwk {
    kty: String,
    key_ops: Option<Vec<String>>,
    n: Option<Octets>,
    e: Option<Octets>,
    d: Option<Octets>,
    p: Option<Octets>,
    q: Option<Octets>,
    dp: Option<Octets>,
    dq: Option<Octets>,
    qi: Option<Octets>,
    key_hsm: Option<IgnoredAny>,
}

impl Import {
    /// Judges the body of a request. Whether the numbers are a key is for [`crate::kek`] to say.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub(super) fn parse(text: &[u8]) -> Result<Self, Problem> {
        let wire: WireImport = body::parse(text)?;
        let hsm = wire.hsm == Some(true) || wire.key.key_hsm.is_some();
        if hsm || provider(&wire.key.kty)? == Provider::Hsm {
            return Err(Problem::bad(
                "keys are imported as kty RSA: a key in an HSM is made there, by create with kty RSA-HSM",
            ));
        }
        not_released(wire.release_policy)?;
        let WireJwk { key_ops, n, e, d, p, q, dp, dq, qi, .. } = wire.key;
        let key = PrivateJwk {
            n: number("n", n)?.to_vec(),
            e: number("e", e)?.to_vec(),
            d: number("d", d)?,
            p: number("p", p)?,
            q: number("q", q)?,
            dp: number("dp", dp)?,
            dq: number("dq", dq)?,
            qi: number("qi", qi)?,
        };
        let settings = attributes::judge(key_ops, wire.attributes, wire.tags)?;
        Ok(Self { key, settings })
    }
}

#[derive(Deserialize)]
struct WireUpdate {
    key_ops: Option<Vec<String>>,
    attributes: Option<attributes::Wire>,
    tags: Option<Tags>,
    release_policy: Option<IgnoredAny>,
}

/// Judges the body of an update.
///
/// # Errors
/// [`super::Kind::BadParameter`].
pub(super) fn update(text: &[u8]) -> Result<KeyChange, Problem> {
    let wire: WireUpdate = body::parse(text)?;
    not_released(wire.release_policy)?;
    attributes::judge(wire.key_ops, wire.attributes, wire.tags)
}

fn provider(kty: &str) -> Result<Provider, Problem> {
    match kty {
        "RSA" => Ok(Provider::Software),
        "RSA-HSM" => Ok(Provider::Hsm),
        _ => Err(Problem::bad(
            "kty is none that keys here have: use RSA (EC, oct and their HSM forms are not offered)",
        )),
    }
}

fn number(name: &str, octets: Option<Octets>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    octets.map(Octets::into_inner).ok_or_else(|| {
        Problem::bad(format!(
            "key.{name} is missing: an RSA private key has n, e, d, p, q, dp, dq and qi"
        ))
    })
}

fn not_released(policy: Option<IgnoredAny>) -> Result<(), Problem> {
    match policy {
        Some(_) => Err(Problem::bad("keys here are not released: leave release_policy out")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use keyd_client::message::{Bound, KeyOperation};

    use super::*;

    fn create(body: &str) -> Result<Create, Problem> {
        Create::parse(body.as_bytes())
    }

    #[test]
    fn the_shortest_request_makes_an_rsa_key_of_2048_bits() {
        let made = create(r#"{"kty":"RSA"}"#).unwrap();
        assert_eq!((made.bits, made.provider), (KeyBits::Rsa2048, Provider::Software));
        assert_eq!(made.settings, KeyChange::default());
    }

    #[test]
    fn everything_that_can_be_set_is_read() {
        let made = create(
            r#"{"kty":"RSA-HSM","key_size":4096,"public_exponent":65537,
                "key_ops":["wrapKey","unwrapKey","wrapKey"],
                "attributes":{"enabled":false,"nbf":1,"exp":2,"exportable":false},
                "tags":{"a":"b"},"release_policy":null,"crv":null,"more":{}}"#,
        )
        .unwrap();
        assert_eq!((made.bits, made.provider), (KeyBits::Rsa4096, Provider::Hsm));
        let expected = KeyChange {
            enabled: Some(false),
            not_before: Some(Bound::At(1)),
            expires: Some(Bound::At(2)),
            operations: Some(BTreeSet::from([KeyOperation::WrapKey, KeyOperation::UnwrapKey])),
            tags: Some(Tags::from([("a".into(), "b".into())])),
        };
        assert_eq!(made.settings, expected);
    }

    #[test]
    fn keys_of_other_kinds_are_refused() {
        for wrong in [
            r#"{}"#,
            r#"{"kty":"EC","crv":"P-256"}"#,
            r#"{"kty":"oct"}"#,
            r#"{"kty":"rsa"}"#,
            r#"{"kty":"RSA","key_size":1024}"#,
            r#"{"kty":"RSA","key_size":"2048"}"#,
            r#"{"kty":"RSA","public_exponent":3}"#,
            r#"{"kty":"RSA","key_ops":["launch"]}"#,
            r#"{"kty":"RSA","attributes":{"nbf":2,"exp":2}}"#,
            r#"{"kty":"RSA","attributes":{"exp":-1}}"#,
            r#"{"kty":"RSA","attributes":{"exp":253402300800}}"#,
            r#"{"kty":"RSA","attributes":{"exportable":true}}"#,
            r#"{"kty":"RSA","release_policy":{"data":"x"}}"#,
            r#"{"kty":"RSA","tags":{"a":1}}"#,
        ] {
            assert!(create(wrong).is_err(), "{wrong}");
        }
    }

    fn import(kty: &str, without: &str, more: &str) -> Result<Import, Problem> {
        let numbers: Vec<String> = ["n", "e", "d", "p", "q", "dp", "dq", "qi"]
            .into_iter()
            .filter(|name| *name != without)
            .map(|name| format!(r#""{name}":"Zm9v""#))
            .collect();
        let body = format!(r#"{{"key":{{"kty":"{kty}",{}}}{more}}}"#, numbers.join(","));
        Import::parse(body.as_bytes())
    }

    #[test]
    fn an_imported_key_has_all_its_numbers_and_is_no_hsms() {
        assert_eq!(*import("RSA", "", "").unwrap().key.qi, b"foo");
        let text = import("RSA", "qi", "").unwrap_err().message;
        assert!(text.contains("key.qi is missing"), "{text}");
        assert!(import("RSA-HSM", "", "").is_err());
        assert!(import("RSA", "", r#","Hsm":true"#).is_err());
        assert!(import("RSA", "", r#","Hsm":false"#).is_ok());
        assert!(import("EC", "", "").is_err());
    }
}
