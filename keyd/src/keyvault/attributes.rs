//! What a request can set on a key's version beside its material.

use keyd_client::message::{KeyChange, KeyOperation, UnixSeconds};
use serde::Deserialize;

use super::{
    Problem,
    tags::{self, Tags},
};

/// The last second of the year 9999: later ones are mistakes, and every client can show those before it.
const TIME_MAX: UnixSeconds = 253_402_300_799;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wire {
    enabled: Option<bool>,
    nbf: Option<u64>,
    exp: Option<u64>,
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
    if exportable == Some(true) {
        return Err(Problem::bad(
            "no key here is exportable: leave attributes.exportable and release_policy out",
        ));
    }
    if [nbf, exp].iter().flatten().any(|time| *time > TIME_MAX) || exp == Some(0) {
        return Err(Problem::bad(
            "attributes.nbf and attributes.exp are whole seconds since 1970-01-01 UTC",
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
        not_before: nbf,
        expires: exp,
        operations: key_ops.map(operations).transpose()?,
        tags: tags.map(tags::judge).transpose()?,
    })
}

/// `key_ops` (RFC 7517, section 4.3). What a key may sign is kept and told, though nothing here signs.
fn operation(name: &str) -> Result<KeyOperation, Problem> {
    let found = KeyOperation::ALL.into_iter().find(|operation| operation.name() == name);
    found.ok_or_else(|| {
        Problem::bad(
            "key_ops has a use that keys here do not have: there are encrypt, decrypt, sign, verify, wrapKey and unwrapKey",
        )
    })
}
