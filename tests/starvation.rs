//! What a backend needs of its host is short: space below the image. The guest sees a pause, no error, and nothing is
//! lost.

use std::{
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use keyd_client::message::EncryptionType;
use rustix::process::geteuid;
use system_tests::{
    drill::{Drill, SIZE},
    front_end::Base,
    process::{PATIENCE, Process},
    siege::{self, Siege},
    small_fs::SmallFs,
    world::{TERMS, World},
};

/// What is left of a full file system when a disk begins to use it: less than it has in the end.
const LEFT: u64 = 2 << 20;

const IS_FULL: &str = "no space below the image";
const GOES_ON: &str = "nothing waits for space any more";

fn may_mount() -> bool {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: a file system of one's own needs root");
    }
    geteuid().is_root()
}

/// A disk `d` on a file system of a kind.
fn small_disk(kind: &str, size: &str) -> (World, SmallFs) {
    let world = World::new();
    let fs = SmallFs::new(kind, &world.path("small"));
    world.make_set("d", EncryptionType::CustomerKey, TERMS);
    let _ = world.image(&format!("create small/d.img --size {size} --des d")).success();
    symlink("small/d.img", world.path("d.img")).unwrap();
    fs.fill(LEFT);
    (world, fs)
}

/// Loads the disk until every request under way waits for space.
fn exhaust(drill: &mut Drill) {
    let deadline = Instant::now() + PATIENCE;
    while drill.load_for(Duration::from_millis(200)).right > 0
        || count(&drill.backend, IS_FULL) == 0
    {
        assert!(Instant::now() < deadline, "there is space enough");
    }
}

fn count(backend: &Process, what: &str) -> usize {
    backend.said().matches(what).count()
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
        fs.make_room();
        drill.assert_running();
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
    siege.load_for(Duration::from_millis(300));
    siege.backend.wait_to_say(IS_FULL);
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
