//! What a set has its disks do when its key goes, and when.

use super::*;
use crate::ops::due;

const HOUR: u64 = 3_600_000;

fn held(daemon: &Daemon) -> Holder<'_> {
    daemon.attach(daemon.make_disk("s"))
}

fn change(daemon: &Daemon, change: DesChange) {
    daemon.ask(DesUpdate { name: des("s"), change, consent: Consent::Force });
}

/// As if the key had been lost so long ago.
fn lost_ago(daemon: &Daemon, millis: u64) {
    daemon.edit_set("s", |set| set.lost_since = Some(set.lost_since.unwrap() - millis));
    due::enforce(daemon.core()).unwrap();
}

#[test]
fn park_and_fail_are_told_as_they_are_now() {
    for (on_revoke, told) in [(OnRevoke::Park, Reaction::Park), (OnRevoke::Fail, Reaction::Fail)] {
        let daemon = Daemon::new();
        let mut holder = held(&daemon);
        assert_eq!(holder.attached.on_revoke, Reaction::Park);
        change(&daemon, DesChange { on_revoke: Some(on_revoke), ..DesChange::default() });
        daemon.ask(switch(false));
        assert_eq!(holder.expect_revoked().1, told);
    }
}

/// Azure's Ultra Disks.
#[test]
fn deferred_lets_a_disk_run_and_refuses_the_next_attach() {
    let daemon = Daemon::with(Terms { on_revoke: OnRevoke::Deferred, ..TERMS });
    let mut holder = held(&daemon);
    let disk = holder.attached.record.id;
    let revocation = revocation(daemon.ask(switch(false)));
    assert_eq!((revocation.told, revocation.spared), (0, 1));
    due::enforce(daemon.core()).unwrap();
    holder.expect_renewal(5000);
    assert!(daemon.set("s").key_lost.is_some());
    holder.hang_up();
    assert_eq!(daemon.attachable(disk).unwrap_err().code, RefusalCode::KeyDisabled);
    daemon.ask(switch(true));
    assert_eq!(daemon.attachable(disk), Ok(()));
}

/// Azure's Premium and Standard disks.
#[test]
fn azure_1h_fails_the_disk_after_an_hour() {
    let daemon = Daemon::with(Terms { on_revoke: OnRevoke::Azure1h, ..TERMS });
    let mut holder = held(&daemon);
    daemon.ask(switch(false));
    let record = daemon.records("des-key-lost").pop().unwrap();
    assert!(record.detail.contains("its disks are halted in 3600 s"), "{}", record.detail);
    lost_ago(&daemon, HOUR - 60_000);
    holder.expect_renewal(5000);
    lost_ago(&daemon, 60_000);
    assert_eq!(holder.expect_revoked().1, Reaction::Fail);
    holder.fence();
    daemon.ask(switch(true));
    holder.expect_back();
}

#[test]
fn a_grace_is_counted_from_its_own_loss() {
    let daemon = Daemon::with(Terms { grace_ms: 10_000, ..TERMS });
    let mut holder = held(&daemon);
    daemon.ask(switch(false));
    lost_ago(&daemon, 9000);
    holder.expect_renewal(5000);
    // Back in time: it was never gone, and the next loss has the whole grace again.
    daemon.ask(switch(true));
    holder.expect_nothing();
    assert_eq!(daemon.records("des-key-back").len(), 1);
    daemon.ask(switch(false));
    lost_ago(&daemon, 9000);
    holder.expect_nothing();
    lost_ago(&daemon, 1000);
    assert_eq!(holder.expect_revoked().1, Reaction::Park);
    assert_eq!(daemon.records("des-key-lost").len(), 2, "each loss is dated once");
}

#[test]
fn a_grace_runs_on_over_a_restart() {
    let daemon = Daemon::with(Terms { grace_ms: 10_000, ..TERMS });
    daemon.make_disk("s");
    daemon.ask(switch(false));
    let since = daemon.core().store.snapshot().unwrap().set(&des("s")).unwrap().lost_since;
    let daemon = daemon.restarted();
    due::enforce(daemon.core()).unwrap();
    let after = daemon.core().store.snapshot().unwrap().set(&des("s")).unwrap().lost_since;
    assert!(since.is_some() && since == after, "{since:?} {after:?}");
}

/// The date of a loss that nobody waited for must not shorten a grace that is given later.
#[test]
fn a_grace_does_not_begin_with_an_older_loss() {
    let daemon = Daemon::with(Terms { grace_ms: 10_000, ..TERMS });
    let mut holder = held(&daemon);
    daemon.ask(switch(false));
    lost_ago(&daemon, 9000);
    change(&daemon, DesChange { on_revoke: Some(OnRevoke::Deferred), ..DesChange::default() });
    daemon.ask(switch(true));
    daemon.ask(switch(false));
    daemon.edit_set("s", |set| set.lost_since = set.lost_since.map(|since| since - 9000));
    change(&daemon, DesChange { on_revoke: Some(OnRevoke::Park), ..DesChange::default() });
    due::enforce(daemon.core()).unwrap();
    holder.expect_nothing();
    lost_ago(&daemon, 10_000);
    holder.expect_revoked();
}

/// Terms are a way to take a key away too, from those whom they spared until now.
#[test]
fn shorter_terms_under_a_lost_key_want_consent() {
    let daemon = Daemon::with(Terms { on_revoke: OnRevoke::Deferred, ..TERMS });
    let mut holder = held(&daemon);
    daemon.ask(switch(false));
    let update = |on_revoke, grace_ms, consent| {
        let change = DesChange { on_revoke, grace_ms, ..DesChange::default() };
        DesUpdate { name: des("s"), change, consent }
    };
    let park = Some(OnRevoke::Park);
    let refused = daemon.refused(update(park, Some(60_000), Consent::IfUnused));
    assert_eq!(refused.code, RefusalCode::NeedsConsent);
    assert!(refused.message.contains("1 disk, 1 held now"), "{}", refused.message);
    let would = would(daemon.ask(update(park, Some(60_000), Consent::DryRun)));
    holder.expect_nothing();
    daemon.ask(update(park, Some(60_000), Consent::Token(would.token)));
    holder.expect_nothing();
    let longer = update(None, Some(120_000), Consent::IfUnused);
    let shorter = update(None, Some(0), Consent::IfUnused);
    daemon.ask(longer);
    assert_eq!(daemon.refused(shorter).code, RefusalCode::NeedsConsent);
    daemon.ask(update(None, Some(0), Consent::Force));
    holder.expect_revoked();
}

/// Terms hold from now on, also for a key that is lost already, and for leases that run.
#[test]
fn changed_terms_hold_at_once() {
    let daemon = Daemon::with(Terms { on_revoke: OnRevoke::Deferred, ..TERMS });
    let mut holder = held(&daemon);
    daemon.ask(switch(false));
    holder.expect_nothing();
    change(&daemon, DesChange { on_revoke: Some(OnRevoke::Fail), ..DesChange::default() });
    assert_eq!(holder.expect_revoked().1, Reaction::Fail);
    holder.fence();
    daemon.ask(switch(true));
    holder.expect_back();
    change(&daemon, DesChange { lease_ms: Some(7000), ..DesChange::default() });
    holder.expect_renewal(7000);
    for (wrong, text) in [
        (
            DesChange { lease_ms: Some(999), ..DesChange::default() },
            "a lease of 999ms is out of range: choose 1s to 1h",
        ),
        (DesChange { grace_ms: Some(u64::MAX), ..DesChange::default() }, "is too long"),
    ] {
        let refused =
            daemon.refused(DesUpdate { name: des("s"), change: wrong, consent: Consent::Force });
        assert!(refused.message.contains(text), "{}", refused.message);
    }
}
