//! Keys that come from outside, over HTTPS: imported ones, and ones that are brought back from a backup.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{
    Keyd,
    https::{Response, connect, connect_local, exchange, request, trusting},
    jwk,
    vaults::Vaults,
};
use keyd_client::{message::DesShow, permission::KeyPermission};
use serde_json::json;

/// One request over TLS with a token.
fn with_token(vaults: &Vaults, token: &str, method: &str, target: &str, body: &str) -> Response {
    let host = "prod.localhost";
    let mut stream = connect(&trusting(&vaults.ca(), None), host, vaults.port).unwrap();
    let (authority, bearer) = (format!("{host}:{}", vaults.port), format!("Bearer {token}"));
    let headers = [("Authorization", bearer.as_str())];
    let bytes = request(method, target, &authority, &headers, body.as_bytes());
    exchange(&mut *stream, &bytes).unwrap()
}

/// One request of the daemon's owner.
fn local(keyd: &Keyd, method: &str, target: &str, body: &str) -> Response {
    let mut stream = connect_local(&keyd.socket()).unwrap();
    let bytes = request(method, target, "prod.localhost", &[], body.as_bytes());
    exchange(&mut *stream, &bytes).unwrap()
}

/// Who may import in a set's vault has the private key: by that alone no disk's key is wrapped under it.
#[test]
fn an_import_in_a_sets_vault_takes_no_disks_key() {
    let vaults = Vaults::start();
    let keyd = &vaults.keyd;
    local(keyd, "POST", "/keys/k/create?api-version=7.4", r#"{"kty":"RSA"}"#);
    keyd.make_set_on("prod/k", 60_000);
    let disk = keyd.make_disk(Some("s"));
    let before = keyd.disk(disk).record.key_version;
    vaults.permit("prod", "nobody", &[KeyPermission::Import, KeyPermission::Create]);
    let token = vaults.token("nobody", 60_000);
    let body = json!({ "key": jwk::private() }).to_string();
    let import = with_token(&vaults, &token, "PUT", "/keys/k?api-version=7.4", &body);
    assert_eq!(import.status, 200, "{:?}", import.problem());
    told_in_rotation_error(keyd, "was imported");
    assert_eq!(keyd.disk(disk).record.key_version, before);
    // Nor does a version that ends in a moment take them away.
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 4;
    let body = json!({ "kty": "RSA", "attributes": { "exp": end } }).to_string();
    let made = with_token(&vaults, &token, "POST", "/keys/k/create?api-version=7.4", &body);
    assert_eq!(made.status, 200, "{:?}", made.problem());
    told_in_rotation_error(keyd, "too soon");
    assert_eq!(keyd.disk(disk).record.key_version, before);
    // What keyd makes is followed as ever.
    assert_eq!(local(keyd, "POST", "/keys/k/rotate?api-version=7.4", "").status, 200);
    let newest = keyd.key("prod/k").versions[0].version;
    eventually("the set to follow", || keyd.disk(disk).record.key_version == newest);
}

/// The set's error says so, soon.
fn told_in_rotation_error(keyd: &Keyd, words: &str) {
    eventually(words, || {
        let name = "s".parse().unwrap();
        let set = keyd.ask(DesShow { name });
        set.rotation_error.is_some_and(|error| error.message.contains(words))
    });
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_purged_key_comes_back_by_two() {
    let vaults = Vaults::start();
    let keyd = &vaults.keyd;
    local(keyd, "POST", "/keys/k/create?api-version=7.4", r#"{"kty":"RSA"}"#);
    let backup = local(keyd, "POST", "/keys/k/backup?api-version=7.4", "");
    assert_eq!(local(keyd, "DELETE", "/keys/k?api-version=7.4", "").status, 200);
    let shown = keyd.run(&["key", "purge", "prod/k", "--dry-run"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("took the key out, last at 2"), "{shown}");
    let purge = "/deletedkeys/k?api-version=7.4";
    assert_eq!(with_token(&vaults, &vaults.tokens["full"], "DELETE", purge, "").status, 204);
    let body = json!({ "value": backup.json()["value"] }).to_string();
    let restore = "/keys/restore?api-version=7.4";
    for _ in 0..2 {
        let alone = with_token(&vaults, &vaults.tokens["full"], "POST", restore, &body);
        assert_eq!(alone.problem(), (403, "Forbidden".into(), String::new()));
        let told = alone.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(told.contains("another principal"), "{told}");
    }
    assert_eq!(local(keyd, "POST", restore, &body).status, 200);
    assert_eq!(local(keyd, "GET", "/keys/k?api-version=7.4", "").status, 200);
}
