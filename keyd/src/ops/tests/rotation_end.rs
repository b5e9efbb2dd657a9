//! A version is taken away while disks are being rotated away from it: they go first.

use super::*;
use crate::{
    keyvault,
    limits::ROTATION_END_TIME,
    ops::{des_follow, due},
};

/// A daemon with two disks of set `s`, the first one held, whose rotation from the returned version has only begun.
fn half_way(terms: Terms, begin: impl FnOnce(&Daemon)) -> (Daemon, [DiskId; 2], KeyVersion) {
    let daemon = Daemon::with(terms);
    let disks = [(); 2].map(|()| daemon.make_disk("s"));
    let old = daemon.set("s").active_version;
    daemon.core().stop();
    begin(&daemon);
    assert_eq!(daemon.set("s").previous_keys[0].wrapped_deks, 2);
    (daemon.restarted(), disks, old)
}

fn begin_rotation(daemon: &Daemon) {
    assert_eq!(daemon.refused(rotate("k")).code, RefusalCode::Conflict);
}

fn off() -> KeyChange {
    KeyChange { enabled: Some(false), ..KeyChange::default() }
}

#[test]
fn a_version_that_is_taken_away_in_any_way_lets_its_rotation_end_first() {
    let revoke = Terms { on_expiry: OnExpiry::Revoke, ..TERMS };
    let operations = Some([KeyOperation::WrapKey].into());
    let soon = Some(Bound::At(clock::now() / 1000 + 1));
    for change in [
        off(),
        KeyChange { operations, ..KeyChange::default() },
        KeyChange { expires: Some(Bound::At(1)), ..KeyChange::default() },
        KeyChange { expires: soon, ..KeyChange::default() },
        KeyChange { not_before: Some(Bound::At(4_000_000_000)), ..KeyChange::default() },
    ] {
        let (daemon, disks, old) = half_way(revoke, begin_rotation);
        let mut holder = daemon.attach(disks[0]);
        // Nothing is hit by it, so nobody has to be sure.
        let consent = Consent::IfUnused;
        let request = KeyUpdate { consent, ..update(Some(old), change.clone()) };
        let revocation = revocation(daemon.ask(request));
        assert_eq!((revocation.told, revocation.left.len()), (0, 0), "{change:?}");
        holder.expect_nothing();
        let set = daemon.set("s");
        assert_eq!(
            (set.previous_keys.len(), &set.rotation_error, &set.key_lost),
            (0, &None, &None)
        );
        for disk in disks {
            assert_eq!(daemon.disk(disk).record.key_version, set.active_version, "{change:?}");
        }
        let (due, key) = (clock::now(), daemon.core().store.snapshot().unwrap().key(&id("k")));
        assert!(key.unwrap().version(old).unwrap().updated <= due, "it was changed");
        assert_eq!(daemon.dek(disks[0]), holder.dek);
    }
}

#[test]
fn so_does_the_key_that_a_set_is_moved_away_from() {
    let to_another = |daemon: &Daemon| {
        daemon.make_key("k2");
        assert_eq!(daemon.refused(set_key("s", "k2")).code, RefusalCode::Conflict);
    };
    let delete = KeyDelete { name: id("k"), consent: Consent::IfUnused, wait_ms: 0 };
    let takes: [&dyn Fn(&Daemon) -> Revocation; 2] =
        [&|daemon| revocation(daemon.ask(delete.clone())), &|daemon| {
            revocation(daemon.ask(update(None, off())))
        }];
    for take in takes {
        let (daemon, disks, _) = half_way(TERMS, to_another);
        let mut holder = daemon.attach(disks[0]);
        let revocation = take(&daemon);
        assert_eq!((revocation.told, revocation.left), (0, vec![]));
        holder.expect_nothing();
        assert_eq!(daemon.disk(disks[1]).record.key, id("k2"));
    }
}

/// Whoever pulls the key pulls the new version with it: there is nothing to wait for.
#[test]
fn a_key_that_goes_as_a_whole_goes_at_once() {
    let (daemon, disks, old) = half_way(TERMS, begin_rotation);
    let mut holder = daemon.attach(disks[0]);
    assert_eq!(revocation(daemon.ask(switch(false))).told, 1);
    holder.expect_revoked();
    assert_eq!(daemon.disk(disks[0]).record.key_version, old);
}

/// A version that was put in front a moment ago, which no set has followed yet.
#[test]
fn a_set_that_has_not_begun_to_follow_follows_first() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let (mut holder, old) = (daemon.attach(disk), daemon.set("s").active_version);
    let core = daemon.core();
    let new = core.make_version(&id("k"), KeyBits::Rsa2048, Provider::Software).unwrap();
    daemon.edit_key("k", |key| key.push(new).unwrap());
    assert!(des_follow::due(&core.store.snapshot().unwrap(), &stored_set(&daemon)).unwrap());
    daemon.ask(update(Some(old), off()));
    holder.expect_nothing();
    assert_ne!(daemon.disk(disk).record.key_version, old);
    assert_eq!(daemon.warnings(), "");
}

fn stored_set(daemon: &Daemon) -> Des {
    daemon.core().store.snapshot().unwrap().set(&des("s")).unwrap()
}

/// What is left then is said, and has a way back that brings no other version with it.
#[test]
fn what_cannot_be_finished_in_time_is_left_behind_and_told() {
    let (daemon, disks, old) = half_way(TERMS, begin_rotation);
    let mut holder = daemon.attach(disks[0]);
    let busy = daemon.core().claim_rewrap(&des("s"));
    let began = std::time::Instant::now();
    let revocation = revocation(daemon.ask(update(Some(old), off())));
    assert!(began.elapsed() < 2 * ROTATION_END_TIME + std::time::Duration::from_secs(20));
    drop(busy);
    assert_eq!(revocation.told, 1);
    let [left] = revocation.left.as_slice() else { panic!("{revocation:?}") };
    assert_eq!((&left.set, left.disks), (&des("s"), 2));
    let record = daemon.records("key-update").pop().unwrap();
    assert!(record.detail.contains("left-behind=s:2"), "{}", record.detail);
    // The version is named, and so is what mends it and nothing else.
    due::catch_up(daemon.core()).unwrap();
    let told = [
        holder.expect_revoked().0,
        daemon.disk(disks[1]).key_lost.unwrap(),
        daemon.set("s").key_lost.unwrap(),
        daemon.set("s").rotation_error.unwrap().message,
        daemon.warnings(),
    ];
    for text in told {
        let named = format!("version {old} of key 'k' is disabled");
        let remedy = format!("'keyd key enable k --version {old}'");
        assert!(text.contains(&named) && text.contains(&remedy), "{text}");
        assert!(!text.contains("enable k'"), "{text}");
    }
    holder.fence();
    let on = KeyChange { enabled: Some(true), ..KeyChange::default() };
    daemon.ask(update(Some(old), on));
    holder.expect_back();
    due::catch_up(daemon.core()).unwrap();
    assert_eq!((daemon.set("s").previous_keys.len(), daemon.warnings().as_str()), (0, ""));
}

/// Key Vault's own way: its clients rotate, and disable the old version with their next request.
#[test]
fn a_rotation_by_https_answers_when_the_disks_are_wrapped_anew() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let old = daemon.set("s").active_version;
    let rotate = keyvault::Request::Rotate { name: "k".parse().unwrap() };
    let (by, vault) = (Caller::local(OWNER, 1), VaultName::default_vault());
    daemon.service.keyvault(&by, &vault, rotate).unwrap();
    assert_ne!(daemon.disk(disk).record.key_version, old);
    assert!(daemon.key("k").versions[1].retirable);
}

/// Several versions: each refusal says which.
#[test]
fn every_loss_of_a_version_is_told_with_the_versions_own_remedy() {
    let revoke = Terms { on_expiry: OnExpiry::Revoke, ..TERMS };
    let operations = Some([KeyOperation::WrapKey].into());
    let future = Some(Bound::At(4_000_000_000));
    for (change, why, remedy) in [
        (off(), "is disabled", "key enable k --version"),
        (
            KeyChange { operations, ..KeyChange::default() },
            "may not unwrapKey",
            "key set k --version",
        ),
        (
            KeyChange { expires: Some(Bound::At(1)), ..KeyChange::default() },
            "has expired",
            "key set k --version",
        ),
        (
            KeyChange { not_before: future, ..KeyChange::default() },
            "is not valid yet",
            "key set k --version",
        ),
    ] {
        let daemon = Daemon::with(revoke);
        let disk = daemon.make_disk("s");
        daemon.ask(rotate("k"));
        let active = daemon.set("s").active_version;
        daemon.ask(update(Some(active), change));
        let text = daemon.attachable(disk).unwrap_err().message;
        assert!(text.contains(&format!("version {active} of key 'k' {why}")), "{text}");
        assert!(text.contains(&format!("keyd {remedy} {active}")), "{text}");
        // A rotation cannot open what it would have to wrap anew.
        assert!(!text.contains("key rotate"), "{text}");
    }
}
