//! A daemon with vaults over HTTPS, and applications that may different things in them.

use std::{collections::BTreeMap, fs, path::PathBuf};

use keyd_client::{
    Principal,
    message::{AppCreate, CaShow, Edit, TokenCreate, VaultCreate, VaultPermit},
    permission::KeyPermission,
};

use super::Keyd;

/// Applications, and what they may in every vault but the default one.
const APPS: [(&str, &[KeyPermission]); 6] = [
    ("full", KeyPermission::ALL),
    ("reader", &[KeyPermission::Get, KeyPermission::List]),
    (
        "wrapper",
        &[
            KeyPermission::WrapKey,
            KeyPermission::UnwrapKey,
            KeyPermission::Encrypt,
            KeyPermission::Decrypt,
        ],
    ),
    // The other one of the two that it takes to bring back what was purged.
    ("second", &[KeyPermission::Restore]),
    ("signer", &[KeyPermission::Sign, KeyPermission::Verify]),
    ("nobody", &[]),
];

/// Vaults, days of retention, and whether they protect their deleted keys.
const VAULTS: [(&str, u16, bool); 3] =
    [("prod", 7, false), ("locked", 90, true), ("many", 30, false)];

pub(crate) struct Vaults {
    pub(crate) keyd: Keyd,
    pub(crate) port: u16,
    /// By application.
    pub(crate) tokens: BTreeMap<String, String>,
}

impl Vaults {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(more: &[&str]) -> Self {
        let args =
            [&["--listen", "127.0.0.1:0", "--identity-listen", "127.0.0.1:0"], more].concat();
        let keyd = Keyd::start_with(&args);
        let port = port_after(&keyd.log(), "https ");
        let mut vaults = Self { keyd, port, tokens: BTreeMap::new() };
        vaults.furnish();
        vaults
    }

    fn furnish(&mut self) {
        for (name, retention_days, purge_protection) in VAULTS {
            let name = name.parse().unwrap();
            self.keyd.ask(VaultCreate { name, retention_days, purge_protection });
        }
        for (app, permissions) in APPS {
            let name = app.parse().unwrap();
            self.keyd.ask(AppCreate { name, certificates: Default::default() });
            let token = self.token(app, 3_600_000);
            self.tokens.insert(app.to_owned(), token);
            for (vault, ..) in VAULTS {
                self.permit(vault, app, permissions);
            }
        }
    }

    pub(crate) fn permit(&self, vault: &str, app: &str, permissions: &[KeyPermission]) {
        self.keyd.ask(VaultPermit {
            name: vault.parse().unwrap(),
            principal: Principal::App(app.parse().unwrap()),
            permissions: permissions.iter().copied().collect(),
            edit: Edit::Replace,
            future: false,
            consent: Default::default(),
            wait_ms: 0,
        });
    }

    /// A new token of an application.
    pub(crate) fn token(&self, app: &str, lifetime_ms: u64) -> String {
        let app = app.parse().unwrap();
        let ask = TokenCreate { app, label: String::new(), lifetime_ms };
        self.keyd.ask(ask).secret.expose().to_owned()
    }

    /// The CA's certificate in a file.
    pub(crate) fn ca(&self) -> PathBuf {
        let pem = self.keyd.ask(CaShow {});
        let path = self.keyd.dir.path().join("ca.pem");
        fs::write(&path, pem).unwrap();
        path
    }

    pub(crate) fn url(&self, vault: &str) -> String {
        format!("https://{vault}.localhost:{}", self.port)
    }
}

/// The port that the log tells behind a word.
pub(crate) fn port_after(log: &str, word: &str) -> u16 {
    let address = log.split(word).nth(1).and_then(|rest| rest.split([',', ' ', '\n']).next());
    address.and_then(|address| address.rsplit(':').next()?.parse().ok()).expect("a port in the log")
}
