//! The sandboxes of the backend and of the daemon (`sandbox/keyd.rs`): what somebody who has taken it over cannot
//! do, by each of its layers and by all together; that every thread is in it; what a kernel without a part of it
//! brings; and that the list of system calls has no entry that is not needed.

#[path = "sandbox/keyd.rs"]
mod keyd;
#[path = "sandbox/keyd_needs.rs"]
mod keyd_needs;
#[path = "sandbox/needs.rs"]
mod needs;

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{MetadataExt, PermissionsExt},
            net::{SocketAddr, UnixListener},
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Command, Output},
};

use keyd_client::permission::Permission;
use rustix::{
    process::{Signal, geteuid},
    system::uname,
};
use system_tests::{
    drill::{Drill, SIZE},
    driver::BlkRequest,
    front_end::{FrontEnd, Options},
    process::{Process, copy_program, eventually, program},
    refusal::refuses_to_serve,
    world::{NOBODY, World},
};

/// Whether the kernel is old enough to lack a part of the sandbox, which is said: these tests are about all of it.
fn is_old_kernel() -> bool {
    let release = uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let is_old = version < (6, 12);
    if is_old {
        must_run::skip(format_args!(
            "Linux {release} lacks a part of the sandbox, which takes 6.12"
        ));
    }
    is_old
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Refused,
    Killed,
}

use Fate::{Done, Killed, Refused};

fn fate(output: &Output) -> Fate {
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => Done,
        (Some(3), _) => Refused,
        (_, Some(signal)) if signal == Signal::SYS.as_raw() => Killed,
        _ => panic!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

fn attempt(who: &str, layers: &str, directory: &Path, what: &str) -> Command {
    let mut command = Command::new(program("confined"));
    command.args(["attempt", who, layers]).arg(directory).args(what.split(' '));
    command.env("RUST_BACKTRACE", "1");
    command
}

const LAYERS: [&str; 4] = ["nothing", "landlock", "seccomp", "all"];

/// What becomes of each attempt from inside each layer.
type Table = Vec<(String, [Fate; 4])>;

/// Tries all of a table, and tells where it is otherwise. `before` puts back what an attempt may have taken away.
fn judge(who: &str, directory: &Path, table: &Table, before: &dyn Fn()) {
    println!("{:<50} {LAYERS:?}", format!("from inside {who}"));
    let mut faults = Vec::new();
    for (what, expected) in table {
        let found = LAYERS.map(|layers| {
            before();
            fate(&attempt(who, layers, directory, what).output().expect("run"))
        });
        println!("{what:<50} {found:?}");
        if found != *expected {
            faults.push(format!("{what}: {found:?}, expected {expected:?}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// A world to break out of, and the directory in it that is one's own; none where it cannot be tried.
fn cell() -> Option<(World, PathBuf)> {
    if is_old_kernel() {
        return None;
    }
    if !must_run::is_root_for("look into other processes") {
        return None;
    }
    let world = World::new();
    let directory = world.path("run");
    fs::create_dir_all(directory.join("own")).unwrap();
    Some((world, directory))
}

#[test]
fn who_takes_the_backend_over_gets_nowhere() {
    let Some((world, directory)) = cell() else { return };
    let path = |name: &str| world.path(name).display().to_string();
    let (elsewhere, beside) = (path("elsewhere"), path("run/beside"));
    let fresh = || [&elsewhere, &beside].iter().for_each(|path| fs::write(path, "").unwrap());
    let strangers = Strangers::new(&world);
    let Strangers { pid, address, name, tcp, .. } = &strangers;
    let tcp = tcp.local_addr().unwrap();
    let table = vec![
        ("nothing".into(), [Done; 4]),
        ("read-file /etc/passwd".into(), [Done, Refused, Refused, Refused]),
        (format!("read-dir {}", path("state")), [Done, Refused, Refused, Refused]),
        (format!("write-file {elsewhere}"), [Done, Refused, Refused, Refused]),
        (format!("remove-file {elsewhere}"), [Done, Refused, Done, Refused]),
        ("make-file".into(), [Done, Refused, Refused, Refused]),
        (format!("chmod {elsewhere}"), [Done, Done, Killed, Killed]),
        (format!("tcp {tcp}"), [Done, Refused, Killed, Killed]),
        ("udp".into(), [Done, Done, Killed, Killed]),
        (format!("abstract-socket {name}"), [Done, Refused, Done, Refused]),
        ("exec".into(), [Done, Refused, Killed, Killed]),
        ("spawn".into(), [Done, Refused, Killed, Killed]),
        ("ring".into(), [Done, Done, Killed, Killed]),
        (format!("ptrace {pid}"), [Done, Refused, Killed, Killed]),
        (format!("signal {pid}"), [Done, Refused, Killed, Killed]),
        (format!("read-memory {pid} {address}"), [Done, Refused, Killed, Killed]),
        // What is left, as the backend itself needs it.
        ("thread".into(), [Done; 4]),
        (format!("remove-file {beside}"), [Done; 4]),
        (format!("socket {}", path("keyd.sock")), [Done; 4]),
    ];
    judge("backend", &directory, &table, &fresh);
}

/// Whom somebody inside may want to reach: a process of the same user, with memory at `address`, and listeners.
struct Strangers {
    pid: u32,
    address: usize,
    /// Of an abstract socket.
    name: String,
    tcp: TcpListener,
    _process: Process,
    _listener: UnixListener,
}

impl Strangers {
    fn new(world: &World) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("portcullis-{}", tcp.local_addr().unwrap().port());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let mut command = Command::new("sleep");
        let process = Process::start("sleep", command.arg("1000"), &world.path("sleep.log"));
        let maps = || fs::read_to_string(format!("/proc/{}/maps", process.pid())).unwrap();
        let maps = eventually("memory", || Some(maps()).filter(|maps| !maps.is_empty()));
        let address = usize::from_str_radix(maps.split('-').next().unwrap(), 16).unwrap();
        let pid = process.pid();
        Self { pid, address, name, tcp, _process: process, _listener: listener }
    }
}

#[test]
fn a_fault_of_ours_ends_as_itself_and_is_said() {
    let world = World::new();
    for who in ["backend", "keyd"] {
        let ended = |what: &str| {
            let output = attempt(who, "all", &world.path(""), what).output().expect("run");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), output.status.signal(), said)
        };
        let (code, signal, said) = ended("panic");
        assert_eq!((code, signal), (Some(101), None), "{who}: {said}");
        assert!(said.contains("an attempt at that"), "{who}: {said}");
        assert_eq!(ended("abort").1, Some(Signal::ABORT.as_raw()), "{who}");
        assert_eq!(ended("bus").1, Some(Signal::BUS.as_raw()), "{who}");
    }
}

/// What each thread of a process says of itself.
fn threads(pid: u32, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let value = |task: std::io::Result<fs::DirEntry>| {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
    };
    tasks.map(value).collect()
}

fn all_are(pid: u32, field: &str, expected: &str) {
    let found = threads(pid, field);
    assert!(found.iter().all(|value| value == expected), "{field}: {found:?}");
}

#[test]
fn every_thread_is_in_it_and_the_start_says_so() {
    if is_old_kernel() {
        return;
    }
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut backend = world.start_backend("d", "--num-queues 3 --require-sandbox");
    let pid = backend.pid();
    // Two more queues are made in it, and are in it.
    let front_end =
        FrontEnd::connect(&world.path("d.sock"), Options { queues: 3, ..Options::default() });
    assert!(threads(pid, "Seccomp").len() >= 5, "control, lease, three queues");
    all_are(pid, "Seccomp", "2");
    all_are(pid, "NoNewPrivs", "1");
    for capabilities in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        let most = u64::from_str_radix(&threads(pid, capabilities)[0], 16).unwrap();
        assert_eq!(most & !2, 0, "{capabilities}: more than CAP_DAC_OVERRIDE");
        all_are(pid, capabilities, &format!("{most:016x}"));
    }
    let said = backend.said();
    let line = said.lines().find(|line| line.contains("sandbox: ")).unwrap();
    for part in ["namespaces", "no new privileges", "landlock (ABI ", "seccomp ("] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(
        shares_the_network(pid),
        line.contains("the namespaces it was started in"),
        "{line}"
    );
    assert_eq!(shares_the_network(pid), !geteuid().is_root(), "{line}");
    assert!(!line.contains("WITHOUT"), "{line}");
    drop(front_end);
    assert!(backend.terminate().success());
    assert!(!world.path("d.sock").exists());
}

/// Whether a process sees the host's network.
fn shares_the_network(pid: u32) -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    namespace(&pid.to_string()) == namespace("self")
}

#[test]
fn its_own_user_can_neither_trace_nor_dump_it() {
    if !must_run::is_root_for("become another user") {
        return;
    }
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    world.grant(NOBODY, "d", &[Permission::Attach]);
    let backend = world.start_backend_as(NOBODY, "d");
    all_are(backend.pid(), "Uid", "65534 65534 65534 65534");
    is_neither_traced_nor_dumped(backend.pid());
}

#[test]
fn whoever_runs_image_cannot_trace_it() {
    if !must_run::is_root_for("become another user") {
        return;
    }
    let world = World::new();
    world.open_to_others();
    // A daemon that never says a word: whoever asks it waits.
    let silent = UnixListener::bind(world.path("silent.sock")).unwrap();
    fs::set_permissions(world.path("silent.sock"), Permissions::from_mode(0o666)).unwrap();
    // Where the build lies may be closed to others.
    let image = world.path("image");
    copy_program(&program("image"), &image);
    let mut command = Command::new(image);
    command.args(["create", "x.img", "--size", "1M", "--socket"]).arg(world.path("silent.sock"));
    command.current_dir(world.path("")).uid(NOBODY).gid(NOBODY);
    let process = Process::start("image", &mut command, &world.path("image.log"));
    let _connection = silent.accept().unwrap();
    is_neither_traced_nor_dumped(process.pid());
}

/// What of processes may not be traced by their user is root's (proc(5)).
fn is_neither_traced_nor_dumped(pid: u32) {
    assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid(), 0);
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
}

/// A program on a kernel that lacks something.
fn on_a_kernel_without(what: &str, whole: &Command) -> Command {
    let mut command = Command::new(program("confined"));
    command.args(["lacking", what]).arg(whole.get_program()).args(whole.get_args());
    command
}

#[test]
fn what_the_kernel_lacks_is_said_and_refused_where_it_is_required() {
    if is_old_kernel() {
        return;
    }
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    for what in ["landlock", "seccomp"] {
        let lacking = |more: &str| on_a_kernel_without(what, &world.backend_command("d", more));
        let mut command = lacking("--require-sandbox");
        let words = ["--require-sandbox", what, "6.12"];
        refuses_to_serve(&world, "vhost-backend", &mut command, &words);
        assert!(!world.path("d.sock").exists());
        let mut command = lacking("");
        let mut backend = Process::start("vhost-backend", &mut command, &world.path("d.log"));
        backend.wait_to_say("serving");
        let said = backend.said();
        let line = said.lines().find(|line| line.contains("sandbox: ")).unwrap();
        assert!(line.contains(&format!("WITHOUT {what} (")), "{line}");
        assert!(backend.terminate().success());
    }
}

#[test]
fn where_io_uring_is_forbidden_threads_serve_the_disk_in_a_sandbox_as_tight() {
    if is_old_kernel() {
        return;
    }
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let forbidden = |more: &str| on_a_kernel_without("io_uring", &world.backend_command("d", more));
    let words = ["--engine io_uring", "Operation not permitted", "kernel.io_uring_disabled=0"];
    refuses_to_serve(&world, "vhost-backend", &mut forbidden("--engine io_uring"), &words);
    let mut command = forbidden("--engine auto --num-queues 2 --require-sandbox");
    let mut backend = Process::start("vhost-backend", &mut command, &world.path("d.log"));
    backend.wait_to_say("serving");
    let said = backend.said();
    let line = said.lines().find(|line| line.contains("io_uring is not available")).unwrap();
    assert!(line.contains("Operation not permitted") && line.contains("using 8 threads"), "{line}");
    assert_eq!(threads(backend.pid(), "Seccomp").len(), 3 + 9, "{said}");
    all_are(backend.pid(), "Seccomp", "2");
    let mut drill = Drill::of(&world, "d", 22, backend);
    drill.assert_running();
    let _ = drill.halt(|| world.disable("d"));
    drill.assert_halted();
    world.enable("d");
    drill.assert_running();
    drill.assert_intact();
    assert!(drill.backend.terminate().success());
}

/// A front end whose rings are all being served.
fn started(world: &World, queues: usize) -> FrontEnd {
    let options = Options { queues, ..Options::default() };
    let mut front_end = FrontEnd::connect(&world.path("d.sock"), options);
    for queue in 0..queues {
        assert_eq!(front_end.ask(queue, &BlkRequest::read(0, 512)).status, 0);
    }
    front_end
}

/// Rings of io_uring that a process has.
fn rings(pid: u32) -> usize {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let link = |file: std::io::Result<fs::DirEntry>| fs::read_link(file.unwrap().path());
    files
        .filter_map(|file| link(file).ok())
        .filter(|to| to.ends_with("anon_inode:[io_uring]"))
        .count()
}

#[test]
fn who_wants_threads_has_no_ring_and_who_says_nothing_has_one_a_queue_that_was_started() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    for (more, expected) in [("--engine threads", [0, 0, 0]), ("--engine auto", [1, 3, 3])] {
        let mut backend = world.start_backend("d", more);
        assert_eq!(rings(backend.pid()), expected[0], "{}", backend.said());
        for (queues, expected) in [3, 2].into_iter().zip(&expected[1..]) {
            let _front_end = started(&world, queues);
            assert_eq!(rings(backend.pid()), *expected, "{}", backend.said());
        }
        assert!(backend.terminate().success());
    }
}

#[test]
fn root_becomes_another_user_who_is_the_one_that_keyd_knows() {
    if !must_run::is_root_for("become another user") {
        return;
    }
    let mut world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    world.open_to_others();
    // The image stays root's: it is opened before.
    fs::set_permissions(world.path("d.img"), Permissions::from_mode(0o600)).unwrap();
    let more = "--num-queues 2 --user 65534:65534";
    let mut command = world.backend_command("d", more);
    refuses_to_serve(&world, "vhost-backend", &mut command, &["65534", "attach"]);
    world.grant(NOBODY, "d", &[Permission::Attach]);
    let mut drill = Drill::of(&world, "d", 21, world.start_backend("d", more));
    let pid = drill.backend.pid();
    for field in ["Uid", "Gid"] {
        all_are(pid, field, "65534 65534 65534 65534");
    }
    all_are(pid, "Groups", "65534");
    all_are(pid, "CapEff", "0000000000000000");
    assert!(drill.backend.said().contains("user 65534:65534"));
    assert!(!drill.backend.said().contains("not registered"), "buffers are locked all the same");
    let socket = fs::metadata(world.path("d.sock")).unwrap();
    assert_eq!((socket.uid(), socket.gid()), (NOBODY, NOBODY));
    drill.assert_running();
    // The same user at a new attach, to a new daemon, and when the key comes back.
    world.keyd.as_mut().unwrap().terminate();
    world.start_keyd();
    world.open_to_others();
    drill.backend.wait_to_say("keyd is back");
    drill.assert_running();
    world.disable("d");
    drill.backend.wait_to_say("fenced");
    world.enable("d");
    drill.assert_running();
    drill.assert_intact();
    assert!(drill.backend.terminate().success());
    assert!(!world.path("d.sock").exists());
}
