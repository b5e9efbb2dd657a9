//! Answers as JSON.

use std::fmt;

use keyd_client::message::KeyOperation;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    Origin, Query, Reply, base64url,
    reply::{Deletion, KeyView, Listed, Recovery},
    rotation,
};
use crate::kek::Provider;

/// Retention that needs no `Customized` in its name, days.
const RETENTION_DAYS: u32 = 90;

/// An answer: its status, and its body, which may hold a plaintext and wipes itself.
pub struct Rendered {
    /// HTTP status.
    pub status: u16,
    /// JSON, or nothing.
    pub body: Zeroizing<String>,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Writes an answer for those who asked there and so.
#[must_use]
pub fn render(reply: Reply, origin: &Origin, query: &Query) -> Rendered {
    let value = match reply {
        Reply::Done => return Rendered { status: 204, body: Zeroizing::default() },
        Reply::Plaintext(name, version, plain) => {
            let head = format!("{{\"kid\":{},\"value\":\"", json!(origin.kid(&name, version)));
            return Rendered { status: 200, body: secret_value(&head, plain.expose()) };
        }
        Reply::Random(bytes) => {
            return Rendered { status: 200, body: secret_value("{\"value\":\"", bytes.as_bytes()) };
        }
        Reply::Key(key) => bundle(&key, origin),
        Reply::Keys(listed) => {
            let next = |last: &KeyView| origin.next_page("/keys", query, &last.name);
            list(&listed, origin, |key| origin.key(&key.name), next)
        }
        Reply::DeletedKeys(listed) => {
            let next = |last: &KeyView| origin.next_page("/deletedkeys", query, &last.name);
            list(&listed, origin, |key| origin.key(&key.name), next)
        }
        Reply::Versions(name, listed) => {
            let path = format!("/keys/{name}/versions");
            let next = |last: &KeyView| origin.next_page(&path, query, &last.version);
            list(&listed, origin, |key| origin.kid(&key.name, key.version), next)
        }
        Reply::Ciphertext(name, version, made) | Reply::Signature(name, version, made) => {
            json!({ "kid": origin.kid(&name, version), "value": base64url::encode(&made) })
        }
        Reply::Verified(is_one) => json!({ "value": is_one }),
        Reply::Backup(blob) => json!({ "value": base64url::encode(&blob) }),
        Reply::RotationPolicy(view) => {
            let id = origin.rotation_policy(&view.name);
            rotation::json(&view.policy, &id)
        }
    };
    Rendered { status: 200, body: Zeroizing::new(value.to_string()) }
}

/// An object whose last value is a secret. Written by hand into a string of its final length: a plaintext is in no
/// buffer that grew.
fn secret_value(head: &str, plain: &[u8]) -> Zeroizing<String> {
    let tail = "\"}";
    let len = head.len() + base64url::encoded_len(plain) + tail.len();
    let mut body = Zeroizing::new(String::with_capacity(len));
    body.push_str(head);
    base64url::append(plain, &mut body);
    body.push_str(tail);
    body
}

fn bundle(key: &KeyView, origin: &Origin) -> Value {
    let operations: Vec<&str> = key.operations.iter().copied().map(KeyOperation::name).collect();
    let jwk = json!({
        "kid": origin.kid(&key.name, key.version),
        "kty": kty(key.provider),
        "key_ops": operations,
        "n": base64url::encode(&key.public.n),
        "e": base64url::encode(&key.public.e),
    });
    let mut fields = about(key, origin);
    fields.insert("key".to_owned(), jwk);
    fields.into()
}

/// What bundles and entries of lists have in common.
fn about(key: &KeyView, origin: &Origin) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("attributes".to_owned(), attributes(key));
    if !key.tags.is_empty() {
        fields.insert("tags".to_owned(), json!(key.tags));
    }
    if let Some(Deletion { deleted, purge }) = key.deleted {
        fields.insert("recoveryId".to_owned(), origin.recovery_id(&key.name).into());
        fields.insert("deletedDate".to_owned(), deleted.into());
        fields.insert("scheduledPurgeDate".to_owned(), purge.into());
    }
    fields
}

fn attributes(key: &KeyView) -> Value {
    let mut attributes = json!({
        "enabled": key.enabled,
        "created": key.created,
        "updated": key.updated,
        "recoveryLevel": level(key.recovery),
        "recoverableDays": key.recovery.days,
        "exportable": false,
    });
    for (name, time) in [("nbf", key.not_before), ("exp", key.expires)] {
        if let Some(time) = time {
            attributes[name] = time.into();
        }
    }
    attributes
}

fn list(
    listed: &Listed,
    origin: &Origin,
    kid: impl Fn(&KeyView) -> String,
    next: impl Fn(&KeyView) -> String,
) -> Value {
    let item = |key: &KeyView| {
        let mut fields = about(key, origin);
        fields.insert("kid".to_owned(), kid(key).into());
        Value::from(fields)
    };
    let items: Vec<Value> = listed.items.iter().map(item).collect();
    let next = listed.items.last().filter(|_| listed.more).map(next);
    json!({ "value": items, "nextLink": next })
}

fn kty(provider: Provider) -> &'static str {
    match provider {
        Provider::Software => "RSA",
        Provider::Hsm => "RSA-HSM",
    }
}

fn level(recovery: Recovery) -> &'static str {
    match (recovery.days >= RETENTION_DAYS, recovery.purge_protection) {
        (true, true) => "Recoverable",
        (true, false) => "Recoverable+Purgeable",
        (false, true) => "CustomizedRecoverable",
        (false, false) => "CustomizedRecoverable+Purgeable",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use keyd_client::message::RotationPolicy;

    use super::*;
    use crate::{
        kek::{Plaintext, PublicKey},
        keyvault::{reply::PolicyView, tags::Tags},
    };

    const VERSION: &str = "0123456789abcdef0123456789abcdef";

    fn origin() -> Origin {
        Origin { scheme: "https", authority: "v.localhost:8443".to_owned() }
    }

    fn view() -> KeyView {
        KeyView {
            name: "prod".parse().unwrap(),
            version: VERSION.parse().unwrap(),
            provider: Provider::Software,
            public: PublicKey { n: vec![0xfb, 0xff], e: vec![1, 0, 1] },
            operations: BTreeSet::from([KeyOperation::UnwrapKey, KeyOperation::WrapKey]),
            enabled: true,
            not_before: None,
            expires: Some(20),
            created: 10,
            updated: 11,
            tags: Tags::new(),
            recovery: Recovery { days: 7, purge_protection: false },
            deleted: None,
        }
    }

    fn rendered(reply: Reply) -> Value {
        let query = Query::parse("api-version=7.4&maxresults=1").unwrap();
        let rendered = render(reply, &origin(), &query);
        assert_eq!(rendered.status, 200);
        serde_json::from_str(&rendered.body).unwrap()
    }

    #[test]
    fn a_key_is_answered_in_the_shape_of_the_service() {
        let kid = format!("https://v.localhost:8443/keys/prod/{VERSION}");
        let expected = json!({
            "key": {
                "kid": kid, "kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"], "n": "-_8", "e": "AQAB",
            },
            "attributes": {
                "enabled": true, "exp": 20, "created": 10, "updated": 11, "exportable": false,
                "recoveryLevel": "CustomizedRecoverable+Purgeable", "recoverableDays": 7,
            },
        });
        assert_eq!(rendered(Reply::Key(Box::new(view()))), expected);
    }

    #[test]
    fn a_deleted_key_says_until_when_it_can_be_recovered() {
        let deleted = Some(Deletion { deleted: 100, purge: 100 + 7 * 86_400 });
        let recovery = Recovery { days: 90, purge_protection: true };
        let answer = rendered(Reply::Key(Box::new(KeyView { deleted, recovery, ..view() })));
        assert_eq!(answer["recoveryId"], "https://v.localhost:8443/deletedkeys/prod");
        assert_eq!(
            (&answer["deletedDate"], &answer["scheduledPurgeDate"]),
            (&json!(100), &json!(604_900))
        );
        assert_eq!(answer["attributes"]["recoveryLevel"], "Recoverable");
    }

    #[test]
    fn lists_link_to_their_next_page_on_the_host_that_was_asked() {
        let listed = |more| Listed { items: vec![view()], more };
        let keys = rendered(Reply::Keys(listed(true)));
        assert_eq!(keys["value"][0]["kid"], "https://v.localhost:8443/keys/prod");
        let next = keys["nextLink"].as_str().unwrap();
        let (path, query) = next.split_once('?').unwrap();
        assert_eq!(path, "https://v.localhost:8443/keys");
        let query = Query::parse(query).unwrap();
        assert_eq!((query.limit, query.after()), (1, Ok(Some(view().name))));

        let versions = rendered(Reply::Versions(view().name, listed(true)));
        assert!(versions["value"][0]["kid"].as_str().unwrap().ends_with(VERSION));
        let next = versions["nextLink"].as_str().unwrap();
        let query = Query::parse(next.split_once('?').unwrap().1).unwrap();
        assert_eq!(query.after(), Ok(Some(view().version)));

        assert_eq!(rendered(Reply::DeletedKeys(listed(false)))["nextLink"], Value::Null);
    }

    #[test]
    fn a_plaintext_is_written_whole_and_a_quote_in_a_host_does_not_end_the_text() {
        let plain = Plaintext::fill_with::<crate::kek::KekError>(|page| {
            page[..3].copy_from_slice(b"foo");
            Ok(3)
        });
        let (name, version) = (view().name, view().version);
        let answer = rendered(Reply::Plaintext(name, version, plain.unwrap()));
        assert_eq!(answer["value"], "Zm9v");
        assert_eq!(answer["kid"], origin().kid(&view().name, version));
        let origin = Origin { authority: "a\"b".to_owned(), ..origin() };
        let plain = Plaintext::fill_with::<crate::kek::KekError>(|_| Ok(0)).unwrap();
        let reply = Reply::Plaintext(view().name, version, plain);
        let query = Query::parse("api-version=7.4").unwrap();
        let odd: Value = serde_json::from_str(&render(reply, &origin, &query).body).unwrap();
        assert_eq!(odd["value"], "");
        assert_eq!(odd["kid"], origin.kid(&view().name, version));
    }

    #[test]
    fn signatures_judgements_and_random_bytes_have_their_shapes() {
        let (name, version) = (view().name, view().version);
        let signed = rendered(Reply::Signature(name.clone(), version, b"foo".to_vec()));
        assert_eq!(signed, json!({ "kid": origin().kid(&name, version), "value": "Zm9v" }));
        assert_eq!(rendered(Reply::Verified(false)), json!({ "value": false }));
        let random = rendered(Reply::Random(Zeroizing::new(vec![0xfb, 0xff]).into()));
        assert_eq!(random, json!({ "value": "-_8" }));
    }

    #[test]
    fn a_policy_that_was_never_set_has_no_actions() {
        let policy = RotationPolicy {
            rotate: None,
            notify: None,
            expires_after: None,
            created: 1999,
            updated: 2000,
        };
        let view = PolicyView { name: view().name, policy };
        let answer = rendered(Reply::RotationPolicy(Box::new(view)));
        assert_eq!(answer["lifetimeActions"], json!([]));
        let attributes = json!({ "expiryTime": null, "created": 1, "updated": 2 });
        assert_eq!(answer["attributes"], attributes);
        assert_eq!(answer["id"], "https://v.localhost:8443/keys/prod/rotationpolicy");
    }
}
