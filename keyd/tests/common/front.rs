//! The daemon's front in this process, with times that a test has: what the real ones forbid is seen in seconds.

use std::{os::unix::net::UnixStream, path::PathBuf, sync::Arc, thread, time::Duration};

use keyd::{
    auth::Auth,
    core::Core,
    files::SystemDir,
    front::{
        http::{
            Http,
            doors::{Doors, HttpOptions},
            patience::Patience,
        },
        native, socket,
    },
    keyring::Keyring,
    root::{Means, PassphraseSource},
    seal::Seal,
    service::Service,
    state_dir::StateDir,
    store::{self, AuditKeeping},
    tls::{Names, TlsOptions},
};
use keyd_client::{
    AppName, Client, Principal, VaultName,
    message::{AppCreate, Ask, CaShow, Edit, TokenCreate, VaultCreate, VaultPermit},
    permission::KeyPermission,
};

use super::vaults::port_after;

/// A vault `prod`, and the token of an application that may everything in it.
pub(crate) struct Front {
    pub(crate) port: u16,
    pub(crate) token: String,
    dir: tempfile::TempDir,
    /// It ends when this is closed.
    _stop: UnixStream,
}

impl Front {
    pub(crate) fn start(patience: Patience) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let means = Means::new(PassphraseSource::default(), None).unwrap();
        let root = state.root().open(None, false, &means).unwrap();
        let seal = Seal::new(&root).unwrap();
        let keyring = Keyring::new(root, None);
        let names = Names::new(&[], &[]);
        let options = HttpOptions {
            listen: Some(([127, 0, 0, 1], 0).into()),
            tls: TlsOptions { names, certificate: None, client_ca: None },
            identity: None,
        };
        let doors = Doors::open(&options, state.path(), &keyring).unwrap().with_patience(patience);
        let port = port_after(&doors.told(), "https ");
        let store =
            store::open(&SystemDir::new(state.path()), seal, &AuditKeeping::default()).unwrap();
        let mut core = Core::new(store, keyring, Auth::new(state.owner(), Vec::new()));
        core.reach = doors.reach();
        let service = Arc::new(Service::new(Arc::new(core)));
        let path = dir.path().join("keyd.sock");
        let listener = socket::listen(&path, 0o600).unwrap();
        let name = socket::Name::of(&path).unwrap();
        let http = Http::start(service.clone(), doors).unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            native::serve((&listener, &name, &|_| ()), &stopped, &service, &http.adopter())
                .unwrap();
            http.stop(Duration::ZERO);
        });
        let mut front = Self { port, token: String::new(), dir, _stop: stop };
        front.furnish();
        front
    }

    fn furnish(&mut self) {
        let (retention_days, purge_protection) = (7, false);
        let name: VaultName = "prod".parse().unwrap();
        self.ask(VaultCreate { name: name.clone(), retention_days, purge_protection });
        let app: AppName = "app".parse().unwrap();
        self.ask(AppCreate { name: app.clone(), certificates: Default::default() });
        let permissions = KeyPermission::ALL.iter().copied().collect();
        let principal = Principal::App(app.clone());
        self.ask(VaultPermit {
            name,
            principal,
            edit: Edit::Add,
            permissions,
            future: false,
            consent: Default::default(),
            wait_ms: 0,
        });
        let token = TokenCreate { app, label: String::new(), lifetime_ms: 3_600_000 };
        self.token = self.ask(token).secret.expose().to_owned();
    }

    fn ask<A: Ask>(&self, ask: A) -> A::Reply {
        Client::connect(&self.socket()).unwrap().ask(ask).unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("keyd.sock")
    }

    /// The CA's certificate in a file.
    pub(crate) fn ca(&self) -> PathBuf {
        let pem = self.ask(CaShow {});
        let path = self.dir.path().join("ca.pem");
        std::fs::write(&path, pem).unwrap();
        path
    }
}
