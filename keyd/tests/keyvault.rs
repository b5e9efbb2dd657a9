//! Key Vault's API as a whole, by the Unix socket: names in any case, what is told of a body that is wrong, bounds,
//! tags.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Keyd,
    https::{Response, connect_local, exchange, request},
    jwk,
    vaults::Vaults,
};
use serde_json::json;

fn local(keyd: &Keyd, method: &str, target: &str, body: &str) -> Response {
    let mut stream = connect_local(&keyd.socket()).unwrap();
    let bytes = request(method, target, "prod.localhost", &[], body.as_bytes());
    exchange(&mut *stream, &bytes).unwrap()
}

/// Key Vault's names ignore case.
#[test]
fn a_key_is_reached_under_its_name_in_any_case() {
    let vaults = Vaults::start();
    let ask = |method: &str, path: &str, body: &str| {
        local(&vaults.keyd, method, &format!("{path}?api-version=7.4"), body)
    };
    let made = ask("POST", "/keys/Prod-Key/create", r#"{"kty":"RSA"}"#);
    let kid = made.json()["key"]["kid"].as_str().unwrap().to_owned();
    assert!(kid.contains("/keys/Prod-Key/"), "{kid}");
    for path in ["/keys/prod-key", "/Keys/PROD-KEY/", "/KEYS/prod-KEY"] {
        assert_eq!(ask("GET", path, "").json()["key"]["kid"], kid.as_str(), "{path}");
    }
    // A new version of the same key, and what it wraps is told to be under its own name.
    let again = ask("POST", "/keys/PROD-KEY/create", r#"{"kty":"RSA"}"#).json();
    assert!(again["key"]["kid"].as_str().unwrap().contains("/keys/Prod-Key/"), "{again}");
    assert_eq!(vaults.keyd.key("prod/prod-key").versions.len(), 2);
    let wrap = json!({ "alg": "RSA-OAEP-256", "value": "Zm9v" }).to_string();
    let wrapped = ask("POST", "/keys/prod-key/wrapKey", &wrap).json();
    assert_eq!(wrapped["kid"], again["key"]["kid"]);
    let unwrap = json!({ "alg": "RSA-OAEP-256", "value": wrapped["value"] }).to_string();
    assert_eq!(ask("POST", "/keys/PROD-key/UNWRAPKEY", &unwrap).json()["value"], "Zm9v");
    let policy = ask("PUT", "/keys/prod-key/rotationPolicy", "{}").json();
    assert!(policy["id"].as_str().unwrap().contains("/keys/Prod-Key/"), "{policy}");
    assert_eq!(ask("DELETE", "/keys/prod-KEY", "").status, 200);
    let taken = (409, "Conflict".to_owned(), "ObjectIsDeletedButRecoverable".to_owned());
    assert_eq!(ask("POST", "/keys/prod-key/create", r#"{"kty":"RSA"}"#).problem(), taken);
    assert_eq!(
        ask("POST", "/DeletedKeys/prod-key/Recover", "").json()["key"]["kid"],
        again["key"]["kid"]
    );
}

/// What the SDKs show to people is the message alone.
#[test]
fn what_is_wrong_with_a_body_is_told_by_field_and_form() {
    let vaults = Vaults::start();
    local(&vaults.keyd, "POST", "/keys/k/create?api-version=7.4", r#"{"kty":"RSA"}"#);
    let policy = "/keys/k/rotationpolicy";
    for (method, path, body, told) in [
        ("POST", "/keys/x/create", r#"{}"#, "kty is missing"),
        (
            "POST",
            "/keys/x/create",
            r#"{"kty":"RSA","key_size":"2048"}"#,
            "key_size must be a whole number",
        ),
        ("POST", "/keys/x/create", r#"{"kty":"RSA","key_ops":"sign"}"#, "key_ops must be a list"),
        ("POST", "/keys/x/create", r#"{"kty":"RSA","tags":["a"]}"#, "tags must be an object"),
        (
            "PATCH",
            "/keys/k",
            r#"{"attributes":{"enabled":"no"}}"#,
            "attributes.enabled must be true or false",
        ),
        (
            "PATCH",
            "/keys/k",
            r#"{"attributes":{"exp":"2030-01-01"}}"#,
            "attributes.exp must be whole seconds since 1970",
        ),
        (
            "PATCH",
            "/keys/k",
            r#"{"attributes":{"nbf":-1}}"#,
            "attributes.nbf must be whole seconds since 1970",
        ),
        ("PUT", "/keys/x", r#"{"key":{"kty":"RSA","n":"a="}}"#, "key.n must be base64url"),
        (
            "PUT",
            policy,
            r#"{"attributes":{"expiryTime":"90 days"}}"#,
            "attributes.expiryTime must be a duration: whole years",
        ),
        (
            "PUT",
            policy,
            r#"{"lifetimeActions":[{"trigger":{"timeAfterCreate":90},"action":{"type":"Rotate"}}]}"#,
            "lifetimeActions[0].trigger.timeAfterCreate must be a duration",
        ),
        ("PUT", policy, r#"{"attributes":{"expiryTime":"P27D"}}"#, "expiryTime"),
        (
            "POST",
            "/keys/k/sign",
            r#"{"alg":"RS256","value":"Zm9v"}"#,
            "value: RS256 signs a digest of 32 bytes",
        ),
        ("POST", "/rng", r#"{"count":"many"}"#, "count must be a whole number"),
        ("POST", "/rng", r#"{"count":129}"#, "count is 1 to 128"),
    ] {
        let answer = local(&vaults.keyd, method, &format!("{path}?api-version=7.4"), body);
        assert_eq!(answer.problem(), (400, "BadParameter".into(), String::new()), "{body}");
        let message = answer.json()["error"]["message"].clone();
        assert!(message.as_str().unwrap().contains(told), "{body}: {message}");
    }
}

#[test]
fn bounds_that_leave_no_time_are_refused_on_every_way() {
    let vaults = Vaults::start();
    let keyd = &vaults.keyd;
    let patch = |body: &str| local(keyd, "PATCH", "/keys/k?api-version=7.4", body);
    let early = r#"{"kty":"RSA","attributes":{"exp":1900000000}}"#;
    local(keyd, "POST", "/keys/k/create?api-version=7.4", early);
    for (body, field) in [
        (r#"{"attributes":{"nbf":1900000000}}"#, "nbf"),
        (r#"{"attributes":{"nbf":2000000000}}"#, "nbf"),
        (r#"{"attributes":{"nbf":2000000000,"exp":1950000000}}"#, "attributes.nbf"),
    ] {
        let answer = patch(body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(field));
    }
    let native =
        keyd.run(&["key", "set", "prod/k", "--not-before", "2035-01-01T00:00:00Z", "--force"]);
    let told = String::from_utf8_lossy(&native.stderr).into_owned();
    assert!(native.status.code() == Some(1) && told.contains("--not-before"), "{told}");
    let both = r#"{"attributes":{"nbf":2000000000,"exp":2100000000}}"#;
    assert_eq!(patch(both).status, 200);
}

/// In as many bytes as JSON may need for them, by HTTPS and by the command line.
#[test]
fn fifteen_tags_of_the_greatest_length_pass_on_every_way_and_through_a_backup() {
    let vaults = Vaults::start();
    let keyd = &vaults.keyd;
    let tags = |character: &str| -> serde_json::Map<String, serde_json::Value> {
        let one =
            |n: usize| (format!("{n:x}{}", character.repeat(255)), json!(character.repeat(256)));
        (0..15).map(one).collect()
    };
    for (name, character) in
        [("ascii", "x"), ("two", "é"), ("three", "€"), ("four", "😀"), ("escaped", "\u{1}")]
    {
        let tags = tags(character);
        // As Python's json writes it, with every character escaped.
        let body: String = json!({ "kty": "RSA", "tags": tags })
            .to_string()
            .chars()
            .flat_map(|c| match c.is_ascii() {
                true => vec![c.to_string()],
                false => c
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .map(|unit| format!("\\u{unit:04x}"))
                    .collect(),
            })
            .collect();
        let path = format!("/keys/{name}");
        let made = local(keyd, "POST", &format!("{path}/create?api-version=7.4"), &body);
        assert_eq!(made.status, 200, "{name}: {} bytes", body.len());
        assert_eq!(made.json()["tags"], json!(tags), "{name}");
        let saved = local(keyd, "POST", &format!("{path}/backup?api-version=7.4"), "").json();
        let mut stream = connect_local(&keyd.socket()).unwrap();
        let body = saved.to_string();
        let restore = "/keys/restore?api-version=7.4";
        let bytes = request("POST", restore, "many.localhost", &[], body.as_bytes());
        let back = exchange(&mut *stream, &bytes).unwrap();
        assert_eq!(back.json()["tags"], json!(tags), "{name}");

        let mut command = vec!["key".to_owned(), "set".to_owned(), format!("prod/{name}")];
        for (name, value) in &tags {
            command.extend(["--tag".to_owned(), format!("{name}={}", value.as_str().unwrap())]);
        }
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let done = keyd.run(&command);
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(keyd.key(&format!("prod/{name}")).tags.len(), 15);
    }
}

/// However they are set, and through a backup. 1970 is a date like any other; what was not sent is not there.
#[test]
fn dates_and_tags_come_back_as_they_were_sent() {
    let vaults = Vaults::start();
    let keyd = &vaults.keyd;
    let ask = |method: &str, path: &str, body: &serde_json::Value| {
        let answer = local(keyd, method, &format!("{path}?api-version=7.4"), &body.to_string());
        assert_eq!(answer.status, 200, "{path} {body}: {:?}", answer.problem());
        answer.json()
    };
    let restored = |saved: &serde_json::Value| {
        let mut stream = connect_local(&keyd.socket()).unwrap();
        let (to, body) = ("/keys/restore?api-version=7.4", saved.to_string());
        let bytes = request("POST", to, "many.localhost", &[], body.as_bytes());
        exchange(&mut *stream, &bytes).unwrap().json()
    };
    let key = jwk::private();
    for (n, attributes) in [
        json!({ "nbf": 0 }),
        json!({ "exp": 0 }),
        json!({ "nbf": 0, "exp": 253_402_300_799_u64 }),
        json!({ "nbf": 1, "exp": 2 }),
        json!({}),
    ]
    .into_iter()
    .enumerate()
    {
        let tags = json!({ "empty": "", "owner": "ops" });
        let body = json!({
            "kty": "RSA", "attributes": attributes, "tags": tags, "release_policy": null,
        });
        let imported = json!({ "key": key, "attributes": attributes, "tags": tags });
        let (made, other, brought) =
            (format!("/keys/made-{n}"), format!("/keys/set-{n}"), format!("/keys/brought-{n}"));
        ask("POST", &format!("{other}/create"), &json!({ "kty": "RSA" }));
        let answers = [
            ask("POST", &format!("{made}/create"), &body),
            ask("PUT", &brought, &imported),
            ask("PATCH", &other, &json!({ "attributes": attributes, "tags": tags })),
            ask("GET", &made, &json!({})),
            restored(&ask("POST", &format!("{made}/backup"), &json!({}))),
        ];
        for answer in answers {
            for name in ["nbf", "exp"] {
                assert_eq!(answer["attributes"][name], attributes[name], "{name}: {answer}");
            }
            assert_eq!(answer["tags"], tags);
        }
    }
    let never = keyd.run(&["key", "set", "prod/made-0", "--not-before", "never"]);
    assert!(never.status.success(), "{never:?}");
    assert!(ask("GET", "/keys/made-0", &json!({}))["attributes"]["nbf"].is_null());
}
