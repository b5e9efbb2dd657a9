//! HTTPS and the Unix socket as clients meet them: who is who, what is told to whom, what answers look like.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use common::{
    Keyd, PATIENCE, attach,
    https::{Response, connect, connect_local, exchange, request, trusting},
    vaults::Vaults,
};
use keyd_client::{
    Fingerprint, Principal,
    message::{
        AppCreate, AppRemove, AuditRecord, Consent, Edit, GrantEdit, TokenList, TokenRevoke,
    },
    permission::{KeyPermission, Permission},
};
use serde_json::json;

/// One request over TLS with these headers.
fn ask(
    vaults: &Vaults,
    vault: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let host = format!("{vault}.localhost");
    let mut stream = connect(&trusting(&vaults.ca(), None), &host, vaults.port).unwrap();
    let authority = format!("{host}:{}", vaults.port);
    let bytes = request(method, target, &authority, headers, body.as_bytes());
    exchange(&mut *stream, &bytes).unwrap()
}

fn with_token(vaults: &Vaults, token: &str, method: &str, target: &str, body: &str) -> Response {
    let bearer = format!("Bearer {token}");
    ask(vaults, "prod", method, target, &[("Authorization", &bearer)], body)
}

fn local(keyd: &Keyd, method: &str, target: &str, body: &str) -> Response {
    let mut stream = connect_local(&keyd.socket()).unwrap();
    let bytes = request(method, target, "prod.localhost", &[], body.as_bytes());
    exchange(&mut *stream, &bytes).unwrap()
}

fn newest(keyd: &Keyd, operation: &str) -> AuditRecord {
    keyd.audit().into_iter().rfind(|record| record.operation == operation).expect("a record")
}

#[test]
fn who_has_no_token_is_told_where_to_get_one_whatever_was_asked() {
    let vaults = Vaults::start();
    let base = format!("https://localhost:{}", vaults.port);
    for (method, target, body) in [
        ("GET", "/keys?api-version=7.4", ""),
        ("POST", "/keys/k/create", ""),
        ("POST", "/keys/k/create?api-version=7.4", "{nonsense"),
        ("DELETE", "/nowhere/%2e%2e", ""),
    ] {
        let answer = ask(&vaults, "prod", method, target, &[], body);
        assert_eq!(answer.problem().0, 401, "{method} {target}");
        let message = answer.json()["error"]["message"].clone();
        assert_eq!(message, "AKV10000: Request is missing a Bearer or PoP token.");
        let challenge = answer.header("www-authenticate").unwrap();
        let tenant = "00000000-0000-0000-0000-000000000000";
        let expected = format!("Bearer authorization=\"{base}/{tenant}\", resource=\"{base}\"");
        assert_eq!(challenge, expected);
        assert_eq!(answer.header("retry-after"), None);
    }
}

#[test]
fn answers_have_the_headers_of_the_service() {
    let vaults = Vaults::start();
    let token = format!("Bearer {}", vaults.tokens["reader"]);
    let headers = [("Authorization", token.as_str()), ("x-ms-client-request-id", "abc-123")];
    let answer = ask(&vaults, "prod", "GET", "/keys?api-version=7.4", &headers, "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert!(answer.header("cache-control").unwrap().contains("no-cache"));
    assert_eq!(answer.header("x-ms-client-request-id"), Some("abc-123"));
    assert_eq!(answer.header("x-ms-request-id").unwrap().len(), 36);
    assert!(answer.header("strict-transport-security").is_some());
    assert!(answer.header("x-ms-keyvault-service-version").is_some());
    let odd = [("Authorization", token.as_str()), ("x-ms-client-request-id", "<script>")];
    let answer = ask(&vaults, "prod", "GET", "/keys?api-version=7.4", &odd, "");
    assert_eq!(answer.header("x-ms-client-request-id"), None);
}

#[test]
fn tokens_end_are_revoked_and_nobody_elses_is_taken() {
    let vaults = Vaults::start();
    let list = "/keys?api-version=7.4";
    let (life, begun) = (Duration::from_secs(10), Instant::now());
    let short = vaults.token("full", 10_000);
    assert_eq!(with_token(&vaults, &short, "GET", list, "").status, 200);
    let expired = loop {
        let answer = with_token(&vaults, &short, "GET", list, "");
        if answer.status != 200 {
            break answer;
        }
        assert!(begun.elapsed() < life * 6, "it does not end");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(begun.elapsed() >= life, "it ended early");
    assert_eq!(expired.problem(), (401, "Unauthorized".into(), String::new()));
    assert!(expired.header("www-authenticate").is_some());
    let record = newest(&vaults.keyd, "authenticate");
    assert_eq!(
        (record.who.as_str(), record.outcome.as_str()),
        ("app:full", "refused: expired token")
    );

    let token = vaults.token("full", 60_000);
    assert_eq!(with_token(&vaults, &token, "GET", list, "").status, 200);
    let app = "full".parse().unwrap();
    let tokens = vaults.keyd.ask(TokenList { app });
    let newest_token = tokens.iter().max_by_key(|token| token.created).unwrap();
    let (app, id) = ("full".parse().unwrap(), newest_token.id);
    vaults.keyd.ask(TokenRevoke { app, id });
    assert_eq!(with_token(&vaults, &token, "GET", list, "").status, 401);

    for strange in ["keyd_unknown", "", "a b", &token[..47], &"x".repeat(8000)] {
        assert_eq!(with_token(&vaults, strange, "GET", list, "").status, 401, "{strange}");
    }
    let twice = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")];
    assert_eq!(ask(&vaults, "prod", "GET", list, &twice, "").status, 401);
    let basic = [("Authorization", "Basic cm9vdDpyb290")];
    assert_eq!(ask(&vaults, "prod", "GET", list, &basic, "").status, 401);
    let record = newest(&vaults.keyd, "authenticate");
    assert_eq!(
        (record.who.as_str(), record.outcome.as_str()),
        ("unknown", "refused: unknown token")
    );
    let everything = format!("{:?}{}", vaults.keyd.audit(), vaults.keyd.log());
    for secret in [&token, &short, "unknown_x"] {
        assert!(!everything.contains(secret.trim_start_matches("keyd_")), "a token is in a log");
    }
}

#[test]
fn a_removed_application_leaves_nothing_behind() {
    let vaults = Vaults::start();
    let token = vaults.tokens["full"].clone();
    let name: keyd_client::AppName = "full".parse().unwrap();
    vaults.keyd.ask(GrantEdit {
        principal: Principal::App(name.clone()),
        edit: Edit::Add,
        permissions: [Permission::ManageKeys].into(),
        scope: None,
        future: false,
    });
    vaults.keyd.ask(AppRemove { name: name.clone() });
    assert_eq!(with_token(&vaults, &token, "GET", "/keys?api-version=7.4", "").status, 401);
    vaults.keyd.ask(AppCreate { name: name.clone(), certificates: Default::default() });
    let fresh = vaults.token("full", 60_000);
    let answer = with_token(&vaults, &fresh, "GET", "/keys?api-version=7.4", "");
    assert_eq!(answer.problem(), (403, "Forbidden".into(), "ForbiddenByPolicy".into()));
    let again = vaults.keyd.refused(AppCreate { name, certificates: Default::default() });
    assert!(again.message.contains("already"), "{}", again.message);
}

/// A client certificate of a CA, made by openssl.
struct ClientCa {
    dir: tempfile::TempDir,
}

impl ClientCa {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::CertificateParams::new(Vec::new()).map(|mut params| {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = rcgen::KeyPair::generate().unwrap();
            let ca = params.self_signed(&key).unwrap();
            let issuer = rcgen::Issuer::new(params, key);
            for name in ["known", "other"] {
                let own = rcgen::KeyPair::generate().unwrap();
                let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
                let signed = params.signed_by(&own, &issuer).unwrap();
                fs::write(dir.path().join(format!("{name}.pem")), signed.pem()).unwrap();
                fs::write(dir.path().join(format!("{name}.key")), own.serialize_pem()).unwrap();
            }
            fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        });
        made.unwrap();
        Self { dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

#[test]
fn a_client_certificate_is_its_applications() {
    let authority = ClientCa::new();
    let ca = authority.file("ca.pem");
    let vaults = Vaults::start_with(&["--client-ca", ca.to_str().unwrap()]);
    let known = authority.file("known.pem");
    let run = |args: &[&str]| {
        let output = vaults.keyd.run(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["principal", "certificates", "reader", "--certificate", known.to_str().unwrap()]);

    let as_who = |name: &str, token: Option<&str>| {
        let own = (authority.file(&format!("{name}.pem")), authority.file(&format!("{name}.key")));
        let config = trusting(&vaults.ca(), Some((&own.0, &own.1)));
        let mut stream = connect(&config, "prod.localhost", vaults.port).unwrap();
        let host = format!("prod.localhost:{}", vaults.port);
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> =
            bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        let bytes = request("GET", "/keys?api-version=7.4", &host, &headers, b"");
        exchange(&mut *stream, &bytes).unwrap()
    };
    assert_eq!(as_who("known", None).status, 200);
    assert_eq!(as_who("other", None).problem().0, 401);
    let record = newest(&vaults.keyd, "authenticate");
    assert_eq!(record.outcome, "refused: unknown certificate");
    // A token says more than a certificate.
    assert_eq!(as_who("known", Some(&vaults.tokens["nobody"])).status, 403);
    // The fingerprint that openssl prints is the one that is taken.
    let printed = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(authority.file("other.pem"))
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let print: Fingerprint = printed.trim().split('=').nth(1).unwrap().parse().unwrap();
    run(&["principal", "certificates", "reader", "--fingerprint", &print.to_string()]);
    assert_eq!(as_who("other", None).status, 200);
    assert_eq!(as_who("known", None).status, 401, "it was replaced");
}

#[test]
fn a_certificate_of_a_stranger_ends_the_handshake() {
    let (authority, stranger) = (ClientCa::new(), ClientCa::new());
    let ca = authority.file("ca.pem");
    let vaults = Vaults::start_with(&["--client-ca", ca.to_str().unwrap()]);
    let own = (stranger.file("known.pem"), stranger.file("known.key"));
    let config = trusting(&vaults.ca(), Some((&own.0, &own.1)));
    let host = format!("prod.localhost:{}", vaults.port);
    let bytes = request("GET", "/keys?api-version=7.4", &host, &[], b"");
    let mut stream = connect(&config, "prod.localhost", vaults.port).unwrap();
    assert!(exchange(&mut *stream, &bytes).is_err());
    // Without one, clients are still asked for their token.
    assert_eq!(ask(&vaults, "prod", "GET", "/keys?api-version=7.4", &[], "").status, 401);
}

#[test]
fn the_unix_socket_speaks_both_and_knows_its_peer() {
    let vaults = Vaults::start();
    let uid = rustix::process::getuid().as_raw();
    let made = local(&vaults.keyd, "POST", "/keys/k/create?api-version=7.4", r#"{"kty":"RSA"}"#);
    assert_eq!(made.status, 200);
    let kid = made.json()["key"]["kid"].as_str().unwrap().to_owned();
    assert!(kid.starts_with("http://prod.localhost/keys/k/"), "{kid}");
    assert_eq!(newest(&vaults.keyd, "key-create").who, format!("uid:{uid}"));
    // The native socket goes on beside it, with the same key.
    assert_eq!(vaults.keyd.key("prod/k").versions.len(), 1);
    let disk = vaults.keyd.make_disk(None);
    attach(&vaults.keyd, disk, false).unwrap();

    let curl = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--unix-socket"])
        .arg(vaults.keyd.socket())
        .arg("http://prod.localhost/keys?api-version=7.4")
        .output()
        .unwrap();
    assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
    let listed: serde_json::Value = serde_json::from_slice(&curl.stdout).unwrap();
    assert_eq!(listed["value"].as_array().unwrap().len(), 1);
}

#[test]
fn one_connection_serves_many_requests() {
    let vaults = Vaults::start();
    let mut stream = connect_local(&vaults.keyd.socket()).unwrap();
    for n in 0..50 {
        let target = format!("/keys/none-{n}?api-version=7.4");
        let bytes = request("GET", &target, "prod.localhost", &[], b"");
        assert_eq!(exchange(&mut *stream, &bytes).unwrap().status, 404);
    }
}

#[test]
fn vaults_that_are_not_there_and_the_daemons_own_are_not_found() {
    let vaults = Vaults::start();
    let mut stream = connect_local(&vaults.keyd.socket()).unwrap();
    for vault in ["nothing", "platform"] {
        for (method, target) in [
            ("GET", "/keys?api-version=7.4"),
            ("GET", "/keys/platform?api-version=7.4"),
            ("POST", "/keys/x/backup?api-version=7.4"),
        ] {
            let bytes = request(method, target, &format!("{vault}.localhost"), &[], b"");
            let answer = exchange(&mut *stream, &bytes).unwrap();
            assert_eq!(answer.problem().0, 404, "{vault} {target}");
            assert_eq!(answer.problem().1, "VaultNotFound", "{vault} {target}");
        }
    }
    // To those who may nothing there, a vault that is and one that is not are the same.
    let bearer = format!("Bearer {}", vaults.tokens["nobody"]);
    for vault in ["prod", "nothing"] {
        let headers = [("Authorization", bearer.as_str())];
        let answer = ask(&vaults, vault, "GET", "/keys?api-version=7.4", &headers, "");
        assert_eq!(answer.problem().2, "ForbiddenByPolicy", "{vault}");
    }
}

#[test]
fn a_key_that_wraps_disks_is_purged_by_two() {
    let vaults = Vaults::start();
    let keyd = &vaults.keyd;
    local(keyd, "POST", "/keys/k/create?api-version=7.4", r#"{"kty":"RSA"}"#);
    keyd.make_set_on("prod/k", 60_000);
    let disk = keyd.make_disk(Some("s"));
    let mut held = attach(keyd, disk, false).unwrap();
    // Deleting it takes it away at once, as disabling does.
    assert_eq!(local(keyd, "DELETE", "/keys/k?api-version=7.4", "").status, 200);
    held.expect_revoked();
    held.fence();
    let purge = "/deletedkeys/k?api-version=7.4";
    let first = local(keyd, "DELETE", purge, "");
    assert_eq!(first.problem(), (403, "Forbidden".into(), String::new()));
    assert!(first.json()["error"]["message"].as_str().unwrap().contains("another principal"));
    assert_eq!(local(keyd, "DELETE", purge, "").status, 403, "the same one again");
    assert_eq!(with_token(&vaults, &vaults.tokens["full"], "DELETE", purge, "").status, 204);
    assert_eq!(local(keyd, "GET", purge, "").status, 404);
}

#[test]
fn a_rotation_over_https_is_followed_by_the_disks() {
    let vaults = Vaults::start();
    let keyd = &vaults.keyd;
    local(keyd, "POST", "/keys/k/create?api-version=7.4", r#"{"kty":"RSA"}"#);
    keyd.make_set_on("prod/k", 60_000);
    let disk = keyd.make_disk(Some("s"));
    let before = attach(keyd, disk, false).unwrap().dek.unwrap();
    for target in ["/keys/k/rotate?api-version=7.4", "/keys/k/create?api-version=7.4"] {
        let rotated = local(keyd, "POST", target, r#"{"kty":"RSA"}"#);
        let kid = rotated.json()["key"]["kid"].as_str().unwrap().to_owned();
        let version = kid.rsplit('/').next().unwrap().to_owned();
        let begun = Instant::now();
        loop {
            let status = keyd.key("prod/k");
            let newest = &status.versions[0];
            assert_eq!(newest.version.to_string(), version);
            if newest.wrapped_deks == 1 {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{status:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let after = attach(keyd, disk, false).unwrap().dek.unwrap();
    assert_eq!(before.expose(), after.expose());
}

#[test]
fn with_a_broken_audit_log_uses_are_put_off_and_reading_goes_on() {
    let mut vaults = Vaults::start();
    local(&vaults.keyd, "POST", "/keys/k/create?api-version=7.4", r#"{"kty":"RSA"}"#);
    vaults.keyd.kill();
    let log = vaults.keyd.state().join("audit.log");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("key-create", "key-cheat", 1)).unwrap();
    vaults.keyd.resume();
    let body = json!({ "alg": "RSA-OAEP", "value": "AAAA" }).to_string();
    let answer = local(&vaults.keyd, "POST", "/keys/k/wrapkey?api-version=7.4", &body);
    assert_eq!(answer.problem(), (503, "ServiceUnavailable".into(), String::new()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(local(&vaults.keyd, "GET", "/keys/k?api-version=7.4", "").status, 200);
    // Taking a key away is possible all the same.
    let off = r#"{"attributes":{"enabled":false}}"#;
    assert_eq!(local(&vaults.keyd, "PATCH", "/keys/k?api-version=7.4", off).status, 200);
}

#[test]
fn the_ca_is_told_by_the_daemon_and_from_its_directory_alike() {
    let vaults = Vaults::start();
    let asked = vaults.keyd.run(&["ca", "show"]);
    let state = vaults.keyd.state();
    let read = vaults.keyd.run(&["ca", "show", "--state-dir", state.to_str().unwrap()]);
    assert!(asked.status.success() && asked.stdout == read.stdout);
    assert!(asked.stdout.starts_with(b"-----BEGIN CERTIFICATE-----"));
    let none = Keyd::start();
    let refused = none.run(&["ca", "show"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--listen"));
}

#[test]
fn the_command_line_makes_applications_tokens_and_identities() {
    let vaults = Vaults::start();
    let run = |args: &[&str]| {
        let output = vaults.keyd.run(args);
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text, String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["principal", "create", "ci"]).0, Some(0));
    let token = run(&["token", "create", "ci", "--expires", "12h", "--label", "build"]).1;
    assert!(token.starts_with("keyd_") && token.len() == 49, "the token and a line feed");
    let (_, listed, _) = run(&["token", "list", "ci"]);
    assert!(listed.contains("build") && !listed.contains(token.trim()));
    let (_, shown, _) = run(&["principal", "show", "ci", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["name"], &shown["tokens"]), (&json!("ci"), &json!(1)));
    let (_, identity, _) = run(&["identity", "create", "ci"]);
    assert!(identity.contains("IDENTITY_ENDPOINT=http://127.0.0.1:"));
    assert!(identity.contains("\nIDENTITY_HEADER=keyd_"));
    assert!(run(&["principal", "list"]).1.contains("ci"));
    assert_eq!(run(&["principal", "remove", "ci"]).0, Some(0));
    for (args, told) in [
        (vec!["principal", "show", "ci"], "keyd principal list"),
        (vec!["token", "create", "ci"], "keyd principal list"),
        (
            vec!["token", "create", "full", "--expires", "0s"],
            "a token is good for 1s to 3650d, not 0s",
        ),
        (vec!["principal", "certificates", "full", "--certificate", "/nowhere"], "/nowhere"),
    ] {
        let (code, _, error) = run(&args);
        assert!(code == Some(1) && error.contains(told), "{args:?}: {error}");
    }
    let _ = (Consent::IfUnused, KeyPermission::Get);
}
