//! A disk that is full, at every number of free bytes: uses of keys are refused before anything is written, keys can
//! be taken away, and all goes on when there is space again.

use super::*;

fn is_refused(result: &Result<(), Failure>) -> bool {
    matches!(result, Err(Failure::Refused(Refused::DiskFull)))
}

/// Uses keys until that is refused; how often it was done. Nothing else may go wrong.
fn use_up(store: &Store, from: usize) -> usize {
    for n in 0.. {
        match put(store, from + n) {
            Ok(()) => assert!(n < 10_000, "the disk does not fill up"),
            refused => {
                assert!(is_refused(&refused), "{refused:?}");
                return n;
            }
        }
    }
    0
}

#[test]
fn a_full_disk_refuses_uses_and_lets_keys_be_taken_away() {
    let mut done = 0;
    for free in (0..1 << 20).step_by(12 << 10) {
        let disk = Disk::new(1);
        let store = open(&disk).unwrap();
        put(&store, 0).unwrap();
        disk.leave_free(Some(free));
        let before = use_up(&store, 1);
        for n in 0..20 {
            put_as(&store, 1 + n % 5, Class::Withdrawal).unwrap();
            let refused = put(&store, 9999);
            assert!(is_refused(&refused), "{free}: {refused:?}");
        }
        let space = store.audit_status();
        assert!(space.full_since.is_some() && space.refused == 21, "{space:?}");
        disk.leave_free(Some(4 << 20));
        put(&store, 9998).unwrap();
        assert_eq!(store.audit_status().full_since, None);
        let rows = store.tail_audit(2).unwrap();
        assert_eq!(rows[0].operation, "disk-full");
        assert!(rows[0].detail.ends_with("refused=21"), "{}", rows[0].detail);
        let (state, audit) = both(&store);
        assert_eq!(state, audit);
        drop(store);
        open(&disk).unwrap().verify_audit().unwrap();
        done += before;
    }
    println!("{done} uses before the disks were full");
    assert!(done > 100, "{done}");
}

#[test]
fn a_disk_that_is_full_at_the_start_lets_keys_be_taken_away() {
    for spent in 0..6 {
        let disk = Disk::new(1);
        let store = open(&disk).unwrap();
        put(&store, 0).unwrap();
        disk.leave_free(Some(0));
        use_up(&store, 1);
        (0..spent).for_each(|_| put_as(&store, 1, Class::Withdrawal).unwrap());
        drop(store);
        let store = open(&disk).unwrap();
        put_as(&store, 1, Class::Withdrawal).unwrap();
        assert!(is_refused(&put(&store, 2)));
        store.verify_audit().unwrap();
    }
}

/// The reserve has an end. There too nothing is poisoned.
#[test]
fn an_administrator_who_uses_up_the_reserve_is_refused_and_nothing_breaks() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    disk.leave_free(Some(0));
    let mut n = 0;
    let refused = loop {
        let done = put_as(&store, n, Class::Administration);
        if done.is_err() {
            break done;
        }
        n += 1;
    };
    assert!(is_refused(&refused), "{refused:?}");
    assert!(n > 10, "{n}");
    assert!(is_refused(&put_as(&store, 0, Class::Withdrawal)));
    disk.leave_free(Some(4 << 20));
    put(&store, n).unwrap();
    store.verify_audit().unwrap();
    assert_eq!(store.snapshot().unwrap().keys(None, usize::MAX).unwrap().len(), n + 1);
    println!("{n} new keys of an administrator on a full disk");
}

#[test]
fn a_crash_on_a_full_disk_at_every_write_is_recovered_from() {
    let mut crashes = 0;
    for seed in 0..3 {
        for free in [0, 20 << 10, 100 << 10] {
            for fuse in (1..).step_by(2) {
                let disk = Disk::new(seed);
                let store = open(&disk).unwrap();
                disk.leave_free(Some(free));
                disk.arm(fuse);
                let mut done = 0;
                for n in 0..12 {
                    let class = if n < 6 { Class::Use } else { Class::Withdrawal };
                    match put_as(&store, n, class) {
                        Ok(()) => done += 1,
                        refused if is_refused(&refused) => {}
                        Err(_) => break,
                    }
                }
                drop(store);
                if !disk.died() {
                    break;
                }
                crashes += 1;
                let disk = disk.reboot();
                let store = open(&disk).unwrap();
                agrees(&store, done, &format!("seed {seed} free {free} fuse {fuse}"));
                put_as(&store, 0, Class::Withdrawal).unwrap();
            }
        }
    }
    println!("{crashes} crashes on full disks");
    assert!(crashes > 200, "{crashes}");
}
