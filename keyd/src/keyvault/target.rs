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
    GetRotationPolicy(KeyName),
    SetRotationPolicy(KeyName),
}

impl Target {
    /// Finds the operation. Empty segments do not count: clients send `/keys/k/` for the newest version, and
    /// `/keys/k//wrapkey`. Nothing in a path needs percent-encoding, so nothing is decoded.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`]: a name that cannot be one, or no operation of this API.
    pub fn parse(method: &str, path: &str) -> Result<Self, Problem> {
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let newest = |key| Ok(KeyRef { name: name(key)?, version: None });
        Ok(match (method, segments.as_slice()) {
            ("GET", ["keys"]) => Self::List,
            ("GET", ["deletedkeys"]) => Self::ListDeleted,
            ("POST", ["keys", "restore"]) => Self::Restore,
            ("POST", ["keys", key, "create"]) => Self::Create(name(key)?),
            ("PUT", ["keys", key]) => Self::Import(name(key)?),
            ("DELETE", ["keys", key]) => Self::Delete(name(key)?),
            ("GET", ["keys", key, "versions"]) => Self::Versions(name(key)?),
            ("POST", ["keys", key, "rotate"]) => Self::Rotate(name(key)?),
            ("POST", ["keys", key, "backup"]) => Self::Backup(name(key)?),
            ("GET", ["keys", key, "rotationpolicy"]) => Self::GetRotationPolicy(name(key)?),
            ("PUT", ["keys", key, "rotationpolicy"]) => Self::SetRotationPolicy(name(key)?),
            ("GET", ["keys", key]) => Self::Get(newest(key)?),
            ("GET", ["keys", key, version]) => Self::Get(key_ref(key, version)?),
            ("PATCH", ["keys", key]) => Self::Update(newest(key)?),
            ("PATCH", ["keys", key, version]) => Self::Update(key_ref(key, version)?),
            ("POST", ["keys", key, verb]) => Self::Use(newest(key)?, usage(verb)?),
            ("POST", ["keys", key, version, verb]) => {
                Self::Use(key_ref(key, version)?, usage(verb)?)
            }
            ("GET", ["deletedkeys", key]) => Self::GetDeleted(name(key)?),
            ("POST", ["deletedkeys", key, "recover"]) => Self::Recover(name(key)?),
            ("DELETE", ["deletedkeys", key]) => Self::Purge(name(key)?),
            _ => return Err(no_such_operation()),
        })
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

fn usage(verb: &str) -> Result<Use, Problem> {
    Use::of(verb).ok_or_else(|| match verb {
        "sign" | "verify" | "release" => Problem::bad(format!(
            "keys here wrap, unwrap, encrypt and decrypt: {verb} is not among their operations"
        )),
        _ => no_such_operation(),
    })
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
            ("POST", "/keys/k/sign"),
            ("POST", "/keys/k/v/verify"),
            ("POST", "/rng"),
            ("HEAD", "/keys"),
            ("get", "/keys"),
            ("GET", "/Keys"),
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
