//! Keys change under a running disk: rotation, another key for its set, another set for it. The guest sees no error,
//! and every answer is right. Prints a table of latencies: `--nocapture`.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyd_client::{
    DesName, DiskId, KeyId,
    message::{
        Consent, DesSetKey, DiskMove, EncryptionType, KeyChange, KeyRotate, KeyShow, KeyStatus,
        KeyUpdate,
    },
};
use system_tests::{
    drill::Drill,
    meter::{Figures, Meter},
    world::{TERMS, World},
};

/// Disks whose DEKs are wrapped anew beside the one under load.
const OTHERS: u64 = 300;

const LEN: usize = 16 << 20;

/// One test at a time: what is measured is not to be another test's load.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(name: &str) -> KeyId {
    name.parse().expect("a name of a key")
}

fn set(name: &str) -> DesName {
    name.parse().expect("a name of a set")
}

fn status(world: &World, name: &str) -> KeyStatus {
    world.ask(KeyShow { name: key(name) })
}

/// Takes every version of a key away that nothing needs; refused if anything does.
fn retire(world: &World, name: &str) {
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    for version in status(world, name).versions.iter().filter(|version| version.retirable) {
        let (name, version) = (key(name), Some(version.version));
        let (change, consent) = (change.clone(), Consent::IfUnused);
        world.ask(KeyUpdate { name, version, change, consent, wait_ms: 0 });
    }
}

fn rotate(world: &World) -> u64 {
    world.ask(KeyRotate { name: key("d") }).rewrapped
}

fn set_key(world: &World) -> u64 {
    let (name, key, version, permit) = (set("d"), key("new"), None, true);
    let consent = Consent::IfUnused;
    world.change(DesSetKey { name, key, version, permit, consent }).rewrapped
}

/// To the other set and back, again and again.
fn move_about(world: &World, id: DiskId) -> u64 {
    let to = ["e", "d"].into_iter().cycle().take(20);
    let moved = to.map(|des| {
        world.change(DiskMove { id, des: set(des), consent: Consent::IfUnused }).rewrapped
    });
    moved.sum()
}

#[test]
fn rotation_another_key_and_another_set_are_not_noticed_under_load() {
    let _alone = alone();
    let world = World::new();
    for name in ["d", "e"] {
        world.make_set(name, EncryptionType::CustomerKey, TERMS);
    }
    let _ = world.keyd("key create new --bits 2048").success();
    world.make_records("d", OTHERS);
    let id: DiskId = world.make_disk("d", &LEN.to_string(), "").parse().expect("an id");
    let backend = world.start_backend("d", "");
    let mut meter = Meter::connect(&world.path("d.sock"), LEN, 1);

    let before = meter.run_for(Duration::from_millis(1500));
    let (rotation, rewrapped) = meter.run_during(|| rotate(&world));
    assert_eq!(rewrapped, OTHERS + 1);
    let (other_key, rewrapped) = meter.run_during(|| set_key(&world));
    assert_eq!(rewrapped, OTHERS + 1);
    let (other_set, rewrapped) = meter.run_during(|| move_about(&world, id));
    assert_eq!(rewrapped, 20);
    let after = meter.run_for(Duration::from_millis(1500));
    assert!(!backend.said().contains("fenced"), "{}", backend.said());

    println!("\n{:<44} {}", format!("{OTHERS} other disks under the key"), Figures::HEADING);
    for (what, figures) in [
        ("before", before),
        ("rotation of the key", rotation),
        ("another key for the set", other_key),
        ("another set for the disk, 20 times", other_set),
        ("after", after),
    ] {
        println!("{what:<44} {figures}");
        assert!(figures.answers() > 0, "{what}");
    }

    // Nothing needs what it was wrapped under before.
    let old = status(&world, "d");
    assert_eq!(old.versions.len(), 2);
    assert!(old.versions.iter().all(|version| version.retirable), "{old:?}");
    retire(&world, "d");
    assert!(meter.run_for(Duration::from_millis(TERMS.lease_ms / 2)).answers() > 0);
    assert!(!backend.said().contains("fenced"), "{}", backend.said());
}

#[test]
fn after_a_rotation_the_new_version_is_the_one_that_counts() {
    let _alone = alone();
    let world = World::new();
    let mut drill = Drill::new(&world, "d", 8);
    for _ in 0..3 {
        drill.load_for(Duration::from_millis(100));
        assert_eq!(rotate(&world), 1);
        drill.assert_running();
    }
    retire(&world, "d");
    drill.assert_running();
    assert!(!drill.backend.said().contains("fenced"));
    let versions = status(&world, "d").versions;
    let enabled: Vec<bool> = versions.iter().map(|version| version.enabled).collect();
    assert_eq!(enabled, [true, false, false, false]);
    world.disable("d");
    drill.assert_halted();
    world.enable("d");
    drill.assert_running();
    drill.assert_intact();
}
