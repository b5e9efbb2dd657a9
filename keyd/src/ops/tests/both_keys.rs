//! Platform and customer keys: without either the DEK cannot be had.

use super::*;

const BOTH: EncryptionType = EncryptionType::PlatformAndCustomerKeys;

fn daemon() -> (Daemon, DiskId) {
    let daemon = Daemon::new();
    daemon.make_set("both", "k", BOTH, TERMS);
    let disk = daemon.make_disk("both");
    (daemon, disk)
}

fn wraps(daemon: &Daemon, disk: DiskId) -> Vec<crate::model::disk::Wrap> {
    daemon.core().store.snapshot().unwrap().disk(disk).unwrap().wraps
}

fn platform(enabled: bool) -> KeyUpdate {
    let change = KeyChange { enabled: Some(enabled), ..KeyChange::default() };
    update_of("platform/platform", None, change)
}

#[test]
fn pulling_either_key_halts_and_both_must_be_back() {
    let (daemon, disk) = daemon();
    let other = daemon.make_disk("both");
    let mut holder = daemon.attach(disk);
    for (pull, give, why) in [
        (switch(false), switch(true), "key 'k' is disabled"),
        (platform(false), platform(true), "key 'platform/platform' is disabled"),
    ] {
        daemon.ask(pull);
        let (reason, _) = holder.expect_revoked();
        assert!(reason.contains(why), "{reason}");
        assert!(daemon.attachable(other).unwrap_err().message.contains(why));
        assert!(daemon.set("both").key_lost.unwrap().contains(why));
        holder.fence();
        daemon.ask(give);
        holder.expect_back();
    }
    daemon.ask(switch(false));
    holder.expect_revoked();
    holder.fence();
    daemon.ask(platform(false));
    daemon.ask(switch(true));
    holder.expect_nothing();
    assert!(holder.expect_still_revoked().contains("platform/platform"));
    daemon.ask(platform(true));
    holder.expect_back();
}

#[test]
fn a_dry_run_of_either_key_counts_the_disk_once() {
    let (daemon, disk) = daemon();
    let plain = daemon.make_disk("s");
    for (request, disks) in [(switch(false), all(&[disk, plain])), (platform(false), all(&[disk]))]
    {
        let impact = would(daemon.ask(KeyUpdate { consent: Consent::DryRun, ..request }));
        assert_eq!(impact.listed.iter().map(|row| row.id).collect::<BTreeSet<_>>(), disks);
        assert_eq!(impact.disks, disks.len() as u64);
    }
}

/// Each share is new with every wrapping: what was wrapped under a retired version says nothing of the other share.
#[test]
fn each_key_rotates_alone_and_both_shares_are_wrapped_anew() {
    let (daemon, disk) = daemon();
    let mut holder = daemon.attach(disk);
    let before = wraps(&daemon, disk);
    assert_eq!(daemon.ask(rotate("k")).rewrapped, 1);
    let customer = wraps(&daemon, disk);
    assert_ne!(customer[0].version, before[0].version);
    assert_eq!(customer[1].version, before[1].version);
    assert!(customer[0].blob != before[0].blob && customer[1].blob != before[1].blob);
    assert_eq!(daemon.ask(rotate("platform/platform")).rewrapped, 1);
    let platform = wraps(&daemon, disk);
    assert_eq!(platform[0].version, customer[0].version);
    assert_ne!(platform[1].version, customer[1].version);
    assert!(platform[0].blob != customer[0].blob && platform[1].blob != customer[1].blob);
    assert_eq!(daemon.dek(disk), holder.dek);
    holder.expect_nothing();
    let record = daemon.disk(disk).record;
    assert_eq!(record.platform_version, Some(platform[1].version));
    assert_eq!(daemon.set("both").disks, 1);
    for (key, old) in [("k", before[0].version), ("platform/platform", before[1].version)] {
        let status = daemon.key(key);
        let old = status.versions.iter().find(|version| version.version == old).unwrap();
        assert_eq!((old.wrapped_deks, old.retirable), (0, true), "{key}");
    }
}

/// Retired versions of both keys can go without a disk's noticing.
#[test]
fn versions_that_were_left_behind_can_be_disabled() {
    let (daemon, disk) = daemon();
    let mut holder = daemon.attach(disk);
    let before = wraps(&daemon, disk);
    daemon.ask(rotate("k"));
    daemon.ask(rotate("platform/platform"));
    let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
    for (key, old) in [("k", before[0].version), ("platform/platform", before[1].version)] {
        let (name, version, change) = (id(key), Some(old), off.clone());
        let (consent, wait_ms) = (Consent::IfUnused, 0);
        daemon.ask(KeyUpdate { name, version, change, consent, wait_ms });
    }
    holder.expect_renewal(5000);
    assert_eq!(daemon.dek(disk), holder.dek);
}

#[test]
fn a_disk_moves_between_one_key_and_two() {
    let (daemon, disk) = daemon();
    let mut holder = daemon.attach(disk);
    for (set, wrapped) in [("s", 1), ("both", 2), ("platform", 1), ("both", 2)] {
        daemon.ask(move_to(disk, set));
        assert_eq!(wraps(&daemon, disk).len(), wrapped, "{set}");
        assert_eq!((daemon.set(set).disks, daemon.dek(disk)), (1, holder.dek.clone()), "{set}");
    }
    holder.expect_nothing();
}
