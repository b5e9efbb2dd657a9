//! A backend that is started while its key, or its daemon, is away: it takes its front end and holds its requests where
//! that is what the set wants, and is refused at once where it is not.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    os::unix::net::UnixListener,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use keyd_client::{
    DiskId,
    message::{Consent, DesChange, DesUpdate, DiskShow, EncryptionType, OnRevoke, Phase, Terms},
};
use rustix::process::Signal;
use system_tests::{
    driver::BlkRequest,
    front_end::FrontEnd,
    luks::forge,
    process::{PATIENCE, Process, eventually},
    refusal::{backend_refuses, mark_is_there, marked_disk, one_line, refuses_to_serve},
    world::{NOBODY, TERMS, World},
};

/// For so long a halted disk is listened to.
const QUIET: Duration = Duration::from_millis(300);

/// A front end of `d` whose first request waits.
fn asking(world: &World) -> FrontEnd {
    let mut front_end = world.front_end("d");
    // 8 MiB, by the header.
    assert_eq!(front_end.config(0, 8), 16384u64.to_le_bytes());
    let ring = &mut front_end.rings[0];
    ring.driver.submit(&BlkRequest::read(0, 512));
    ring.kick.write(1).expect("a kick");
    thread::sleep(QUIET);
    assert!(front_end.rings[0].driver.completions().is_empty(), "it has no key");
    front_end
}

fn answered(front_end: &mut FrontEnd) {
    let answer = eventually("an answer", || front_end.rings[0].driver.completions().pop());
    assert_eq!(answer.status, 0);
}

/// The process ends by itself as one whose start is refused, for this reason, and takes its socket with it.
#[track_caller]
fn is_refused(world: &World, mut backend: Process, words: &[&str]) {
    assert_eq!(backend.wait().code(), Some(1), "{}", backend.said());
    let said = backend.said();
    one_line("vhost-backend", &format!("{}\n", said.lines().last().unwrap_or_default()), words);
    assert!(!world.path("d.sock").exists());
}

fn lose_keyd(world: &mut World) {
    assert!(world.keyd.take().expect("it runs").terminate().success());
}

#[test]
fn without_its_key_a_disk_is_served_and_goes_on_when_the_key_is_back() {
    let world = World::new();
    let id: DiskId = marked_disk(&world, "d", "").parse().expect("an id");
    world.disable("d");
    let mut backend = world.start_backend("d", "");
    backend.wait_to_say("key 'd' is disabled: 'keyd key enable d' brings it back");
    let disk = world.ask(DiskShow { id });
    let holder = &disk.holders[0];
    assert_eq!((holder.pid, holder.state.phase), (backend.pid(), Phase::Parked));
    let mut front_end = asking(&world);
    world.enable("d");
    answered(&mut front_end);
    drop(front_end);
    mark_is_there(&world, "d");
    // It halts and goes on like any other.
    world.disable("d");
    backend.wait_to_say("fenced in");
    let mut front_end = asking(&world);
    world.enable("d");
    answered(&mut front_end);
    drop(front_end);
    assert!(backend.terminate().success());
}

#[test]
fn one_that_waits_for_its_key_ends_when_it_is_told_to_and_another_may_begin() {
    let world = World::new();
    marked_disk(&world, "d", "");
    world.disable("d");
    for _ in 0..2 {
        let mut backend = world.start_backend("d", "");
        let front_end = asking(&world);
        assert!(backend.terminate().success());
        drop(front_end);
    }
    let mut killed = world.start_backend("d", "");
    killed.kill();
    let _next = world.start_backend("d", "");
    world.enable("d");
    mark_is_there(&world, "d");
}

#[test]
fn where_the_set_does_not_park_a_start_without_the_key_is_refused_at_once() {
    for on_revoke in [OnRevoke::Fail, OnRevoke::Azure1h, OnRevoke::Deferred] {
        let world = World::new();
        world.make_set("d", EncryptionType::CustomerKey, Terms { on_revoke, ..TERMS });
        marked_disk(&world, "d", "");
        world.disable("d");
        let began = Instant::now();
        backend_refuses(&world, "d", "", &["key 'd' is disabled", "keyd key enable d"]);
        assert!(began.elapsed() < PATIENCE / 2);
    }
}

#[test]
fn without_its_daemon_a_disk_is_served_and_goes_on_when_it_is_there() {
    let mut world = World::new();
    marked_disk(&world, "d", "");
    lose_keyd(&mut world);
    // Nothing is there; or what a killed one left behind, at which nobody listens.
    for left in [false, true] {
        if left {
            drop(UnixListener::bind(world.socket()).expect("a socket"));
        }
        let mut backend = world.start_backend("d", "");
        backend.wait_to_say("is 'keyd serve' running");
        backend.wait_to_say("its socket (--keyd)");
        let mut front_end = asking(&world);
        world.start_keyd();
        answered(&mut front_end);
        drop(front_end);
        mark_is_there(&world, "d");
        assert!(backend.terminate().success());
        lose_keyd(&mut world);
    }
}

#[test]
fn a_daemon_that_hangs_is_one_that_is_away() {
    let world = World::new();
    marked_disk(&world, "d", "");
    let keyd = world.keyd.as_ref().expect("it runs");
    keyd.signal(Signal::STOP);
    let mut backend = world.start_backend("d", "");
    let mut front_end = asking(&world);
    keyd.signal(Signal::CONT);
    answered(&mut front_end);
    drop(front_end);
    assert!(backend.terminate().success());
}

#[test]
fn a_daemon_that_comes_without_the_key_has_the_disk_wait_on() {
    let mut world = World::new();
    marked_disk(&world, "d", "");
    world.disable("d");
    lose_keyd(&mut world);
    let mut backend = world.start_backend("d", "");
    let mut front_end = asking(&world);
    world.start_keyd();
    backend.wait_to_say("key 'd' is disabled");
    thread::sleep(QUIET);
    assert!(front_end.rings[0].driver.completions().is_empty());
    world.enable("d");
    answered(&mut front_end);
}

/// What it would have said at once it says when it is there.
#[test]
fn a_daemon_that_comes_and_says_no_ends_the_process() {
    let mut world = World::new();
    marked_disk(&world, "d", "");
    world.disable("d");
    let on_revoke = Some(OnRevoke::Fail);
    let change = DesChange { on_revoke, ..DesChange::default() };
    let name = "d".parse().expect("a name");
    world.ask(DesUpdate { name, change, consent: Consent::Force });
    lose_keyd(&mut world);
    let backend = world.start_backend("d", "");
    let _front_end = asking(&world);
    world.start_keyd();
    is_refused(&world, backend, &["key 'd' is disabled", "keyd key enable d"]);
}

#[test]
fn a_disk_that_the_daemon_does_not_know_ends_the_process_when_the_daemon_is_there() {
    let mut world = World::new();
    let other = World::new();
    marked_disk(&other, "d", "");
    let _ = fs::copy(other.path("d.img"), world.path("d.img")).expect("copied");
    lose_keyd(&mut world);
    let before = fs::read(world.path("d.img")).expect("an image");
    let backend = world.start_backend("d", "");
    let _front_end = asking(&world);
    world.start_keyd();
    is_refused(&world, backend, &["no disk", "keyd disk list"]);
    assert!(fs::read(world.path("d.img")).expect("an image") == before, "untouched");
}

#[test]
fn an_image_that_disagrees_with_the_daemon_ends_the_process_when_the_daemon_is_there() {
    let mut world = World::new();
    marked_disk(&world, "d", "");
    lose_keyd(&mut world);
    forge(&world.path("d.img"), None, |json| {
        json["digests"]["0"]["iterations"] = serde_json::json!(1001);
    });
    let backend = world.start_backend("d", "");
    let _front_end = asking(&world);
    world.start_keyd();
    is_refused(&world, backend, &["digest iterations", "keyd's record"]);
}

/// A socket that may not be used is no daemon that is away: nobody but an administrator can change that.
#[test]
fn a_user_who_may_not_connect_to_the_daemon_is_refused_at_once_and_told_what_is_missing() {
    let world = World::new();
    marked_disk(&world, "d", "");
    let mut command: Command = world.backend_command_as(NOBODY, "d", "");
    let closed = fs::Permissions::from_mode(0o600);
    fs::set_permissions(world.socket(), closed).expect("our own");
    let words = ["may not connect", "keyd.sock", "SupplementaryGroups="];
    refuses_to_serve(&world, "vhost-backend", &mut command, &words);
}
