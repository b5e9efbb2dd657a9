//! The real daemon on a state directory that vanishes, and a holder like `vhost-backend` is one.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod state_files;

use std::{
    fmt::Debug,
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use keyd_client::{
    Client, ClientError, Dek, DiskId, KeyId,
    lease::Lease,
    message::{
        Ask, Attached, AuditRecord, AuditTail, AuditVerify, Consent, DesCreate, DiskCreate,
        DiskReleaseKey, DiskShow, DiskStatus, EncryptionType, Event, FenceReport, Geometry, Holes,
        KeyChange, KeyCreate, KeyShow, KeyStatus, KeyUpdate, OnExpiry, OnRevoke, Refusal, Terms,
        Weighed,
    },
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) mod front;
pub(crate) mod https;
pub(crate) mod jwk;
pub(crate) mod vaults;

/// How long something may take that has to happen. Only a hang takes so long, also on a machine that others use.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const KEYD: &str = env!("CARGO_BIN_EXE_keyd");

pub(crate) struct Keyd {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) child: Child,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Keyd {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let child = spawn(dir.path(), &args, &[]);
        let mut keyd = Self { dir, child, args, env: Vec::new() };
        keyd.wait_ready();
        keyd
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("keyd.sock")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn wait_ready(&mut self) {
        let begun = Instant::now();
        while !self.log().contains("ready: ") {
            assert!(begun.elapsed() < PATIENCE, "{}", self.log());
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("keyd ended, {status}: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL, as a crash of the process is.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        self.resume();
    }

    pub(crate) fn resume(&mut self) {
        self.child = spawn(self.dir.path(), &self.args, &self.env);
        self.wait_ready();
    }

    /// With other arguments from now on.
    pub(crate) fn resume_with(&mut self, args: &[&str]) {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.resume();
    }

    /// In another environment from now on.
    pub(crate) fn resume_in(&mut self, env: Vec<(&'static str, String)>) {
        self.env = env;
        self.resume();
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    pub(crate) fn try_ask<A: Ask>(&self, ask: A) -> Result<A::Reply, ClientError> {
        Client::connect(&self.socket())?.ask(ask)
    }

    pub(crate) fn ask<A: Ask>(&self, ask: A) -> A::Reply {
        self.try_ask(ask).unwrap()
    }

    pub(crate) fn refused<A: Ask>(&self, ask: A) -> Refusal {
        refusal(self.try_ask(ask))
    }

    /// Key `k` of 2048 bits and set `s` on it.
    pub(crate) fn make_key_and_set(&self, lease_ms: u64) {
        self.ask(KeyCreate { name: "k".parse().unwrap(), bits: 2048, hsm: false });
        self.make_set(lease_ms);
    }

    /// Set `s` on key `k`.
    pub(crate) fn make_set(&self, lease_ms: u64) {
        self.make_set_on("k", lease_ms);
    }

    /// Set `s` on a key.
    pub(crate) fn make_set_on(&self, key: &str, lease_ms: u64) {
        self.ask(DesCreate {
            name: "s".parse().unwrap(),
            key: key.parse().unwrap(),
            version: None,
            encryption: EncryptionType::CustomerKey,
            terms: terms(lease_ms),
            auto_rotate: true,
            permit: true,
        });
    }

    pub(crate) fn make_disk(&self, des: Option<&str>) -> DiskId {
        let des = des.map(|name| name.parse().unwrap());
        let disk = self.ask(DiskCreate { des, geometry: geometry() });
        disk.record.id
    }

    pub(crate) fn disk(&self, id: DiskId) -> DiskStatus {
        self.ask(DiskShow { id })
    }

    pub(crate) fn key(&self, name: &str) -> KeyStatus {
        let name = name.parse().unwrap();
        self.ask(KeyShow { name })
    }

    pub(crate) fn switch(&self, enabled: bool) -> u32 {
        let name = "k".parse().unwrap();
        let changed = done(self.ask(switching(name, enabled)));
        changed.revocation.told + changed.granted
    }

    pub(crate) fn audit(&self) -> Vec<AuditRecord> {
        self.ask(AuditTail { count: 500 })
    }

    /// Waits for an audit record.
    pub(crate) fn audited(&self, operation: &str, outcome: &str) -> AuditRecord {
        let begun = Instant::now();
        loop {
            let records = self.audit();
            let found = records.iter().rfind(|r| r.operation == operation && r.outcome == outcome);
            if let Some(record) = found {
                return record.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{operation} {outcome}: {records:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn verify(&self) -> u64 {
        self.ask(AuditVerify {}).records
    }

    /// The plaintext DEK, by break-glass.
    pub(crate) fn release(&self, id: DiskId) -> Dek {
        let mut client = Client::connect(&self.socket()).unwrap();
        client.ask_for_dek(DiskReleaseKey { id }).unwrap().1
    }

    /// The command line.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(KEYD).args(args).env("KEYD_SOCKET", self.socket()).output().unwrap()
    }
}

impl Drop for Keyd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, args: &[String], env: &[(&str, String)]) -> Child {
    let log = fs::File::create(dir.join("log")).unwrap();
    Command::new(KEYD)
        .args(["serve", "--state-dir"])
        .arg(dir.join("state"))
        .arg("--socket")
        .arg(dir.join("keyd.sock"))
        .args(args)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// A second daemon that should not start: its exit code and what it said. One that does start is killed.
pub(crate) fn fails_to_serve(state: &Path, socket: &Path) -> (Option<i32>, String) {
    fails_to_serve_with(state, socket, &[])
}

/// The same with further options.
pub(crate) fn fails_to_serve_with(
    state: &Path,
    socket: &Path,
    args: &[&str],
) -> (Option<i32>, String) {
    let mut child = Command::new(KEYD)
        .args(["serve", "--state-dir"])
        .arg(state)
        .arg("--socket")
        .arg(socket)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    // It has ended already if all is well.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// What was done, where that was more than a dry run.
pub(crate) fn done<T: Debug>(weighed: Weighed<T>) -> T {
    match weighed {
        Weighed::Done(done) => done,
        Weighed::Would(impact) => panic!("{impact:?}"),
    }
}

/// Terms with this lease, parking at once.
pub(crate) fn terms(lease_ms: u64) -> Terms {
    Terms { on_revoke: OnRevoke::Park, lease_ms, grace_ms: 0, on_expiry: OnExpiry::RefuseNew }
}

/// Every version of a key on or off, whatever it hits.
pub(crate) fn switching(name: KeyId, enabled: bool) -> KeyUpdate {
    let change = KeyChange { enabled: Some(enabled), ..KeyChange::default() };
    KeyUpdate { name, version: None, change, consent: Consent::Force, wait_ms: 0 }
}

pub(crate) fn geometry() -> Geometry {
    Geometry { sector_size: 512, data_offset: 16 << 20, size: 1 << 30, holes: Holes::Zeros }
}

pub(crate) struct Held {
    pub(crate) lease: Lease,
    pub(crate) attached: Attached,
    pub(crate) dek: Option<Dek>,
}

pub(crate) fn attach(keyd: &Keyd, id: DiskId, wait: bool) -> Result<Held, ClientError> {
    let (lease, attached, dek) = Lease::attach(&keyd.socket(), id, false, wait)?;
    Ok(Held { lease, attached, dek })
}

pub(crate) fn refusal<T>(result: Result<T, ClientError>) -> Refusal {
    match result {
        Err(ClientError::Refused(refusal)) => refusal,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("not refused"),
    }
}

impl Held {
    /// The next event, if one comes in time.
    pub(crate) fn hear(&mut self, time: Duration) -> Option<(Event, Option<Dek>)> {
        let mut fds = [PollFd::from_borrowed_fd(self.lease.as_fd(), PollFlags::IN)];
        let timeout =
            Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        if poll(&mut fds, Some(&timeout)).unwrap() == 0 {
            return None;
        }
        Some(self.lease.receive().unwrap())
    }

    pub(crate) fn expect(&mut self, event: &Event) -> Option<Dek> {
        let (heard, dek) = self.hear(PATIENCE).expect("an event");
        assert_eq!(heard, *event);
        dek
    }

    pub(crate) fn expect_revoked(&mut self) -> String {
        match self.hear(PATIENCE).expect("an event").0 {
            Event::Revoked { reason, .. } => reason.to_string(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn fence(&mut self) {
        self.dek = None;
        let report = FenceReport {
            ordered: 1_700_000_000_000,
            last_io: Some(1_700_000_000_001),
            wiped: 1_700_000_000_002,
            took_us: 1234,
            held: 7,
            reaction: self.attached.on_revoke,
        };
        self.lease.fenced(report).unwrap();
    }
}
