//! Which operation a method and a path name: the table of the API's rows.

use std::fmt;

use keyd_client::{KeyName, KeyVersion};

use super::{Problem, Use};
use crate::limits::{BODY_LEN_MAX, RESTORE_LEN_MAX};

/// A key, and which version of it; none means the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRef {
    /// The key.
    pub name: KeyName,
    /// The version.
    pub version: Option<KeyVersion>,
}

impl fmt::Display for KeyRef {
    /// `NAME` or `NAME/VERSION`, as Key Vault's messages have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}/{version}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// An operation and what it is done to; its body is still to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the rows of the API, by their names")]
pub enum Target {
    Create(KeyName),
    Import(KeyName),
    Rotate(KeyName),
    Get(KeyRef),
    Update(KeyRef),
    List,
    Versions(KeyName),
    Delete(KeyName),
    ListDeleted,
    GetDeleted(KeyName),
    Recover(KeyName),
    Purge(KeyName),
    Backup(KeyName),
    Restore,
    Use(KeyRef, Use),
    Sign(KeyRef),
    Verify(KeyRef),
    Random,
    GetRotationPolicy(KeyName),
    SetRotationPolicy(KeyName),
}

impl Target {
    /// Finds the operation. Words count in any case, as for the service. Empty segments do not count: clients send
    /// `/keys/k/` for the newest version, and `/keys/k//wrapkey`. Nothing in a path needs percent-encoding, so nothing
    /// is decoded.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`]: a name that cannot be one, or no operation of this API.
    pub fn parse(method: &str, path: &str) -> Result<Self, Problem> {
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let words: Vec<String> = segments.iter().map(|part| part.to_ascii_lowercase()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (method, words.as_slice()) {
            ("GET", ["keys"]) => Ok(Self::List),
            ("GET", ["deletedkeys"]) => Ok(Self::ListDeleted),
            ("POST", ["keys", "restore"]) => Ok(Self::Restore),
            ("POST", ["rng"]) => Ok(Self::Random),
            (_, ["keys", _, verbs @ ..]) => {
                Self::of_key(method, segments[1], &segments[2..], verbs)
            }
            (_, ["deletedkeys", _, verbs @ ..]) => Self::of_deleted(method, segments[1], verbs),
            _ => Err(no_such_operation()),
        }
    }

    /// An operation on a key. `rest` is the path behind its name as it was sent, `words` the same in lower case.
    fn of_key(method: &str, key: &str, rest: &[&str], words: &[&str]) -> Result<Self, Problem> {
        let newest = || Ok(KeyRef { name: name(key)?, version: None });
        Ok(match (method, words) {
            ("POST", ["create"]) => Self::Create(name(key)?),
            ("PUT", []) => Self::Import(name(key)?),
            ("DELETE", []) => Self::Delete(name(key)?),
            ("GET", ["versions"]) => Self::Versions(name(key)?),
            ("POST", ["rotate"]) => Self::Rotate(name(key)?),
            ("POST", ["backup"]) => Self::Backup(name(key)?),
            ("GET", ["rotationpolicy"]) => Self::GetRotationPolicy(name(key)?),
            ("PUT", ["rotationpolicy"]) => Self::SetRotationPolicy(name(key)?),
            ("GET", []) => Self::Get(newest()?),
            ("GET", [_]) => Self::Get(key_ref(key, rest[0])?),
            ("PATCH", []) => Self::Update(newest()?),
            ("PATCH", [_]) => Self::Update(key_ref(key, rest[0])?),
            ("POST", [verb]) => Self::using(newest()?, verb)?,
            ("POST", [_, verb]) => Self::using(key_ref(key, rest[0])?, verb)?,
            _ => return Err(no_such_operation()),
        })
    }

    fn of_deleted(method: &str, key: &str, words: &[&str]) -> Result<Self, Problem> {
        Ok(match (method, words) {
            ("GET", []) => Self::GetDeleted(name(key)?),
            ("POST", ["recover"]) => Self::Recover(name(key)?),
            ("DELETE", []) => Self::Purge(name(key)?),
            _ => return Err(no_such_operation()),
        })
    }

    fn using(key: KeyRef, verb: &str) -> Result<Self, Problem> {
        match verb {
            "sign" => Ok(Self::Sign(key)),
            "verify" => Ok(Self::Verify(key)),
            "release" => {
                Err(Problem::bad("keys here are not released: they are used where they are"))
            }
            _ => Use::of(verb).map(|usage| Self::Use(key, usage)).ok_or_else(no_such_operation),
        }
    }

    /// Whether an RSA key is made, which takes its time.
    #[must_use]
    pub fn makes_key(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Rotate(_))
    }

    /// Longest body it can have, bytes.
    #[must_use]
    pub fn body_len_max(&self) -> usize {
        if *self == Self::Restore { RESTORE_LEN_MAX } else { BODY_LEN_MAX }
    }
}

fn name(text: &str) -> Result<KeyName, Problem> {
    text.parse().map_err(|_| {
        Problem::bad(
            "The request URI contains an invalid name: names of keys are 1 to 127 letters, digits and hyphens",
        )
    })
}

fn key_ref(key: &str, version: &str) -> Result<KeyRef, Problem> {
    let version = version.parse().map_err(|_| {
        Problem::bad(
            "The request URI contains an invalid version: versions of keys are 32 hexadecimal digits",
        )
    })?;
    Ok(KeyRef { name: name(key)?, version: Some(version) })
}

fn no_such_operation() -> Problem {
    Problem::bad(
        "this method and path name no operation on keys: they are those of Azure Key Vault's REST API for keys",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERSION: &str = "0123456789abcdef0123456789abcdef";

    fn key(version: Option<&str>) -> KeyRef {
        KeyRef { name: "k".parse().unwrap(), version: version.map(|v| v.parse().unwrap()) }
    }

    #[test]
    fn every_row_of_the_api_is_found() {
        let name = || "k".parse().unwrap();
        let versioned = format!("/keys/k/{VERSION}");
        let used = format!("/keys/k/{VERSION}/unwrapkey");
        let signed = format!("/keys/k/{VERSION}/verify");
        let rows = [
            ("POST", "/keys/k/create", Target::Create(name())),
            ("PUT", "/keys/k", Target::Import(name())),
            ("POST", "/keys/k/rotate", Target::Rotate(name())),
            ("GET", &versioned, Target::Get(key(Some(VERSION)))),
            ("GET", "/keys/k", Target::Get(key(None))),
            ("PATCH", &versioned, Target::Update(key(Some(VERSION)))),
            ("GET", "/keys", Target::List),
            ("GET", "/keys/k/versions", Target::Versions(name())),
            ("DELETE", "/keys/k", Target::Delete(name())),
            ("GET", "/deletedkeys", Target::ListDeleted),
            ("GET", "/deletedkeys/k", Target::GetDeleted(name())),
            ("POST", "/deletedkeys/k/recover", Target::Recover(name())),
            ("DELETE", "/deletedkeys/k", Target::Purge(name())),
            ("POST", "/keys/k/backup", Target::Backup(name())),
            ("POST", "/keys/restore", Target::Restore),
            ("POST", "/keys/k/wrapkey", Target::Use(key(None), Use::Wrap)),
            ("POST", &used, Target::Use(key(Some(VERSION)), Use::Unwrap)),
            ("POST", "/keys/k/encrypt", Target::Use(key(None), Use::Encrypt)),
            ("POST", "/keys/k/decrypt", Target::Use(key(None), Use::Decrypt)),
            ("POST", "/keys/k/sign", Target::Sign(key(None))),
            ("POST", &signed, Target::Verify(key(Some(VERSION)))),
            ("POST", "/rng", Target::Random),
            ("GET", "/keys/k/rotationpolicy", Target::GetRotationPolicy(name())),
            ("PUT", "/keys/k/rotationpolicy", Target::SetRotationPolicy(name())),
        ];
        for (method, path, target) in rows {
            assert_eq!(Target::parse(method, path), Ok(target), "{method} {path}");
        }
    }

    #[test]
    fn slashes_that_the_sdks_send_do_not_count() {
        assert_eq!(Target::parse("GET", "/keys/k/"), Ok(Target::Get(key(None))));
        assert_eq!(Target::parse("PATCH", "/keys/k/"), Ok(Target::Update(key(None))));
        assert_eq!(Target::parse("POST", "//keys//restore"), Ok(Target::Restore));
        let wrap = Target::Use(key(None), Use::Wrap);
        assert_eq!(Target::parse("POST", "/keys/k//wrapkey"), Ok(wrap));
    }

    #[test]
    fn words_count_in_any_case_and_names_stay_as_they_are() {
        let upper = VERSION.to_uppercase();
        let name = || "Prod".parse().unwrap();
        let newest = || KeyRef { name: name(), version: None };
        let versioned = || KeyRef { name: name(), version: Some(VERSION.parse().unwrap()) };
        for (method, path, target) in [
            ("GET", "/Keys", Target::List),
            ("GET", "/DeletedKeys/Prod", Target::GetDeleted(name())),
            ("POST", "/KEYS/Prod/Create", Target::Create(name())),
            ("PUT", "/keys/Prod/rotationPolicy", Target::SetRotationPolicy(name())),
            ("POST", "/keys/Prod/wrapKey", Target::Use(newest(), Use::Wrap)),
            (
                "POST",
                &format!("/keys/Prod/{upper}/UNWRAPKEY"),
                Target::Use(versioned(), Use::Unwrap),
            ),
            ("GET", &format!("/keys/Prod/{upper}"), Target::Get(versioned())),
            ("POST", "/Keys/Restore", Target::Restore),
        ] {
            assert_eq!(Target::parse(method, path), Ok(target), "{method} {path}");
        }
    }

    #[test]
    fn tricks_and_foreign_operations_are_refused() {
        for (method, path) in [
            ("GET", "/"),
            ("GET", ""),
            ("GET", "/secrets"),
            ("GET", "/keys/../secrets"),
            ("GET", "/keys/%2e%2e"),
            ("GET", "/keys/k%00"),
            ("GET", "/keys/ключ"),
            ("GET", "/keys/k/current"),
            ("GET", "/keys/k/0123456789ABCDEF0123456789ABCDEG"),
            ("POST", "/keys/k/v/verify"),
            ("POST", "/keys/k/release"),
            ("GET", "/rng"),
            ("HEAD", "/keys"),
            ("get", "/keys"),
            ("DELETE", "/keys/k/0123456789abcdef0123456789abcdef"),
        ] {
            let problem = Target::parse(method, path).unwrap_err();
            assert_eq!(problem.kind, super::super::Kind::BadParameter, "{method} {path}");
        }
        assert!(Target::parse("GET", &format!("/keys/{}", "k".repeat(127))).is_ok());
        assert!(Target::parse("GET", &format!("/keys/{}", "k".repeat(128))).is_err());
    }

    proptest! {
        #[test]
        fn any_path_is_judged(method in "[A-Z]{0,6}", path in "\\PC{0,80}") {
            let _ = Target::parse(&method, &path);
        }
    }
}
