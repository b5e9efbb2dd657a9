//! The table of Key Vault's API: state of a key x operation x permission. Every cell is asked over HTTP and asserted
//! with its status, code and inner code. The expected values are Key Vault's documented rules (a key outside its time
//! still unwraps and decrypts; a disabled one can be read; a deleted one is not there but among the deleted), with the
//! codes of replies of the service that its SDKs' tests recorded.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::cell::RefCell;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use common::{
    https::{Response, Stream, connect_local, exchange, request},
    jwk,
    vaults::Vaults,
};
use keyd_client::permission::KeyPermission;
use serde_json::{Value, json};

/// The states of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Enabled,
    Disabled,
    NotYetValid,
    Expired,
    /// Its `key_ops` has none of the six uses.
    WithoutUses,
    Deleted,
    Purged,
}

use State::{Deleted, Disabled, Enabled, Expired, NotYetValid, Purged, WithoutUses};

const STATES: [State; 7] = [Enabled, Disabled, NotYetValid, Expired, WithoutUses, Deleted, Purged];

type Outcome = (u16, &'static str, &'static str);

const OK: Outcome = (200, "", "");
const NOTHING: Outcome = (204, "", "");
const NOT_FOUND: Outcome = (404, "KeyNotFound", "");
const TAKEN: Outcome = (409, "Conflict", "ObjectIsDeletedButRecoverable");
const EXISTS: Outcome = (409, "Conflict", "");
const DISABLED: Outcome = (403, "Forbidden", "KeyDisabled");
const NOT_YET: Outcome = (403, "Forbidden", "KeyNotYetValid");
const EXPIRED: Outcome = (403, "Forbidden", "KeyExpired");
const NO_USE: Outcome = (403, "Forbidden", "");
const TWICE: Outcome = (403, "Forbidden", "");
const FORBIDDEN: Outcome = (403, "Forbidden", "ForbiddenByPolicy");

/// A row of the API.
struct Row {
    name: &'static str,
    permission: KeyPermission,
    method: &'static str,
    /// Behind the vault's host; `KEY` stands for the key's name.
    path: &'static str,
    expected: fn(State) -> Outcome,
}

/// What a key that is not deleted always allows.
fn alive(state: State) -> Outcome {
    match state {
        Deleted | Purged => NOT_FOUND,
        _ => OK,
    }
}

/// What only a deleted key allows.
fn gone(state: State) -> Outcome {
    if state == Deleted { OK } else { NOT_FOUND }
}

/// Uses that make new ciphertexts and signatures.
fn protecting(state: State) -> Outcome {
    match state {
        Enabled => OK,
        Disabled => DISABLED,
        NotYetValid => NOT_YET,
        Expired => EXPIRED,
        WithoutUses => NO_USE,
        Deleted | Purged => NOT_FOUND,
    }
}

/// Uses that open old ones, and judge old signatures: time does not matter.
fn opening(state: State) -> Outcome {
    match state {
        NotYetValid | Expired => OK,
        other => protecting(other),
    }
}

fn always(_: State) -> Outcome {
    OK
}

#[rustfmt::skip]
const ROWS: [Row; 22] = [
    Row { name: "create", permission: KeyPermission::Create, method: "POST", path: "/keys/KEY/create",
          expected: |state| if state == Deleted { TAKEN } else { OK } },
    Row { name: "import", permission: KeyPermission::Import, method: "PUT", path: "/keys/KEY",
          expected: |state| if state == Deleted { TAKEN } else { OK } },
    Row { name: "rotate", permission: KeyPermission::Rotate, method: "POST", path: "/keys/KEY/rotate",
          expected: |state| if state == Disabled { DISABLED } else { alive(state) } },
    Row { name: "get", permission: KeyPermission::Get, method: "GET", path: "/keys/KEY/", expected: alive },
    Row { name: "update", permission: KeyPermission::Update, method: "PATCH", path: "/keys/KEY/", expected: alive },
    Row { name: "list", permission: KeyPermission::List, method: "GET", path: "/keys", expected: always },
    Row { name: "versions", permission: KeyPermission::List, method: "GET", path: "/keys/KEY/versions",
          expected: alive },
    Row { name: "list deleted", permission: KeyPermission::List, method: "GET", path: "/deletedkeys",
          expected: always },
    Row { name: "get deleted", permission: KeyPermission::Get, method: "GET", path: "/deletedkeys/KEY",
          expected: gone },
    Row { name: "backup", permission: KeyPermission::Backup, method: "POST", path: "/keys/KEY/backup",
          expected: alive },
    Row { name: "restore", permission: KeyPermission::Restore, method: "POST", path: "/keys/restore",
          // Key Vault brings back at once what was purged; here somebody else must ask for it too.
          expected: |state| match state { Purged => TWICE, Deleted => TAKEN, _ => EXISTS } },
    Row { name: "wrap", permission: KeyPermission::WrapKey, method: "POST", path: "/keys/KEY//wrapkey",
          expected: protecting },
    Row { name: "unwrap", permission: KeyPermission::UnwrapKey, method: "POST", path: "/keys/KEY//unwrapkey",
          expected: opening },
    Row { name: "encrypt", permission: KeyPermission::Encrypt, method: "POST", path: "/keys/KEY//encrypt",
          expected: protecting },
    Row { name: "decrypt", permission: KeyPermission::Decrypt, method: "POST", path: "/keys/KEY//decrypt",
          expected: opening },
    Row { name: "sign", permission: KeyPermission::Sign, method: "POST", path: "/keys/KEY//sign",
          expected: protecting },
    Row { name: "verify", permission: KeyPermission::Verify, method: "POST", path: "/keys/KEY//verify",
          expected: opening },
    Row { name: "get policy", permission: KeyPermission::GetRotationPolicy, method: "GET",
          path: "/keys/KEY/rotationpolicy", expected: alive },
    Row { name: "set policy", permission: KeyPermission::SetRotationPolicy, method: "PUT",
          path: "/keys/KEY/rotationpolicy", expected: alive },
    // These change the state: each at the end of a key's life in this test.
    Row { name: "delete", permission: KeyPermission::Delete, method: "DELETE", path: "/keys/KEY", expected: alive },
    Row { name: "recover", permission: KeyPermission::Recover, method: "POST", path: "/deletedkeys/KEY/recover",
          expected: gone },
    Row { name: "purge", permission: KeyPermission::Purge, method: "DELETE", path: "/deletedkeys/KEY",
          expected: |state| if state == Deleted { NOTHING } else { NOT_FOUND } },
];

/// A daemon, and an application whose permissions the test sets.
struct Bench {
    vaults: Vaults,
    stream: RefCell<Box<dyn Stream>>,
    token: String,
    brought: Value,
}

impl Bench {
    fn new() -> Self {
        let vaults = Vaults::start();
        let stream = RefCell::new(connect_local(&vaults.keyd.socket()).unwrap());
        let token = vaults.tokens["nobody"].clone();
        Self { vaults, stream, token, brought: jwk::private() }
    }

    fn ask(&self, token: Option<&str>, method: &str, path: &str, body: &Value) -> Response {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> =
            bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let target = format!("{path}?api-version=7.4");
        let bytes = request(method, &target, "prod.localhost", &headers, body.as_bytes());
        exchange(&mut **self.stream.borrow_mut(), &bytes).unwrap()
    }

    /// As the administrator that the Unix socket says the test is.
    fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let response = self.ask(None, method, path, body);
        assert!((200..300).contains(&response.status), "{method} {path}: {response:?}");
        if response.body.is_empty() { Value::Null } else { response.json() }
    }

    /// Brings a key into a state; tells its backup and what it wrapped while it could.
    fn prepare(&self, key: &str, state: State) -> (Value, Value) {
        // Making one each time would take most of the test's time.
        self.done("PUT", &format!("/keys/{key}"), &json!({ "key": self.brought }));
        let wrapped =
            self.done("POST", &format!("/keys/{key}/wrapkey"), &used("RSA-OAEP-256", b"secret"));
        let backup = self.done("POST", &format!("/keys/{key}/backup"), &Value::Null);
        let change = match state {
            Enabled => json!({}),
            Disabled => json!({ "attributes": { "enabled": false } }),
            NotYetValid => json!({ "attributes": { "nbf": 4_102_444_800u64 } }),
            Expired => json!({ "attributes": { "exp": 1_000_000_000 } }),
            WithoutUses => json!({ "key_ops": [] }),
            Deleted | Purged => {
                self.done("DELETE", &format!("/keys/{key}"), &Value::Null);
                if state == Purged {
                    self.done("DELETE", &format!("/deletedkeys/{key}"), &Value::Null);
                }
                return (wrapped, backup);
            }
        };
        self.done("PATCH", &format!("/keys/{key}"), &change);
        (wrapped, backup)
    }

    fn body(&self, row: &Row, wrapped: &Value, backup: &Value) -> Value {
        match row.name {
            "create" => json!({ "kty": "RSA" }),
            "import" => json!({ "key": self.brought }),
            "update" => json!({ "tags": { "a": "b" } }),
            "restore" => backup.clone(),
            "wrap" | "encrypt" => used("RSA-OAEP-256", b"secret"),
            "unwrap" | "decrypt" => json!({ "alg": "RSA-OAEP-256", "value": wrapped["value"] }),
            "sign" => used("RS256", &[7; 32]),
            "verify" => {
                json!({ "alg": "PS256", "digest": used("", &[7; 32])["value"], "value": "AAAA" })
            }
            "set policy" => json!({}),
            _ => Value::Null,
        }
    }
}

fn used(algorithm: &str, value: &[u8]) -> Value {
    json!({ "alg": algorithm, "value": BASE64_URL_SAFE_NO_PAD.encode(value) })
}

fn outcome(response: &Response) -> (u16, String, String) {
    if response.status < 300 {
        return (response.status, String::new(), String::new());
    }
    response.problem()
}

#[test]
fn every_operation_in_every_state_with_and_without_its_permission() {
    let bench = Bench::new();
    let mut faults = Vec::new();
    let mut cells = 0;
    for state in STATES {
        for row in &ROWS {
            let key = format!("{state:?}-{}", row.name.replace(' ', "-"));
            let (wrapped, backup) = bench.prepare(&key, state);
            let path = row.path.replace("KEY", &key);
            let body = bench.body(row, &wrapped, &backup);
            let others: Vec<KeyPermission> =
                KeyPermission::ALL.iter().copied().filter(|one| *one != row.permission).collect();
            for (permissions, expected) in
                [(others, FORBIDDEN), (vec![row.permission], (row.expected)(state))]
            {
                bench.vaults.permit("prod", "nobody", &permissions);
                let response = bench.ask(Some(&bench.token), row.method, &path, &body);
                let got = outcome(&response);
                cells += 1;
                if got != (expected.0, expected.1.to_owned(), expected.2.to_owned()) {
                    faults.push(format!("{state:?} {}: {got:?}, not {expected:?}", row.name));
                }
                if expected == OK && matches!(row.name, "unwrap" | "decrypt") {
                    assert_eq!(response.json()["value"], used("", b"secret")["value"]);
                }
            }
        }
    }
    println!("{cells} cells");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    bench.vaults.keyd.verify();
}

#[test]
fn a_use_is_in_the_audit_log_before_its_answer_is_there() {
    let bench = Bench::new();
    let (wrapped, _) = bench.prepare("k", Enabled);
    bench.vaults.permit("prod", "nobody", &[KeyPermission::UnwrapKey]);
    let body = json!({ "alg": "RSA-OAEP-256", "value": wrapped["value"] });
    let response = bench.ask(Some(&bench.token), "POST", "/keys/k/unwrapkey", &body);
    assert_eq!(response.status, 200);
    let records = bench.vaults.keyd.audit();
    let found = records.iter().rfind(|record| record.operation == "key-unwrap").unwrap();
    assert_eq!((found.who.as_str(), found.subject.as_str()), ("app:nobody", "prod/k"));
    assert!(found.detail.contains("alg=RSA-OAEP-256"), "{found:?}");
    let refused = bench.ask(Some(&bench.token), "POST", "/keys/k/decrypt", &body);
    assert_eq!(refused.status, 403);
    let records = bench.vaults.keyd.audit();
    let found = records.iter().rfind(|record| record.operation == "key-decrypt").unwrap();
    assert_eq!(found.outcome, "refused: forbidden");
    let text = format!("{records:?}");
    assert!(!text.contains(wrapped["value"].as_str().unwrap()) && !text.contains("secret"));
}
