//! What a verb would hit is told before, and done only to what was told.

use super::*;

fn disable(consent: Consent) -> KeyUpdate {
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    KeyUpdate { name: id("k"), version: None, change, consent, wait_ms: 0 }
}

fn dry_run<T: Debug>(daemon: &Daemon, ask: impl Ask<Reply = Weighed<T>>) -> Impact {
    would(daemon.ask(ask))
}

#[test]
fn a_dry_run_tells_what_would_be_hit_and_does_nothing() {
    let daemon = Daemon::new();
    let (disk, idle) = (daemon.make_disk("s"), daemon.make_disk("s"));
    daemon.make_disk("platform");
    let derive = |kind| DiskDerive { source: disk, kind, des: None };
    daemon.ask(derive(DiskKind::Snapshot));
    daemon.ask(derive(DiskKind::Image));
    let mut holder = daemon.attach(disk);
    let impact = dry_run(&daemon, disable(Consent::DryRun));
    assert_eq!((impact.verb.as_str(), impact.subject.as_str()), ("key disable", "k"));
    let counts = (impact.disks, impact.snapshots, impact.images, impact.held);
    assert_eq!((counts, impact.lost_for_ever, impact.more), ((2, 1, 1, 1), 0, false));
    let row = |id| impact.listed.iter().find(|row| row.id == id).unwrap();
    assert_eq!((row(disk).processes.as_slice(), row(disk).kind), (&[77][..], DiskKind::Disk));
    assert_eq!((row(idle).processes.as_slice(), &row(idle).des), (&[][..], &des("s")));
    assert!(daemon.key("k").enabled);
    holder.expect_renewal(5000);
    let record = daemon.records("key-update").pop().unwrap();
    assert_eq!(record.outcome, "dry run");
    assert!(record.detail.contains("2 disks, 1 snapshot, 1 image, 1 held now"), "{record:?}");
}

#[test]
fn what_is_hit_asks_for_consent_and_what_is_not_does_not() {
    let daemon = Daemon::new();
    daemon.make_key("idle");
    let disk = daemon.make_disk("s");
    let refused = daemon.refused(disable(Consent::IfUnused));
    assert_eq!(refused.code, RefusalCode::NeedsConsent);
    assert!(refused.message.contains("key disable k would hit 1 disk"), "{}", refused.message);
    assert!(daemon.key("k").enabled);
    daemon.ask(KeyDelete { name: id("idle"), consent: Consent::IfUnused, wait_ms: 0 });
    // What is lost already is not hit again; what would be worse is.
    daemon.ask(disable(Consent::Force));
    daemon.ask(disable(Consent::IfUnused));
    daemon.ask(KeyDelete { name: id("k"), consent: Consent::IfUnused, wait_ms: 0 });
    let purge = |consent| KeyPurge { name: id("k"), consent };
    let impact = dry_run(&daemon, purge(Consent::DryRun));
    assert_eq!((impact.disks, impact.lost_for_ever, impact.listed[0].id), (1, 1, disk));
    assert_eq!(daemon.refused(purge(Consent::IfUnused)).code, RefusalCode::NeedsConsent);
    assert_eq!(
        daemon.ask(purge(Consent::Token(impact.token))),
        Weighed::Done(Purged::Asked { lost_for_ever: 1 })
    );
}

#[test]
fn a_token_says_yes_to_what_was_told_and_to_nothing_else() {
    let daemon = Daemon::new();
    daemon.make_disk("s");
    let first = dry_run(&daemon, disable(Consent::DryRun)).token;
    assert_eq!(dry_run(&daemon, disable(Consent::DryRun)).token, first);
    let delete = |consent| KeyDelete { name: id("k"), consent, wait_ms: 0 };
    let another = daemon.refused(delete(Consent::Token(first.clone())));
    assert!(another.message.contains("look again with --dry-run"), "{}", another.message);
    daemon.make_disk("s");
    let stale = daemon.refused(disable(Consent::Token(first.clone())));
    assert_eq!(stale.code, RefusalCode::NeedsConsent);
    assert!(stale.message.contains(&first) && daemon.key("k").enabled, "{}", stale.message);
    assert!(daemon.refused(disable(Consent::Token(String::new()))).message.contains("token"));
    let second = dry_run(&daemon, disable(Consent::DryRun)).token;
    daemon.ask(disable(Consent::Token(second)));
    assert!(!daemon.key("k").enabled);
}

#[test]
fn taking_a_policy_away_and_erasing_a_disk_ask_too() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let take = |consent| VaultPermit {
        name: VaultName::default_vault(),
        principal: identity("s"),
        permissions: [KeyPermission::Get].into(),
        edit: Edit::Replace,
        future: false,
        consent,
        wait_ms: 0,
    };
    let refused = daemon.refused(take(Consent::IfUnused));
    assert!(
        refused.message.contains("vault permit default des:s get --set would hit 1 disk"),
        "{}",
        refused.message
    );
    assert_eq!(dry_run(&daemon, take(Consent::DryRun)).listed[0].id, disk);
    // What somebody else may do concerns no disk.
    let harmless = policy(&Principal::User(5), &[KeyPermission::Get]);
    daemon.ask(VaultPermit { consent: Consent::IfUnused, ..harmless });
    let erase = |consent| DiskErase { id: disk, consent };
    assert_eq!(daemon.refused(erase(Consent::IfUnused)).code, RefusalCode::NeedsConsent);
    let impact = dry_run(&daemon, erase(Consent::DryRun));
    assert_eq!((impact.disks, impact.lost_for_ever), (1, 1));
    let record = daemon.records("disk-erase").pop().unwrap();
    assert_eq!(record.outcome, "dry run");
    assert_eq!(daemon.ask(erase(Consent::Token(impact.token))), Weighed::Done(()));
}

/// Only the sets that lose their right are hit, though others wrap under the same key.
#[test]
fn one_sets_loss_does_not_count_anothers_disks() {
    let daemon = Daemon::new();
    daemon.make_set("t", "k", EncryptionType::CustomerKey, TERMS);
    let (mine, theirs) = (daemon.make_disk("s"), daemon.make_disk("t"));
    let mut holder = daemon.attach(theirs);
    let take = VaultPermit {
        name: VaultName::default_vault(),
        principal: identity("s"),
        permissions: BTreeSet::new(),
        edit: Edit::Replace,
        future: false,
        consent: Consent::DryRun,
        wait_ms: 0,
    };
    let impact = dry_run(&daemon, take);
    assert_eq!(impact.listed.iter().map(|row| row.id).collect::<Vec<_>>(), [mine]);
    daemon.ask(policy(&identity("s"), &[]));
    holder.expect_nothing();
}

#[test]
fn a_protected_vault_keeps_its_deleted_keys_from_everybody() {
    let daemon = Daemon::new();
    let bank: VaultName = "bank".parse().unwrap();
    let retention_days = 7;
    daemon.ask(VaultCreate { name: bank.clone(), retention_days, purge_protection: false });
    daemon.make_key("bank/k");
    daemon.ask(VaultProtect { name: bank.clone() });
    daemon.ask(VaultProtect { name: bank.clone() });
    let vault = daemon.ask(VaultShow { name: bank.clone() });
    assert!(vault.purge_protection && vault.retention_days == 7 && vault.keys == 1);
    let (name, consent) = (id("bank/k"), Consent::Force);
    let delete = KeyDelete { name: name.clone(), consent: consent.clone(), wait_ms: 0 };
    let deleted = done(daemon.ask(delete)).now.key.deleted.unwrap();
    assert_eq!(deleted.purge_at - deleted.at, days(7));
    let refused = daemon.refused(KeyPurge { name: name.clone(), consent });
    assert!(refused.message.contains("destroyed by themselves"), "{}", refused.message);
    let delete = VaultDelete { name: bank };
    assert!(daemon.refused(delete).message.contains("deleted ones included"));
    let create = KeyCreate { name: name.clone(), bits: 2048, hsm: false };
    let taken = daemon.refused(create);
    assert!(taken.message.contains("'keyd key recover bank/k'"), "{}", taken.message);
    daemon.ask(KeyRecover { name });
}

#[test]
fn an_empty_vault_can_go_and_comes_back_with_nothing() {
    let daemon = Daemon::new();
    let bank: VaultName = "bank".parse().unwrap();
    let create = || VaultCreate { name: bank.clone(), retention_days: 7, purge_protection: false };
    daemon.ask(create());
    daemon.ask(policy_in(bank.as_str(), &Principal::User(5), &[KeyPermission::Get]));
    daemon.make_key("bank/k");
    assert!(daemon.refused(VaultDelete { name: bank.clone() }).message.contains("purge"));
    daemon.ask(KeyDelete { name: id("bank/k"), consent: Consent::IfUnused, wait_ms: 0 });
    daemon.ask(KeyPurge { name: id("bank/k"), consent: Consent::IfUnused });
    daemon.ask(VaultDelete { name: bank.clone() });
    assert_eq!(daemon.refused(VaultShow { name: bank.clone() }).code, RefusalCode::NotFound);
    let again = daemon.ask(create());
    assert!(again.policies.is_empty());
}
