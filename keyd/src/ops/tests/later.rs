//! What a change will hit by the clock is weighed, told with its time, and asked for like what it hits at once.

use keyd_client::Period;

use super::*;

const REVOKE: Terms = Terms { on_expiry: OnExpiry::Revoke, ..TERMS };

fn seconds_from_now(seconds: u64) -> u64 {
    clock::now() / 1000 + seconds
}

fn expires(until: impl Into<Option<u64>>, consent: Consent) -> KeyUpdate {
    let until = until.into().map_or(Bound::Never, Bound::At);
    let change = KeyChange { expires: Some(until), ..KeyChange::default() };
    KeyUpdate { name: id("k"), version: None, change, consent, wait_ms: 0 }
}

/// What a dry run tells of a request; without a dry run it is refused for the same.
fn would_hit<T: Debug, A: Ask<Reply = Weighed<T>>>(
    daemon: &Daemon,
    request: impl Fn(Consent) -> A,
) -> Impact {
    let impact = would(daemon.ask(request(Consent::DryRun)));
    if impact.disks > 0 {
        let refused = daemon.refused(request(Consent::IfUnused));
        assert_eq!(refused.code, RefusalCode::NeedsConsent);
        assert!(refused.message.contains("not before 2"), "{}", refused.message);
    }
    impact
}

fn at(impact: &Impact) -> UnixMillis {
    match &impact.listed[..] {
        [affected] => match affected.when {
            When::Later { at } => at,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_end_that_will_halt_disks_is_told_with_its_time_and_asked_for() {
    let daemon = Daemon::with(REVOKE);
    let disk = daemon.make_disk("s");
    let mut holder = daemon.attach(disk);
    let end = seconds_from_now(20);
    let impact = would_hit(&daemon, |consent| expires(end, consent));
    assert_eq!((impact.disks, impact.held, impact.later), (1, 1, 1));
    assert_eq!((at(&impact), impact.first_later), (end * 1000, Some(end * 1000)));
    assert_eq!(daemon.key("k").versions[0].expires, None, "nothing was done");
    // The token is for this end or a later one: a time from now is another moment when it is asked again.
    let sooner = daemon.refused(expires(end - 5, Consent::Token(impact.token.clone())));
    assert_eq!(sooner.code, RefusalCode::NeedsConsent);
    let told = revocation(daemon.ask(expires(end + 2, Consent::Token(impact.token))));
    assert_eq!(told.told, 0);
    holder.expect_nothing();
    // To put it off takes nothing away, to bring it nearer does.
    let later = would_hit(&daemon, |consent| expires(end + 50, consent));
    assert_eq!(later.disks, 0);
    daemon.ask(expires(end + 50, Consent::IfUnused));
    assert_eq!(would_hit(&daemon, |consent| expires(end, consent)).disks, 1);
    assert_eq!(would_hit(&daemon, |consent| expires(None, consent)).disks, 0);
    // Beside what it hits at once, by another verb.
    let delete = KeyDelete { name: id("k"), consent: Consent::DryRun, wait_ms: 0 };
    let impact = would(daemon.ask(delete));
    assert_eq!((impact.disks, impact.later, impact.first_later), (1, 0, None));
}

#[test]
fn an_end_halts_nobody_where_the_set_does_not_take_it_for_a_loss() {
    for on_expiry in [OnExpiry::RefuseNew, OnExpiry::Ignore] {
        let daemon = Daemon::with(Terms { on_expiry, ..TERMS });
        daemon.make_disk("s");
        let end = seconds_from_now(20);
        assert_eq!(would_hit(&daemon, |consent| expires(end, consent)).disks, 0);
        daemon.ask(expires(end, Consent::IfUnused));
        // But a set that would from now on is hit by what its key has already.
        let change = DesChange { on_expiry: Some(OnExpiry::Revoke), ..DesChange::default() };
        let update = |consent| DesUpdate { name: des("s"), change, consent };
        assert_eq!(at(&would_hit(&daemon, update)), end * 1000, "{on_expiry:?}");
    }
}

#[test]
fn a_grace_is_added_to_the_end_and_told_by_itself() {
    const HOUR: u64 = 3_600_000;
    let daemon = Daemon::with(Terms { on_revoke: OnRevoke::Azure1h, ..REVOKE });
    daemon.make_disk("s");
    let end = seconds_from_now(20);
    let impact = would_hit(&daemon, |consent| expires(end, consent));
    assert_eq!(at(&impact), end * 1000 + HOUR);
    let now = clock::now();
    let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
    let disable = |consent| {
        let (name, change) = (id("k"), off.clone());
        KeyUpdate { name, version: None, change, consent, wait_ms: 0 }
    };
    let at = at(&would_hit(&daemon, disable));
    assert!(at.abs_diff(now + HOUR) < 60_000, "{at}");

    let daemon = Daemon::with(Terms { on_revoke: OnRevoke::Deferred, ..REVOKE });
    daemon.make_disk("s");
    let impact = would(daemon.ask(disable(Consent::DryRun)));
    assert_eq!(impact.listed[0].when, When::NextAttach { from: None });
    let impact = would(daemon.ask(expires(end, Consent::DryRun)));
    assert_eq!(impact.listed[0].when, When::NextAttach { from: Some(end * 1000) });
}

/// Whatever brings a disk under a version that ends.
#[test]
fn so_is_what_brings_disks_under_a_key_that_ends() {
    let daemon = Daemon::with(REVOKE);
    daemon.make_key("k2");
    let end = seconds_from_now(3600);
    let change = KeyChange { expires: Some(Bound::At(end)), ..KeyChange::default() };
    daemon.ask(update_of("k2", None, change));
    daemon.make_set("t", "k2", EncryptionType::CustomerKey, REVOKE);
    let disk = daemon.make_disk("s");
    let moved = |consent| DiskMove { id: disk, des: des("t"), consent };
    assert_eq!(at(&would_hit(&daemon, moved)), end * 1000);
    let set_key = |consent| {
        let (name, key) = (des("s"), id("k2"));
        DesSetKey { name, key, version: None, permit: true, consent }
    };
    let impact = would_hit(&daemon, set_key);
    assert_eq!(at(&impact), end * 1000);
    assert_eq!((daemon.set("s").key, daemon.disk(disk).record.des), (id("k"), des("s")));
    assert_eq!(done(daemon.ask(set_key(Consent::Token(impact.token)))).rewrapped, 1);
    // It is under it already: nothing more is hit, and back is no loss.
    assert_eq!(would_hit(&daemon, moved).disks, 0);
    let back = DesSetKey {
        name: des("s"),
        key: id("k"),
        version: None,
        permit: true,
        consent: Consent::IfUnused,
    };
    assert_eq!(done(daemon.ask(back)).rewrapped, 1);
}

/// Versions that are made by a policy without a rotation of its own end, and nothing follows them.
#[test]
fn so_is_a_policy_that_gives_an_end_and_does_not_rotate_before_it() {
    let policy = |rotate| {
        let expires_after = Some(Period::days(100));
        RotationPolicy { rotate, notify: None, expires_after, created: 0, updated: 0 }
    };
    let set = |rotate, consent| KeyRotationPolicy {
        name: id("k"),
        policy: Some(policy(rotate)),
        consent,
    };
    let daemon = Daemon::with(REVOKE);
    daemon.make_disk("s");
    let now = clock::now();
    let impact = would_hit(&daemon, |consent| set(None, consent));
    assert!(at(&impact).abs_diff(now + days(100)) < 60_000);
    let rotates = Some(Trigger::AfterCreate(Period::days(90)));
    assert_eq!(would_hit(&daemon, |consent| set(rotates, consent)).disks, 0);
    daemon.ask(set(None, Consent::Token(impact.token)));
    assert_eq!(daemon.key("k").rotation_policy.unwrap().expires_after, Some(Period::days(100)));
}
