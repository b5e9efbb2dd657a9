//! What is done because its time has come: rotations, notices, the end of retentions.

use keyd_client::{
    Period,
    message::{RotationPolicy, Trigger},
};

use super::*;
use crate::ops::due;

fn policy(rotate: Option<Trigger>, notify: Option<Trigger>, life: Option<u16>) -> RotationPolicy {
    let expires_after = life.map(Period::days);
    RotationPolicy { rotate, notify, expires_after, created: 0, updated: 0 }
}

fn after(days: u16) -> Trigger {
    Trigger::AfterCreate(Period::days(days))
}

fn before(days: u16) -> Trigger {
    Trigger::BeforeExpiry(Period::days(days))
}

/// Key `k` as if its only version had been made so many days ago, to expire in so many from now.
fn aged(age: u64, left: Option<u64>, policy: Option<RotationPolicy>) -> Key {
    let now = clock::now();
    let mut version = first_version(&id("k"));
    version.created = now - days(age);
    version.expires = left.map(|left| (now + days(left)) / 1000);
    let mut key = Key::new(id("k"), false, version);
    key.rotation_policy = policy;
    key
}

#[test]
fn a_key_is_rotated_when_its_policy_says_so() {
    let after = |days| policy(Some(after(days)), None, None);
    let before = |days| policy(Some(before(days)), None, Some(100));
    let cases = [
        (aged(89, None, Some(after(90))), false),
        (aged(90, None, Some(after(90))), true),
        (aged(60, Some(40), Some(before(30))), false),
        (aged(71, Some(29), Some(before(30))), true),
        (aged(400, None, None), false),
        (aged(400, None, Some(policy(None, None, Some(28)))), false),
    ];
    for (key, rotates) in cases {
        let daemon = Daemon::new();
        let disk = daemon.make_disk("s");
        let (dek, case) = (daemon.dek(disk), format!("{:?}", key.rotation_policy));
        daemon.put_key(key);
        due::rotate(daemon.core()).unwrap();
        due::catch_up(daemon.core()).unwrap();
        let versions = daemon.key("k").versions.len();
        assert_eq!(versions, 1 + usize::from(rotates), "{case}");
        let records = daemon.records("key-rotate-if-due");
        assert_eq!(records.len(), usize::from(rotates), "{case}");
        if rotates {
            assert_eq!(records[0].who, "keyd");
            assert_eq!(daemon.records("des-rotate").pop().unwrap().outcome, "ok");
        }
        // What was due is done: nothing happens twice, and every disk has the DEK it had.
        due::rotate(daemon.core()).unwrap();
        assert_eq!(daemon.key("k").versions.len(), versions, "{case}");
        assert_eq!(daemon.disk(disk).record.key_version, daemon.key("k").versions[0].version);
        assert_eq!(daemon.dek(disk), dek);
    }
}

#[test]
fn new_versions_expire_as_the_policy_says_and_keep_their_attributes() {
    let daemon = Daemon::new();
    let mut key = aged(90, None, Some(policy(Some(after(90)), None, Some(120))));
    let operations = [KeyOperation::WrapKey, KeyOperation::UnwrapKey];
    let tags = [("owner".to_owned(), "ops".to_owned())];
    let change = KeyChange {
        operations: Some(operations.into()),
        tags: Some(tags.clone().into()),
        ..KeyChange::default()
    };
    key.change(None, &change, 5).unwrap();
    daemon.put_key(key);
    let began = clock::now();
    due::rotate(daemon.core()).unwrap();
    let status = daemon.key("k");
    let newest = &status.versions[0];
    let end = newest.expires.unwrap() * 1000;
    assert!(end.abs_diff(began + days(120)) < 60_000, "{end}");
    assert_eq!(newest.operations, operations.into());
    assert_eq!(status.tags, tags.into());
}

#[test]
fn what_is_disabled_or_deleted_is_not_rotated_by_itself() {
    let overdue = || aged(400, None, Some(policy(Some(after(90)), None, None)));
    let daemon = Daemon::new();
    let mut disabled = overdue();
    let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
    disabled.change(None, &off, 5).unwrap();
    let mut deleted = overdue();
    deleted.delete(5, clock::now() + days(9)).unwrap();
    for key in [disabled, deleted] {
        daemon.put_key(key);
        due::rotate(daemon.core()).unwrap();
        assert_eq!(daemon.key("k").versions.len(), 1);
    }
    assert!(daemon.records("key-rotate-if-due").is_empty());
}

#[test]
fn a_coming_end_is_told_once_and_warned_of_until_it_is_mended() {
    let notify = |trigger| Some(policy(None, Some(trigger), Some(100)));
    let cases = [
        (aged(1, Some(31), None), false),
        (aged(1, Some(29), None), true),
        (aged(1, Some(11), notify(before(10))), false),
        (aged(1, Some(9), notify(before(10))), true),
        (aged(19, Some(81), notify(after(20))), false),
        (aged(20, Some(80), notify(after(20))), true),
    ];
    for (key, told) in cases {
        let daemon = Daemon::new();
        let case = format!("{:?}", key.rotation_policy);
        daemon.put_key(key);
        for _ in 0..3 {
            due::rotate(daemon.core()).unwrap();
        }
        let records = daemon.records("key-near-expiry");
        assert_eq!(records.len(), usize::from(told), "{case}");
        if told {
            let end = daemon.key("k").versions[0].expires.unwrap();
            let end = clock::text(end * 1000).replace(' ', "T");
            assert!(records[0].detail.contains(&end), "{}", records[0].detail);
        }
    }
    let daemon = Daemon::new();
    daemon.put_key(aged(1, Some(29), None));
    due::rotate(daemon.core()).unwrap();
    assert!(daemon.warnings().contains("key 'k' expires on "), "{}", daemon.warnings());
    // Another end is told again.
    let prolong = |days_more| {
        let expires = Some(Bound::At((clock::now() + days(days_more)) / 1000));
        daemon.ask(update(None, KeyChange { expires, ..KeyChange::default() }));
        due::rotate(daemon.core()).unwrap();
        daemon.records("key-near-expiry").len()
    };
    assert_eq!((prolong(60), prolong(20)), (1, 2));
    daemon.put_key(aged(1, Some(0), None));
    assert!(daemon.warnings().contains("key 'k' has expired"), "{}", daemon.warnings());
}

#[test]
fn a_deleted_key_is_destroyed_when_its_retention_is_over_and_not_before() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    daemon.make_key("later");
    daemon.make_key("alive");
    let now = clock::now();
    daemon.edit_key("k", |key| key.delete(now - days(90), now - 1).unwrap());
    daemon.edit_key("later", |key| key.delete(now - days(89), now + days(1)).unwrap());
    // Protection is from people: the end of the retention comes all the same (Key Vault).
    daemon.ask(VaultProtect { name: VaultName::default_vault() });
    due::purge(daemon.core()).unwrap();
    assert_eq!(daemon.refused(KeyShow { name: id("k") }).code, RefusalCode::NotFound);
    assert!(daemon.key("later").deleted.is_some() && daemon.key("alive").deleted.is_none());
    let record = daemon.records("key-purge").pop().unwrap();
    assert_eq!((record.who.as_str(), record.subject.as_str()), ("keyd", "k"));
    assert!(record.detail.contains("retention over") && record.detail.contains("deks-lost=1"));
    assert!(daemon.disk(disk).key_lost.unwrap().contains("no key 'k'"));
    assert!(daemon.set("s").key_lost.is_some() && daemon.warnings().contains("set 's'"));
    due::purge(daemon.core()).unwrap();
    assert_eq!(daemon.records("key-purge").len(), 1);
}

#[test]
fn a_recovered_key_outlives_the_end_that_was_set_for_it() {
    let daemon = Daemon::new();
    let now = clock::now();
    daemon.edit_key("k", |key| key.delete(now - days(90), now - 1).unwrap());
    daemon.ask(KeyRecover { name: id("k") });
    due::purge(daemon.core()).unwrap();
    assert!(daemon.key("k").deleted.is_none());
}

/// Key Vault's rules for policies.
#[test]
fn policies_that_cannot_work_are_refused() {
    let daemon = Daemon::new();
    for (policy, allowed) in [
        (policy(Some(after(6)), None, None), false),
        (policy(Some(after(7)), None, None), true),
        (policy(None, None, Some(27)), false),
        (policy(None, None, Some(28)), true),
        (policy(Some(before(30)), None, None), false),
        (policy(None, Some(before(30)), None), false),
        (policy(Some(before(6)), None, Some(100)), false),
        (policy(Some(before(7)), None, Some(100)), true),
        (policy(Some(before(93)), None, Some(100)), true),
        (policy(Some(before(94)), None, Some(100)), false),
        (policy(Some(after(93)), None, Some(100)), true),
        (policy(Some(after(94)), None, Some(100)), false),
        (policy(Some(after(u16::MAX)), None, Some(100)), false),
    ] {
        let (name, consent) = (id("k"), Consent::IfUnused);
        let request = KeyRotationPolicy { name, policy: Some(policy.clone()), consent };
        let done = daemon.try_as(OWNER, request);
        assert_eq!(done.is_ok(), allowed, "{policy:?}");
    }
    let told = daemon.key("k").rotation_policy.unwrap();
    assert!(told.created > 0 && told.updated >= told.created, "the daemon says when: {told:?}");
    let (name, consent) = (id("k"), Consent::IfUnused);
    let key = done(daemon.ask(KeyRotationPolicy { name, policy: None, consent }));
    assert_eq!(key.rotation_policy, None);
}

/// Months and years are the calendar's: what must be so at least is so in every month.
#[test]
fn policies_in_months_and_years_are_judged_by_the_calendar() {
    let daemon = Daemon::new();
    for (rotate, life, allowed) in [
        (Some("P18M"), Some("P2Y"), true),
        (Some("P24M"), Some("P2Y"), false),
        (Some("P23M"), Some("P2Y"), true),
        (Some("P1W"), None, true),
        (Some("P1M"), Some("P5W"), false),
        (Some("P1M"), Some("P38D"), true),
        (None, Some("P1M"), true),
        (None, Some("P4W"), true),
        (None, Some("P3W"), false),
    ] {
        let period = |text: &str| text.parse::<Period>().unwrap();
        let policy = RotationPolicy {
            rotate: rotate.map(|text| Trigger::AfterCreate(period(text))),
            expires_after: life.map(period),
            ..policy(None, None, None)
        };
        let (name, consent) = (id("k"), Consent::IfUnused);
        let request = KeyRotationPolicy { name, policy: Some(policy), consent };
        let done = daemon.try_as(OWNER, request);
        assert_eq!(done.is_ok(), allowed, "{rotate:?} {life:?}");
    }
}
