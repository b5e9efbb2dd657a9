//! Files whose names are taken from under a store that has them open.

use super::*;
use crate::files::Loss;

const STORE: &str = "store.redb";

fn opened(seed: u64) -> (Disk, Store) {
    let disk = Disk::new(seed);
    let store = open(&disk).unwrap();
    (0..7).for_each(|n| put(&store, n).unwrap());
    store.look();
    (disk, store)
}

fn withdraw(store: &Store, n: usize) {
    put_as(store, n, Class::Withdrawal).unwrap();
}

/// What uses are refused for, and that administration is, too.
fn refusal(store: &Store) -> Refused {
    let refused = |class| match put_as(store, 90, class) {
        Err(Failure::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    };
    refused(Class::Administration);
    refused(Class::Use)
}

fn of_log(store: &Store) -> Loss {
    match refusal(store) {
        Refused::AuditBroken(Break::Taken(loss)) => loss,
        other => panic!("{other:?}"),
    }
}

fn of_store(store: &Store) -> Loss {
    match refusal(store) {
        Refused::StoreLost(loss) => loss,
        other => panic!("{other:?}"),
    }
}

/// The ways in which a file's name is taken, and how each is told.
type Way = (fn(&Disk, &str), fn(&Loss) -> bool);

const WAYS: [Way; 4] = [
    (|disk, name| disk.put(name, None), |loss| matches!(loss, Loss::Gone(_))),
    (
        |disk, name| {
            disk.rename(name, "elsewhere");
            disk.put(name, Some(Vec::new()));
        },
        |loss| matches!(loss, Loss::Replaced(_)),
    ),
    (|disk, name| disk.edit(name, Vec::clear), |loss| matches!(loss, Loss::Length { is: 0, .. })),
    (
        |disk, name| disk.edit(name, |bytes| bytes.extend([0; 4096])),
        |loss| matches!(loss, Loss::Length { .. }),
    ),
];

#[test]
fn a_log_that_is_taken_away_ends_the_next_use_and_keeps_what_is_withdrawn_after() {
    for (take, told) in WAYS {
        let (disk, store) = opened(1);
        let whole = disk.read(CURRENT).unwrap();
        take(&disk, CURRENT);
        let loss = of_log(&store);
        assert!(told(&loss), "{loss}");
        assert!(matches!(store.verify_audit(), Err(Failure::Refused(Refused::AuditBroken(_)))));
        assert!(store.audit_status().broken.unwrap().contains("audit.log"));
        withdraw(&store, 10);
        withdraw(&store, 11);
        refusal(&store);
        drop(store);
        let store = open(&disk).unwrap();
        refusal(&store);
        let keys = store.snapshot().unwrap().keys(None, usize::MAX).unwrap();
        assert!([10, 11].iter().all(|n| keys.iter().any(|key| key.id == name(*n))));
        let rows = store.tail_audit(2).unwrap();
        assert_eq!((rows[0].subject.as_str(), rows[1].subject.as_str()), ("k10", "k11"));
        drop(store);
        // Put back under the name of its first row, it is followed by what was recorded since.
        disk.put(&closed_name(7), Some(whole));
        let store = open(&disk).unwrap();
        store.reanchor_audit(Entry::by_daemon("audit-reanchor", "audit.log")).unwrap();
        assert_eq!(store.verify_audit().unwrap().begin, 1);
        put(&store, 12).unwrap();
    }
}

#[test]
fn a_break_by_a_lost_log_can_be_accepted_at_once() {
    for (take, _) in WAYS {
        let (disk, store) = opened(1);
        take(&disk, CURRENT);
        of_log(&store);
        let done = store.reanchor_audit(Entry::by_daemon("audit-reanchor", "audit.log")).unwrap();
        assert!(done.accepted.contains("audit.log"), "{}", done.accepted);
        put(&store, 12).unwrap();
        store.verify_audit().unwrap();
        drop(store);
        let store = open(&disk).unwrap();
        put(&store, 13).unwrap();
        store.verify_audit().unwrap();
    }
}

#[test]
fn a_log_that_is_put_back_before_anything_was_recorded_is_whole_again() {
    let (disk, store) = opened(1);
    disk.rename(CURRENT, "elsewhere");
    of_log(&store);
    disk.rename("elsewhere", CURRENT);
    store.look();
    put(&store, 10).unwrap();
    store.verify_audit().unwrap();
}

#[test]
fn a_closed_file_of_the_log_that_is_taken_away_is_missed_within_a_look() {
    for (take, told) in WAYS {
        let (disk, store) = opened(1);
        let file = closed_name(4);
        take(&disk, &file);
        store.look();
        let loss = of_log(&store);
        assert!(told(&loss) && loss.to_string().contains(&file), "{loss}");
        withdraw(&store, 10);
        drop(store);
        refusal(&open(&disk).unwrap());
    }
}

#[test]
fn archived_files_are_not_missed() {
    let (disk, store) = opened(1);
    store.archive_audit(u64::MAX, &disk.elsewhere(), Entry::by_daemon("test", "x")).unwrap();
    store.look();
    put(&store, 10).unwrap();
    assert_eq!(store.verify_audit().unwrap().begin, 8);
    let closed = [closed_name(1), closed_name(4), closed_name(7)];
    let there = disk.elsewhere().names().unwrap();
    assert_eq!(there, closed);
}

/// A crash between the closing of the file that grows and the commit: nothing was moved away, and all goes on.
#[test]
fn an_archive_of_all_rows_crashes_at_every_write() {
    let mut crashes = 0;
    for seed in 0..3 {
        for fuse in 1.. {
            let (disk, store) = opened(seed);
            disk.arm(fuse);
            let moved =
                store.archive_audit(u64::MAX, &disk.elsewhere(), Entry::by_daemon("test", "x"));
            drop(store);
            if !disk.died() && moved.is_ok() {
                break;
            }
            crashes += 1;
            let store = open(&disk.reboot()).unwrap();
            store.verify_audit().unwrap();
            put(&store, 12).unwrap();
            store.verify_audit().unwrap();
        }
    }
    assert!(crashes > 60, "{crashes}");
}

#[test]
fn a_store_that_is_taken_away_ends_the_next_use_and_takes_keys_away_all_the_same() {
    for (take, told) in &WAYS[..2] {
        let (disk, store) = opened(1);
        take(&disk, STORE);
        let loss = of_store(&store);
        assert!(told(&loss), "{loss}");
        assert!(matches!(store.verify_audit(), Err(Failure::Refused(Refused::StoreLost(_)))));
        let accepted = store.reanchor_audit(Entry::by_daemon("audit-reanchor", "audit.log"));
        assert!(matches!(accepted, Err(Failure::Refused(Refused::StoreLost(_)))), "{accepted:?}");
        withdraw(&store, 10);
        let keys = store.snapshot().unwrap().keys(None, usize::MAX).unwrap();
        assert!(keys.iter().any(|key| key.id == name(10)));
        // Whatever lies in its place, no empty one is begun beside the log.
        drop(store);
        disk.put(STORE, None);
        assert!(matches!(open(&disk), Err(Fault::MissingStore)));
        assert!(disk.read(STORE).is_none());
    }
    let (disk, store) = opened(1);
    disk.edit(STORE, |bytes| bytes.truncate(4096));
    assert!(matches!(of_store(&store), Loss::Length { is: 4096, .. }));
}

#[test]
fn a_store_that_is_put_back_is_used_again() {
    let (disk, store) = opened(1);
    disk.rename(STORE, "elsewhere");
    of_store(&store);
    withdraw(&store, 10);
    disk.rename("elsewhere", STORE);
    put(&store, 11).unwrap();
    store.verify_audit().unwrap();
    drop(store);
    put(&open(&disk).unwrap(), 12).unwrap();
}

/// The directory was moved, with all that is in it: what is open is written on, where it lies now.
#[test]
fn a_directory_that_is_moved_away_ends_uses_and_loses_nothing() {
    let (disk, store) = opened(1);
    disk.swap_directory();
    assert!(of_store(&store).to_string().contains("the state directory"));
    store.look();
    (10..20).for_each(|n| withdraw(&store, n));
    assert!(store.lost().is_some());
    disk.swap_directory();
    put(&store, 21).unwrap();
    store.verify_audit().unwrap();
    drop(store);
    let store = open(&disk).unwrap();
    agrees(&store, 18, "moved and back");
}

#[test]
fn a_root_key_that_is_removed_ends_uses_until_it_is_back() {
    let disk = Disk::new(1);
    disk.put("root.key", Some(vec![7; 32]));
    let store = open(&disk).unwrap();
    put(&store, 0).unwrap();
    disk.put("root.key", None);
    assert!(of_store(&store).to_string().starts_with("root.key was removed"));
    disk.put("root.key", Some(vec![7; 32]));
    put(&store, 1).unwrap();
}
