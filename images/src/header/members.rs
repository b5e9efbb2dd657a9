//! Reading members of a JSON object, each refusal naming the member.

use serde_json::{Map, Value};

use super::MetadataError;

/// What a refused value is shortened to in an error text, characters.
const SHOWN_LEN: usize = 80;

pub(super) type Object = Map<String, Value>;

pub(super) fn object<'a>(
    root: &'a Object,
    name: &'static str,
) -> Result<&'a Object, MetadataError> {
    root.get(name).and_then(Value::as_object).ok_or(MetadataError::Missing(name))
}

/// The one member of an object that must have one.
pub(super) fn only<'a>(
    objects: &'a Object,
    what: &'static str,
) -> Result<(&'a str, &'a Object), MetadataError> {
    let mut members = objects.iter();
    match (members.next(), members.next()) {
        (Some((key, Value::Object(object))), None) => Ok((key, object)),
        (None, _) => Err(MetadataError::Missing(what)),
        _ => Err(refused(what, &format!("{} where one is served", objects.len()))),
    }
}

pub(super) fn text<'a>(
    object: &'a Object,
    name: &str,
    what: &'static str,
) -> Result<&'a str, MetadataError> {
    object.get(name).and_then(Value::as_str).ok_or(MetadataError::Missing(what))
}

pub(super) fn expect(
    object: &Object,
    name: &str,
    what: &'static str,
    wanted: &str,
) -> Result<(), MetadataError> {
    match text(object, name, what)? {
        found if found == wanted => Ok(()),
        found => Err(refused(what, found)),
    }
}

/// LUKS2 writes 64-bit numbers as decimal strings. Digits only: no sign, no blank.
pub(super) fn decimal(text: &str, what: &'static str) -> Result<u64, MetadataError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| refused(what, text))
}

/// What the header says reaches a terminal: without control characters, and not all of it.
pub(super) fn refused(what: &'static str, found: &(impl ToString + ?Sized)) -> MetadataError {
    let found = found.to_string().chars().filter(|c| !c.is_control()).take(SHOWN_LEN).collect();
    MetadataError::Refused { what, found }
}
