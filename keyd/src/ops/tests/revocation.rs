//! What a revocation's answer says of each holder, and that it says it of each.

use std::{thread, time::Duration};

use super::*;
use crate::ops::due;

fn disable(name: &str, wait_ms: u64) -> KeyUpdate {
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    let consent = Consent::Force;
    KeyUpdate { name: id(name), version: None, change, consent, wait_ms }
}

fn answers(revocation: &Revocation) -> Vec<(DiskId, Phase)> {
    revocation.holders.iter().map(|holder| (holder.disk, holder.state.phase)).collect()
}

/// Those that have let go, with what they said of it.
fn reports(revocation: &Revocation) -> Vec<(DiskId, Option<FenceReport>)> {
    revocation.holders.iter().map(|holder| (holder.disk, holder.report)).collect()
}

/// Told before and given its key back before it confirmed: it may hold the DEK still.
#[test]
fn a_holder_that_was_told_before_is_waited_for_too() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let mut holder = daemon.attach(disk);
    daemon.ask(switch(false));
    holder.expect_revoked();
    daemon.ask(switch(true));
    let revocation = revocation(daemon.ask(disable("k", 50)));
    assert_eq!(revocation.told, 0);
    assert!(!revocation.confirmed());
    let [(told, Phase::Halting { lease_ends })] = answers(&revocation)[..] else {
        panic!("{revocation:?}");
    };
    assert!(told == disk && lease_ends > clock::now());
    // To ask again is to ask about the same holder, by whatever verb; and when it has confirmed, all have.
    let again = super::revocation(daemon.ask(disable("k", 50)));
    assert_eq!((again.told, again.holders.len()), (0, 1));
    let (name, consent, wait_ms) = (id("k"), Consent::Force, 50);
    let deleted = super::revocation(daemon.ask(KeyDelete { name, consent, wait_ms }));
    assert!(!again.confirmed() && !deleted.confirmed(), "{again:?} {deleted:?}");
    holder.fence();
    daemon.ask(KeyRecover { name: id("k") });
    assert!(super::revocation(daemon.ask(disable("k", 50))).confirmed());
}

/// By the set's identity, not by the key: another set under the same key is nobody's concern here.
#[test]
fn a_policys_loss_concerns_its_own_set() {
    let daemon = Daemon::with(Terms { on_revoke: OnRevoke::Deferred, ..TERMS });
    daemon.make_set("t", "k", EncryptionType::CustomerKey, TERMS);
    let (mut mine, theirs) = (daemon.attach(daemon.make_disk("s")), daemon.make_disk("t"));
    let mut theirs = daemon.attach(theirs);
    let take = |set: &str| VaultPermit {
        name: VaultName::default_vault(),
        principal: identity(set),
        permissions: BTreeSet::new(),
        edit: Edit::Replace,
        future: false,
        consent: Consent::Force,
        wait_ms: 50,
    };
    let spared = super::revocation(daemon.ask(take("s")));
    assert_eq!((spared.spared, spared.holders[0].disk), (1, mine.attached.record.id));
    let told = super::revocation(daemon.ask(take("t")));
    assert_eq!((told.told, told.spared, told.holders.len()), (1, 0, 1));
    theirs.expect_revoked();
    mine.expect_nothing();
}

#[test]
fn who_is_spared_is_said_and_is_not_to_confirm_yet() {
    let deferred = Terms { on_revoke: OnRevoke::Deferred, ..TERMS };
    let grace = Terms { grace_ms: 60_000, ..TERMS };
    for (terms, ends) in [(deferred, false), (grace, true)] {
        let daemon = Daemon::with(terms);
        let disk = daemon.make_disk("s");
        let mut holder = daemon.attach(disk);
        let now = clock::now();
        let revocation = revocation(daemon.ask(disable("k", 50)));
        assert_eq!((revocation.told, revocation.spared), (0, 1));
        assert!(revocation.confirmed() && reports(&revocation)[0].1.is_none());
        let [(_, Phase::Deferred { until })] = answers(&revocation)[..] else {
            panic!("{revocation:?}");
        };
        assert_eq!(until.is_some(), ends);
        assert!(until.is_none_or(|until| until.abs_diff(now + 60_000) < 5000));
        holder.expect_nothing();
    }
}

#[test]
fn a_holder_that_is_told_when_its_grace_ends_is_waited_for() {
    let daemon = Daemon::with(Terms { grace_ms: 60_000, ..TERMS });
    let mut holder = daemon.attach(daemon.make_disk("s"));
    let revocation = thread::scope(|scope| {
        let waiting = scope.spawn(|| revocation(daemon.ask(disable("k", 30_000))));
        while daemon.records("des-key-lost").is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        daemon.edit_set("s", |set| set.lost_since = Some(set.lost_since.unwrap() - 60_000));
        due::enforce(daemon.core()).unwrap();
        holder.expect_revoked();
        holder.fence();
        waiting.join().unwrap()
    });
    assert_eq!((revocation.told, revocation.spared), (0, 1));
    assert_eq!(reports(&revocation), [(holder.attached.record.id, Some(REPORT))]);
    assert!(revocation.confirmed());
}

/// Whose key was lost before, by other terms, is no concern of this loss.
#[test]
fn an_older_loss_is_not_counted() {
    let daemon = Daemon::with(Terms { on_revoke: OnRevoke::Deferred, ..TERMS });
    daemon.make_key("k2");
    daemon.make_set("t", "k2", EncryptionType::CustomerKey, TERMS);
    let (disk, other) = (daemon.make_disk("s"), daemon.make_disk("t"));
    let (holder, mut theirs) = (daemon.attach(disk), daemon.attach(other));
    daemon.ask(switch(false));
    let revocation = thread::scope(|scope| {
        let waiting = scope.spawn(|| revocation(daemon.ask(disable("k2", 30_000))));
        while theirs.heard().is_none() {
            thread::sleep(Duration::from_millis(2));
        }
        theirs.fence();
        waiting.join().unwrap()
    });
    assert!(revocation.confirmed(), "{revocation:?}");
    assert_eq!(reports(&revocation), [(other, Some(REPORT))]);
    drop(holder);
}

/// Others compare holders with the state at the same time, and may tell this loss's holders first. However that falls
/// out, whoever waits hears of its own holder.
#[test]
fn a_loss_is_answered_by_its_own_holder_whoever_else_is_telling() {
    const ROUNDS: usize = 12;
    let daemon = Daemon::new();
    let names = ["a", "b", "c"];
    let disks = names.map(|name| {
        daemon.make_key(name);
        daemon.make_set(name, name, EncryptionType::CustomerKey, TERMS);
        daemon.make_disk(name)
    });
    for round in 0..ROUNDS {
        let holders = disks.map(|disk| daemon.attach(disk));
        thread::scope(|scope| {
            for (name, mut holder) in names.into_iter().zip(holders) {
                let disk = holder.attached.record.id;
                let daemon = &daemon;
                scope.spawn(move || {
                    let revocation = revocation(daemon.ask(disable(name, 30_000)));
                    assert_eq!(reports(&revocation), [(disk, Some(REPORT))], "round {round}");
                });
                scope.spawn(move || {
                    while holder.heard().is_none() {
                        thread::sleep(Duration::from_millis(1));
                    }
                    holder.fence();
                    holder.hang_up();
                });
            }
        });
        for name in names {
            let on = KeyChange { enabled: Some(true), ..KeyChange::default() };
            daemon.ask(update_of(name, None, on));
        }
    }
}
