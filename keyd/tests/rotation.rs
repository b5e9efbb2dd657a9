//! Rotation, also when the daemon is killed in the middle of it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use common::{Keyd, PATIENCE, attach, geometry};
use keyd_client::{
    Client, DiskId,
    message::{
        Ask, Consent, DesSetKey, DesShow, DiskCreate, DiskReleaseKey, Event, KeyCreate, KeyRotate,
        RefusalCode,
    },
};

const DISKS: usize = 200;

fn rotate() -> KeyRotate {
    KeyRotate { name: "k".parse().unwrap() }
}

fn many_disks(keyd: &Keyd) -> HashMap<DiskId, Vec<u8>> {
    let mut client = Client::connect(&keyd.socket()).unwrap();
    let request = DiskCreate { des: Some("s".parse().unwrap()), geometry: geometry() };
    let mut deks = HashMap::new();
    for _ in 0..DISKS {
        let disk = client.ask(request.clone()).unwrap();
        let id = disk.record.id;
        let (_, dek) = client.ask_for_dek(DiskReleaseKey { id }).unwrap();
        deks.insert(id, dek.expose().to_vec());
    }
    deks
}

/// DEKs of set `s` under its active version, and under others.
fn wrapped(keyd: &Keyd) -> (u64, u64) {
    let show = DesShow { name: "s".parse().unwrap() };
    let set = keyd.ask(show);
    let behind = set.previous_keys.iter().map(|previous| previous.wrapped_deks).sum();
    (set.disks - behind, behind)
}

fn wait_finished(keyd: &Keyd) {
    let begun = Instant::now();
    while wrapped(keyd) != (DISKS as u64, 0) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", wrapped(keyd));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn set_key(key: &str) -> DesSetKey {
    let (name, key) = ("s".parse().unwrap(), key.parse().unwrap());
    DesSetKey { name, key, version: None, permit: true, consent: Consent::IfUnused }
}

/// Begins, and kills the daemon as soon as so many DEKs are wrapped anew; returns how many were not.
fn kill_after<A: Ask + Send>(keyd: &mut Keyd, ask: A, done: u64) -> u64 {
    let show = DesShow { name: "s".parse().unwrap() };
    let active = |keyd: &Keyd| keyd.ask(show.clone()).active_version;
    let before = active(keyd);
    std::thread::scope(|scope| {
        let socket = keyd.socket();
        scope.spawn(move || Client::connect(&socket).and_then(|mut c| c.ask(ask)).map(drop));
        let begun = Instant::now();
        while active(keyd) == before || wrapped(keyd).0 < done {
            assert!(begun.elapsed() < PATIENCE, "nothing is rotated");
            std::thread::sleep(Duration::from_millis(1));
        }
        keyd.kill();
    });
    keyd.resume();
    wrapped(keyd).1
}

/// Whatever is being done to all DEKs of a set, and wherever it stops.
#[test]
fn a_rotation_or_another_key_killed_anywhere_leaves_every_disk_its_dek() {
    let mut keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    keyd.ask(KeyCreate { name: "k2".parse().unwrap(), bits: 2048, hsm: false });
    let deks = many_disks(&keyd);
    let mut interrupted = 0;
    for (done, to) in
        [(0, None), (1, None), (65, None), (0, Some("k2")), (1, Some("k")), (65, Some("k2"))]
    {
        let what = format!("rotation to {to:?} killed after {done}");
        let behind = match to {
            None => kill_after(&mut keyd, rotate(), done),
            Some(key) => kill_after(&mut keyd, set_key(key), done),
        };
        println!("{what}: {behind} DEKs were still behind");
        interrupted += usize::from(behind > 0);
        // Also half way: each is opened by the key it is under.
        let mut client = Client::connect(&keyd.socket()).unwrap();
        for (id, dek) in &deks {
            let (_, released) = client.ask_for_dek(DiskReleaseKey { id: *id }).unwrap();
            assert_eq!(released.expose().as_slice(), dek, "disk {id}: {what}");
        }
        wait_finished(&keyd);
        keyd.verify();
    }
    assert!(interrupted > 3, "too few kills hit anything half way");
    for (id, dek) in deks.iter().take(20) {
        let held = attach(&keyd, *id, false).unwrap();
        assert_eq!(held.dek.unwrap().expose().as_slice(), dek);
    }
    for status in [keyd.key("k"), keyd.key("k2")] {
        let last = status.name.to_string() == "k2";
        for version in status.versions {
            assert_eq!(version.retirable, !last, "{version:?}");
        }
    }
}

#[test]
fn holders_notice_nothing_and_new_disks_use_the_new_version() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    let disk = keyd.make_disk(Some("s"));
    let mut held = attach(&keyd, disk, false).unwrap();
    let dek = held.dek.take().unwrap();
    let old = keyd.disk(disk).record.key_version;
    keyd.ask(rotate());
    let new = keyd.disk(disk).record.key_version;
    assert_ne!(old, new);
    assert!(held.hear(Duration::from_millis(100)).is_none());
    held.lease.renew().unwrap();
    held.expect(&Event::Renewed { lease_ms: 5000 });
    assert_eq!(keyd.release(disk).expose(), dek.expose());
    let later = keyd.make_disk(Some("s"));
    assert_eq!(keyd.disk(later).record.key_version, new);
    let key = keyd.key("k");
    let counts: Vec<_> = key.versions.iter().map(|v| (v.version, v.wrapped_deks)).collect();
    assert_eq!(counts, [(new, 2), (old, 0)]);
    assert!(key.versions.iter().all(|v| v.enabled));
    // A key that was rotated under a holder is still taken away from it.
    assert_eq!(keyd.switch(false), 1);
    held.expect_revoked();
}

#[test]
fn a_disabled_key_is_not_rotated() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    keyd.switch(false);
    assert_eq!(keyd.refused(rotate()).code, RefusalCode::KeyDisabled);
    assert_eq!(keyd.key("k").versions.len(), 1);
}

#[test]
fn a_rotation_interrupted_by_a_disable_goes_on_with_the_enable() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    let deks = many_disks(&keyd);
    std::thread::scope(|scope| {
        let rotating = scope.spawn(|| keyd.try_ask(rotate()));
        let begun = Instant::now();
        while keyd.key("k").versions.len() < 2 {
            assert!(begun.elapsed() < PATIENCE, "nothing is rotated");
            std::thread::sleep(Duration::from_millis(2));
        }
        keyd.switch(false);
        // It may have finished before the switch.
        let _ = rotating.join().unwrap();
    });
    keyd.switch(true);
    wait_finished(&keyd);
    for (id, dek) in deks.iter().take(20) {
        assert_eq!(keyd.release(*id).expose().as_slice(), dek);
    }
    keyd.verify();
}
