//! Sets that follow their key, sets that do not, and sets that cannot (Azure: `autoKeyRotationError`).

use super::*;
use crate::{limits::ROTATION_RETRY_MS, ops::due};

fn catch_up(daemon: &Daemon) {
    due::catch_up(daemon.core()).unwrap();
}

fn only(permissions: &[KeyPermission]) -> VaultPermit {
    policy(&identity("s"), permissions)
}

const ALL: [KeyPermission; 3] = crate::model::right::IDENTITY_NEEDS;

#[test]
fn a_set_that_does_not_follow_stays_until_it_is_told() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let follow = |auto_rotate| {
        let change = DesChange { auto_rotate: Some(auto_rotate), ..DesChange::default() };
        daemon.ask(DesUpdate { name: des("s"), change, consent: Consent::Force });
    };
    follow(false);
    let first = daemon.set("s").active_version;
    assert_eq!(daemon.ask(rotate("k")).rewrapped, 0);
    catch_up(&daemon);
    let (set, key) = (daemon.set("s"), daemon.key("k"));
    assert_eq!((set.active_version, set.last_rotation, set.rotation_error), (first, None, None));
    assert_eq!(key.versions.iter().map(|v| v.wrapped_deks).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(key.versions.iter().map(|v| v.retirable).collect::<Vec<_>>(), [true, false]);
    // A disk that is made meanwhile is under the version the set is on.
    let later = daemon.make_disk("s");
    assert_eq!(daemon.disk(later).record.key_version, first);
    follow(true);
    catch_up(&daemon);
    let set = daemon.set("s");
    assert_eq!(set.active_version, daemon.key("k").versions[0].version);
    assert!(set.last_rotation.is_some() && set.previous_keys.is_empty());
    for disk in [disk, later] {
        assert_eq!(daemon.disk(disk).record.key_version, set.active_version);
    }
    let retirable: Vec<bool> = daemon.key("k").versions.iter().map(|v| v.retirable).collect();
    assert_eq!(retirable, [false, true], "the active version is not, though all is under it");
}

#[test]
fn a_set_that_cannot_follow_says_why_is_tried_again_and_goes_on_when_it_can() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let (dek, old) = (daemon.dek(disk), daemon.set("s").active_version);
    daemon.ask(only(&[KeyPermission::Get, KeyPermission::UnwrapKey]));
    assert_eq!(daemon.ask(rotate("k")).rewrapped, 0);
    let error = daemon.set("s").rotation_error.expect("an error");
    assert!(error.message.contains("no permission 'wrapKey'"), "{error:?}");
    assert_eq!(daemon.set("s").active_version, old);
    assert!(daemon.warnings().contains("set 's' does not follow its key"), "{}", daemon.warnings());
    let stopped = || {
        let records = daemon.records("des-rotate");
        records.iter().filter(|record| record.outcome == "stopped").count()
    };
    assert_eq!(stopped(), 1);
    // Not every second.
    catch_up(&daemon);
    assert_eq!((stopped(), daemon.set("s").rotation_error), (1, Some(error.clone())));
    let ago = |set: &mut Des| {
        let error = set.rotation_error.as_mut().unwrap();
        error.tried -= ROTATION_RETRY_MS;
        error.since -= ROTATION_RETRY_MS;
    };
    daemon.edit_set("s", ago);
    catch_up(&daemon);
    let again = daemon.set("s").rotation_error.expect("still");
    assert_eq!((stopped(), again.since), (2, error.since - ROTATION_RETRY_MS));
    assert!(again.tried >= error.tried);
    // As soon as it can.
    daemon.ask(only(&ALL));
    catch_up(&daemon);
    let set = daemon.set("s");
    assert_eq!((set.rotation_error, set.previous_keys.len()), (None, 0));
    assert_ne!(set.active_version, old);
    assert_eq!((daemon.dek(disk), stopped()), (dek, 2));
    assert_eq!(daemon.warnings(), "");
}

/// The version that it is on could wrap; the one that it should follow cannot. Each try is an audit record.
#[test]
fn a_newest_version_that_cannot_wrap_is_not_tried_every_second() {
    let daemon = Daemon::new();
    daemon.make_disk("s");
    daemon.ask(only(&[KeyPermission::Get, KeyPermission::UnwrapKey]));
    daemon.ask(rotate("k"));
    let newest = Some(daemon.key("k").versions[0].version);
    daemon.ask(update(newest, KeyChange { enabled: Some(false), ..KeyChange::default() }));
    daemon.ask(only(&ALL));
    for _ in 0..5 {
        catch_up(&daemon);
    }
    assert_eq!(daemon.records("des-rotate").len(), 1);
    daemon.ask(update(newest, KeyChange { enabled: Some(true), ..KeyChange::default() }));
    catch_up(&daemon);
    assert_eq!(Some(daemon.set("s").active_version), newest);
}

/// Half way, the old key goes: the set says so, every disk that can still be opened is, and it ends by itself.
#[test]
fn a_rotation_whose_old_key_goes_half_way_ends_when_it_is_back() {
    let daemon = Daemon::new();
    daemon.make_key("k2");
    let disk = daemon.make_disk("s");
    let dek = daemon.dek(disk);
    daemon.core().stop();
    assert_eq!(daemon.refused(set_key("s", "k2")).code, RefusalCode::Conflict);
    // Nor does it come to its end when the old key is about to go.
    daemon.ask(switch(false));
    let daemon = daemon.restarted();
    catch_up(&daemon);
    let set = daemon.set("s");
    let error = set.rotation_error.expect("an error");
    assert!(error.message.contains("key 'k' is disabled"), "{error:?}");
    assert_eq!((set.key, set.previous_keys[0].wrapped_deks), (id("k2"), 1));
    assert!(daemon.attachable(disk).is_err(), "its DEK is under the old key");
    daemon.ask(switch(true));
    catch_up(&daemon);
    assert_eq!(daemon.set("s").rotation_error, None);
    assert_eq!((daemon.disk(disk).record.key, daemon.dek(disk)), (id("k2"), dek));
}

/// Key `k` with a version in front that was not made by rotating it.
fn put_in_front(daemon: &Daemon, edit: impl FnOnce(&mut Version)) -> KeyVersion {
    let mut version = first_version(&id("other"));
    version.version = KeyVersion::random();
    edit(&mut version);
    let number = version.version;
    daemon.edit_key("k", |key| key.push(version).unwrap());
    number
}

/// Somebody outside may have the private part of what was imported: it must not get one DEK by being the newest.
#[test]
fn an_imported_version_is_followed_when_somebody_says_so_for_the_set() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let before = daemon.disk(disk).record.key_version;
    let imported = put_in_front(&daemon, |version| version.imported = true);
    for _ in 0..3 {
        catch_up(&daemon);
    }
    let set = daemon.set("s");
    let error = set.rotation_error.expect("an error");
    assert_eq!((error.code.as_str(), set.active_version), ("KeyVersionNotFollowed", before));
    assert!(error.message.contains("was imported"), "{error:?}");
    let advice = format!("'keyd des set-key s --key k --version {imported}'");
    assert!(error.message.contains(&advice), "{error:?}");
    assert_eq!(daemon.disk(disk).record.key_version, before, "nothing was wrapped under it");
    let later = daemon.make_disk("s");
    assert_eq!(daemon.disk(later).record.key_version, before);
    // It waits for somebody's word, and makes no rows meanwhile.
    daemon.edit_set("s", |set| set.rotation_error.as_mut().unwrap().tried -= ROTATION_RETRY_MS);
    catch_up(&daemon);
    assert_eq!(daemon.records("des-rotate").len(), 1);
    assert!(daemon.warnings().contains("was imported"), "{}", daemon.warnings());
    let (name, key, version) = (des("s"), id("k"), Some(imported));
    let consent = Consent::IfUnused;
    let refused = daemon.refused(DesSetKey { name, key, version, permit: true, consent });
    assert_eq!(refused.code, RefusalCode::Conflict, "the test's version has another's material");
    assert_eq!(daemon.set("s").active_version, imported, "it was said, and so it is done");
}

/// What comes in front of a key meanwhile does not stop what was begun.
#[test]
fn a_rotation_under_way_ends_whatever_is_put_in_front_of_the_key() {
    let daemon = Daemon::new();
    daemon.make_key("k2");
    let disk = daemon.make_disk("s");
    daemon.core().stop();
    assert_eq!(daemon.refused(set_key("s", "k2")).code, RefusalCode::Conflict);
    let daemon = daemon.restarted();
    let version = daemon.key("k2").versions[0].version;
    let imported =
        Version { imported: true, version: KeyVersion::random(), ..first_version(&id("k2")) };
    daemon.edit_key("k2", |key| key.push(imported).unwrap());
    for _ in 0..2 {
        catch_up(&daemon);
    }
    let record = daemon.disk(disk).record;
    assert_eq!((record.key, record.key_version), (id("k2"), version));
    assert!(daemon.set("s").rotation_error.expect("told").message.contains("was imported"));
}

/// One `create` with an end in seconds would take a set's disks away.
#[test]
fn a_version_that_ends_too_soon_is_followed_when_it_does_not() {
    let daemon = Daemon::with(Terms { on_expiry: OnExpiry::Revoke, ..TERMS });
    let disk = daemon.make_disk("s");
    let mut holder = daemon.attach(disk);
    let soon = clock::now() / 1000 + 4;
    daemon.ask(rotate("k"));
    let before = daemon.set("s").active_version;
    let made = daemon.core().make_version(&id("k"), KeyBits::Rsa2048, Provider::Software).unwrap();
    let newest = made.version;
    daemon.edit_key("k", |key| key.push(Version { expires: Some(soon), ..made }).unwrap());
    catch_up(&daemon);
    let error = daemon.set("s").rotation_error.expect("an error");
    let advice = format!("'keyd key set k --version {newest} --expires never'");
    assert!(error.message.contains(&advice), "{error:?}");
    due::enforce(daemon.core()).unwrap();
    holder.expect_nothing();
    assert_eq!(daemon.set("s").active_version, before);
    // The advice is right, and what it mends is followed without waiting.
    let change = KeyChange { expires: Some(Bound::Never), ..KeyChange::default() };
    daemon.ask(update(Some(newest), change));
    catch_up(&daemon);
    let set = daemon.set("s");
    assert_eq!((set.active_version, set.rotation_error), (newest, None));
    assert_eq!(daemon.disk(disk).record.key_version, newest);
    holder.expect_nothing();
}

/// Where the end of a key is its loss, another version cannot help: nothing opens what is to be wrapped under it.
#[test]
fn a_revoking_set_whose_key_has_ended_is_told_what_brings_it_back() {
    let daemon = Daemon::with(Terms { on_expiry: OnExpiry::Revoke, ..TERMS });
    let disk = daemon.make_disk("s");
    let version = daemon.set("s").active_version;
    let end = KeyChange { expires: Some(Bound::At(1)), ..KeyChange::default() };
    daemon.edit_key("k", |key| key.change(None, &end, 5).unwrap());
    let advice = "'keyd key set k --expires ...'";
    for told in [daemon.set("s").key_lost, daemon.disk(disk).key_lost] {
        let told = told.expect("lost");
        assert!(told.contains(advice) && !told.contains("key rotate"), "{told}");
    }
    assert_eq!(daemon.refused(rotate("k")).code, RefusalCode::Conflict);
    catch_up(&daemon);
    let error = daemon.set("s").rotation_error.expect("an error");
    let advice = format!("'keyd key set k --version {version} --expires ...'");
    assert!(error.message.contains(&advice), "{error:?}");
    assert!(!error.message.contains("key rotate"), "{error:?}");
    // And it does.
    let never = KeyChange { expires: Some(Bound::Never), ..KeyChange::default() };
    daemon.ask(update(Some(version), never));
    catch_up(&daemon);
    let set = daemon.set("s");
    assert_eq!((set.rotation_error, set.key_lost), (None, None));
    assert_ne!(daemon.disk(disk).record.key_version, version);
}

/// Who sees a wrapped DEK and has the key has the DEK: it takes a right of its own to see it.
#[test]
fn a_wrapped_dek_is_shown_to_who_may_see_it_and_to_nobody_else() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let shown = |uid| daemon.try_as(uid, DiskShow { id: disk }).unwrap().wrapped.is_some();
    let everything_else: Vec<Permission> = Permission::ALL
        .iter()
        .copied()
        .filter(|p| !matches!(p, Permission::ReadWrapped | Permission::Administer))
        .collect();
    daemon.ask(grant_to(60, &everything_else, Scope::All));
    assert!(!shown(60) && shown(OWNER));
    let reply = daemon.try_as(60, DiskList { after: None }).unwrap();
    let text = serde_json::to_string(&reply).unwrap();
    assert!(!text.contains("\"wrapped\""), "{text}");
    let holder = daemon.try_attach_as(60, disk).unwrap();
    let text = serde_json::to_string(&holder.attached).unwrap();
    assert!(!text.contains("\"wrapped\""), "{text}");
    holder.hang_up();
    daemon.ask(grant_to(60, &[Permission::Read, Permission::ReadWrapped], Scope::All));
    assert!(shown(60));
}
