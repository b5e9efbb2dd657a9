//! Azure's own clients, as they come from their registries, against the daemon. What each asserts stands at the head of
//! its script in `clients/`. `scripts/clients` installs them; a client that is not there is a failure, not a pass.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use common::vaults::Vaults;
use keyd_client::message::{IdentityCreate, NewIdentity};
use serde_json::json;

/// Where `scripts/clients` puts them.
fn client(path: &str) -> PathBuf {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients");
    let program = clients.join(path);
    assert!(program.exists(), "{} is missing: run scripts/clients", program.display());
    program
}

fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// What scripts are told of the daemon.
fn world(vaults: &Vaults) -> String {
    json!({
        "vault": vaults.url("prod"),
        "locked": vaults.url("locked"),
        "many": vaults.url("many"),
        "default": vaults.url("default"),
        "port": vaults.port,
        "ca": vaults.ca(),
        "tokens": vaults.tokens,
        "keyd": common::KEYD,
        "identity": "full",
    })
    .to_string()
}

fn run(vaults: &Vaults, command: &mut Command) {
    let output = command
        .env("KEYD_WORLD", world(vaults))
        .env("KEYD_SOCKET", vaults.keyd.socket())
        // What is set for other purposes would be taken for credentials.
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    let log = vaults.keyd.log();
    let last: Vec<&str> = log.lines().rev().take(20).collect();
    assert!(
        output.status.success(),
        "{}\n-- keyd, its last words first\n{}",
        String::from_utf8_lossy(&output.stderr),
        last.join("\n")
    );
    vaults.keyd.verify();
}

fn python(version: &str, path: &str) -> Command {
    let mut command = Command::new(client(&format!("python-{version}/bin/python")));
    command.arg("-W").arg("error::ResourceWarning").arg(script(path));
    command
}

#[test]
fn the_python_client_of_today_is_served() {
    run(&Vaults::start(), &mut python("4.11.3", "python/keys.py"));
}

#[test]
fn the_python_client_4_10_is_served() {
    run(&Vaults::start(), python("4.10.0", "python/keys.py").env("KEYD_API_VERSION", "7.4"));
}

#[test]
fn the_python_client_4_8_is_served() {
    run(&Vaults::start(), python("4.8.0", "python/keys.py").env("KEYD_API_VERSION", "7.4"));
}

#[test]
fn the_asynchronous_python_client_is_served() {
    for (version, api) in [("4.11.3", None), ("4.8.0", Some("7.4"))] {
        let mut command = python(version, "python/aio.py");
        command.envs(api.map(|api| ("KEYD_API_VERSION", api)));
        run(&Vaults::start(), &mut command);
    }
}

#[test]
fn managed_identities_get_their_tokens() {
    let vaults = Vaults::start();
    let ask = IdentityCreate { name: "full".parse().unwrap() };
    let NewIdentity { endpoint, secret } = vaults.keyd.ask(ask);
    let mut command = python("4.11.3", "python/identity.py");
    command.env("IDENTITY_ENDPOINT", endpoint).env("IDENTITY_HEADER", secret.expose());
    run(&vaults, &mut command);
}

/// `az` with a home of its own, and a cloud on loopback that it logs in to.
#[test]
fn azure_cli_is_served() {
    let vaults = Vaults::start();
    let ask = IdentityCreate { name: "full".parse().unwrap() };
    let NewIdentity { endpoint, secret } = vaults.keyd.ask(ask);
    let mut command = Command::new(client("az-2.91.0/bin/python"));
    command.arg(script("az/keys.py"));
    command.env("IDENTITY_ENDPOINT", endpoint).env("IDENTITY_HEADER", secret.expose());
    run(&vaults, &mut command);
}

#[test]
fn the_node_client_is_served() {
    let package = client("node/node_modules/@azure/keyvault-keys/dist/esm/index.js");
    let mut command = Command::new("node");
    command.arg(script("node/keys.mjs")).env("KEYD_NODE_CLIENT", package);
    run(&Vaults::start(), &mut command);
}

#[test]
fn the_rust_client_is_served() {
    run(&Vaults::start(), &mut Command::new(client("rust/debug/keyd-conformance")));
}
