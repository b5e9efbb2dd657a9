//! Every system call on the daemon's list is needed: without it a daemon dies of something that it does in its ordinary
//! life, or a library below it does at times that no test can choose.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io::{Read, Write},
    net::TcpStream,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixDatagram, UnixStream},
        process::ExitStatusExt,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use keyd::sandbox::calls::allowed;
use keyd_client::{DiskId, lease::Lease};
use rustix::process::Signal;
use system_tests::{
    process::{PATIENCE, Process, program, tool},
    world::World,
};

use super::needs::{attempt_dies, stopped_wait_dies};

/// What shows that an entry is needed.
#[derive(Debug, Clone, Copy)]
enum Shown {
    /// The life of a daemon.
    Life,
    /// A certificate that is renewed while it runs, which takes it ten seconds to see.
    Renewal,
    /// What is not to be had at will, done by itself.
    Attempt(&'static str),
    /// A wait that is stopped and continued.
    StoppedWait,
    /// Nothing here, and why.
    Not(&'static str),
}

fn shown(call: &str) -> Shown {
    match call {
        "read" => Shown::Renewal,
        "tgkill" => Shown::Attempt("abort"),
        "rt_sigaction" => Shown::Attempt("bus"),
        "mremap" => Shown::Attempt("grow"),
        "brk" => Shown::Attempt("heap"),
        "sched_yield" => Shown::Attempt("yield"),
        "clock_nanosleep" => Shown::Attempt("sleep"),
        "restart_syscall" => Shown::StoppedWait,
        "clock_gettime" => Shown::Not("the clock of this host is read without a call"),
        _ => Shown::Life,
    }
}

const REQUEST: &[u8] =
    b"GET /keys?api-version=7.4 HTTP/1.1\r\nhost: default.localhost\r\nconnection: close\r\n\r\n";

/// What a daemon is given to live with, for every life anew.
struct Place {
    world: World,
    disk: DiskId,
}

impl Place {
    /// A state directory with a key, a set, a disk and a CA; and a certificate of somebody else's.
    fn new() -> Self {
        let mut world = World::new();
        let _ = world.make_disk("d", "1M", "");
        let disk = world.disk_id(&world.path("d.img")).parse().expect("an id");
        assert!(world.keyd.as_mut().expect("a daemon").terminate().success());
        make_certificate(&world);
        Self { world, disk }
    }

    /// Whether a daemon dies of a missing call in all that it ever does.
    fn is_deadly(&self, without: Option<&str>, renewal: bool) -> bool {
        let mut life = Life::new(self, without);
        let mut keyd = Process::start("confined", &mut life.command(without), &life.path("log"));
        let end = catch_unwind(AssertUnwindSafe(|| life.live(&mut keyd, renewal)));
        if end.is_ok() {
            keyd.signal(Signal::TERM);
        }
        let status = keyd.wait();
        match (status.signal(), status.code()) {
            (Some(signal), _) if signal == Signal::SYS.as_raw() => true,
            (_, Some(0)) => false,
            _ => panic!("{without:?}: {status}: {}", keyd.said()),
        }
    }
}

fn make_certificate(world: &World) {
    let made = Command::new(tool("openssl", "openssl"))
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=keys", "-days", "2", "-keyout"])
        .arg(world.path("key.pem"))
        .arg("-out")
        .arg(world.path("chain.pem"))
        .output()
        .expect("run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// One life, in a directory of its own.
struct Life<'a> {
    place: &'a Place,
    directory: PathBuf,
    syslog: Syslog,
}

impl<'a> Life<'a> {
    fn new(place: &'a Place, without: Option<&str>) -> Self {
        let name: String =
            without.unwrap_or("all").chars().filter(|c| c.is_alphanumeric()).collect();
        let directory = place.world.path(&name);
        for below in ["state", "out", "certificate"] {
            fs::create_dir_all(directory.join(below)).expect("a directory");
        }
        copy_files(&place.world.path("state"), &directory.join("state"));
        let syslog = Syslog::start(directory.join("syslog"));
        let life = Self { place, directory, syslog };
        life.renew_certificate();
        fs::set_permissions(life.path("state"), Permissions::from_mode(0o700)).expect("a mode");
        life
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn renew_certificate(&self) {
        for name in ["key.pem", "chain.pem"] {
            let renewed = self.path("certificate").join(format!("{name}.new"));
            fs::copy(self.place.world.path(name), &renewed).expect("copied");
            fs::rename(&renewed, self.path("certificate").join(name)).expect("in its place");
        }
    }

    /// A daemon without a call, or with all.
    fn command(&self, without: Option<&str>) -> Command {
        let mut command =
            Command::new(program(if without.is_some() { "confined" } else { "keyd" }));
        if let Some(call) = without {
            command.args(["keyd-without", call]);
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--audit-segment", "8192"]);
        for (option, name) in [
            ("--state-dir", "state"),
            ("--socket", "keyd.sock"),
            ("--tls-cert", "certificate/chain.pem"),
            ("--tls-key", "certificate/key.pem"),
            ("--writable", "out"),
            ("--audit-syslog", "syslog"),
        ] {
            command.arg(option).arg(self.path(name));
        }
        command
    }

    /// All that a daemon ever does, as far as it comes; the first thing that goes wrong is a panic.
    fn live(&mut self, keyd: &mut Process, renewal: bool) {
        keyd.wait_to_say("ready: ");
        self.hold_a_lease();
        self.syslog.stop();
        self.syslog = Syslog::start(self.path("syslog"));
        keyd.wait_until("a word in the log", |_| {
            self.write_row();
            self.syslog.heard.load(Ordering::Relaxed)
        });
        let mut local = UnixStream::connect(self.path("keyd.sock")).expect("connected");
        asks(&mut local, REQUEST);
        let said = keyd.said();
        let port = said.split("https ").nth(1).and_then(|rest| rest.split(',').next());
        let address = port.expect("an address");
        let mut remote = TcpStream::connect(address).expect("connected");
        asks(&mut remote, b"no TLS");
        self.write_rows();
        self.run(&["audit", "verify"]);
        let out = self.path("out").display().to_string();
        // Refused until the log's copy has all of it.
        let archive = ["audit", "archive", "--before", "1000", "--to", &out];
        keyd.wait_until("an archive", |_| self.try_run(&archive).status.success());
        // Recipients are public: nobody needs to open this one.
        let recipient = "age1dtcs2sjtp6hr3qfe4v0lpz8ykyw9whza6aw0jt37pz4gm8heh40qaegdck";
        self.run(&["backup", "--to", &format!("{out}/backup"), "--recipient", recipient]);
        if renewal {
            self.renew_certificate();
            self.shake_hands_until_it_is_seen(keyd, address);
        }
    }

    fn hold_a_lease(&self) {
        let attached = Lease::attach(&self.path("keyd.sock"), self.place.disk, false, false);
        let (mut lease, _, _dek) = attached.expect("attached");
        lease.renew().expect("asked");
        lease.receive().expect("renewed");
        self.run(&["key", "disable", "d", "--force"]);
        lease.receive().expect("revoked");
        drop(lease);
        self.run(&["key", "enable", "d"]);
    }

    /// Enough for a segment of the log to be closed.
    fn write_rows(&self) {
        for _ in 0..25 {
            self.write_row();
        }
    }

    fn write_row(&self) {
        self.run(&["key", "enable", "d"]);
    }

    fn try_run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program("keyd"));
        command.args(words).arg("--socket").arg(self.path("keyd.sock")).output().expect("run")
    }

    fn run(&self, words: &[&str]) {
        let output = self.try_run(words);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn shake_hands_until_it_is_seen(&self, keyd: &mut Process, address: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !keyd.said().contains("taken up anew") {
            assert!(!keyd.has_ended() && Instant::now() < deadline, "{}", keyd.said());
            let mut client = Command::new(tool("openssl", "openssl"));
            client.args(["s_client", "-connect", address]).stdin(Stdio::null());
            client.output().expect("run");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The system's log. One that is not read would hold the daemon up.
struct Syslog {
    path: PathBuf,
    heard: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Syslog {
    fn start(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
        let (heard, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (hears, ends) = (heard.clone(), ended.clone());
        let reader = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                if socket.recv(&mut [0; 8192]).is_ok() {
                    hears.store(true, Ordering::Relaxed);
                }
            }
        });
        Self { path, heard, ended, reader: Some(reader) }
    }

    fn stop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.stop();
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Sends something, and waits for a word or the end.
fn asks(stream: &mut (impl Read + Write), request: &[u8]) {
    stream.write_all(request).expect("sent");
    // A reset is an end, too.
    let _ = stream.read(&mut [0; 100]);
}

#[test]
fn no_entry_of_the_daemons_list_is_idle() {
    let place = Place::new();
    assert!(!place.is_deadly(None, true), "with the whole list everything goes well");
    let directory = place.world.path("");
    let dies = |entry: &str| match shown(entry) {
        Shown::Life => place.is_deadly(Some(entry), false),
        Shown::Renewal => place.is_deadly(Some(entry), true),
        Shown::Attempt(what) => attempt_dies("keyd", entry, &directory, what),
        Shown::StoppedWait => stopped_wait_dies("keyd", entry, &directory),
        Shown::Not(why) => {
            println!("{entry:<24} not shown: {why}");
            true
        }
    };
    let began = Instant::now();
    let names: Vec<_> = allowed(true).iter().map(|entry| entry.name).collect();
    let (left, idle) = (Mutex::new(names.iter()), Mutex::new(BTreeSet::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(&name) = left.lock().expect("whole").next() else { break };
                    let since = Instant::now();
                    if !dies(name) {
                        idle.lock().expect("whole").insert(name);
                    }
                    println!("{name:<24} {:>5.2?} {:?}", since.elapsed(), shown(name));
                }
            });
        }
    });
    println!("{} entries in {:.1?}", names.len(), began.elapsed());
    let idle = idle.into_inner().expect("whole");
    assert!(idle.is_empty(), "nothing needs {idle:?}");
}
