//! A key daemon in this process, on a state directory of its own. Who speaks to it here has no right to anything, as a
//! stranger who reached its socket.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use keyd::{
    auth::Auth,
    core::Core,
    files::SystemDir,
    front::{
        http::{
            Http,
            doors::{Doors, HttpOptions},
        },
        native, socket,
    },
    keyring::Keyring,
    ops::first_start,
    root::RootKey,
    seal::Seal,
    service::Service,
    store::{self, AuditKeeping},
    tls::{Names, TlsOptions},
};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long an answer by HTTP may take before the asker hangs up, which nothing is lost by.
const MOMENT: Duration = Duration::from_millis(10);

/// See the module.
pub struct Daemon {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    _stop: UnixStream,
}

impl Daemon {
    /// The one of this process, started when it is first asked for.
    ///
    /// # Panics
    /// If it does not start.
    pub fn get() -> &'static Self {
        static STARTED: OnceLock<Daemon> = OnceLock::new();
        STARTED.get_or_init(Self::start)
    }

    fn start() -> Self {
        // Every refusal may be a row of the audit log, and two fsyncs: in memory if there is a place.
        let memory = tempfile::tempdir_in("/dev/shm");
        let dir = memory.or_else(|_| tempfile::tempdir()).expect("a directory");
        let state = SystemDir::new(dir.path());
        let root = RootKey::generate().expect("random bytes");
        let seal = Seal::new(&root).expect("derived keys");
        let store = store::open(&state, seal, &AuditKeeping::default()).expect("a store");
        let keyring = Keyring::new(root, None);
        // Nobody whom this process could be.
        let core = Arc::new(Core::new(store, keyring, Auth::new(u32::MAX - 1, vec![])));
        first_start::run(&core).expect("the platform's key");
        let tls = TlsOptions { names: Names::new(&[], &[]), certificate: None, client_ca: None };
        let options = HttpOptions { listen: None, tls, identity: None };
        let doors = Doors::open(&options, dir.path(), &core.keyring).expect("no doors");
        let service = Arc::new(Service::new(core));
        let http = Http::start(service.clone(), doors).expect("threads");
        let path = dir.path().join("keyd.sock");
        let listener = socket::listen(&path, 0o600).expect("listens");
        let name = socket::Name::of(&path).expect("its name");
        let (stop, stopped) = UnixStream::pair().expect("a pair");
        thread::spawn(move || {
            native::serve((&listener, &name, &|_| ()), &stopped, &service, &http.adopter())
        });
        Self { _dir: dir, socket: path, _stop: stop }
    }

    /// Everything that it answers to these bytes, on a connection of their own.
    ///
    /// # Panics
    /// If it neither answers nor closes.
    #[must_use]
    pub fn says_to(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.socket).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        // It may close before all is said.
        let _ = stream.write_all(bytes);
        let mut said = Vec::new();
        if is_http(bytes) {
            // hyper drops what it was asked when the asker hangs up: it is given a moment.
            stream.set_read_timeout(Some(MOMENT)).expect("a time-out");
            let _ = stream.read_to_end(&mut said);
            stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        }
        let _ = stream.shutdown(Shutdown::Write);
        match stream.read_to_end(&mut said) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the daemon neither answers nor closes: {error}"),
        }
        said
    }
}

/// As the daemon tells them apart: a method, or a frame.
fn is_http(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && bytes[..3].iter().all(u8::is_ascii_uppercase)
}
