//! Rotation, also when the daemon is killed in the middle of it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use common::{Keyd, attach, geometry};
use keyd_client::{
    Client, DiskId,
    message::{DesRequest, DiskRequest, Event, KeyRequest, RefusalCode, Reply},
};

const DISKS: usize = 200;

fn rotate() -> KeyRequest {
    KeyRequest::Rotate { name: "k".parse().unwrap() }
}

fn many_disks(keyd: &Keyd) -> HashMap<DiskId, Vec<u8>> {
    let mut client = Client::connect(&keyd.socket()).unwrap();
    let request = DiskRequest::Create { des: Some("s".parse().unwrap()), geometry: geometry() };
    let mut deks = HashMap::new();
    for _ in 0..DISKS {
        let Reply::Disk(disk) = client.call(request.clone()).unwrap() else { panic!("no disk") };
        let id = disk.record.id;
        let (_, dek) = client.call_for_dek(DiskRequest::ReleaseKey { id }).unwrap();
        deks.insert(id, dek.expose().to_vec());
    }
    deks
}

/// From the record of the new version to that of the end.
fn rewrapping_took(keyd: &Keyd) -> Duration {
    let records = keyd.audit();
    let at = |verb: &str| records.iter().rfind(|r| r.operation == verb).map(|r| r.time).unwrap();
    Duration::from_millis(at("des-rotate") - at("key-rotate"))
}

fn wait_finished(keyd: &Keyd) {
    let begun = Instant::now();
    loop {
        let key = keyd.key("k");
        let older: u64 = key.versions.iter().skip(1).map(|v| v.wrapped_deks).sum();
        if older == 0 && key.versions[0].wrapped_deks == DISKS as u64 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{key:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_rotation_killed_anywhere_leaves_every_disk_its_key() {
    let mut keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    let deks = many_disks(&keyd);
    let Reply::Rotated { rewrapped, .. } = keyd.ask(rotate()) else { panic!("not rotated") };
    assert_eq!(rewrapped, DISKS as u64);
    let rewrapping = rewrapping_took(&keyd);
    println!("{rewrapped} disks wrapped anew in {rewrapping:?}");

    let mut interrupted = 0;
    for moment in [0, 15, 30, 45, 60, 70, 80, 90] {
        let versions = keyd.key("k").versions.len();
        std::thread::scope(|scope| {
            let socket = keyd.socket();
            scope.spawn(move || Client::connect(&socket).and_then(|mut c| c.call(rotate())).ok());
            // Making the new version takes a time of its own, which differs each time.
            while keyd.key("k").versions.len() == versions {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(rewrapping * moment / 100);
            keyd.kill();
        });
        keyd.resume();
        let key = keyd.key("k");
        let older: u64 = key.versions.iter().skip(1).map(|v| v.wrapped_deks).sum();
        interrupted += usize::from(older > 0);
        println!("killed at {moment}%: {older} disks were still under the older version");
        wait_finished(&keyd);
        keyd.verify();
        for (id, dek) in &deks {
            let held = attach(&keyd, *id, false).unwrap();
            assert_eq!(held.dek.unwrap().expose().as_slice(), dek, "disk {id} at {moment}%");
        }
        let set = DesRequest::Show { name: "s".parse().unwrap() };
        let Reply::Des(set) = keyd.ask(set.clone()) else { panic!("no set") };
        assert_eq!(set.active_version, keyd.key("k").versions[0].version);
        assert!(set.previous_keys.is_empty());
    }
    assert!(interrupted > 2, "no kill hit a rotation half way");
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
        let rotating = scope.spawn(|| keyd.call(rotate()));
        while keyd.key("k").versions.len() < 2 {
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
