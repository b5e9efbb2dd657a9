use keyd_client::message::Bound;
use proptest::prelude::*;

use super::*;
use crate::kek::{Material, PublicKey, SealedKey};

fn version(created: UnixMillis) -> Version {
    let material = Material::Sealed(SealedKey(vec![1, 2, 3]));
    let public = PublicKey { n: vec![0x80; 256], e: vec![1, 0, 1] };
    Version::new(KeyVersion::random(), (material, public), created)
}

fn key() -> Key {
    Key::new("k".parse().unwrap(), false, version(1))
}

fn switch(key: &mut Key, enabled: bool) {
    let change = KeyChange { enabled: Some(enabled), ..KeyChange::default() };
    key.change(None, &change, 5).unwrap();
}

#[test]
fn a_disabled_key_does_nothing_under_any_version() {
    let mut key = key();
    key.push(version(2)).unwrap();
    switch(&mut key, false);
    for v in key.versions() {
        for operation in KeyOperation::ALL {
            let refused = key.usable(v.version, operation, 10);
            assert!(matches!(refused, Err(Refused::KeyDisabled(_))));
        }
    }
}

#[test]
fn one_version_is_switched_alone() {
    let mut key = key();
    let old = key.newest().version;
    key.push(version(2)).unwrap();
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    key.change(Some(old), &change, 5).unwrap();
    assert!(key.usable(old, KeyOperation::UnwrapKey, 10).is_err());
    assert!(key.usable(key.newest().version, KeyOperation::UnwrapKey, 10).is_ok());
    let strange = key.change(Some(KeyVersion::random()), &change, 5);
    assert!(matches!(strange, Err(Refused::NoVersion(..))));
}

#[test]
fn tags_keep_to_key_vaults_limits_and_a_refused_change_changes_nothing() {
    let mut key = key();
    let tags = |count: usize, name_len: usize| {
        let tags = (0..count).map(|n| (format!("{n:é>name_len$}"), String::new())).collect();
        KeyChange { enabled: Some(false), tags: Some(tags), ..KeyChange::default() }
    };
    assert!(matches!(key.change(None, &tags(16, 9), 5), Err(Refused::TooManyTags(16))));
    assert!(matches!(key.change(None, &tags(1, 257), 5), Err(Refused::TagLength)));
    assert!(key.newest().enabled);
    key.change(None, &tags(15, 256), 5).unwrap();
    assert_eq!(key.newest().tags.len(), 15);
}

#[test]
fn no_change_leaves_a_version_that_could_never_be_used() {
    let mut key = key();
    let bounds = |from: Option<u64>, until: Option<u64>| {
        let (not_before, expires) = (from.map(Bound::At), until.map(Bound::At));
        KeyChange { not_before, expires, ..KeyChange::default() }
    };
    key.change(None, &bounds(None, Some(200)), 5).unwrap();
    for wrong in [bounds(Some(200), None), bounds(Some(300), None), bounds(Some(300), Some(250))] {
        let refused = key.change(None, &wrong, 6);
        assert!(matches!(refused, Err(Refused::NeverValid(_))), "{wrong:?}");
    }
    assert_eq!((key.newest().not_before, key.newest().updated), (None, 5), "nothing was changed");
    key.change(None, &bounds(Some(199), None), 5).unwrap();
    assert!(matches!(key.change(None, &bounds(None, Some(199)), 5), Err(Refused::NeverValid(_))));
    key.change(None, &bounds(Some(300), Some(400)), 5).unwrap();
    let endless = KeyChange { expires: Some(Bound::Never), ..KeyChange::default() };
    key.change(None, &endless, 5).unwrap();
    // One of several versions is enough.
    key.push(version(2)).unwrap();
    assert!(matches!(key.change(None, &bounds(None, Some(250)), 5), Err(Refused::NeverValid(_))));
    assert_eq!(key.newest().expires, None);
    switch(&mut key, false);
}

/// Key Vault's table: outside nbf..exp wrap, encrypt and sign are refused, unwrap, decrypt and verify are not.
#[test]
fn validity_stops_what_makes_new_ciphertext_only() {
    let mut key = key();
    let (not_before, expires) = (Some(Bound::At(100)), Some(Bound::At(200)));
    key.change(None, &KeyChange { not_before, expires, ..KeyChange::default() }, 5).unwrap();
    let newest = key.newest().version;
    for (seconds, valid) in [(0, false), (99, false), (100, true), (199, true), (200, false)] {
        let now = seconds * 1000 + 999;
        for operation in KeyOperation::ALL {
            let makes = matches!(
                operation,
                KeyOperation::WrapKey | KeyOperation::Encrypt | KeyOperation::Sign
            );
            let usable = key.usable(newest, operation, now).is_ok();
            assert_eq!(usable, valid || !makes, "{operation:?} at {seconds}");
        }
    }
    let (not_before, expires) = (Some(Bound::Never), Some(Bound::Never));
    key.change(None, &KeyChange { not_before, expires, ..KeyChange::default() }, 5).unwrap();
    assert_eq!((key.newest().not_before, key.newest().expires), (None, None));
}

#[test]
fn operations_that_are_not_permitted_are_refused() {
    let mut key = key();
    let operations = Some([KeyOperation::WrapKey].into());
    key.change(None, &KeyChange { operations, ..KeyChange::default() }, 5).unwrap();
    let newest = key.newest().version;
    assert!(key.usable(newest, KeyOperation::WrapKey, 10).is_ok());
    let refused = key.usable(newest, KeyOperation::UnwrapKey, 10);
    assert!(matches!(refused, Err(Refused::Operation(_, KeyOperation::UnwrapKey))));
}

#[test]
fn a_deleted_key_is_out_of_use_until_it_is_recovered() {
    let mut key = key();
    let newest = key.newest().version;
    key.delete(10, 20).unwrap();
    assert!(matches!(key.delete(11, 21), Err(Refused::KeyDeleted(_))));
    assert!(matches!(key.usable(newest, KeyOperation::UnwrapKey, 10), Err(Refused::KeyDeleted(_))));
    assert!(key.rotatable().is_err() && key.change(None, &KeyChange::default(), 5).is_err());
    key.recover().unwrap();
    assert!(key.usable(newest, KeyOperation::UnwrapKey, 10).is_ok());
    assert!(matches!(key.recover(), Err(Refused::NotDeleted(_))));
}

#[test]
fn the_platforms_key_is_not_deleted() {
    let mut key = Key::new(KeyId::platform(), true, version(1));
    assert!(matches!(key.delete(10, 20), Err(Refused::PlatformKey(_))));
}

#[test]
fn what_is_in_use_is_purged_by_two() {
    let (first, second) = (Principal::User(1), Principal::User(2));
    let mut key = key();
    assert!(matches!(key.ask_purge(&first, true), Err(Refused::NotDeleted(_))));
    key.delete(10, 20).unwrap();
    assert!(key.clone().ask_purge(&first, false).unwrap(), "nothing is lost by it");
    assert!(!key.ask_purge(&first, true).unwrap());
    assert!(!key.ask_purge(&first, true).unwrap(), "asking twice is not asking together");
    assert!(key.clone().ask_purge(&second, true).unwrap());
    key.recover().unwrap();
    key.delete(30, 40).unwrap();
    assert!(!key.ask_purge(&second, true).unwrap(), "the wish was for the key that was recovered");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Enable,
    Disable,
    Push,
    Delete,
    Recover,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Enable),
        Just(Step::Disable),
        Just(Step::Push),
        Just(Step::Delete),
        Just(Step::Recover)
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    /// The oracle knows of each version whether it is on, and whether the key is deleted.
    #[test]
    fn any_sequence_agrees_with_the_oracle(steps in steps()) {
        let (mut key, mut on, mut deleted) = (key(), vec![true], false);
        for step in steps {
            let change = |enabled| KeyChange { enabled: Some(enabled), ..KeyChange::default() };
            let done = match step {
                Step::Enable => key.change(None, &change(true), 5).is_ok(),
                Step::Disable => key.change(None, &change(false), 5).is_ok(),
                Step::Push => key.push(version(9)).is_ok(),
                Step::Delete => key.delete(1, 2).is_ok(),
                Step::Recover => key.recover().is_ok(),
            };
            prop_assert_eq!(done, deleted == matches!(step, Step::Recover));
            if done {
                match step {
                    Step::Enable => on.fill(true),
                    Step::Disable => on.fill(false),
                    Step::Push => on.insert(0, true),
                    Step::Delete => deleted = true,
                    Step::Recover => deleted = false,
                }
            }
            let usable: Vec<bool> = key
                .versions()
                .iter()
                .map(|v| key.usable(v.version, KeyOperation::UnwrapKey, 10).is_ok())
                .collect();
            let expected: Vec<bool> = on.iter().map(|on| *on && !deleted).collect();
            prop_assert_eq!(usable, expected);
        }
    }
}
