//! A key that was brought back from its backup in another vault has the versions of the first. It is another key.

use super::*;
use crate::{
    error::{Failure, Fault, Refused},
    ops::{
        due, vault_key_backup,
        vault_key_restore::{self, Restored},
    },
};

/// Copies `k` into the vault `spare`.
fn restored(daemon: &Daemon) {
    let name: VaultName = "spare".parse().unwrap();
    daemon.change(|txn| txn.put_vault(&Vault::new(name.clone(), 90, false, 1).unwrap()));
    let done = restore(daemon, OWNER, name.as_str(), &backup(daemon));
    assert!(matches!(done, Restored::Done(_)), "{done:?}");
}

/// Key `k`, sealed.
fn backup(daemon: &Daemon) -> Vec<u8> {
    let core = daemon.core();
    let view = core.store.snapshot().unwrap();
    let permit = core.auth.authorize(&Caller::local(OWNER, 1), None, &view).unwrap();
    vault_key_backup::run(core, permit, &id("k")).unwrap()
}

fn restore(daemon: &Daemon, uid: u32, vault: &str, blob: &[u8]) -> Restored {
    let (core, vault) = (daemon.core(), vault.parse().unwrap());
    let view = core.store.snapshot().unwrap();
    let permit = core.auth.authorize(&Caller::local(uid, 1), Some(&vault), &view).unwrap();
    vault_key_restore::run(core, permit, &vault, blob).unwrap()
}

/// Destroys `k`, which wraps nothing.
fn purge(daemon: &Daemon) {
    daemon.ask(KeyDelete { name: id("k"), consent: Consent::Force, wait_ms: 0 });
    let purged = daemon.ask(KeyPurge { name: id("k"), consent: Consent::Force });
    assert_eq!(purged, Weighed::Done(Purged::Destroyed));
}

fn off(name: &str) -> KeyUpdate {
    update_of(name, None, KeyChange { enabled: Some(false), ..KeyChange::default() })
}

#[test]
fn a_set_is_put_on_it_and_falls_with_it_alone() {
    let daemon = Daemon::new();
    let (disk, other) = (daemon.make_disk("s"), daemon.make_disk("s"));
    let mut holder = daemon.attach(disk);
    restored(&daemon);
    assert_eq!(daemon.key("spare/k").versions[0].version, daemon.key("k").versions[0].version);
    assert_eq!(done(daemon.ask(set_key("s", "spare/k"))).rewrapped, 2);
    assert_eq!(daemon.disk(disk).record.key, id("spare/k"));
    let wrapped = |name| daemon.key(name).versions[0].wrapped_deks;
    assert_eq!((wrapped("k"), wrapped("spare/k")), (0, 2));
    assert!(daemon.key("k").versions[0].retirable, "nothing is under it any more");
    daemon.ask(off("k"));
    holder.expect_nothing();
    daemon.ask(off("spare/k"));
    assert!(holder.expect_revoked().0.contains("'spare/k' is disabled"));
    assert_eq!(daemon.attachable(other).unwrap_err().code, RefusalCode::KeyDisabled);
}

/// What was brought back is as foreign to a set as what was imported; what is made from then on is not.
#[test]
fn what_was_restored_is_known_as_that() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    restored(&daemon);
    daemon.ask(set_key("s", "spare/k"));
    daemon.ask(rotate("spare/k"));
    let told: Vec<bool> = daemon.key("spare/k").versions.iter().map(|v| v.restored).collect();
    assert_eq!((told, daemon.key("k").versions[0].restored), (vec![false, true], false));
    assert_eq!(daemon.set("s").active_version, daemon.key("spare/k").versions[0].version);
    assert_eq!(daemon.disk(disk).record.key, id("spare/k"));
}

/// A set was put on a key, not on whoever has its name later.
#[test]
fn a_set_whose_key_was_purged_does_not_follow_one_of_its_name() {
    let daemon = Daemon::new();
    let before = daemon.set("s").active_version;
    purge(&daemon);
    daemon.put_key(Key::new(id("k"), false, first_version(&id("other"))));
    due::catch_up(daemon.core()).unwrap();
    let set = daemon.set("s");
    assert_eq!(set.active_version, before);
    let error = set.rotation_error.expect("an error");
    assert!(error.message.contains("another key"), "{error:?}");
}

/// One alone could undo what it took two to do.
#[test]
fn a_purged_key_is_brought_back_by_two() {
    let daemon = Daemon::new();
    let blob = backup(&daemon);
    let version = daemon.key("k").versions[0].version;
    purge(&daemon);
    daemon.ask(policy(&Principal::User(60), &[KeyPermission::Restore]));
    let spare: VaultName = "spare".parse().unwrap();
    daemon.change(|txn| txn.put_vault(&Vault::new(spare.clone(), 90, false, 1).unwrap()));
    let asked = |uid, vault| matches!(restore(&daemon, uid, vault, &blob), Restored::Asked(1));
    assert!(asked(60, "default"));
    assert!(asked(60, "default"), "asking twice is not asking together");
    assert!(asked(OWNER, "spare"), "nor is asking for it somewhere else");
    assert_eq!(daemon.refused(KeyShow { name: id("k") }).code, RefusalCode::NotFound);
    assert!(asked(60, "default"));
    // A restart forgets nothing of it.
    let daemon = daemon.restarted();
    assert!(matches!(restore(&daemon, OWNER, "default", &blob), Restored::Done(_)));
    assert_eq!(daemon.key("k").versions[0].version, version);
    let outcomes: Vec<_> = daemon.records("key-restore").into_iter().map(|r| r.outcome).collect();
    assert_eq!(outcomes, ["asked", "asked", "asked", "asked", "ok"]);
    let row = daemon.records("key-restore").pop().unwrap();
    assert!(row.detail.contains("purged=1"), "{row:?}");
    // Purged once more, it takes two once more.
    purge(&daemon);
    assert!(matches!(restore(&daemon, OWNER, "default", &blob), Restored::Asked(1)));
}

/// Also by the end of its retention, and whatever of it was in use.
#[test]
fn a_key_that_was_destroyed_by_the_clock_is_remembered_too() {
    let daemon = Daemon::new();
    let blob = backup(&daemon);
    let now = clock::now();
    daemon.edit_key("k", |key| key.delete(now - days(90), now - 1).unwrap());
    due::purge(daemon.core()).unwrap();
    assert!(matches!(restore(&daemon, OWNER, "default", &blob), Restored::Asked(1)));
}

/// What destroys a key says whether that is for ever.
#[test]
fn a_purge_says_whether_and_when_the_key_was_backed_up() {
    let dry_run = |daemon: &Daemon| {
        let purge = KeyPurge { name: id("k"), consent: Consent::DryRun };
        match daemon.ask(purge) {
            Weighed::Would(impact) => impact.backups.expect("what is known of backups"),
            Weighed::Done(done) => panic!("{done:?}"),
        }
    };
    let delete = |daemon: &Daemon| {
        daemon.ask(KeyDelete { name: id("k"), consent: Consent::Force, wait_ms: 0 });
    };
    let row = |daemon: &Daemon| daemon.records("key-purge").pop().unwrap().detail;
    let daemon = Daemon::new();
    assert_eq!(daemon.key("k").backups, KeyBackups::default());
    delete(&daemon);
    assert_eq!(dry_run(&daemon), KeyBackups::default());
    daemon.ask(KeyPurge { name: id("k"), consent: Consent::Force });
    assert!(row(&daemon).contains("key-backup=never state-backup=never"), "{}", row(&daemon));

    let daemon = Daemon::new();
    let began = clock::now();
    backup(&daemon);
    let own = daemon.key("k").backups.own.expect("it was taken out");
    assert!(own >= began && daemon.key("k").backups.whole.is_none());
    // A backup of everything has the keys that there were, and no later ones.
    daemon.change(|txn| txn.put_backed_up(clock::now()));
    let whole = daemon.key("k").backups.whole.expect("it was in it");
    let mut later = first_version(&id("later"));
    later.created = whole + 1;
    daemon.put_key(Key::new(id("later"), false, later));
    assert_eq!(daemon.key("later").backups, KeyBackups::default());
    delete(&daemon);
    assert_eq!(dry_run(&daemon), KeyBackups { own: Some(own), whole: Some(whole) });
    daemon.ask(KeyPurge { name: id("k"), consent: Consent::Force });
    let at = |millis| clock::text(millis).replace(' ', "T");
    let told = format!("key-backup={} state-backup={}", at(own), at(whole));
    assert!(row(&daemon).contains(&told), "{}", row(&daemon));
}

/// What is still under the one while its set is on the other: the journal has it, the key's loss hits it, and it is
/// brought to the other.
#[test]
fn what_is_left_under_the_first_is_known_as_its() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let mut holder = daemon.attach(disk);
    restored(&daemon);
    daemon.ask(policy_in("spare", &identity("s"), &crate::model::right::IDENTITY_NEEDS));
    let version = daemon.key("k").versions[0].version;
    daemon.edit_set("s", |set| set.activate(&id("spare/k"), version, 1));
    let [previous] = &daemon.set("s").previous_keys[..] else { panic!("{:?}", daemon.set("s")) };
    assert_eq!((&previous.key, previous.wrapped_deks), (&id("k"), 1));
    let consent = Consent::DryRun;
    let delete = KeyDelete { name: id("k"), consent, wait_ms: 0 };
    let impact = would(daemon.ask(delete));
    assert_eq!((impact.disks, impact.held), (1, 1));
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    let (name, consent) = (id("spare/k"), Consent::DryRun);
    let disable = KeyUpdate { name, version: None, change, consent, wait_ms: 0 };
    let impact = would(daemon.ask(disable));
    assert_eq!(impact.disks, 0, "nothing is under that one yet");
    due::catch_up(daemon.core()).unwrap();
    assert_eq!(daemon.disk(disk).record.key, id("spare/k"));
    assert!(daemon.set("s").previous_keys.is_empty());
    holder.expect_nothing();
}

#[test]
fn a_store_from_before_the_difference_learns_it() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    testing::make_older(&daemon.core().store);
    // Nobody can say whether its records are those that were written: it is taken when that is asked for.
    let twin = daemon.twin.clone();
    drop(daemon);
    let opened = Store::open(twin.dir(), testing::seal(), &Options::default(), None);
    assert!(matches!(opened, Err(Fault::OlderFormat)));
    let upgrade = || {
        let entry = crate::audit::Entry::by_daemon("store-upgrade", "store");
        crate::store::upgrade(twin.dir(), testing::seal(), entry)
    };
    assert!(upgrade().unwrap() > 5);
    assert!(matches!(upgrade(), Err(Failure::Refused(Refused::NothingToUpgrade))));
    let daemon = Daemon::open(twin.clone());
    assert_eq!(daemon.core().store.damage().names, Vec::<String>::new());
    assert_eq!(daemon.key("k").versions[0].wrapped_deks, 1);
    assert_eq!(daemon.set("s").disks, 1);
    assert_eq!(daemon.ask(rotate("k")).rewrapped, 1);
    assert_eq!(daemon.disk(disk).record.key_version, daemon.key("k").versions[0].version);
    daemon.ask(DiskErase { id: disk, consent: Consent::Force });
    assert_eq!(daemon.set("s").disks, 0, "no row of the older kind is left");
}
