//! Every system call on the list is needed: without it a backend dies of something that it does in its ordinary
//! life, or a library below it does at times that no test can choose.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    os::{
        fd::AsRawFd,
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::statfs,
    process::{Pid, Signal, kill_process},
};
use system_tests::{
    driver::{BlkRequest, kind, range},
    front_end::{FrontEnd, Options},
    hostile::{message, send_raw, wait_for_close},
    process::{PATIENCE, Process, program},
    relay::Relay,
    world::World,
};
use vhost_backend::{config::EngineWish, sandbox::syscalls::allowed};

use super::attempt;

/// What shows that an entry is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    /// The life of a backend on a disk.
    Life(Below),
    /// What is not to be had at will, done by itself.
    Attempt(&'static str),
    /// A wait that is stopped and continued.
    StoppedWait,
    /// Nothing here, and why.
    Not(&'static str),
}

/// What is below a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Below {
    /// A file system with O_DIRECT.
    Device,
    /// The same through the page cache.
    Cache,
    /// Memory.
    Memory,
    /// A file system with O_DIRECT, by threads.
    Threads,
}

fn shown(call: &str) -> Shown {
    match call {
        "pread64" | "pwrite64" | "fdatasync" => Shown::Life(Below::Memory),
        "preadv2" | "pwritev2" => Shown::Life(Below::Cache),
        "epoll_create1" | "epoll_pwait" | "epoll_ctl" | "fallocate" => Shown::Life(Below::Threads),
        "gettid" | "getpid" | "tgkill" => Shown::Attempt("abort"),
        "rt_sigaction" => Shown::Attempt("bus"),
        "mremap" => Shown::Attempt("grow"),
        "mprotect" => Shown::Attempt("arena"),
        "brk" => Shown::Attempt("heap"),
        "sched_yield" => Shown::Attempt("yield"),
        "getrandom" => Shown::Attempt("hash"),
        "restart_syscall" => Shown::StoppedWait,
        "io_uring_register(UNREGISTER_BUFFERS)" => {
            Shown::Not("where locked memory is limited, which it is not for root")
        }
        "clock_gettime" => Shown::Not("the clock of this host is read without a call"),
        _ => Shown::Life(Below::Device),
    }
}

/// A disk to live on.
struct Place {
    world: World,
    relay: Relay,
    more: &'static str,
}

impl Place {
    fn new(parent: &Path, more: &'static str) -> Self {
        let world = World::in_dir(parent);
        let _ = world.make_disk("d", "8M", "");
        let relay = Relay::start(&world.path("relay.sock"), &world.socket());
        Self { world, relay, more }
    }

    /// A backend without a call, or with all.
    fn command(&self, without: Option<&str>) -> Command {
        let full = self.world.backend_command_to(&self.world.path("relay.sock"), "d", self.more);
        let Some(call) = without else { return full };
        let mut command = Command::new(program("confined"));
        command.args(["backend-without", call]).args(full.get_args());
        command
    }

    /// Whether the backend dies of a missing call in all that it ever does.
    fn is_deadly(&self, without: Option<&str>) -> bool {
        loop {
            // One before may have died while the key was away.
            self.world.enable("d");
            let log = self.world.path("d.log");
            let mut backend = Process::start("confined", &mut self.command(without), &log);
            let end = catch_unwind(AssertUnwindSafe(|| self.live(&mut backend)));
            if end.is_ok() {
                backend.signal(Signal::TERM);
            }
            let status = backend.wait();
            match (status.signal(), status.code()) {
                (Some(signal), _) if signal == Signal::SYS.as_raw() => return true,
                (_, Some(0)) => return false,
                // keyd has not noticed yet that the one before is dead.
                _ if backend.said().contains("in use") => {}
                _ => panic!("{without:?}: {status}: {}", backend.said()),
            }
        }
    }

    /// All that a backend ever does, as far as it comes; the first thing that goes wrong is a panic.
    fn live(&self, backend: &mut Process) {
        backend.wait_to_say("serving");
        let socket = self.world.path("d.sock");
        let options = Options { tracked: true, queues: 2, ..Options::default() };
        let connect = || FrontEnd::connect(&socket, options);
        let mut front_end = connect();
        requests(&mut front_end, backend);
        wait_for_close(&UnixStream::connect(&socket).expect("a socket"));
        self.relay.hang_up();
        backend.wait_to_say("keyd is back");
        self.world.disable("d");
        backend.wait_to_say("fenced in");
        self.world.enable("d");
        requests(&mut front_end, backend);
        drop(front_end);
        // A descriptor for what is not offered is looked at before it is refused.
        let (ours, _theirs) = UnixStream::pair().expect("a socket");
        let set_gpu_socket = message(33, 1, 0, &[]);
        wait_for_close(&send_raw(&socket, &set_gpu_socket, &[ours.as_raw_fd()]));
        // The next one finds the device as it was.
        requests(&mut connect(), backend);
    }
}

/// Requests of every kind, each answered while the backend lives.
fn requests(front_end: &mut FrontEnd, backend: &mut Process) {
    let block = vec![7; 4096];
    for request in [
        BlkRequest::write(0, block),
        BlkRequest::flush(),
        BlkRequest::read(0, 4096),
        BlkRequest::ranges(kind::DISCARD, range(0, 8, false)),
        BlkRequest::get_id(20),
    ] {
        let ring = &mut front_end.rings[0];
        ring.driver.submit(&request);
        ring.kick.write(1).expect("a kick");
        let deadline = Instant::now() + PATIENCE;
        while ring.driver.completions().is_empty() {
            assert!(
                !backend.has_ended() && Instant::now() < deadline,
                "no answer to {}",
                request.kind
            );
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Whether an attempt that ends well with the whole list dies of a missing entry.
pub(super) fn attempt_dies(who: &str, without: &str, directory: &Path, what: &str) -> bool {
    let end = |layers: &str| {
        let output = attempt(who, layers, directory, what).output().expect("run");
        output.status.signal()
    };
    assert_ne!(end("all"), Some(Signal::SYS.as_raw()), "{what}");
    end(&format!("without:{without}")) == Some(Signal::SYS.as_raw())
}

/// The same of a wait that is stopped and continued.
pub(super) fn stopped_wait_dies(who: &str, without: &str, directory: &Path) -> bool {
    let end = |layers: &str| {
        let mut command = attempt(who, layers, directory, "wait");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("run");
        let pid = Pid::from_child(&child);
        let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert_eq!(said.next().expect("a line").expect("read"), "waiting");
        // It says so before it waits, so once may be too early.
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(100));
            // It may have died of the last time.
            let _ = kill_process(pid, Signal::STOP);
            thread::sleep(Duration::from_millis(30));
            let _ = kill_process(pid, Signal::CONT);
        }
        child.wait().expect("ended").signal()
    };
    assert_eq!(end("all"), None);
    end(&format!("without:{without}")) == Some(Signal::SYS.as_raw())
}

#[test]
fn no_entry_of_the_list_is_idle() {
    const TMPFS: u32 = 0x0102_1994;
    let temporary = statfs(std::env::temp_dir()).expect("a file system");
    if temporary.f_type as u32 == TMPFS {
        return must_run::skip(
            "the temporary directory is memory, and a disk is needed: set TMPDIR",
        );
    }
    let places = [
        (Below::Device, Place::new(&std::env::temp_dir(), "")),
        (Below::Cache, Place::new(&std::env::temp_dir(), "--cache buffered")),
        (Below::Memory, Place::new(Path::new("/dev/shm"), "")),
        (Below::Threads, Place::new(&std::env::temp_dir(), "--engine threads")),
    ];
    let place = |below| &places.iter().find(|(of, _)| *of == below).expect("a place").1;
    for (below, place) in &places {
        assert!(!place.is_deadly(None), "{below:?}: with the whole list everything goes well");
    }
    let directory = place(Below::Device).world.path("");
    let dies = |entry: &str| match shown(entry) {
        Shown::Life(below) => place(below).is_deadly(Some(entry)),
        Shown::Attempt(what) => attempt_dies("backend", entry, &directory, what),
        Shown::StoppedWait => stopped_wait_dies("backend", entry, &directory),
        Shown::Not(why) => {
            println!("{entry:<24} not shown: {why}");
            true
        }
    };
    let began = Instant::now();
    let mut idle = BTreeSet::new();
    let names: BTreeSet<_> = allowed(EngineWish::Auto).iter().map(|entry| entry.name).collect();
    for &name in &names {
        let since = Instant::now();
        if !dies(name) {
            idle.insert(name);
        }
        println!("{name:<24} {:>5.2?} {:?}", since.elapsed(), shown(name));
    }
    println!("{} entries in {:.1?}", names.len(), began.elapsed());
    assert!(idle.is_empty(), "nothing needs {idle:?}");
}
