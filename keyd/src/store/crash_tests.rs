//! Crashes at every write, sync and length change of the store and the log, with writes that were not synced lost, torn
//! or kept in any combination. After each, the store opens, what was answered is there, and state and audit log agree.

mod disk;

use std::collections::BTreeSet;

use disk::Disk;
use keyd_client::{KeyId, KeyVersion};

use super::*;
use crate::{
    kek::{Material, PublicKey, SealedKey},
    model::{key::Key, version::Version},
};

const COMMITS: usize = 8;

fn name(n: usize) -> KeyId {
    format!("k{n}").parse().unwrap()
}

fn put(store: &Store, n: usize) -> Result<(), Failure> {
    store.commit(|txn| {
        let material = Material::Sealed(SealedKey(vec![n as u8; 1500]));
        let public = PublicKey { n: vec![1], e: vec![1] };
        let version = Version::new(KeyVersion::random(), (material, public), 1);
        txn.put_key(&Key::new(name(n), false, version))?;
        Ok(((), Entry::by_daemon("put", name(n))))
    })
}

fn open(disk: &Disk) -> Result<Store, Fault> {
    let db = Database::builder().create_with_backend(disk.database())?;
    Store::open(db, Arc::new(disk.log()))
}

/// Names of keys in the store, and of those the audit log says were put and took effect.
fn both(store: &Store) -> (BTreeSet<String>, BTreeSet<String>) {
    let keys = store.snapshot().unwrap().keys(None, usize::MAX).unwrap();
    let state = keys.iter().map(|key| key.id.to_string()).collect();
    let records = store.tail_audit(usize::MAX - 1).unwrap();
    let mut put = std::collections::BTreeMap::new();
    for record in &records {
        if record.operation == "put" {
            put.insert(record.seq, record.subject.clone());
        }
        if let Some(rest) = record.detail.split("not committed: seq ").nth(1) {
            let (from, to) = rest.split_once(" had").unwrap().0.split_once(" to ").unwrap();
            for seq in from.parse::<u64>().unwrap()..=to.parse().unwrap() {
                put.remove(&seq);
            }
        }
    }
    (state, put.into_values().collect())
}

/// Works until the disk dies. Which commits were answered, and which one was under way.
fn work(store: &Store, from: usize) -> usize {
    (from..COMMITS).take_while(|n| put(store, *n).is_ok()).count()
}

#[test]
fn state_and_audit_agree_after_a_crash_at_every_write() {
    let (mut crashes, mut uncommitted, mut torn) = (0, 0, 0);
    for seed in 0..6 {
        for fuse in 1.. {
            let disk = Disk::new(seed);
            let store = open(&disk).unwrap();
            disk.arm(fuse);
            let done = work(&store, 0);
            // Dropping it writes too, and must not mend what the crash broke.
            drop(store);
            if !disk.died() && done == COMMITS {
                break;
            }
            crashes += 1;
            let disk = disk.reboot();
            let store = open(&disk).unwrap();
            store.verify_audit().unwrap();
            let (state, audit) = both(&store);
            assert_eq!(state, audit, "seed {seed} fuse {fuse}");
            assert!(state.len() >= done && state.len() <= done + 1, "seed {seed} fuse {fuse}");
            let told = store.tail_audit(1).unwrap();
            let detail = told.first().map(|r| r.detail.clone()).unwrap_or_default();
            uncommitted += usize::from(detail.contains("not committed"));
            torn += usize::from(detail.contains("torn"));
            put(&store, 99).unwrap();
            store.verify_audit().unwrap();
        }
    }
    println!(
        "{crashes} crashes, {uncommitted} with an uncommitted record, {torn} with a torn line"
    );
    assert!(crashes > 200 && uncommitted > 10 && torn > 5, "{crashes} {uncommitted} {torn}");
}

#[test]
fn a_crash_while_recovering_is_recovered_from() {
    let mut second_crashes = 0;
    for seed in 0..4 {
        for first in (1..120).step_by(3) {
            let disk = Disk::new(seed);
            let store = open(&disk).unwrap();
            disk.arm(first);
            let done = work(&store, 0);
            drop(store);
            for second in [1, 2, 3, 5, 8, 13] {
                let again = disk.reboot();
                again.arm(second);
                drop(open(&again));
                second_crashes += usize::from(again.died());
                let store = open(&again.reboot()).unwrap();
                store.verify_audit().unwrap();
                let (state, audit) = both(&store);
                assert_eq!(state, audit, "seed {seed} first {first} second {second}");
                assert!(state.len() >= done);
            }
        }
    }
    assert!(second_crashes > 100, "{second_crashes}");
}

#[test]
fn after_a_failed_write_everything_is_refused() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    put(&store, 1).unwrap();
    disk.arm(1);
    assert!(put(&store, 2).is_err());
    disk.mend();
    assert!(matches!(put(&store, 3), Err(Failure::Fault(_))));
    assert!(store.snapshot().is_err());
}

#[test]
fn a_refused_change_leaves_no_trace() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    let before = disk.log_len();
    let refused: Result<(), Failure> = store.commit(|txn| {
        let material = Material::Sealed(SealedKey(vec![]));
        let public = PublicKey { n: vec![1], e: vec![1] };
        let version = Version::new(KeyVersion::random(), (material, public), 1);
        txn.put_key(&Key::new(name(1), false, version))?;
        Err(Refused::TooManySets.into())
    });
    assert!(refused.is_err());
    assert_eq!(disk.log_len(), before);
    assert!(store.snapshot().unwrap().keys(None, usize::MAX).unwrap().is_empty());
    put(&store, 1).unwrap();
}

#[test]
fn a_changed_log_stops_all_changes_and_names_the_row() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    (0..5).for_each(|n| put(&store, n).unwrap());
    drop(store);
    disk.edit_log(|bytes| {
        let at = bytes.windows(2).position(|w| w == b"k2").unwrap();
        bytes[at + 1] = b'7';
    });
    let store = open(&disk).unwrap();
    let Err(Failure::Refused(Refused::AuditBroken(finding))) = put(&store, 9) else {
        panic!("a change was made");
    };
    assert_eq!(finding.row, 3);
    assert!(store.verify_audit().is_err());
    assert_eq!(
        store.snapshot().unwrap().keys(None, usize::MAX).unwrap().len(),
        5,
        "it can still be read"
    );
}

#[test]
fn an_old_store_beside_a_newer_log_is_found() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    put(&store, 0).unwrap();
    drop(store);
    let old = disk.copy_database();
    let store = open(&disk).unwrap();
    (1..4).for_each(|n| put(&store, n).unwrap());
    drop(store);
    disk.restore_database(old);
    let store = open(&disk).unwrap();
    assert!(matches!(put(&store, 9), Err(Failure::Refused(Refused::AuditBroken(_)))));
}
