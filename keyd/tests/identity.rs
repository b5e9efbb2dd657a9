//! The identity endpoint: one token for all the processes of an application, and for keyd alone.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Keyd,
    https::{Response, connect, exchange, request, trusting},
    vaults::Vaults,
};
use keyd_client::message::{AuditRecord, IdentityCreate, NewIdentity};
use serde_json::json;

/// A list of keys, asked for with this token.
fn list(vaults: &Vaults, token: &str) -> Response {
    let mut stream = connect(&trusting(&vaults.ca(), None), "prod.localhost", vaults.port).unwrap();
    let (authority, bearer) =
        (format!("prod.localhost:{}", vaults.port), format!("Bearer {token}"));
    let headers = [("Authorization", bearer.as_str())];
    let bytes = request("GET", "/keys?api-version=7.4", &authority, &headers, b"");
    exchange(&mut *stream, &bytes).unwrap()
}

fn newest(keyd: &Keyd, operation: &str) -> AuditRecord {
    keyd.audit().into_iter().rfind(|record| record.operation == operation).expect("a record")
}

fn fetch(endpoint: &str, header: &str, resource: &str) -> (u16, serde_json::Value) {
    let address = endpoint.strip_prefix("http://").unwrap().strip_suffix("/msi/token").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let target = format!("/msi/token?api-version=2019-08-01&resource={resource}");
    let headers = [("X-IDENTITY-HEADER", header)];
    let answer = exchange(&mut stream, &request("GET", &target, address, &headers, b"")).unwrap();
    (answer.status, answer.json())
}

/// Programs that start anew ask anew, some of them with every command.
#[test]
fn an_identity_has_one_token_until_that_is_near_its_end_or_revoked() {
    let mut vaults = Vaults::start();
    let name = || "reader".parse().unwrap();
    let NewIdentity { endpoint, secret } = vaults.keyd.ask(IdentityCreate { name: name() });
    let resource = format!("https://localhost:{}", vaults.port);
    let (endpoint, header) = (endpoint, secret.expose().to_owned());
    let token = |endpoint: &str| {
        let (status, body) = fetch(endpoint, &header, &resource);
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["resource"], resource.as_str());
        body["access_token"].as_str().unwrap().to_owned()
    };
    let first = token(&endpoint);
    // More than an application may have.
    for _ in 0..300 {
        assert_eq!(token(&endpoint), first);
    }
    let made = |keyd: &Keyd| {
        keyd.audit().iter().filter(|record| record.operation == "identity-token").count()
    };
    assert_eq!(made(&vaults.keyd), 1);
    assert_eq!(list(&vaults, &first).status, 200);

    // Also from the next process: its secret is nowhere kept, and made again.
    vaults.keyd.kill();
    vaults.keyd.resume();
    let endpoint = format!(
        "http://127.0.0.1:{}/msi/token",
        common::vaults::port_after(&vaults.keyd.log(), "identities ")
    );
    vaults.port = common::vaults::port_after(&vaults.keyd.log(), "https ");
    assert_eq!(token(&endpoint), first);

    let revoked = vaults.keyd.run(&["token", "revoke", "reader", "--all"]);
    let told = String::from_utf8_lossy(&revoked.stdout).into_owned();
    assert!(revoked.status.success() && told.contains("tokens revoked: 2"), "{told}");
    assert_eq!(list(&vaults, &first).status, 401);
    assert_eq!(list(&vaults, &vaults.tokens["reader"]).status, 401);
    let second = token(&endpoint);
    assert_ne!(second, first);
    assert_eq!(list(&vaults, &second).status, 200);
    let record = newest(&vaults.keyd, "token-revoke");
    assert!(record.subject == "reader" && record.detail.contains("tokens=2"), "{record:?}");
}

/// As IMDS and App Service answer: a token for another service would be keyd's own, shown to that service.
#[test]
fn an_identity_gets_no_token_for_what_is_not_keyds() {
    let vaults = Vaults::start();
    let name = "full".parse().unwrap();
    let NewIdentity { endpoint, secret } = vaults.keyd.ask(IdentityCreate { name });
    for resource in ["https://management.azure.com/", "https://vault.azure.net", "x", ""] {
        let (status, body) = fetch(&endpoint, secret.expose(), resource);
        assert_eq!((status, &body["statusCode"]), (400, &json!(400)), "{resource}: {body}");
        assert_eq!(body["error"], "invalid_resource");
        assert_eq!(body["error_description"], body["message"]);
        assert!(body["message"].as_str().unwrap().starts_with("AADSTS500011"), "{body}");
        assert!(body.get("access_token").is_none());
    }
    let prod = format!("https://prod.localhost:{}/", vaults.port);
    assert_eq!(fetch(&endpoint, secret.expose(), &prod).0, 200);
    assert!(
        vaults
            .keyd
            .audit()
            .iter()
            .all(|record| record.operation != "token-create" || record.subject != "x")
    );
}
