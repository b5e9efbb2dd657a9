//! Starts the daemon, in an order in which nothing is announced before it is there.

mod last_words;

use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use confine::{Sandbox, SandboxError, calls::Call, manager::Manager, paths::directory};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
    low_level::pipe,
};
use thiserror::Error;

use crate::{
    audit::{Class, Entry},
    auth::{Auth, Grant},
    backups::{Keep, Keeping},
    core::Core,
    error::{Failure, Fault},
    files::SystemDir,
    front::{
        http::{
            Http,
            doors::{DoorError, Doors, HttpOptions},
        },
        native,
        socket::{self, SocketError},
    },
    harden,
    hsm::{HsmConfig, HsmError},
    keeper::Keeper,
    keyring::Keyring,
    limits::{DAMAGE_TOLD_MAX, STOP_PATIENCE},
    log,
    ops::first_start,
    root::{Means, PassphraseSource, RootError, RootKind},
    sandbox::{self, NotWritable, Places},
    seal::Seal,
    service::Service,
    state_dir::{StateDir, StateDirError},
    store::{self, Damage, Grants},
};

/// What `keyd serve` is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where its state lies.
    pub state_dir: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// Permission bits of the socket.
    pub socket_mode: u32,
    /// Who else may do what.
    pub grants: Vec<Grant>,
    /// Of which kind the root key is, or is to be at the first start.
    pub root: Option<RootKind>,
    /// Where its passphrase comes from.
    pub passphrase: PassphraseSource,
    /// The token for keys, and for a root key that it wraps.
    pub hsm: Option<HsmConfig>,
    /// Where it listens beside its socket.
    pub http: HttpOptions,
    /// How the audit log is kept.
    pub audit: store::AuditKeeping,
    /// Backups that it keeps by itself.
    pub backups: Option<Keep>,
    /// What it gives up.
    pub sandbox: sandbox::Wishes,
}

/// Why the daemon does not run.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sources say it")]
pub enum ServeError {
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Hsm(#[from] HsmError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Door(#[from] DoorError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    NotWritable(#[from] NotWritable),
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("waiting for connections: {0}")]
    Listen(#[source] io::Error),
    #[error("signals cannot be caught: {0}")]
    Signals(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT, or until its store cannot be written any more; from the first client on with no
/// other system calls than those `allowed`.
///
/// # Errors
/// [`ServeError`], before the first request, or if the listener or the store fails.
pub fn run(config: &Config, allowed: impl Fn(bool) -> Vec<Call>) -> Result<(), ServeError> {
    harden::process();
    last_words::prepare();
    let (stop, end) = stop_signals().map_err(ServeError::Signals)?;
    let manager = Manager::find().unwrap_or_else(|error| {
        not_told(&error);
        Manager::none()
    });
    let served = serve(config, allowed, (&stop, &end), &manager);
    if let Err(error) = &served {
        manager.status(&log::chain(error));
    }
    served
}

fn serve(
    config: &Config,
    allowed: impl Fn(bool) -> Vec<Call>,
    (stop, end): (&UnixStream, &Arc<UnixStream>),
    manager: &Manager,
) -> Result<(), ServeError> {
    config.sandbox.check()?;
    let mut sandbox = Sandbox::begin(config.sandbox.required)?;
    become_user(&mut sandbox, config)?;
    let dir = StateDir::open(&config.state_dir)?;
    dir.begin()?;
    let keyring = open_keyring(&dir, config)?;
    let doors = Doors::open(&config.http, &config.state_dir, &keyring)?;
    sandbox::enter(&mut sandbox, &config.sandbox, places(config))?;
    let mut core = open(&dir, keyring, config)?;
    core.reach = doors.reach();
    let core = Arc::new(core);
    flag::register(SIGHUP, core.hangup.clone()).map_err(ServeError::Signals)?;
    let listener = socket::listen(&config.socket, config.socket_mode)?;
    let name = socket::Name::of(&config.socket)?;
    let calls = sandbox::filter(&allowed(config.audit.syslog.is_some()), config.hsm.is_some());
    sandbox.give_up_calls(&calls)?;
    log::line(format_args!("sandbox: {sandbox}"));
    let service = Arc::new(Service::new(core.clone()));
    let told = doors.told();
    let http = Http::start(service.clone(), doors).map_err(ServeError::Listen)?;
    log::line(format_args!(
        "ready: state {}, socket {}{told}, administrator uid {}, process {}",
        config.state_dir.display(),
        config.socket.display(),
        dir.owner(),
        std::process::id()
    ));
    if let Err(error) = manager.ready() {
        not_told(&error);
    }
    let keeper = Keeper::start(&core, end);
    let tell = |line: &str| manager.status(line);
    let served = native::serve((&listener, &name, &tell), stop, &service, &http.adopter());
    core.stop();
    http.stop(STOP_PATIENCE);
    drop(keeper);
    finish(&core, &name);
    served.map_err(ServeError::Listen)?;
    Ok(core.store.well()?)
}

/// Directories that are missing are made, and are the user's that root is to become.
fn become_user(sandbox: &mut Sandbox, config: &Config) -> Result<(), ServeError> {
    let directory = directory(&config.socket);
    let mut made: Vec<&Path> = Vec::new();
    made.extend(StateDir::make(&config.state_dir)?.then_some(config.state_dir.as_path()));
    made.extend(socket::make_directory(&config.socket)?.then_some(directory.as_path()));
    match &config.sandbox.user {
        Some(account) => Ok(sandbox.become_user(account, &made)?),
        None => Ok(()),
    }
}

fn places(config: &Config) -> Places<'_> {
    Places {
        state: &config.state_dir,
        socket: &config.socket,
        copy: config.audit.copy.as_deref(),
        certificate: config.http.tls.certificate.as_ref(),
        module: config.hsm.is_some(),
    }
}

/// Opens the root key: the last that is asked of a terminal, a file with a passphrase, a module's own files.
fn open_keyring(dir: &StateDir, config: &Config) -> Result<Keyring, ServeError> {
    let means = Means::new(config.passphrase.clone(), config.hsm.clone())?;
    if let Some(Err(error)) = means.hsm.as_ref().map(|hsm| hsm.check()) {
        log::line(format_args!("keys in the token cannot be used yet: {error}"));
    }
    let place = dir.root();
    let root = place.open(config.root, dir.store().exists(), &means)?;
    if place.is_moving()? {
        log::line(format_args!(
            "both root.key and root.json are there: a move of the root key stopped half way; 'keyd root move' finishes it"
        ));
    }
    Ok(Keyring::new(root, means.hsm))
}

/// A store whose audit log is broken is opened all the same: it answers questions and refuses the use of keys.
fn open(dir: &StateDir, keyring: Keyring, config: &Config) -> Result<Core, ServeError> {
    let seal = Seal::new(keyring.root())?;
    let store = store::open(&SystemDir::new(dir.path()), seal, &config.audit)?;
    let auth = Auth::new(dir.owner(), config.grants.clone());
    let mut core = Core::new(store, keyring, auth);
    core.root = dir.root().kind()?;
    core.backups = config.backups.clone().map(Keeping::new);
    tell_damage(&core.store.damage());
    warn_of_nobody(&core)?;
    if let Some(recovered) = core.store.recovered() {
        log::line(format_args!("the audit log was mended after a crash: {recovered}"));
    }
    match core.store.writable() {
        Ok(()) => {
            start(&core)?;
            dir.begun()?;
        }
        Err(why) => log::line(format_args!("no key is used: {why}")),
    }
    Ok(core)
}

/// Said once at the start; the status says it as long as it is so.
fn tell_damage(damage: &Damage) {
    for name in damage.names.iter().take(DAMAGE_TOLD_MAX) {
        log::line(format_args!("damaged in the store: {name}"));
    }
}

/// What is granted on the command line to who does not exist is whoever's who is made later.
fn warn_of_nobody(core: &Core) -> Result<(), Fault> {
    let view = core.store.snapshot()?;
    for grant in core.auth.said() {
        let who = &grant.principal;
        if !view.exists(who)? {
            log::line(format_args!(
                "WARNING: --grant: {who} does not exist; whoever is made under that name has these permissions"
            ));
        }
    }
    Ok(())
}

fn start(core: &Core) -> Result<(), Failure> {
    first_start::check_root_key(core)?;
    let entry = Entry::by_daemon("daemon-start", "keyd");
    let detail = format!("version={} process={}", env!("CARGO_PKG_VERSION"), std::process::id());
    match core.store.record(entry.class(Class::Administration).detail(detail)) {
        // On a disk so full that even this has no place, questions can be answered.
        Err(Failure::Refused(refused)) => log::line(format_args!("no key is used: {refused}")),
        recorded => recorded?,
    }
    first_start::run(core)
}

/// Whatever a thread is committing is committed or never was; the record of the end waits for it.
fn finish(core: &Core, name: &socket::Name) {
    name.remove();
    for row in core.refusals.rest() {
        // Without space or a whole log nothing of it is written down.
        let _ = core.store.record(row);
    }
    let ended = Entry::by_daemon("daemon-end", "keyd").class(Class::Administration);
    if let Err(failure) = core.store.record(ended) {
        log::line(format_args!("the end could not be recorded: {}", log::chain(&failure)));
    }
    log::tell_rest();
    log::line(format_args!("ended"));
}

/// Where an end is heard of, and where one is asked for.
fn stop_signals() -> io::Result<(UnixStream, Arc<UnixStream>)> {
    let (reader, writer) = UnixStream::pair()?;
    pipe::register(SIGTERM, writer.try_clone()?)?;
    pipe::register(SIGINT, writer.try_clone()?)?;
    Ok((reader, Arc::new(writer)))
}

fn not_told(error: &io::Error) {
    log::line(format_args!("the service manager cannot be told: {error}"));
}
