//! The device's process is killed under load, and the next one takes over: the guest sees a pause, no error, nothing
//! lost and nothing twice.

use std::{
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
    thread,
    time::Duration,
};

use images::{Access, ImageFile};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, WatchFlags},
    process::Signal,
};
use system_tests::{
    front_end::{Base, FrontEnd, Options},
    guest::Guest,
    process::{PATIENCE, Process},
    siege::{SIZE, Siege},
    world::World,
};

/// Kills in a short siege; `scripts/soak` has the long ones.
const KILLS: u32 = 12;

fn siege(queues: usize, base: Base, seed: u64) {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(&world, "d", queues, seed);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..KILLS {
        siege.load_for(Duration::from_millis(random.u64(1..60)));
        siege.backend.kill();
        // The guest goes on asking while nobody is there.
        siege.load_for(Duration::from_millis(random.u64(0..10)));
        siege.restart(&world, base);
    }
    siege.assert_intact();
    println!("{KILLS} kills, {} requests", siege.answered());
}

#[test]
fn kills_lose_and_double_nothing_for_a_front_end_that_goes_on_as_qemu() {
    siege(1, Base::Used, 1);
}

#[test]
fn kills_lose_and_double_nothing_for_a_front_end_that_goes_on_as_cloud_hypervisor() {
    siege(3, Base::Avail, 2);
}

#[test]
fn a_process_that_was_stopped_first_has_done_no_harm() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(&world, "d", 2, 3);
    siege.load_for(Duration::from_millis(50));
    siege.backend.signal(Signal::STOP);
    siege.load_for(Duration::from_millis(50));
    siege.backend.kill();
    siege.restart(&world, Base::Avail);
    siege.assert_intact();
}

/// Tells when somebody closes a file.
struct Closings(OwnedFd);

impl Closings {
    fn of(path: &Path) -> Self {
        let watch = inotify::init(CreateFlags::CLOEXEC).expect("inotify");
        let closed = WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        let _ = inotify::add_watch(&watch, path, closed).expect("it is there");
        Self(watch)
    }

    fn wait_for_one(&self) {
        let time = Timespec::try_from(PATIENCE).expect("a short time");
        let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)).expect("poll");
        assert_ne!(ready, 0, "nobody closes it in time");
        // Without a name it has this length: one is taken, and not all that have come.
        let mut event = [0; 16];
        assert_eq!(rustix::io::read(&self.0, &mut event).expect("an event"), event.len());
    }
}

#[test]
fn a_process_that_comes_early_waits_for_the_end_of_the_one_before() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut first = world.start_backend("d", "");
    let mut command = world.backend_command("d", "");
    let closings = Closings::of(&world.path("d.img"));
    let mut second = Process::start("the next", &mut command, &world.path("next.log"));
    // It finds the image in use, and comes again.
    (0..5).for_each(|_| closings.wait_for_one());
    assert!(!second.has_ended(), "{}", second.said());
    first.kill();
    second.wait_to_say("serving");
    // A disk that stays in use is refused in the end.
    let mut third = Process::start("a third", &mut command, &world.path("third.log"));
    assert!(!third.wait().success());
    assert!(third.said().contains("in use by another backend"), "{}", third.said());
}

#[test]
fn an_image_is_free_when_its_process_has_ended() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(&world, "d", 3, 9);
    siege.load_for(Duration::from_millis(30));
    assert!(siege.backend.terminate().success());
    drop(ImageFile::open(&world.path("d.img"), Access::ReadWrite).expect("nobody has it"));
}

#[test]
fn a_process_that_ends_lets_go_of_the_key_before_the_lease() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(&world, "d", 2, 10);
    siege.load_for(Duration::from_millis(30));
    assert!(siege.backend.terminate().success());
    let said = siege.backend.said();
    assert!(said.contains("fenced in") && said.contains("the process ends"), "{said}");
}

#[test]
fn a_planned_change_of_the_process_is_the_same_with_everything_answered_first() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(&world, "d", 2, 4);
    for _ in 0..3 {
        siege.load_for(Duration::from_millis(50));
        assert!(siege.backend.terminate().success());
        siege.restart(&world, Base::Used);
    }
    siege.assert_intact();
}

#[test]
fn a_process_that_dies_without_its_key_is_followed_by_one_that_waits_for_it() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(&world, "d", 2, 5);
    siege.load_for(Duration::from_millis(50));
    world.disable("d");
    siege.load_for(Duration::from_millis(200));
    siege.backend.kill();
    siege.restart(&world, Base::Used);
    siege.backend.wait_to_say("key enable");
    let before = siege.answered();
    siege.load_for(Duration::from_millis(200));
    assert_eq!(siege.answered(), before, "held, and not failed");
    world.enable("d");
    siege.assert_intact();
}

#[test]
fn a_front_end_may_leave_a_parked_disk_and_come_back() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(&world, "d", 2, 6);
    siege.load_for(Duration::from_millis(50));
    world.disable("d");
    siege.backend.wait_to_say("fenced in");
    siege.load_for(Duration::from_millis(200));
    let before = siege.answered();
    siege.front_end.reconnect(Base::Used);
    siege.load_for(Duration::from_millis(100));
    assert_eq!(siege.answered(), before, "held, and not failed");
    world.enable("d");
    siege.assert_intact();
}

#[test]
fn keyd_and_the_device_may_die_together() {
    let mut world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(&world, "d", 2, 7);
    siege.load_for(Duration::from_millis(50));
    siege.backend.kill();
    world.keyd.take().expect("it runs").kill();
    siege.load_for(Duration::from_millis(10));
    world.start_keyd();
    siege.restart(&world, Base::Avail);
    siege.assert_intact();
}

#[test]
fn corrupted_in_flight_memory_is_refused_and_the_device_lives() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut backend = world.start_backend("d", "");
    let socket = world.path("d.sock");
    let mut front_end = FrontEnd::connect(&socket, Options { tracked: true, ..Options::default() });
    let base = front_end.stop(0);
    let (_, memory) = front_end.inflight().expect("it keeps track");
    memory.write_all_at(&[9, 0], 8).expect("another version");
    let refused = front_end.try_start(0, base);
    assert!(refused.is_err());
    backend.wait_to_say("in-flight memory is corrupted (its version is unknown)");
    drop(front_end);
    let mut other = world.front_end("d");
    assert_eq!(other.config(0, 60).len(), 60);
}

/// No front end tells the next process what the guest once wrote to the config space.
#[test]
fn a_cache_that_the_guest_switched_off_stays_off_across_a_kill() {
    let world = World::new();
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(&world, "d", 2, 11);
    let cache = |siege: &mut Siege| siege.front_end.config(32, 1);
    for on in [0, 1, 0] {
        siege.front_end.switch_cache(on);
        siege.load_for(Duration::from_millis(20));
        siege.backend.kill();
        siege.restart(&world, Base::Used);
        assert_eq!(cache(&mut siege), [on]);
    }
    siege.assert_intact();
    // Another guest begins with the cache on.
    let Siege { load, mut backend, .. } = siege;
    drop(load);
    let mut other =
        FrontEnd::connect(&world.path("d.sock"), Options { tracked: true, ..Options::default() });
    assert_eq!(other.config(32, 1), [1]);
    drop(other);
    assert!(backend.terminate().success());
}

#[test]
fn fio_verifies_across_twenty_kills() {
    const FIO: &str = "fio --name=v --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=8 \
        --rw=randwrite --bsrange=4k-32k --size=24M --loops=3 --verify=crc32c --verify_fatal=1 \
        --randseed=7 --eta=never --output=/tmp/v.log --rate_iops=,250";
    let world = World::new();
    let _ = world.make_disk("d", "64M", "");
    let mut backend = world.start_backend("d", "");
    let mut guest = Guest::boot(&world, &["d.sock,reconnect=1"], &[]);
    let fio = guest.start(FIO);
    guest.wait_for_writes("vda", 0);
    let mut random = fastrand::Rng::with_seed(8);
    for kill in 0..20 {
        // QEMU before 9.0 looks for no other backend where one dies between QEMU's connecting and its own first answer
        // ("vhost-user: fix lost reconnect"). So each serves before it is killed.
        let before = guest.writes_done("vda");
        guest.wait_for_writes("vda", before);
        thread::sleep(Duration::from_millis(random.u64(0..700)));
        assert!(!guest.has_ended(fio), "at kill {kill}");
        backend.kill();
        backend = world.start_backend("d", "");
    }
    let (code, _) = guest.wait(fio);
    let log = guest.succeed("cat /tmp/v.log");
    assert_eq!(code, 0, "{log}");
    assert!(!guest.succeed("dmesg").contains("I/O error"));
    guest.power_off();
    assert!(backend.terminate().success());
}
