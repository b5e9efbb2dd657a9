use keyd_client::message::OnExpiry;

use super::*;
use crate::{
    kek::{Material, PublicKey, SealedKey},
    model::version::Version,
};

const TERMS: Terms = Terms {
    on_revoke: OnRevoke::Park,
    lease_ms: 5000,
    grace_ms: 0,
    on_expiry: OnExpiry::RefuseNew,
};

fn key(name: &str, platform: bool) -> Key {
    let material = Material::Sealed(SealedKey(vec![]));
    let public = PublicKey { n: vec![0x80; 256], e: vec![1, 0, 1] };
    let version = Version::new(KeyVersion::random(), (material, public), 1);
    Key::new(name.parse().unwrap(), platform, version)
}

fn set_with(key: &Key, encryption: EncryptionType, terms: Terms) -> Result<Des, Refused> {
    let choice = Choice { encryption, terms, auto_rotate: true };
    let version = key.newest().version;
    Des::on_key("s".parse().unwrap(), (key, version), KeyVersion::random(), choice, 5)
}

fn set(key: &Key, terms: Terms) -> Result<Des, Refused> {
    set_with(key, EncryptionType::CustomerKey, terms)
}

#[test]
fn leases_outside_the_bounds_are_refused() {
    for (lease_ms, allowed) in [
        (0, false),
        (999, false),
        (1000, true),
        (3_600_000, true),
        (3_600_001, false),
        (u64::MAX, false),
    ] {
        let terms = Terms { lease_ms, ..TERMS };
        assert_eq!(set(&key("k", false), terms).is_ok(), allowed, "{lease_ms}");
        let change = DesChange { lease_ms: Some(lease_ms), ..DesChange::default() };
        let mut set = set(&key("k", false), TERMS).unwrap();
        assert_eq!(set.change(&change).is_ok(), allowed, "{lease_ms}");
    }
    let terms = Terms { grace_ms: GRACE_MS_MAX + 1, ..TERMS };
    assert!(matches!(set(&key("k", false), terms), Err(Refused::Grace(_))));
}

#[test]
fn a_set_is_on_a_key_of_the_customers() {
    let platform = key("platform/platform", true);
    assert!(matches!(set(&platform, TERMS), Err(Refused::PlatformSet(_))));
    let refused = set_with(&key("k", false), EncryptionType::PlatformKey, TERMS);
    assert!(matches!(refused, Err(Refused::PlatformSet(_))));
}

#[test]
fn only_a_set_on_both_keys_wraps_under_both() {
    let key = key("k", false);
    assert_eq!(set(&key, TERMS).unwrap().platform_version, None);
    let both = set_with(&key, EncryptionType::PlatformAndCustomerKeys, TERMS).unwrap();
    let platform = both.platform_version.unwrap();
    let of = |key: &KeyId, version| both.is_active(&VersionId { key: key.clone(), version });
    assert!(of(&KeyId::platform(), platform) && of(&key.id, key.newest().version));
    assert!(!of(&key.id, KeyVersion::random()));
    // The same versions of other keys, as a restored backup has them.
    assert!(!of(&key.id, platform) && !of(&KeyId::platform(), key.newest().version));
}

#[test]
fn an_activation_is_dated_and_remembers_the_key_it_left() {
    let (old, new) = (key("old", false), key("new", false));
    let mut set = set(&old, TERMS).unwrap();
    set.activate(&new.id, new.newest().version, 77);
    assert_eq!((set.active_version, set.last_rotation), (new.newest().version, Some(77)));
    assert_eq!((&set.key, &set.previous_keys), (&new.id, &vec![old.id.clone()]));
    // Back again before the first was finished: both still wrap something.
    set.activate(&old.id, old.newest().version, 78);
    assert_eq!((&set.key, &set.previous_keys), (&old.id, &vec![new.id]));
    assert_eq!(set.rotation.map(|rotation| rotation.started), Some(77));
    set.end_rotation();
    assert!(set.previous_keys.is_empty() && set.rotation.is_none());
}

#[test]
fn each_reaction_halts_in_its_time() {
    let halts = |on_revoke, grace_ms, lost_since, now| {
        let mut set = set(&key("k", false), Terms { on_revoke, grace_ms, ..TERMS }).unwrap();
        set.lost_since = lost_since;
        set.halts_now(now)
    };
    const HOUR: u64 = 3_600_000;
    assert!(halts(OnRevoke::Park, 0, None, 0));
    assert!(halts(OnRevoke::Fail, 0, None, 0));
    assert!(!halts(OnRevoke::Park, 10, None, u64::MAX), "the loss is dated first");
    assert!(!halts(OnRevoke::Park, 10, Some(100), 109));
    assert!(halts(OnRevoke::Park, 10, Some(100), 110));
    assert!(!halts(OnRevoke::Azure1h, 0, Some(100), HOUR + 99));
    assert!(halts(OnRevoke::Azure1h, 0, Some(100), HOUR + 100));
    assert!(!halts(OnRevoke::Deferred, 0, Some(0), u64::MAX));
}
