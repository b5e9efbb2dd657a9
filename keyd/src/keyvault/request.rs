//! A request as a whole: target, query and body, judged. Behind it nothing is looked at again.

use keyd_client::{
    KeyName, KeyVersion,
    message::{KeyChange, RotationPolicy},
};
use serde::Deserialize;

use super::{
    KeyRef, Octets, Problem, Query, Target, Use, body, crypto,
    new_key::{self, Create, Import},
    rotation,
};
use crate::kek::Hashed;

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<Id> {
    /// It begins after this one.
    pub after: Option<Id>,
    /// It has at most so many entries.
    pub limit: usize,
}

/// One operation with everything it needs. The rows of Key Vault's API, by their names.
#[derive(Debug)]
#[allow(missing_docs, reason = "the rows of the API, by their names")]
pub enum Request {
    Create { name: KeyName, key: Create },
    Import { name: KeyName, key: Box<Import> },
    Rotate { name: KeyName },
    Get { key: KeyRef },
    Update { key: KeyRef, change: KeyChange },
    List { page: Page<KeyName> },
    Versions { name: KeyName, page: Page<KeyVersion> },
    Delete { name: KeyName },
    ListDeleted { page: Page<KeyName> },
    GetDeleted { name: KeyName },
    Recover { name: KeyName },
    Purge { name: KeyName },
    Backup { name: KeyName },
    Restore { blob: Octets },
    Use { key: KeyRef, usage: Use, ask: crypto::Ask },
    Sign { key: KeyRef, hashed: Hashed },
    Verify { key: KeyRef, hashed: Hashed, signature: Octets },
    Random { count: u8 },
    GetRotationPolicy { name: KeyName },
    SetRotationPolicy { name: KeyName, policy: RotationPolicy },
}

#[derive(Deserialize)]
struct Restore {
    value: Octets,
}

impl Request {
    /// Judges a request. Bodies where the API has none are ignored, as the service does.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub fn parse(target: Target, query: &Query, body: &[u8]) -> Result<Self, Problem> {
        Ok(match target {
            Target::Create(name) => Self::Create { name, key: Create::parse(body)? },
            Target::Import(name) => Self::Import { name, key: Box::new(Import::parse(body)?) },
            Target::Rotate(name) => Self::Rotate { name },
            Target::Get(key) => Self::Get { key },
            Target::Update(key) => Self::Update { key, change: new_key::update(body)? },
            Target::List => Self::List { page: page(query)? },
            Target::Versions(name) => Self::Versions { name, page: page(query)? },
            Target::Delete(name) => Self::Delete { name },
            Target::ListDeleted => Self::ListDeleted { page: page(query)? },
            Target::GetDeleted(name) => Self::GetDeleted { name },
            Target::Recover(name) => Self::Recover { name },
            Target::Purge(name) => Self::Purge { name },
            Target::Backup(name) => Self::Backup { name },
            Target::Restore => Self::Restore { blob: body::parse::<Restore>(body)?.value },
            Target::Use(key, usage) => Self::Use { key, usage, ask: crypto::Ask::parse(body)? },
            Target::Sign(key) => Self::Sign { key, hashed: crypto::sign(body)? },
            Target::Verify(key) => {
                let (hashed, signature) = crypto::verify(body)?;
                Self::Verify { key, hashed, signature }
            }
            Target::Random => Self::Random { count: crypto::random(body)? },
            Target::GetRotationPolicy(name) => Self::GetRotationPolicy { name },
            Target::SetRotationPolicy(name) => {
                let policy = body::parse::<rotation::Wire>(body)?.judge()?;
                Self::SetRotationPolicy { name, policy }
            }
        })
    }
}

fn page<Id: std::str::FromStr>(query: &Query) -> Result<Page<Id>, Problem> {
    Ok(Page { after: query.after()?, limit: query.limit })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(method: &str, path: &str, query: &str, body: &[u8]) -> Result<Request, Problem> {
        Request::parse(Target::parse(method, path)?, &Query::parse(query)?, body)
    }

    #[test]
    fn a_body_is_read_only_where_the_api_has_one() {
        assert!(parse("GET", "/keys", "api-version=7.4", b"nonsense").is_ok());
        assert!(parse("POST", "/keys/k/rotate", "api-version=7.4", b"").is_ok());
        assert!(parse("POST", "/keys/k/create", "api-version=7.4", b"").is_err());
        let restore = parse("POST", "/keys/restore", "api-version=7.4", br#"{"value":"Zm9v"}"#);
        assert!(matches!(restore, Ok(Request::Restore { blob }) if blob.as_bytes() == b"foo"));
    }

    #[test]
    fn update_takes_null_for_what_stays() {
        let body = br#"{"attributes":{"enabled":true,"exp":null},"tags":null,"key_ops":null}"#;
        let request = parse("PATCH", "/keys/k/", "api-version=7.4", body);
        let Ok(Request::Update { change, .. }) = request else { panic!("{request:?}") };
        assert_eq!(change.enabled, Some(true));
        assert_eq!((change.expires, change.tags), (None, None));
    }

    proptest! {
        #[test]
        fn any_body_is_judged(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            row in prop::sample::select(vec![
                ("POST", "/keys/k/create"), ("PUT", "/keys/k"), ("PATCH", "/keys/k"),
                ("POST", "/keys/restore"), ("POST", "/keys/k/decrypt"),
                ("PUT", "/keys/k/rotationpolicy"),
            ]),
        ) {
            let _ = parse(row.0, row.1, "api-version=7.4", &body);
        }
    }
}
