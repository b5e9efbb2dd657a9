//! Crashes at every write, sync, change of a length and change of a name of the store and the log, with what was not
//! synced lost, torn or kept in any combination; disks that fill up; logs that were tampered with. After each, the
//! store opens, what was answered is there, and state and audit log agree.

mod broken;
mod edits;
mod full;
mod operations;
mod rot;
mod taken;

use std::collections::{BTreeMap, BTreeSet};

use keyd_client::{KeyId, KeyVersion};

use super::*;
use crate::{
    audit::segments::{CURRENT, closed_name},
    files::tests::twin::Disk,
    kek::{Material, PublicKey, SealedKey},
    model::{key::Key, version::Version},
};

const COMMITS: usize = 8;

/// Segments of three rows, small reserves.
fn options() -> Options {
    let log = Lengths { segment: 500, step: 8192, kept: 8192 };
    Options { log, ballast: 256 << 10, ballast_piece: 128 << 10, ..Options::default() }
}

fn open(disk: &Disk) -> Result<Store, Fault> {
    Store::open(disk.dir(), testing::seal(), &options(), None)
}

fn name(n: usize) -> KeyId {
    format!("k{n}").parse().unwrap()
}

fn put_as(store: &Store, n: usize, class: Class) -> Result<(), Failure> {
    store.commit(|txn| {
        let material = Material::Sealed(SealedKey(vec![n as u8; 1500]));
        let public = PublicKey { n: vec![1], e: vec![1] };
        let version = Version::new(KeyVersion::random(), (material, public), 1);
        txn.put_key(&Key::new(name(n), false, version))?;
        Ok(((), Entry::by_daemon("put", name(n)).class(class)))
    })
}

fn put(store: &Store, n: usize) -> Result<(), Failure> {
    put_as(store, n, Class::Use)
}

/// Names of keys in the store, and of those the audit log says were put and took effect.
fn both(store: &Store) -> (BTreeSet<String>, BTreeSet<String>) {
    let keys = store.snapshot().unwrap().keys(None, usize::MAX).unwrap();
    let state = keys.iter().map(|key| key.id.to_string()).collect();
    let records = store.tail_audit(usize::MAX - 1).unwrap();
    let mut put = BTreeMap::new();
    for record in &records {
        if record.operation == "put" {
            put.insert(record.seq, record.subject.to_string());
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

/// Works until the disk dies. How many commits were answered.
fn work(store: &Store, from: usize) -> usize {
    (from..COMMITS).take_while(|n| put(store, *n).is_ok()).count()
}

/// Whether a store that was opened after a crash has what it must, and goes on.
fn agrees(store: &Store, done: usize, what: &str) {
    store.verify_audit().unwrap();
    let (state, audit) = both(store);
    assert_eq!(state, audit, "{what}");
    assert!(state.len() >= done && state.len() <= done + 1, "{what}: {state:?}");
}

#[test]
fn state_and_audit_agree_after_a_crash_at_every_write() {
    let (mut crashes, mut uncommitted, mut torn, mut switching) = (0, 0, 0, 0);
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
            let names = disk.names();
            switching += usize::from(names.iter().any(|name| name == "audit.new"));
            let store = open(&disk).unwrap();
            agrees(&store, done, &format!("seed {seed} fuse {fuse}"));
            let told = store.tail_audit(1).unwrap();
            let detail = told.first().map(|r| r.detail.clone()).unwrap_or_default();
            uncommitted += usize::from(detail.contains("not committed"));
            torn += usize::from(detail.contains("torn"));
            put(&store, 99).unwrap();
            store.verify_audit().unwrap();
        }
    }
    println!(
        "{crashes} crashes: {uncommitted} with an uncommitted record, {torn} with a torn line, \
         {switching} between two segments"
    );
    assert!(crashes > 400 && uncommitted > 10 && torn > 5 && switching > 20);
}

#[test]
fn a_crash_at_the_first_start_is_begun_again() {
    let mut crashes = 0;
    for seed in 0..6 {
        for fuse in 1.. {
            let disk = Disk::new(seed);
            disk.arm(fuse);
            let opened = open(&disk).and_then(|store| {
                put(&store, 1).map_err(|_| Fault::Poisoned)?;
                Ok(store)
            });
            let done = usize::from(opened.is_ok());
            drop(opened);
            if !disk.died() {
                break;
            }
            crashes += 1;
            let store = open(&disk.reboot()).unwrap();
            agrees(&store, done, &format!("seed {seed} fuse {fuse}"));
            put(&store, 2).unwrap();
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > 100, "{crashes}");
}

#[test]
fn a_crash_while_recovering_is_recovered_from() {
    let mut second_crashes = 0;
    for seed in 0..4 {
        for first in (1..160).step_by(3) {
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
                agrees(&store, done, &format!("seed {seed} first {first} second {second}"));
            }
        }
    }
    println!("{second_crashes} crashes while recovering");
    assert!(second_crashes > 100, "{second_crashes}");
}

#[test]
fn archiving_crashes_at_every_write_and_loses_no_row() {
    let (mut crashes, mut moved) = (0, 0);
    for seed in 0..6 {
        for fuse in 1.. {
            let disk = Disk::new(seed);
            let store = open(&disk).unwrap();
            assert_eq!(work(&store, 0), COMMITS);
            disk.arm(fuse);
            let entry = || Entry::by_daemon("audit-archive", "elsewhere");
            let done = store.archive_audit(6, &disk.elsewhere(), entry());
            drop(store);
            if !disk.died() && done.is_ok() {
                break;
            }
            crashes += 1;
            let disk = disk.reboot();
            let store = open(&disk).unwrap();
            let begin = store.verify_audit().unwrap().begin;
            moved += usize::from(begin > 1);
            // What the log does not hold any more is whole in the other directory.
            let elsewhere = disk.elsewhere();
            for first in (1..begin).step_by(3) {
                assert!(elsewhere.open(&closed_name(first)).unwrap().is_some());
            }
            // Done again, or for the first time.
            let done = store.archive_audit(6, &elsewhere, entry());
            assert!(done.is_ok() || begin > 1, "seed {seed} fuse {fuse}: {done:?}");
            assert_eq!(store.verify_audit().unwrap().begin, 4);
            assert!(disk.read(&closed_name(1)).is_none());
            let (from, to) = (elsewhere.open(&closed_name(1)).unwrap().unwrap(), 1 << 20);
            let rows = crate::files::read_range(&*from, 0, to).unwrap();
            assert_eq!(rows.iter().filter(|b| **b == b'\n').count(), 3);
        }
    }
    println!("{crashes} crashes while archiving, {moved} after the chain had moved on");
    assert!(crashes > 100 && moved > 10, "{crashes} {moved}");
}

#[test]
fn an_archive_takes_files_with_older_rows_only_and_verify_begins_behind_them() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    assert_eq!(work(&store, 0), COMMITS);
    let archive = |before| {
        let entry = Entry::by_daemon("audit-archive", "elsewhere");
        store.archive_audit(before, &disk.elsewhere(), entry)
    };
    let refused = archive(3);
    assert!(matches!(refused, Err(Failure::Refused(Refused::NothingToArchive(3)))), "{refused:?}");
    let here = store.archive_audit(6, &*disk.dir(), Entry::by_daemon("audit-archive", "here"));
    assert!(matches!(here, Err(Failure::Refused(Refused::ArchiveHere))), "{here:?}");
    assert_eq!(archive(8).unwrap(), Archived { files: 2, begin: 7 });
    assert_eq!(store.verify_audit().unwrap().begin, 7);
    let row = store.tail_audit(1).unwrap().remove(0);
    assert_eq!(
        (row.operation.as_str(), row.detail.as_str()),
        ("audit-archive", "files=2 rows=1 to 6")
    );
    drop(store);
    let store = open(&disk).unwrap();
    put(&store, 50).unwrap();
    assert_eq!(store.verify_audit().unwrap().begin, 7);
}

#[test]
fn an_archive_is_not_written_over() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    work(&store, 0);
    let other = disk.elsewhere().create(&closed_name(1)).unwrap();
    other.write_at(0, b"another log's").unwrap();
    let entry = Entry::by_daemon("audit-archive", "elsewhere");
    let refused = store.archive_audit(6, &disk.elsewhere(), entry);
    assert!(matches!(refused, Err(Failure::Refused(Refused::Archive(_)))), "{refused:?}");
    assert_eq!(store.verify_audit().unwrap().begin, 1);
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
    assert!(matches!(put_as(&store, 3, Class::Withdrawal), Err(Failure::Fault(_))));
    assert!(store.snapshot().is_err());
}

#[test]
fn a_refused_change_leaves_no_trace() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    let before = disk.read(CURRENT);
    let refused: Result<(), Failure> = store.commit(|txn| {
        let material = Material::Sealed(SealedKey(vec![]));
        let public = PublicKey { n: vec![1], e: vec![1] };
        let version = Version::new(KeyVersion::random(), (material, public), 1);
        txn.put_key(&Key::new(name(1), false, version))?;
        Err(Refused::TooManySets.into())
    });
    assert!(refused.is_err());
    assert_eq!(disk.read(CURRENT), before);
    assert!(store.snapshot().unwrap().keys(None, usize::MAX).unwrap().is_empty());
    put(&store, 1).unwrap();
}
