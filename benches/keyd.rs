//! keyd with 10,000 disks under 100 disk encryption sets on one key: start, memory, unwraps, rotation, revocation; for
//! RSA-2048 and RSA-3072.
//!
//! The daemon is this program again, started as `keyd` is, on a state directory in `target` or in `KEYD_BENCH_DIR`:
//! what its figures are made of is the fsync of that disk (two an operation), and RSA. The rate of `Kek::unwrap` alone,
//! on one core, tells the one from the other. `KEYD_BENCH_DISKS` sets another number of disks.

use std::{
    env, fs,
    hint::black_box,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use benches::is_asked_for;
use keyd::kek::{Binding, Kek, KeyBits, Purpose};
use keyd_client::{
    Client, Dek, DesName, DiskId, KeyId, Principal, VaultName,
    ids::DesId,
    lease::Lease,
    message::{
        Ask, Consent, DesCreate, DiskCreate, DiskReleaseKey, Edit, EncryptionType, Event,
        FenceReport, Geometry, Holes, KeyCreate, KeyRotate, OnExpiry, OnRevoke, Reaction,
        StateCheck, StateCheckDeep, Status, Terms, VaultPermit, Weighed,
    },
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit},
};

const SETS: usize = 100;
/// Disks of the first set, all of them attached when it is revoked.
const HOLDERS: usize = 1000;
const CLIENTS: usize = 8;
const SAMPLE: Duration = Duration::from_secs(5);
const LEASE_MS: u64 = 3_600_000;

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some("serve") {
        return keyd::cli::main();
    }
    if !is_asked_for("keyd") {
        return ExitCode::SUCCESS;
    }
    let disks = env::var("KEYD_BENCH_DISKS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    raise_open_files();
    println!("keyd, {disks} disks in {SETS} sets on one key\n");
    let columns = [2048, 3072].map(|bits| (bits, column(bits, disks)));
    print!("{:<58}", "");
    columns.iter().for_each(|(bits, _)| print!(" {:>12}", format!("RSA-{bits}")));
    println!();
    for (row, (name, _)) in columns[0].1.iter().enumerate() {
        print!("{name:<58}");
        columns.iter().for_each(|(_, column)| print!(" {:>12}", column[row].1));
        println!();
    }
    ExitCode::SUCCESS
}

type Rows = Vec<(&'static str, String)>;

/// All figures for one length of key.
fn column(bits: u32, disks: usize) -> Rows {
    let mut rows = Rows::new();
    let mut row = |name, figure: String| {
        eprintln!("RSA-{bits}: {name}: {figure}");
        rows.push((name, figure));
    };
    let mut keyd = Daemon::start(bits);
    row("RSS when empty, MiB", keyd.resident());
    let begun = Instant::now();
    let ids = populate(&keyd, bits, disks);
    row("disks made a second, one client", rate(disks, begun));
    row(
        "store.redb, MiB",
        mib(fs::metadata(keyd.state.join("store.redb")).expect("a store").len()),
    );
    keyd.end(Signal::TERM);
    row("start after an end, ms", millis(keyd.resume()));
    row("RSS after it, MiB", keyd.resident());
    let begun = Instant::now();
    keyd.must(StateCheck {});
    row("check of all records, ms", millis(begun.elapsed()));
    let begun = Instant::now();
    let patient = Client::connect_within(&keyd.socket, Duration::from_secs(3600));
    patient.expect("a daemon").ask(StateCheckDeep {}).expect("an answer");
    row("check of all records and DEKs, s", format!("{:.1}", begun.elapsed().as_secs_f64()));
    keyd.end(Signal::KILL);
    row("start after a kill, ms", millis(keyd.resume()));
    let others = &ids[HOLDERS.min(ids.len() / 2)..];
    row("attach and detach a second, one client", attaches(&keyd, others, 1));
    row("attach and detach a second, eight clients", attaches(&keyd, others, CLIENTS));
    row("DEKs released a second, one client (one commit each)", releases(&keyd, others));
    row("RSA-OAEP unwraps a second, one core", unwraps(bits));
    let begun = Instant::now();
    keyd.must(KeyRotate { name: key() });
    row("rotation of the key over all disks, s", format!("{:.1}", begun.elapsed().as_secs_f64()));
    row("RSS after it, MiB", keyd.resident());
    for (name, figure) in revocation(&keyd, &ids[..HOLDERS.min(ids.len() / 2)]) {
        row(name, figure);
    }
    rows
}

fn rate(count: usize, begun: Instant) -> String {
    format!("{:.0}", count as f64 / begun.elapsed().as_secs_f64())
}

fn millis(time: Duration) -> String {
    format!("{:.0}", time.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// A holder is a connection.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, wanted).expect("more open files");
}

struct Daemon {
    child: Child,
    dir: PathBuf,
    state: PathBuf,
    socket: PathBuf,
}

impl Daemon {
    fn start(bits: u32) -> Self {
        let root = env::var_os("KEYD_BENCH_DIR").map_or_else(target, PathBuf::from);
        let dir = root.join(format!("keyd-bench-{}-{bits}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let (state, socket) = (dir.join("state"), dir.join("sock"));
        let child = serve(&state, &socket);
        let keyd = Self { child, dir, state, socket };
        keyd.wait();
        keyd
    }

    fn wait(&self) {
        while Client::connect(&self.socket).and_then(|mut c| c.ask(Status {})).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a daemon");
        self.child.wait().expect("its end");
    }

    /// Starts it again; how long that took until it answered.
    fn resume(&mut self) -> Duration {
        let begun = Instant::now();
        self.child = serve(&self.state, &self.socket);
        self.wait();
        begun.elapsed()
    }

    fn must<A: Ask>(&self, ask: A) -> A::Reply {
        let mut client = Client::connect(&self.socket).expect("a daemon");
        client.ask(ask).expect("an answer")
    }

    fn resident(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        mib(kib.unwrap_or(0) << 10)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already, and its directory be gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn target() -> PathBuf {
    let exe = env::current_exe().expect("a program");
    exe.parent().map(Path::to_owned).unwrap_or_default()
}

fn serve(state: &Path, socket: &Path) -> Child {
    let mut command = Command::new(env::current_exe().expect("a program"));
    command.args(["serve", "--state-dir"]).arg(state).arg("--socket").arg(socket);
    command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("a daemon")
}

fn key() -> KeyId {
    "bench".parse().expect("a name")
}

fn set(n: usize) -> DesName {
    format!("set-{n}").parse().expect("a name")
}

fn populate(keyd: &Daemon, bits: u32, disks: usize) -> Vec<DiskId> {
    keyd.must(KeyCreate { name: key(), bits, hsm: false });
    for n in 0..SETS {
        keyd.must(DesCreate {
            name: set(n),
            key: key(),
            version: None,
            encryption: EncryptionType::CustomerKey,
            terms: Terms {
                on_revoke: OnRevoke::Park,
                lease_ms: LEASE_MS,
                grace_ms: 0,
                on_expiry: OnExpiry::RefuseNew,
            },
            auto_rotate: true,
            permit: true,
        });
    }
    let geometry =
        Geometry { sector_size: 512, data_offset: 16 << 20, size: 1 << 30, holes: Holes::Zeros };
    let mut client = Client::connect(&keyd.socket).expect("a daemon");
    let mut make = |n: usize| {
        let des = if n < HOLDERS { set(0) } else { set(1 + n % (SETS - 1)) };
        let request = DiskCreate { des: Some(des), geometry };
        client.ask(request).expect("a disk").record.id
    };
    (0..disks).map(&mut make).collect()
}

/// Attaches and detaches in turn, each client its own disks.
fn attaches(keyd: &Daemon, ids: &[DiskId], clients: usize) -> String {
    let begun = Instant::now();
    let done: usize = thread::scope(|scope| {
        let shares: Vec<_> = ids
            .chunks(ids.len().div_ceil(clients))
            .map(|ids| {
                scope.spawn(move || {
                    let attached = ids.iter().cycle().take_while(|_| begun.elapsed() < SAMPLE);
                    attached.map(|id| drop(attach(keyd, *id))).count()
                })
            })
            .collect();
        shares.into_iter().map(|share| share.join().expect("a client")).sum()
    });
    rate(done, begun)
}

/// A disk whose last holder has just hung up may be held still.
fn attach(keyd: &Daemon, id: DiskId) -> (Lease, Option<Dek>) {
    loop {
        match Lease::attach(&keyd.socket, id, true, false) {
            Ok((lease, _, dek)) => return (lease, dek),
            Err(error) => eprintln!("{error}"),
        }
    }
}

fn releases(keyd: &Daemon, ids: &[DiskId]) -> String {
    let mut client = Client::connect(&keyd.socket).expect("a daemon");
    let begun = Instant::now();
    let released = ids.iter().cycle().take_while(|_| begun.elapsed() < SAMPLE);
    let done =
        released.map(|id| client.ask_for_dek(DiskReleaseKey { id: *id }).expect("a DEK")).count();
    rate(done, begun)
}

fn unwraps(bits: u32) -> String {
    let bits = if bits == 2048 { KeyBits::Rsa2048 } else { KeyBits::Rsa3072 };
    let (kek, _) = Kek::generate(bits).expect("a key");
    let dek = Dek::fill_with(|bytes| {
        bytes.iter_mut().zip(0..).for_each(|(byte, n)| *byte = n);
        Ok::<_, io::Error>(())
    });
    let dek = dek.expect("a DEK");
    let (disk, set) = (DiskId::random(), DesId::random());
    let binding = Binding { disk, set, generation: 1, purpose: Purpose::WholeDek };
    let wrapped = kek.wrap(&dek, &binding).expect("a wrapped DEK");
    let begun = Instant::now();
    let mut done = 0;
    while begun.elapsed() < SAMPLE {
        black_box(kek.unwrap(black_box(&wrapped), &binding).expect("a DEK"));
        done += 1;
    }
    rate(done, begun)
}

/// Takes one set's right away while all its disks are attached; each holder says at once that it let go.
fn revocation(keyd: &Daemon, ids: &[DiskId]) -> Rows {
    let mut leases: Vec<Lease> = ids.iter().map(|id| attach(keyd, *id).0).collect();
    let resident = keyd.resident();
    let socket = keyd.socket.clone();
    let begun = Instant::now();
    let asked = thread::spawn(move || {
        let mut client = Client::connect(&socket).expect("a daemon");
        let reply = client.ask(VaultPermit {
            name: VaultName::default_vault(),
            principal: Principal::Des(set(0)),
            permissions: [].into(),
            edit: Edit::Replace,
            future: false,
            consent: Consent::Force,
            wait_ms: 60_000,
        });
        (reply.expect("an answer"), begun.elapsed())
    });
    let mut heard = Vec::new();
    while heard.len() < leases.len() {
        let mut fds: Vec<PollFd<'_>> = leases
            .iter()
            .map(|lease| PollFd::from_borrowed_fd(lease.as_fd(), PollFlags::IN))
            .collect();
        poll(&mut fds, None).expect("holders");
        let ready: Vec<usize> = (0..fds.len()).filter(|n| !fds[*n].revents().is_empty()).collect();
        drop(fds);
        for n in ready {
            let (event, _) = leases[n].receive().expect("an event");
            assert!(matches!(event, Event::Revoked { .. }), "{event:?}");
            heard.push(begun.elapsed());
            let now = 1_700_000_000_000;
            let report = FenceReport {
                ordered: now,
                last_io: None,
                wiped: now,
                took_us: 0,
                held: 0,
                reaction: Reaction::Park,
            };
            leases[n].fenced(report).expect("a confirmation");
        }
    }
    let (reply, answered) = asked.join().expect("the asker");
    let Weighed::Done(changed) = reply else { panic!("{reply:?}") };
    assert_eq!(changed.revocation.told as usize, ids.len());
    let last = heard.last().copied().unwrap_or_default();
    vec![
        ("RSS with 1,000 leases, MiB", resident),
        ("revocation of 1,000 leases: the first hears, ms", millis(heard[0])),
        ("revocation of 1,000 leases: the last hears, ms", millis(last)),
        ("revocation of 1,000 leases: all have confirmed, ms", millis(answered)),
    ]
}
