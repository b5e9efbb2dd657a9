use keyd_client::{
    KeyVersion, Period, VaultName,
    message::{EncryptionType, KeyChange, KeyOperation, OnExpiry, OnRevoke, RotationPolicy, Terms},
};

use super::*;
use crate::{
    kek::{Material, PublicKey, SealedKey},
    model::{des::Choice, right::IDENTITY_NEEDS},
};

const DAY: u64 = 24 * 3600;

/// Ten days after the first version was made, in seconds.
const NOW: u64 = 1_800_000_000;

fn version() -> Version {
    let material = Material::Sealed(SealedKey(vec![]));
    let public = PublicKey { n: vec![0x80; 256], e: vec![1, 0, 1] };
    Version::new(KeyVersion::random(), (material, public), NOW * 1000)
}

/// What becomes of a set when the newest version is like this, and the one that it is on ends then.
fn follows(present: Option<u64>, edit: impl FnOnce(&mut Key, &mut Version)) -> Result<(), String> {
    let mut first = version();
    first.expires = present;
    let mut key = Key::new("k".parse().unwrap(), false, first);
    let on_expiry = OnExpiry::RefuseNew;
    let terms = Terms { on_revoke: OnRevoke::Park, lease_ms: 5000, grace_ms: 0, on_expiry };
    let encryption = EncryptionType::CustomerKey;
    let choice = Choice { encryption, terms, auto_rotate: true };
    let (name, active) = ("s".parse().unwrap(), key.newest().version);
    let set = Des::on_key(name, (&key, active), KeyVersion::random(), choice, 1).unwrap();
    let mut vault = Vault::new(VaultName::default_vault(), 7, false, 1).unwrap();
    vault.permit(set.identity(), IDENTITY_NEEDS.into()).unwrap();
    let mut second = version();
    edit(&mut key, &mut second);
    let number = second.version;
    key.push(second).unwrap();
    match newest(&vault, &set, &key, NOW * 1000) {
        Ok(found) => {
            assert_eq!(found.version, number);
            Ok(())
        }
        Err(refused) => {
            let text = refused.to_string().replace(&number.to_string(), "V2");
            Err(text.replace(&active.to_string(), "V1"))
        }
    }
}

fn ending(present: Option<u64>, end: Option<u64>) -> Result<(), String> {
    follows(present, |_, version| version.expires = end)
}

#[test]
fn what_was_made_here_is_followed_and_what_came_from_outside_is_not() {
    follows(None, |_, _| {}).unwrap();
    let imported = follows(None, |_, version| version.imported = true).unwrap_err();
    for words in ["V2 of key 'k' was imported", "'keyd des set-key s --key k --version V2'"] {
        assert!(imported.contains(words), "{imported}");
    }
    assert!(imported.contains("'keyd key rotate k'"), "{imported}");
    let restored = follows(None, |_, version| version.restored = true).unwrap_err();
    assert!(restored.contains("was restored from a backup"), "{restored}");
}

/// Not sooner than the present one, and not within a day.
#[test]
fn a_version_that_ends_too_soon_is_not_followed() {
    let within = |present, end| ending(present, Some(end)).unwrap_err();
    for (present, end) in [
        (None, NOW + 4),
        (None, NOW + DAY),
        (None, NOW - 1),
        (Some(NOW + 2), NOW + 4),
        (Some(NOW - 5), NOW + DAY),
    ] {
        let why = within(present, end);
        assert!(why.contains("too soon"), "{why}");
        assert!(why.contains("'keyd key set k --version V2 --expires never'"), "{why}");
    }
    for (present, end) in [(None, NOW + 3650 * DAY), (Some(NOW + 100 * DAY), NOW + 100 * DAY - 1)] {
        let why = within(present, end);
        assert!(why.contains("the version that the set is on ends"), "{why}");
    }
    let never = within(None, NOW + 3650 * DAY);
    assert!(never.contains("ends never"), "{never}");
    for (present, end) in [
        (None, None),
        (Some(NOW + 100 * DAY), None),
        (Some(NOW + 100 * DAY), Some(NOW + 100 * DAY)),
        (Some(NOW + 2), Some(NOW + DAY + 1)),
        (Some(NOW - 5), Some(NOW + 2 * DAY)),
    ] {
        assert_eq!(ending(present, end), Ok(()), "{present:?} {end:?}");
    }
}

/// Where the key's own policy gives every version an end, that end is what was to be expected.
#[test]
fn an_end_by_the_keys_policy_is_followed() {
    let policy = |days| RotationPolicy {
        rotate: None,
        notify: None,
        expires_after: Some(Period::days(days)),
        created: 1,
        updated: 1,
    };
    let with = |days: u16, end: u64| {
        follows(None, |key, version| {
            key.rotation_policy = Some(policy(days));
            version.expires = Some(end);
        })
    };
    with(120, NOW + 120 * DAY).unwrap();
    assert!(with(120, NOW + 120 * DAY - 1).unwrap_err().contains("ends never"));
    assert!(with(28, NOW + 4).unwrap_err().contains("too soon"));
}

/// A version that wraps and does not unwrap would take the disks as surely as one that ends.
#[test]
fn what_could_not_be_used_after_it_is_not_followed() {
    let without = |operation: KeyOperation| {
        follows(None, |_, version| version.operations.retain(|other| *other != operation))
            .unwrap_err()
    };
    assert!(without(KeyOperation::UnwrapKey).contains("may not unwrapKey"));
    assert!(without(KeyOperation::WrapKey).contains("may not wrapKey"));
    let later = |from| follows(None, |_, version| version.not_before = Some(from));
    let why = later(NOW + 60).unwrap_err();
    assert!(why.contains("'keyd key set k --version V2 --not-before never'"), "{why}");
    later(NOW).unwrap();
    let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
    let disabled = follows(None, |_, version| version.change(&off, 5));
    assert!(disabled.unwrap_err().contains("is disabled"));
}

/// A key that was purged and one of its name that was made since are two keys.
#[test]
fn another_key_of_the_same_name_is_not_followed() {
    let why = follows(None, |key, _| *key = Key::new(key.id.clone(), false, version()));
    let why = why.unwrap_err();
    assert!(why.contains("another key"), "{why}");
    assert!(why.contains("'keyd des set-key s --key k --version V2'"), "{why}");
}
