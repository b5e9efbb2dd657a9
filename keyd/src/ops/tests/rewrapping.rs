//! Another key for a set, another set for a disk, while a holder goes on with the DEK it has.

use super::*;
use crate::ops::due;

pub(super) fn wrapped(daemon: &Daemon, disk: DiskId) -> keyd_client::WrappedDek {
    daemon.disk(disk).wrapped.expect("an administrator sees it")
}

#[test]
fn a_set_is_put_on_another_key_under_a_holder_that_does_not_notice() {
    let daemon = Daemon::new();
    daemon.make_key("k2");
    let (disk, other) = (daemon.make_disk("s"), daemon.make_disk("s"));
    let mut holder = daemon.attach(disk);
    let (before, old) = (wrapped(&daemon, disk), daemon.set("s").active_version);
    assert_eq!(done(daemon.ask(set_key("s", "k2"))).rewrapped, 2);
    holder.expect_renewal(5000);
    assert_ne!(wrapped(&daemon, disk), before);
    let set = daemon.set("s");
    assert_eq!((set.key, set.previous_keys.len()), (id("k2"), 0));
    assert_ne!(set.active_version, old);
    for disk in [disk, other] {
        assert_eq!(daemon.disk(disk).record.key, id("k2"));
    }
    assert_eq!(daemon.dek(disk), holder.dek);
    let old = &daemon.key("k").versions[0];
    assert_eq!((old.wrapped_deks, old.retirable), (0, true));
    let record = daemon.records("des-set-key").pop().unwrap();
    assert!(record.detail.contains("from=k/") && record.detail.contains("to=k2/"));
    // The old key is nobody's any more, and the new one is this disk's.
    let (name, version, wait_ms) = (id("k"), None, 0);
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    let consent = Consent::IfUnused;
    daemon.ask(KeyUpdate { name, version, change: change.clone(), consent, wait_ms });
    holder.expect_nothing();
    daemon.ask(update_of("k2", None, change));
    assert!(holder.expect_revoked().0.contains("'k2'"));
}

/// What a crash, or the end of the daemon, leaves half way is shown, and done by the next daemon.
#[test]
fn what_is_left_half_way_drains_and_nothing_is_retirable_before() {
    let daemon = Daemon::new();
    daemon.make_key("k2");
    let disks: Vec<DiskId> = (0..3).map(|_| daemon.make_disk("s")).collect();
    let deks: Vec<Vec<u8>> = disks.iter().map(|disk| daemon.dek(*disk)).collect();
    let old = daemon.set("s").active_version;
    daemon.core().stop();
    let stopped = daemon.refused(set_key("s", "k2"));
    assert!(stopped.message.contains("every disk still has a working key"), "{}", stopped.message);
    let set = daemon.set("s");
    let [previous] = set.previous_keys.as_slice() else { panic!("{set:?}") };
    assert_eq!((&previous.key, previous.version, previous.wrapped_deks), (&id("k"), old, 3));
    assert!(!daemon.key("k").versions[0].retirable);
    let later = daemon.make_disk("s");
    assert_eq!(daemon.disk(later).record.key, id("k2"), "what is made now is under the new key");
    // Until it is done, the set has both keys, and the loss of either is its loss.
    let lost = |name: &str| {
        let change = |enabled| KeyChange { enabled: Some(enabled), ..KeyChange::default() };
        daemon.ask(update_of(name, None, change(false)));
        let lost = daemon.set("s").key_lost;
        daemon.ask(update_of(name, None, change(true)));
        lost.unwrap()
    };
    assert!(lost("k").contains("'k'") && lost("k2").contains("'k2'"));
    assert!(daemon.key("k").sets.is_empty(), "it is the key of no set any more");

    let daemon = daemon.restarted();
    due::catch_up(daemon.core()).unwrap();
    assert!(daemon.set("s").previous_keys.is_empty());
    assert!(daemon.key("k").versions[0].retirable);
    for (disk, dek) in disks.iter().zip(&deks) {
        assert_eq!(daemon.disk(*disk).record.key, id("k2"));
        assert_eq!(daemon.dek(*disk), *dek);
    }
    let finished = daemon.records("des-rotate").pop().unwrap();
    assert!(finished.detail.contains("finished key=k2"), "{}", finished.detail);
    assert!(finished.detail.contains("disks=3"), "{}", finished.detail);
}

#[test]
fn a_set_is_put_on_an_older_version_if_it_does_not_follow() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let first = daemon.set("s").active_version;
    daemon.ask(rotate("k"));
    let change = DesChange { auto_rotate: Some(false), ..DesChange::default() };
    daemon.ask(DesUpdate { name: des("s"), change, consent: Consent::Force });
    let (name, key, version) = (des("s"), id("k"), Some(first));
    daemon.ask(DesSetKey { name, key, version, permit: false, consent: Consent::IfUnused });
    due::catch_up(daemon.core()).unwrap();
    assert_eq!(daemon.disk(disk).record.key_version, first);
    assert_eq!(daemon.set("s").active_version, first);
}

#[test]
fn a_key_that_the_set_may_not_use_is_refused_and_nothing_changes() {
    let daemon = Daemon::new();
    daemon.ask(VaultCreate {
        name: "bank".parse().unwrap(),
        retention_days: 7,
        purge_protection: false,
    });
    daemon.make_key("bank/k");
    let disk = daemon.make_disk("s");
    let before = wrapped(&daemon, disk);
    let to = |key: &str, permit| {
        let (name, key, version) = (des("s"), id(key), None);
        DesSetKey { name, key, version, permit, consent: Consent::IfUnused }
    };
    let refused = daemon.refused(to("bank/k", false));
    assert!(
        refused.message.contains("'keyd vault permit bank des:s get,wrapKey,unwrapKey --add'"),
        "{}",
        refused.message
    );
    assert!(daemon.refused(to("platform/platform", true)).message.contains("is keyd's own"));
    let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
    daemon.ask(update_of("bank/k", None, off));
    assert_eq!(daemon.refused(to("bank/k", true)).code, RefusalCode::KeyDisabled);
    assert_eq!((daemon.set("s").key, wrapped(&daemon, disk)), (id("k"), before));
    let vault = daemon.ask(VaultShow { name: "bank".parse().unwrap() });
    assert!(vault.policies.is_empty(), "what was refused has given nobody anything");
    assert!(daemon.refused(set_key("platform", "k")).message.contains("it stays as it is"));
}

#[test]
fn a_disk_moves_under_its_holder_to_the_terms_of_the_other_set() {
    let daemon = Daemon::new();
    daemon.make_key("k2");
    daemon.make_set(
        "t",
        "k2",
        EncryptionType::CustomerKey,
        Terms { lease_ms: 9000, on_revoke: OnRevoke::Fail, ..TERMS },
    );
    let disk = daemon.make_disk("s");
    let mut holder = daemon.attach(disk);
    let before = wrapped(&daemon, disk);
    assert_eq!(done(daemon.ask(move_to(disk, "t"))).rewrapped, 1);
    assert_ne!(wrapped(&daemon, disk), before);
    assert_eq!((daemon.set("s").disks, daemon.set("t").disks), (0, 1));
    assert_eq!(daemon.dek(disk), holder.dek);
    holder.expect_renewal(9000);
    daemon.ask(switch(false));
    holder.expect_nothing();
    let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
    daemon.ask(update_of("k2", None, off));
    assert_eq!(holder.expect_revoked().1, Reaction::Fail);
    // Neither from nor to a set that has no key now.
    for (from, to) in [("t", "s"), ("t", "platform")] {
        let refused = daemon.refused(move_to(disk, to));
        assert_eq!(refused.code, RefusalCode::KeyDisabled, "{from} {to}");
    }
    assert_eq!(daemon.disk(disk).record.des, des("t"));
}

/// A DEK is bound to its disk and its set: a wrapped one that is put in another's place opens nothing.
#[test]
fn a_wrapped_dek_opens_for_its_own_disk_in_its_own_set_only() {
    let daemon = Daemon::new();
    daemon.make_set("t", "k", EncryptionType::CustomerKey, TERMS);
    let (disk, other, elsewhere) =
        (daemon.make_disk("s"), daemon.make_disk("s"), daemon.make_disk("t"));
    let stored = |id| daemon.core().store.snapshot().unwrap().disk(id).unwrap();
    for stranger in [other, elsewhere] {
        let mut swapped = stored(disk);
        swapped.wraps = stored(stranger).wraps;
        daemon
            .core()
            .store
            .commit(|txn| {
                txn.replace_disk(&swapped)?;
                Ok(((), crate::audit::Entry::by_daemon("test", disk)))
            })
            .unwrap();
        assert_eq!(daemon.attachable(disk).unwrap_err().code, RefusalCode::Internal);
    }
}
