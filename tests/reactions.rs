//! What a set has its disks do when their key goes: hold what the guest asks, fail it, go on until the next attach, or
//! go on for a grace. And what a change of these terms does to a disk that runs.

use std::time::{Duration, Instant};

use keyd_client::message::{
    AuditRecord, Consent, DesChange, DesUpdate, DiskErase, EncryptionType, OnRevoke, Terms,
};
use system_tests::{
    audit,
    drill::Drill,
    process::PATIENCE,
    refusal::backend_refuses,
    world::{TERMS, World},
};

/// How often the daemon looks at what is due by the clock, and what a busy machine may add.
const TICK: Duration = Duration::from_millis(1000);
const SLACK: Duration = Duration::from_secs(10);

/// Where the lease is not what it is about, none may run out on a busy machine.
const LONG: Terms = Terms { lease_ms: 30_000, ..TERMS };

/// A disk `d` on these terms, under load.
fn start(world: &World, terms: Terms, seed: u64) -> Drill {
    world.make_set("d", EncryptionType::CustomerKey, terms);
    let mut drill = Drill::new(world, "d", seed);
    drill.load_for(Duration::from_millis(200));
    drill
}

fn change(world: &World, change: DesChange) {
    world.ask(DesUpdate { name: "d".parse().expect("a name"), change, consent: Consent::Force });
}

fn assert_unaware(drill: &Drill) {
    assert!(!drill.backend.said().contains("fenced"), "{}", drill.backend.said());
}

#[test]
fn fail_answers_errors_until_the_key_is_back_also_if_it_was_park_when_the_disk_was_attached() {
    let world = World::new();
    let mut drill = start(&world, LONG, 1);
    change(&world, DesChange { on_revoke: Some(OnRevoke::Fail), ..DesChange::default() });
    drill.may_fail = true;
    let (halt, ()) = drill.halt(|| world.disable("d"));
    println!("last right answer {:?} after 'key disable' was asked", halt.last - halt.asked);
    drill.assert_halted();
    // Not only what was under way when the key went.
    let deadline = Instant::now() + PATIENCE;
    let answers = drill.load(|answers| answers.failed > 100 || Instant::now() > deadline);
    assert!(answers.failed > 100 && answers.right == 0, "{answers:?}");
    world.enable("d");
    drill.next_answer();
    drill.load_for(Duration::from_millis(100));
    drill.may_fail = false;
    drill.assert_running();
    drill.assert_intact();
}

/// Its guest would hang for ever: there is no key to come back.
#[test]
fn an_erased_disk_answers_errors_also_if_it_was_parked_before() {
    let world = World::new();
    let mut drill = start(&world, LONG, 9);
    let (_, ()) = drill.halt(|| world.disable("d"));
    drill.assert_halted();
    drill.may_fail = true;
    let id = world.disk_id(&world.path("d.img")).parse().expect("an id");
    world.ask(DiskErase { id, consent: Consent::Force });
    drill.backend.wait_to_say("failing: fenced in");
    let deadline = Instant::now() + PATIENCE;
    let answers = drill.load(|answers| answers.failed > 100 || Instant::now() > deadline);
    assert!(answers.failed > 100 && answers.right == 0, "{answers:?}");
}

/// It runs over the end of a lease on a lost key, and is not started again. Gives what is on record of the loss.
fn runs_on_and_is_refused_the_next_attach(on_revoke: OnRevoke, seed: u64) -> Option<AuditRecord> {
    const LEASE: Duration = Duration::from_millis(4000);
    let world = World::new();
    let terms = Terms { on_revoke, lease_ms: LEASE.as_millis() as u64, ..TERMS };
    let mut drill = start(&world, terms, seed);
    world.disable("d");
    drill.load_for(LEASE + Duration::from_millis(500));
    drill.next_answer();
    drill.assert_running();
    assert_unaware(&drill);
    let noted = audit::tail(&world).into_iter().find(|record| record.operation == "des-key-lost");
    assert!(drill.backend.terminate().success());
    backend_refuses(&world, "d", "", &["key 'd' is disabled", "keyd key enable d"]);
    world.enable("d");
    drill.backend = world.start_backend("d", "");
    let mut drill = drill.reconnected(&world, "d", seed);
    drill.assert_intact();
    drill.assert_running();
    noted
}

#[test]
fn deferred_lets_a_disk_run_and_refuses_the_next_attach() {
    assert_eq!(runs_on_and_is_refused_the_next_attach(OnRevoke::Deferred, 2), None);
}

#[test]
fn azure_1h_lets_a_disk_run_and_refuses_the_next_attach() {
    let noted = runs_on_and_is_refused_the_next_attach(OnRevoke::Azure1h, 3);
    assert!(noted.expect("noted").detail.contains("halted in 3600 s"));
}

#[test]
fn a_grace_is_run_out_and_no_more() {
    const GRACE: Duration = Duration::from_secs(2);
    let world = World::new();
    let mut drill = start(&world, Terms { grace_ms: GRACE.as_millis() as u64, ..LONG }, 4);
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
    let grace = Terms { grace_ms: 60_000, ..LONG };
    let deferred = Terms { on_revoke: OnRevoke::Deferred, ..LONG };
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
    const GRACE: Duration = Duration::from_millis(4000);
    // Longer in all than one grace, and each so much shorter that a busy machine brings it back in time.
    const AWAY: Duration = Duration::from_millis(2200);
    let world = World::new();
    let mut drill = start(&world, Terms { grace_ms: GRACE.as_millis() as u64, ..LONG }, 5);
    for _ in 0..2 {
        world.disable("d");
        drill.load_for(AWAY);
        world.enable("d");
    }
    drill.load_for(GRACE + TICK - AWAY);
    drill.assert_running();
    drill.assert_intact();
    assert_unaware(&drill);
}

#[test]
fn a_lease_that_is_shortened_under_a_running_disk_counts_from_the_next_renewal() {
    const BEFORE: Duration = Duration::from_millis(10_000);
    const SHORT: Duration = Duration::from_millis(3000);
    let mut world = World::new();
    let terms = Terms { lease_ms: BEFORE.as_millis() as u64, ..TERMS };
    let mut drill = start(&world, terms, 6);
    let lease_ms = Some(SHORT.as_millis() as u64);
    change(&world, DesChange { lease_ms, ..DesChange::default() });
    // It renews three times in its life: hears of the change by then, and again within the shorter one.
    drill.load_for(BEFORE / 3 + SHORT + Duration::from_millis(500));
    assert_unaware(&drill);
    let keyd = world.keyd.as_mut().expect("running");
    let killed = Instant::now();
    let (halt, ()) = drill.halt(|| keyd.kill());
    let ran = halt.last - killed;
    println!("I/O went on for {ran:?} of a lease of {SHORT:?}, {BEFORE:?} before");
    // One that is renewed three times in its life has two thirds left at any time.
    assert!(ran < BEFORE * 2 / 3, "{ran:?}");
    world.start_keyd();
    drill.assert_running();
    drill.assert_intact();
}
