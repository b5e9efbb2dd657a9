//! What a set has its disks do when their key goes: hold what the guest asks, fail it, go on until the next attach, or
//! go on for a grace. And what a change of these terms does to a disk that runs.

use std::time::{Duration, Instant};

use keyd_client::message::{Consent, DesChange, DesRequest, EncryptionType, OnRevoke, Terms};
use system_tests::{
    audit,
    drill::Drill,
    refusal::backend_refuses,
    world::{TERMS, World},
};

/// How often the daemon looks at what is due by the clock, and what a busy machine may add.
const TICK: Duration = Duration::from_millis(1000);
const SLACK: Duration = Duration::from_millis(1500);

/// A disk `d` on these terms, under load.
fn start(world: &World, terms: Terms, seed: u64) -> Drill {
    world.make_set("d", EncryptionType::CustomerKey, terms);
    let mut drill = Drill::new(world, "d", seed);
    drill.load_for(Duration::from_millis(200));
    drill
}

fn change(world: &World, change: DesChange) {
    world.ask(DesRequest::Update {
        name: "d".parse().expect("a name"),
        change,
        consent: Consent::Force,
    });
}

fn assert_unaware(drill: &Drill) {
    assert!(!drill.backend.said().contains("fenced"), "{}", drill.backend.said());
}

#[test]
fn fail_answers_errors_until_the_key_is_back_also_if_it_was_park_when_the_disk_was_attached() {
    let world = World::new();
    let mut drill = start(&world, TERMS, 1);
    change(&world, DesChange { on_revoke: Some(OnRevoke::Fail), ..DesChange::default() });
    drill.may_fail = true;
    let (halt, ()) = drill.halt(|| world.disable("d"));
    println!("last right answer {:?} after 'key disable' was asked", halt.last - halt.asked);
    drill.assert_halted();
    let answers = drill.load_for(Duration::from_millis(300));
    assert!(answers.failed > 100, "errors, and at once: {answers:?}");
    world.enable("d");
    drill.next_answer();
    drill.load_for(Duration::from_millis(100));
    drill.may_fail = false;
    drill.assert_running();
    drill.assert_intact();
}

#[test]
fn deferred_and_azure_1h_let_a_disk_run_and_refuse_the_next_attach() {
    for (on_revoke, seed) in [(OnRevoke::Deferred, 2), (OnRevoke::Azure1h, 3)] {
        let world = World::new();
        let mut drill = start(&world, Terms { on_revoke, lease_ms: 2000, ..TERMS }, seed);
        world.disable("d");
        let answers = drill.load_for(Duration::from_secs(3));
        assert!(answers.right > 100, "over the end of a lease: {answers:?}");
        drill.assert_running();
        assert_unaware(&drill);
        let noted =
            audit::tail(&world).into_iter().find(|record| record.operation == "des-key-lost");
        match (on_revoke, noted) {
            (OnRevoke::Deferred, noted) => assert_eq!(noted, None),
            (_, noted) => assert!(noted.expect("noted").detail.contains("halted in 3600 s")),
        }
        assert!(drill.backend.terminate().success());
        backend_refuses(&world, "d", "", &["key 'd' is disabled", "keyd key enable d"]);
        world.enable("d");
        drill.backend = world.start_backend("d", "");
        let mut drill = drill.reconnected(&world, "d", seed);
        drill.assert_intact();
        drill.assert_running();
    }
}

#[test]
fn a_grace_is_run_out_and_no_more() {
    const GRACE: Duration = Duration::from_secs(2);
    let world = World::new();
    let mut drill = start(&world, Terms { grace_ms: GRACE.as_millis() as u64, ..TERMS }, 4);
    let (halt, ()) = drill.halt(|| world.disable("d"));
    let ran = halt.last - halt.asked;
    println!("I/O went on for {ran:?} of a grace of {GRACE:?}");
    // Times on record are whole milliseconds.
    assert!(ran + Duration::from_millis(2) > GRACE, "{ran:?}");
    assert!(ran < GRACE + TICK + SLACK, "{ran:?}");
    drill.assert_halted();
    world.enable("d");
    drill.assert_running();
    drill.assert_intact();
}

#[test]
fn a_daemon_that_begins_anew_lets_nobody_run_on_a_lost_key_whatever_the_terms() {
    let grace = Terms { grace_ms: 60_000, ..TERMS };
    let deferred = Terms { on_revoke: OnRevoke::Deferred, ..TERMS };
    for (terms, seed) in [(grace, 7), (deferred, 8)] {
        let mut world = World::new();
        let mut drill = start(&world, terms, seed);
        world.disable("d");
        assert!(drill.load_for(Duration::from_millis(300)).right > 0);
        assert_unaware(&drill);
        // It cannot unwrap the key to hand it over again: fail closed.
        let (_, ()) = drill.halt(|| {
            world.keyd.as_mut().expect("running").kill();
            world.start_keyd();
        });
        drill.assert_halted();
        world.enable("d");
        drill.assert_running();
        drill.assert_intact();
    }
}

#[test]
fn a_key_that_is_back_within_the_grace_was_never_gone() {
    let world = World::new();
    let mut drill = start(&world, Terms { grace_ms: 2000, ..TERMS }, 5);
    for _ in 0..2 {
        world.disable("d");
        drill.load_for(Duration::from_millis(1200));
        world.enable("d");
    }
    drill.load_for(Duration::from_millis(2500));
    drill.assert_running();
    drill.assert_intact();
    assert_unaware(&drill);
}

#[test]
fn a_lease_that_is_shortened_under_a_running_disk_counts_from_the_next_renewal() {
    const SHORT: Duration = Duration::from_millis(1500);
    let mut world = World::new();
    let mut drill = start(&world, Terms { lease_ms: 6000, ..TERMS }, 6);
    let lease_ms = Some(SHORT.as_millis() as u64);
    change(&world, DesChange { lease_ms, ..DesChange::default() });
    // It renews three times in its life: hears of the change after two seconds, and again within the shorter one.
    drill.load_for(Duration::from_secs(6));
    assert_unaware(&drill);
    let keyd = world.keyd.as_mut().expect("running");
    let killed = Instant::now();
    let (halt, ()) = drill.halt(|| keyd.kill());
    let ran = halt.last - killed;
    println!("I/O went on for {ran:?} of a lease of {SHORT:?}, 6 s before");
    assert!(ran < SHORT + SLACK, "{ran:?}");
    world.start_keyd();
    drill.assert_running();
    drill.assert_intact();
}
