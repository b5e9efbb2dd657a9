//! Sets that follow their key, sets that do not, and sets that cannot (Azure: `autoKeyRotationError`).

use keyd_client::message::DesChange;

use super::*;
use crate::{limits::ROTATION_RETRY_MS, ops::due};

fn catch_up(daemon: &Daemon) {
    due::catch_up(daemon.core()).unwrap();
}

fn only(permissions: &[KeyPermission]) -> VaultRequest {
    policy(&identity("s"), permissions)
}

const ALL: [KeyPermission; 3] = crate::model::right::IDENTITY_NEEDS;

#[test]
fn a_set_that_does_not_follow_stays_until_it_is_told() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let follow = |auto_rotate| {
        let change = DesChange { auto_rotate: Some(auto_rotate), ..DesChange::default() };
        daemon.ask(DesRequest::Update { name: des("s"), change, consent: Consent::Force });
    };
    follow(false);
    let first = daemon.set("s").active_version;
    assert_eq!(rewrapped(&daemon.ask(rotate("k"))), 0);
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
    assert_eq!(rewrapped(&daemon.ask(rotate("k"))), 0);
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
