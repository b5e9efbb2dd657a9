//! What a request can set on a key's version beside its material.

use std::fmt;

use keyd_client::message::{Bound, KeyChange, KeyOperation, UnixSeconds};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use super::{
    Problem,
    tags::{self, Tags},
};

/// The last second of the year 9999: later ones are mistakes, and every client can show those before it.
const TIME_MAX: UnixSeconds = 253_402_300_799;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wire {
    enabled: Option<bool>,
    nbf: Option<Moment>,
    exp: Option<Moment>,
    exportable: Option<bool>,
}

/// Judges the part that create, import and update have in common.
///
/// # Errors
/// [`super::Kind::BadParameter`].
pub(super) fn judge(
    key_ops: Option<Vec<String>>,
    attributes: Option<Wire>,
    tags: Option<Tags>,
) -> Result<KeyChange, Problem> {
    let Wire { enabled, nbf, exp, exportable } = attributes.unwrap_or_default();
    let (nbf, exp) = (nbf.map(|Moment(time)| time), exp.map(|Moment(time)| time));
    if exportable == Some(true) {
        return Err(Problem::bad(
            "no key here is exportable: leave attributes.exportable and release_policy out",
        ));
    }
    if nbf.zip(exp).is_some_and(|(nbf, exp)| nbf >= exp) {
        return Err(Problem::bad(
            "attributes.nbf must be before attributes.exp: the key could never be used",
        ));
    }
    let operations = |names: Vec<String>| names.iter().map(|name| operation(name)).collect();
    Ok(KeyChange {
        enabled,
        not_before: nbf.map(Bound::At),
        expires: exp.map(Bound::At),
        operations: key_ops.map(operations).transpose()?,
        tags: tags.map(tags::judge).transpose()?,
    })
}

/// A moment of a request: a NumericDate (RFC 7519) that every client can show.
#[derive(Debug)]
struct Moment(UnixSeconds);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "whole seconds since 1970-01-01 UTC, at most {TIME_MAX}")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Moment, E> {
                match seconds {
                    0..=TIME_MAX => Ok(Moment(seconds)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(seconds), &self)),
                }
            }
        }
        from.deserialize_u64(Number)
    }
}

/// `key_ops` (RFC 7517, section 4.3).
fn operation(name: &str) -> Result<KeyOperation, Problem> {
    let found = KeyOperation::ALL.into_iter().find(|operation| operation.name() == name);
    found.ok_or_else(|| {
        Problem::bad(
            "key_ops has a use that keys here do not have: there are encrypt, decrypt, sign, verify, wrapKey and unwrapKey",
        )
    })
}
