//! A key that was brought back from its backup in another vault has the versions of the first. It is another key.

use super::*;
use crate::ops::{due, vault_key_backup, vault_key_restore};

/// Copies `k` into the vault `spare`.
fn restored(daemon: &Daemon) {
    let name: VaultName = "spare".parse().unwrap();
    daemon.change(|txn| txn.put_vault(&Vault::new(name.clone(), 90, false, 1).unwrap()));
    let (core, caller) = (daemon.core(), Caller::local(OWNER, 1));
    let view = core.store.snapshot().unwrap();
    let permit = core.auth.authorize(&caller, None, &view).unwrap();
    let blob = vault_key_backup::run(core, permit, &id("k")).unwrap();
    let permit = core.auth.authorize(&caller, None, &view).unwrap();
    vault_key_restore::run(core, permit, &name, &blob).unwrap();
}

fn off(name: &str) -> KeyRequest {
    update_of(name, None, KeyChange { enabled: Some(false), ..KeyChange::default() })
}

#[test]
fn a_set_is_put_on_it_and_falls_with_it_alone() {
    let daemon = Daemon::new();
    let (disk, other) = (daemon.make_disk("s"), daemon.make_disk("s"));
    let mut holder = daemon.attach(disk);
    restored(&daemon);
    assert_eq!(daemon.key("spare/k").versions[0].version, daemon.key("k").versions[0].version);
    assert_eq!(rewrapped(&daemon.ask(set_key("s", "spare/k"))), 2);
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
    let delete = KeyRequest::Delete { name: id("k"), consent, wait_ms: 0 };
    let Reply::Impact(impact) = daemon.ask(delete) else { panic!("no impact") };
    assert_eq!((impact.disks, impact.held), (1, 1));
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    let (name, consent) = (id("spare/k"), Consent::DryRun);
    let disable = KeyRequest::Update { name, version: None, change, consent, wait_ms: 0 };
    let Reply::Impact(impact) = daemon.ask(disable) else { panic!("no impact") };
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
    let daemon = daemon.restarted();
    assert_eq!(daemon.key("k").versions[0].wrapped_deks, 1);
    assert_eq!(daemon.set("s").disks, 1);
    assert_eq!(rewrapped(&daemon.ask(rotate("k"))), 1);
    assert_eq!(daemon.disk(disk).record.key_version, daemon.key("k").versions[0].version);
    daemon.ask(DiskRequest::Erase { id: disk, consent: Consent::Force });
    assert_eq!(daemon.set("s").disks, 0, "no row of the older kind is left");
}
