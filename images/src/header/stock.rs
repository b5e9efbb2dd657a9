//! What stock `cryptsetup` wants of metadata beyond what we read of it (LUKS2 spec 1.1.4, section 3).
//!
//! Our own allow-list ignores passphrase keyslots and tokens of other tools. `cryptsetup` does not: a keyslot without
//! an area makes it refuse the whole header. The data of such a disk are right and it is served, but its released
//! volume key would open nothing, so this is told. And no copy is repaired from such a header: the other copy may be
//! the one that `cryptsetup` still takes.

use serde_json::Value;
use thiserror::Error;

use super::members::Object;
use crate::limits::{HEADER_LEN, JSON_AREA_LEN, KEYSLOTS_LEN_MAX, STOCK_JSON_DEPTH_MAX};

/// Why stock `cryptsetup` refuses metadata that we serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("stock cryptsetup refuses the header: {0}")]
pub struct StockFault(&'static str);

type Judged<T = ()> = Result<T, StockFault>;

/// Judges metadata that passed our allow-list as `cryptsetup` would.
pub(super) fn judge(root: &Object) -> Judged {
    wanted(is_shallow(root), "its JSON is nested too deep")?;
    // The same text, without white space, has to fit again.
    let len = serde_json::to_string(root).map_or(usize::MAX, |text| text.len());
    wanted(len <= JSON_AREA_LEN, "its JSON does not fit into its area")?;
    let keyslots = object(root, "keyslots", "it has no object of keyslots")?;
    requirements(root)?;
    tokens(root, keyslots)?;
    digests(root, keyslots)?;
    segments(root)?;
    config(root)?;
    keyslots.iter().try_for_each(|(number, keyslot)| judge_keyslot(root, number, keyslot))?;
    areas(root, keyslots)
}

fn requirements(root: &Object) -> Judged {
    let Some(requirements) = root.get("config").and_then(|config| config.get("requirements"))
    else {
        return Ok(());
    };
    let fault = "its requirements are not an object with a list of texts";
    let requirements = requirements.as_object().ok_or(StockFault(fault))?;
    wanted(requirements.get("mandatory").is_none_or(is_texts), fault)
}

fn tokens(root: &Object, keyslots: &Object) -> Judged {
    for (number, token) in object(root, "tokens", "it has no object of tokens")? {
        wanted(is_number(number), "a token has no number")?;
        text(token, "type", "a token has no type")?;
        names(token, "keyslots", keyslots, "a token names a keyslot that is not there")?;
    }
    Ok(())
}

fn digests(root: &Object, keyslots: &Object) -> Judged {
    let segments = object(root, "segments", "it has no object of segments")?;
    for (number, digest) in object(root, "digests", "it has no object of digests")? {
        wanted(is_number(number), "a digest has no number")?;
        text(digest, "type", "a digest has no type")?;
        names(digest, "keyslots", keyslots, "a digest names a keyslot that is not there")?;
        names(digest, "segments", segments, "a digest names a segment that is not there")?;
    }
    Ok(())
}

/// Of segments the allow-list has judged all but the name: one, which has to be the first.
fn segments(root: &Object) -> Judged {
    let segments = object(root, "segments", "it has no object of segments")?;
    wanted(segments.contains_key("0"), "its segment does not have the number 0")
}

fn config(root: &Object) -> Judged {
    let config = object(root, "config", "it has no config")?;
    let fault = "keyslots_size is not a multiple of 4096 bytes, or above 128 MiB";
    let len = number(config.get("keyslots_size"), fault)?;
    wanted(len.is_multiple_of(4096) && len <= KEYSLOTS_LEN_MAX, fault)?;
    wanted(config.get("flags").is_none_or(is_texts), "its flags are not a list of texts")
}

/// Sections 3.2 and 3.3. The type is `luks2`, by the allow-list.
fn judge_keyslot(root: &Object, slot: &str, keyslot: &Value) -> Judged {
    wanted(is_number(slot), "a keyslot has no number")?;
    wanted(
        keyslot["key_size"].as_u64().is_some_and(|len| u32::try_from(len).is_ok()),
        "a keyslot has no key size",
    )?;
    judge_kdf(&keyslot["kdf"])?;
    let af = &keyslot["af"];
    wanted(af["type"] == "luks1", "a keyslot has no anti-forensic splitter of type luks1")?;
    text(af, "hash", "a keyslot's splitter has no hash")?;
    wanted(is_integer(&af["stripes"]), "a keyslot's splitter has no number of stripes")?;
    let area = &keyslot["area"];
    wanted(area["type"] == "raw", "a keyslot has no area of type raw")?;
    text(area, "encryption", "a keyslot's area has no cipher")?;
    wanted(is_integer(&area["key_size"]), "a keyslot's area has no key size")?;
    let digests = root.get("digests").and_then(Value::as_object);
    let named = |digest: &&Value| {
        digest["keyslots"].as_array().is_some_and(|names| names.iter().any(|name| name == slot))
    };
    let count = digests.map_or(0, |digests| digests.values().filter(named).count());
    wanted(count == 1, "a keyslot does not belong to exactly one digest")
}

fn judge_kdf(kdf: &Value) -> Judged {
    text(kdf, "type", "a keyslot has no key derivation")?;
    let numbers: &[&str] = match kdf["type"].as_str() {
        Some("pbkdf2") => {
            text(kdf, "hash", "a keyslot's key derivation has no hash")?;
            &["iterations"]
        }
        Some("argon2i" | "argon2id") => &["time", "memory", "cpus"],
        // A type that this cryptsetup does not know is left to one that does.
        _ => return Ok(()),
    };
    text(kdf, "salt", "a keyslot's key derivation has no salt")?;
    let all = numbers.iter().all(|name| is_integer(&kdf[*name]));
    wanted(all, "a keyslot's key derivation lacks a number")
}

/// Keyslot areas lie behind both copies, inside the keyslots area, apart from each other.
fn areas(root: &Object, keyslots: &Object) -> Judged {
    let fault = "a keyslot's area is not a place and a length";
    let len = root.get("config").and_then(|config| config.get("keyslots_size"));
    let end = HEADER_LEN + number(len, fault)?;
    let mut areas = Vec::new();
    for keyslot in keyslots.values() {
        let area = &keyslot["area"];
        let from = number(area.get("offset"), fault)?;
        let to = from.checked_add(number(area.get("size"), fault)?).ok_or(StockFault(fault))?;
        let inside = from >= HEADER_LEN && from < to && to <= end;
        wanted(inside, "a keyslot's area lies outside the keyslots area")?;
        areas.push((from, to));
    }
    areas.sort_unstable();
    let apart = areas.windows(2).all(|pair| pair[0].1 <= pair[1].0);
    wanted(apart, "two keyslots' areas overlap")
}

fn wanted(condition: bool, fault: &'static str) -> Judged {
    if condition { Ok(()) } else { Err(StockFault(fault)) }
}

fn object<'a>(root: &'a Object, name: &str, fault: &'static str) -> Judged<&'a Object> {
    root.get(name).and_then(Value::as_object).ok_or(StockFault(fault))
}

/// A text that is not empty.
fn text(object: &Value, name: &str, fault: &'static str) -> Judged {
    wanted(object[name].as_str().is_some_and(|text| !text.is_empty()), fault)
}

/// A list of texts, each the name of a member.
fn names(object: &Value, list: &str, members: &Object, fault: &'static str) -> Judged {
    let named = |name: &Value| name.as_str().is_some_and(|name| members.contains_key(name));
    wanted(object[list].as_array().is_some_and(|names| names.iter().all(named)), fault)
}

/// A 64-bit number as LUKS2 writes it: decimal digits in a text.
fn number(value: Option<&Value>, fault: &'static str) -> Judged<u64> {
    let text = value.and_then(Value::as_str).filter(|text| is_number(text));
    text.and_then(|text| text.parse().ok()).ok_or(StockFault(fault))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64()
}

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
}

/// Whether json-c, which `cryptsetup` parses with, goes so deep.
fn is_shallow(root: &Object) -> bool {
    root.values().all(|value| depth(value) < STOCK_JSON_DEPTH_MAX)
}

/// Levels of a value, its own included. Our parser has bounded them before.
fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Object(members) => members.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
