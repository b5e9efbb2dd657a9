//! What a backend needs of its host is short: space below the image, descriptors, memory to lock. The guest sees a
//! pause and no error, and nothing is lost; or there is no start, and it is said what to raise.

use std::{
    fs,
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use keyd_client::permission::Permission;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use system_tests::{
    drill::{Drill, SIZE},
    driver::{
        BlkRequest,
        kind::{READ, WRITE},
    },
    front_end::{Base, FrontEnd, Options},
    process::{PATIENCE, Process, eventually, limited},
    refusal::refuses_to_serve,
    siege::{self, Siege},
    small_fs::{may_mount, small_disk},
    world::World,
};

const IS_FULL: &str = "no space below the image";
const GOES_ON: &str = "nothing waits for space any more";

/// Loads the disk until every request under way waits for space.
fn exhaust(drill: &mut Drill) {
    let deadline = Instant::now() + PATIENCE;
    while drill.load_for(Duration::from_secs(1)).right > 0 || count(&drill.backend, IS_FULL) == 0 {
        assert!(Instant::now() < deadline, "there is space enough");
    }
}

/// The same with a siege, until any of them does.
fn besiege_until_full(siege: &mut Siege) {
    let deadline = Instant::now() + PATIENCE;
    while count(&siege.backend, IS_FULL) == 0 {
        siege.load_for(Duration::from_millis(300));
        assert!(Instant::now() < deadline, "there is space enough");
    }
}

/// Limits what a running process may open so that `spare` more descriptors can be had, or no more than ever. A new one
/// gets the lowest number that is free, and the limit is on numbers.
fn limit_files(backend: &Process, spare: Option<usize>) {
    let taken = |number: &u64| Path::new(&format!("/proc/{}/fd/{number}", backend.pid())).exists();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = match spare {
        Some(spare) => (0..).filter(|number| !taken(number)).nth(spare),
        None => maximum,
    };
    let pid = Pid::from_raw(backend.pid() as i32);
    prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// Time that a process has had on a core.
fn cpu_time(backend: &Process) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", backend.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // utime and stime (proc_pid_stat(5)), in hundredths of a second.
    let ticks = |field: usize| fields[field - 3].parse::<u64>().unwrap();
    Duration::from_millis(10 * (ticks(14) + ticks(15)))
}

#[test]
fn without_descriptors_front_ends_wait_and_cost_nothing() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut backend = world.start_backend("d", "");
    limit_files(&backend, Some(0));
    let front_end = UnixStream::connect(world.path("d.sock")).unwrap();
    backend.wait_to_say("LimitNOFILE");
    let before = cpu_time(&backend);
    thread::sleep(Duration::from_millis(500));
    assert!(cpu_time(&backend) - before < Duration::from_millis(100), "it goes round and round");
    assert_eq!(count(&backend, "LimitNOFILE"), 1);
    drop(front_end);
    // One for the connection, and none to wait by.
    limit_files(&backend, Some(1));
    backend.wait_until("refused", |backend| {
        drop(UnixStream::connect(world.path("d.sock")).unwrap());
        count(backend, "front end refused") > 0
    });
    limit_files(&backend, None);
    Drill::of(&world, "d", 5, backend).assert_running();
}

#[test]
fn a_start_makes_sure_that_there_are_descriptors_enough() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let more = "--num-queues 4";
    let words = ["4 queues", "the limit is 60", "LimitNOFILE"];
    let backend = world.backend_command("d", more);
    refuses_to_serve(&world, "vhost-backend", &mut limited("-n 60", &backend), &words);
    let said = fs::read_to_string(world.path("refused.log")).unwrap();
    let needed = said.split("with 4 queues ").nth(1).and_then(|rest| rest.split(' ').next());
    let mut command = limited(&format!("-n {}", needed.unwrap()), &backend);
    let mut backend = Process::start("vhost-backend", &mut command, &world.path("d.log"));
    backend.wait_to_say("serving");
    let options = Options { queues: 4, tracked: true, ..Options::default() };
    for _ in 0..3 {
        let mut front_end = FrontEnd::connect(&world.path("d.sock"), options);
        // A new table while there is an old one.
        front_end.share();
        assert_eq!(
            front_end.ask(3, &BlkRequest { kind: READ, sector: 0, out: vec![], room: 512 }).status,
            0
        );
    }
}

const NOBODY: u32 = 65534;

#[test]
fn with_little_memory_to_lock_buffers_are_not_registered_and_with_none_there_is_no_start() {
    if !must_run::is_root_for("become a user who cannot raise the limit") {
        return;
    }
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    world.grant(NOBODY, "d", &[Permission::Attach]);
    let with = |kib: u64| {
        let backend = world.backend_command_as(NOBODY, "d", "");
        let mut command = limited(&format!("-l {kib}"), &backend);
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    let words = ["cannot lock a page for a secret", "KiB more are needed", "LimitMEMLOCK="];
    refuses_to_serve(&world, "vhost-backend", &mut with(0), &words);
    let mut backend = Process::start("vhost-backend", &mut with(64), &world.path("d.log"));
    backend.wait_to_say("serving");
    assert!(backend.said().contains("not registered with the kernel"), "{}", backend.said());
    let mut drill = Drill::of(&world, "d", 7, backend);
    drill.assert_running();
    // The key that comes back is locked, too.
    let _ = drill.halt(|| world.disable("d"));
    world.enable("d");
    drill.assert_running();
    drill.assert_intact();
}

#[test]
fn sixty_four_queues_serve_by_either_engine() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    for engine in ["io_uring", "threads"] {
        let mut backend = world.start_backend("d", &format!("--num-queues 64 --engine {engine}"));
        let options = Options { queues: 64, depth: 1, ..Options::default() };
        let mut front_end = FrontEnd::connect(&world.path("d.sock"), options);
        for queue in 0..64 {
            let out = vec![queue as u8 + 1; 512];
            let write = BlkRequest { kind: WRITE, sector: queue as u64, out, room: 0 };
            assert_eq!(front_end.ask(queue, &write).status, 0);
        }
        for queue in 0..64 {
            let read = BlkRequest { kind: READ, sector: 63 - queue as u64, out: vec![], room: 512 };
            assert_eq!(front_end.ask(queue, &read).data, vec![64 - queue as u8; 512]);
        }
        drop(front_end);
        assert!(backend.terminate().success());
    }
}

fn count(backend: &Process, what: &str) -> usize {
    backend.said().matches(what).count()
}

/// Waits until the daemon's list says so of the only disk.
fn is_told(world: &World, state: &str) {
    eventually(state, || world.keyd("disk list").success().contains(state).then_some(()));
}

#[test]
fn a_full_file_system_makes_writes_wait_and_no_request_fails() {
    if !may_mount() {
        return;
    }
    for (kind, more) in [("tmpfs", ""), ("ext4", ""), ("ext4", "--cache buffered")] {
        let (world, fs) = small_disk(kind, SIZE);
        let mut drill = Drill::of(&world, "d", 1, world.start_backend("d", more));
        exhaust(&mut drill);
        let said = count(&drill.backend, IS_FULL);
        drill.assert_halted();
        // Whoever looks why the VM hangs is told.
        is_told(&world, "waiting for space");
        let warned = world.keyd("status").out;
        assert!(warned.contains("waits for space since"), "{warned}");
        fs.make_room();
        drill.assert_running();
        is_told(&world, "running");
        drill.backend.wait_until(GOES_ON, |backend| count(backend, GOES_ON) == said);
        assert_eq!(count(&drill.backend, IS_FULL), said, "once, not at every try");
        drill.assert_intact();
        assert!(drill.backend.terminate().success());
    }
}

#[test]
fn a_key_is_taken_away_while_writes_wait_for_space() {
    if !may_mount() {
        return;
    }
    let (world, fs) = small_disk("ext4", SIZE);
    let mut drill = Drill::of(&world, "d", 2, world.start_backend("d", ""));
    exhaust(&mut drill);
    world.disable("d");
    drill.backend.wait_to_say("fenced in");
    fs.make_room();
    drill.assert_halted();
    world.enable("d");
    drill.assert_running();
    drill.assert_intact();
}

#[test]
fn a_ring_of_a_full_disk_can_be_stopped_and_its_requests_fail() {
    if !may_mount() {
        return;
    }
    let (world, fs) = small_disk("tmpfs", SIZE);
    let mut drill = Drill::of(&world, "d", 3, world.start_backend("d", ""));
    exhaust(&mut drill);
    drill.may_fail = true;
    let base = drill.front_end.stop(0);
    fs.make_room();
    drill.front_end.start(0, base);
    assert!(drill.load_for(Duration::from_millis(200)).failed > 0);
    drill.may_fail = false;
    drill.assert_running();
    drill.assert_intact();
}

#[test]
fn what_waits_for_space_outlives_its_process() {
    if !may_mount() {
        return;
    }
    let (world, fs) = small_disk("ext4", siege::SIZE);
    let mut siege = Siege::of(&world, "d", 2, 4);
    besiege_until_full(&mut siege);
    // An orderly end, a kill, and a front end that comes back: none of them is an answer.
    assert!(siege.backend.terminate().success());
    siege.restart(&world, Base::Used);
    siege.load_for(Duration::from_millis(100));
    siege.backend.kill();
    siege.restart(&world, Base::Avail);
    siege.backend.wait_to_say(IS_FULL);
    siege.front_end.reconnect(Base::Used);
    siege.backend.wait_to_say(IS_FULL);
    fs.make_room();
    siege.assert_intact();
}

#[test]
fn another_kick_descriptor_is_no_answer_to_what_waits_for_space() {
    if !may_mount() {
        return;
    }
    let (world, fs) = small_disk("ext4", siege::SIZE);
    let mut siege = Siege::of(&world, "d", 2, 6);
    besiege_until_full(&mut siege);
    (0..2).for_each(|queue| siege.front_end.change_kick(queue));
    fs.make_room();
    siege.assert_intact();
}
