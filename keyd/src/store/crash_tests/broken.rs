//! Logs that were tampered with, old stores and logs that were put back, and the ways on from there.

use super::*;
use crate::audit::copies::CopyFile;

/// A store of eight rows in three segments, closed.
fn written(seed: u64) -> Disk {
    let disk = Disk::new(seed);
    let store = open(&disk).unwrap();
    assert_eq!(work(&store, 0), COMMITS);
    drop(store);
    disk
}

/// Changes a row's text in a segment.
fn change(disk: &Disk, file: &str, key: &str) {
    disk.edit(file, |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(key), "{text}");
        *bytes = text.replace(key, "k7").into_bytes();
    });
}

fn break_of<T: fmt::Debug>(result: Result<T, Failure>) -> Break {
    match result {
        Err(Failure::Refused(Refused::AuditBroken(broken))) => broken,
        other => panic!("{other:?}"),
    }
}

fn row_of<T: fmt::Debug>(result: Result<T, Failure>) -> u64 {
    match break_of(result) {
        Break::Found(finding) => finding.row,
        other => panic!("{other:?}"),
    }
}

fn withdraw(store: &Store, n: usize) {
    put_as(store, n, Class::Withdrawal).unwrap();
}

fn accept(store: &Store) -> Reanchored {
    store.reanchor_audit(Entry::by_daemon("audit-reanchor", "audit.log")).unwrap()
}

#[test]
fn a_changed_log_stops_uses_names_the_row_and_lets_keys_be_taken_away() {
    for (file, key, row) in
        [(closed_name(1), "k1", 2), (closed_name(4), "k5", 6), (CURRENT.to_owned(), "k6", 7)]
    {
        let disk = written(1);
        let before = disk.read(&file).unwrap();
        change(&disk, &file, key);
        let store = open(&disk).unwrap();
        assert_eq!(row_of(put(&store, 9)), row);
        assert_eq!(row_of(put_as(&store, 9, Class::Administration)), row);
        assert_eq!(row_of(store.verify_audit()), row);
        assert_eq!(
            store.snapshot().unwrap().keys(None, usize::MAX).unwrap().len(),
            8,
            "it can still be read"
        );
        let names = disk.names();
        withdraw(&store, 10);
        withdraw(&store, 11);
        assert_eq!(row_of(put(&store, 9)), row);
        drop(store);
        // The broken file is as it was found, under the name of its first row.
        let moved = if file == CURRENT { closed_name(7) } else { file.clone() };
        let text = disk.read(&moved).unwrap();
        assert_eq!(text.len(), before.len());
        let store = open(&disk).unwrap();
        assert_eq!(row_of(put(&store, 9)), row, "a restart accepts nothing");
        withdraw(&store, 12);
        let done = accept(&store);
        assert!(done.accepted.starts_with(&format!("row {row} of the audit log was changed")));
        put(&store, 9).unwrap();
        store.verify_audit().unwrap();
        drop(store);
        let store = open(&disk).unwrap();
        put(&store, 13).unwrap();
        let verified = store.verify_audit().unwrap();
        assert_eq!(verified.begin, done.begin, "{names:?} {:?}", disk.names());
        // Rows of keys that were taken away are part of the chain that goes on.
        assert!(verified.begin <= 9);
        assert_eq!(verified.head.seq, 14);
    }
}

#[test]
fn what_was_put_back_is_whole_again_with_the_rows_since() {
    let disk = written(1);
    let right = disk.read(&closed_name(4)).unwrap();
    change(&disk, &closed_name(4), "k5");
    let store = open(&disk).unwrap();
    assert_eq!(row_of(put(&store, 9)), 6);
    drop(store);
    disk.put(&closed_name(4), Some(right.clone()));
    let store = open(&disk).unwrap();
    put(&store, 9).unwrap();
    assert_eq!(store.verify_audit().unwrap().head.seq, 9);
    drop(store);
    // Once a row was recorded beside a break, an administrator has to say that it is over.
    change(&disk, &closed_name(4), "k5");
    let store = open(&disk).unwrap();
    withdraw(&store, 10);
    drop(store);
    disk.put(&closed_name(4), Some(right));
    let store = open(&disk).unwrap();
    assert!(matches!(break_of(put(&store, 11)), Break::Recorded(text) if text.contains("row 6")));
    let done = accept(&store);
    assert_eq!((done.begin, done.sealed), (1, 0), "the whole log is vouched for");
    put(&store, 11).unwrap();
    assert_eq!(store.verify_audit().unwrap().begin, 1);
}

#[test]
fn the_row_of_an_accepted_break_tells_what_was_left_behind() {
    let disk = written(1);
    change(&disk, CURRENT, "k6");
    let store = open(&disk).unwrap();
    let left = [closed_name(1), closed_name(4), CURRENT.to_owned()];
    let bytes: Vec<u8> = left.iter().flat_map(|name| disk.read(name).unwrap()).collect();
    let done = accept(&store);
    assert_eq!((done.begin, done.sealed), (9, 3));
    // SHA-256 of another implementation.
    let sum = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(done.sha256, sum);
    let row = store.tail_audit(1).unwrap().remove(0);
    assert_eq!((row.seq, row.operation.as_str()), (9, "audit-reanchor"));
    assert!(row.detail.contains(&sum) && row.detail.contains("row 7"), "{}", row.detail);
    assert!(matches!(
        store.reanchor_audit(Entry::by_daemon("audit-reanchor", "audit.log")),
        Err(Failure::Refused(Refused::NothingBroken))
    ));
}

/// Longer than the rows that come after it: none of it may stay behind them.
#[test]
fn a_long_torn_line_leaves_nothing_behind() {
    let disk = written(1);
    disk.edit(CURRENT, |bytes| bytes.extend([b'x'; 3000]));
    for _ in 0..2 {
        let store = open(&disk).unwrap();
        put(&store, 9).unwrap();
        store.verify_audit().unwrap();
    }
    assert!(!disk.read(CURRENT).unwrap().contains(&b'x'));
}

#[test]
fn a_break_that_verify_finds_lets_keys_be_taken_away_too() {
    let disk = written(1);
    let store = open(&disk).unwrap();
    change(&disk, &closed_name(1), "k1");
    put(&store, 9).unwrap();
    assert_eq!(row_of(store.verify_audit()), 2);
    withdraw(&store, 10);
    accept(&store);
    put(&store, 11).unwrap();
    store.verify_audit().unwrap();
}

#[test]
fn an_old_store_beside_a_newer_log_is_found() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    put(&store, 0).unwrap();
    drop(store);
    let old = disk.read("store.redb");
    let store = open(&disk).unwrap();
    (1..6).for_each(|n| put(&store, n).unwrap());
    drop(store);
    let new = disk.read("store.redb");
    disk.put("store.redb", old);
    let store = open(&disk).unwrap();
    assert_eq!(row_of(put(&store, 9)), 2);
    drop(store);
    disk.put("store.redb", new);
    let store = open(&disk).unwrap();
    put(&store, 9).unwrap();
    store.verify_audit().unwrap();
}

/// The old store's end lies where a segment ends: what follows is in a file of its own, whose rows nobody committed.
#[test]
fn an_old_store_is_not_made_good_by_taking_a_key_away() {
    for rows in 1..=7 {
        let disk = Disk::new(1);
        let store = open(&disk).unwrap();
        (0..rows).for_each(|n| put(&store, n).unwrap());
        drop(store);
        let old = disk.read("store.redb");
        let store = open(&disk).unwrap();
        (rows..rows + 2).for_each(|n| put(&store, n).unwrap());
        drop(store);
        disk.put("store.redb", old);
        let store = open(&disk).unwrap();
        break_of(put(&store, 9));
        withdraw(&store, 10);
        drop(store);
        let store = open(&disk).unwrap();
        break_of(put(&store, 9));
        accept(&store);
        put(&store, 9).unwrap();
        drop(store);
        let store = open(&disk).unwrap();
        store.verify_audit().unwrap();
    }
}

#[test]
fn an_old_log_beside_a_newer_store_is_found() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    (0..2).for_each(|n| put(&store, n).unwrap());
    drop(store);
    let old = disk.read(CURRENT);
    let store = open(&disk).unwrap();
    (2..6).for_each(|n| put(&store, n).unwrap());
    drop(store);
    disk.put(CURRENT, old);
    disk.put(&closed_name(1), None);
    let store = open(&disk).unwrap();
    assert!(row_of(put(&store, 9)) <= 3);
}

/// Both old: the log is whole by itself. Only a copy elsewhere knows better, already by one row.
#[test]
fn an_old_store_with_its_old_log_is_found_by_the_copy() {
    for behind in 1..=4 {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("copy");
        let disk = Disk::new(1);
        let store = open(&disk).unwrap();
        (0..4).for_each(|n| put(&store, n).unwrap());
        drop(store);
        let names = disk.names();
        let old: Vec<_> = names.iter().map(|name| (name, disk.read(name))).collect();
        let store = open(&disk).unwrap();
        (4..4 + behind).for_each(|n| put(&store, n).unwrap());
        let rows = store.tail_audit(100).unwrap();
        let mut lines = String::new();
        rows.iter().for_each(|row| lines += &(serde_json::to_string(row).unwrap() + "\n"));
        std::fs::write(&path, lines).unwrap();
        drop(store);
        disk.names().iter().for_each(|name| disk.put(name, None));
        old.into_iter().for_each(|(name, bytes)| disk.put(name, bytes));
        let with_copy = || {
            let copy = CopyFile::open(&path, None).unwrap();
            Store::open(disk.dir(), testing::seal(), &options(), Some(&copy)).unwrap()
        };
        drop(open(&disk).unwrap().verify_audit().unwrap());
        let store = with_copy();
        let newest = 4 + behind as u64;
        let found = Break::OldStore { store: 4, copy: newest };
        assert_eq!(break_of(put(&store, 9)), found);
        assert_eq!(break_of(store.verify_audit()), found);
        // The chain goes on from the copy: what is recorded now is no fork of it.
        withdraw(&store, 10);
        let row = store.tail_audit(1).unwrap().remove(0);
        assert_eq!(row.seq, newest + 1);
        assert_eq!(
            row.previous,
            CopyFile::open(&path, None).unwrap().anchor().unwrap().unwrap().hash
        );
        drop(store);
        let store = with_copy();
        break_of(put(&store, 9));
        let done = accept(&store);
        assert_eq!(done.begin, newest + 1);
        put(&store, 9).unwrap();
        drop(store);
        with_copy().verify_audit().unwrap();
    }
}

#[test]
fn a_break_crashes_at_every_write_and_stays_a_break_until_it_is_accepted() {
    let (mut crashes, mut accepted) = (0, 0);
    for seed in 0..4 {
        for (file, key) in [(closed_name(1), "k1"), (CURRENT.to_owned(), "k6")] {
            for fuse in 1.. {
                let disk = written(seed);
                change(&disk, &file, key);
                let disk = disk.reboot();
                let store = open(&disk).unwrap();
                disk.arm(fuse);
                let withdrawn = put_as(&store, 10, Class::Withdrawal).is_ok();
                let done = withdrawn
                    && store.reanchor_audit(Entry::by_daemon("audit-reanchor", "x")).is_ok();
                drop(store);
                if !disk.died() && done {
                    break;
                }
                crashes += 1;
                let disk = disk.reboot();
                let store = open(&disk).unwrap();
                let what = format!("seed {seed} {file} fuse {fuse}");
                let keys = store.snapshot().unwrap().keys(None, usize::MAX).unwrap();
                let there = keys.iter().any(|key| key.id == name(10));
                assert!(there || !withdrawn, "{what}");
                match store.verify_audit() {
                    Ok(_) => accepted += 1,
                    Err(_) => {
                        assert!(!done, "{what}");
                        withdraw(&store, 11);
                        accept(&store);
                    }
                }
                put(&store, 12).unwrap();
                store.verify_audit().unwrap();
                drop(store);
                open(&disk).unwrap().verify_audit().unwrap();
            }
        }
    }
    println!("{crashes} crashes, {accepted} of them after the break was accepted");
    assert!(crashes > 200, "{crashes}");
}
