//! Every way to lose a key halts, and what comes back goes on with the same DEK.

use super::*;
use crate::ops::{due, enforce};

/// A way to lose key `k`, or the right of set `s` to it.
struct Way {
    what: &'static str,
    take: fn(&Daemon),
    give: fn(&Daemon),
    /// What the holder, and who comes next, is told.
    why: &'static str,
    /// The record that the loss leaves.
    audited: &'static str,
}

fn without(permission: KeyPermission) -> Vec<KeyPermission> {
    use KeyPermission::{Get, UnwrapKey, WrapKey};
    [Get, WrapKey, UnwrapKey].into_iter().filter(|other| *other != permission).collect()
}

fn give_policy(daemon: &Daemon) {
    let needs = crate::model::right::IDENTITY_NEEDS;
    daemon.ask(policy(&identity("s"), &needs));
}

fn change(daemon: &Daemon, change: KeyChange) {
    daemon.ask(update(None, change));
}

const WAYS: &[Way] = &[
    Way {
        what: "version disabled",
        take: |daemon| {
            let version = Some(daemon.set("s").active_version);
            let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
            daemon.ask(update(version, change));
        },
        give: |daemon| {
            let version = Some(daemon.set("s").active_version);
            let change = KeyChange { enabled: Some(true), ..KeyChange::default() };
            daemon.ask(update(version, change));
        },
        why: "key 'k' is disabled",
        audited: "key-update",
    },
    Way {
        what: "key disabled",
        take: |daemon| drop(daemon.ask(switch(false))),
        give: |daemon| drop(daemon.ask(switch(true))),
        why: "key 'k' is disabled",
        audited: "key-update",
    },
    Way {
        what: "key deleted",
        take: |daemon| {
            let (name, consent) = (id("k"), Consent::Force);
            daemon.ask(KeyDelete { name, consent, wait_ms: 0 });
        },
        give: |daemon| drop(daemon.ask(KeyRecover { name: id("k") })),
        why: "key 'k' is deleted",
        audited: "key-delete",
    },
    Way {
        what: "policy removed",
        take: |daemon| drop(daemon.ask(policy(&identity("s"), &[]))),
        give: give_policy,
        why: "the identity des:s has no permission 'get' in vault 'default'",
        audited: "vault-policy",
    },
    Way {
        what: "get removed",
        take: |daemon| drop(daemon.ask(policy(&identity("s"), &without(KeyPermission::Get)))),
        give: give_policy,
        why: "the identity des:s has no permission 'get' in vault 'default'",
        audited: "vault-policy",
    },
    Way {
        what: "unwrapKey removed",
        take: |daemon| {
            daemon.ask(policy(&identity("s"), &without(KeyPermission::UnwrapKey)));
        },
        give: |daemon| {
            daemon.ask(VaultPermit {
                name: VaultName::default_vault(),
                principal: identity("s"),
                edit: Edit::Add,
                permissions: [KeyPermission::UnwrapKey].into(),
                future: false,
                consent: Consent::IfUnused,
                wait_ms: 0,
            });
        },
        why: "the identity des:s has no permission 'unwrapKey' in vault 'default'",
        audited: "vault-policy",
    },
    Way {
        what: "operation unwrapKey removed",
        take: |daemon| {
            let operations = Some([KeyOperation::WrapKey].into());
            change(daemon, KeyChange { operations, ..KeyChange::default() });
        },
        give: |daemon| {
            let operations = Some(KeyOperation::ALL.into());
            change(daemon, KeyChange { operations, ..KeyChange::default() });
        },
        why: "key 'k' may not unwrapKey",
        audited: "key-update",
    },
];

fn is_lost(daemon: &Daemon, way: &Way, disk: DiskId) {
    let other = daemon.attachable(disk).unwrap_err();
    assert_eq!(other.code, RefusalCode::KeyDisabled, "{}", way.what);
    assert!(other.message.contains(way.why), "{}: {}", way.what, other.message);
    let refused = daemon.refused(DiskReleaseKey { id: disk });
    assert!(refused.message.contains(way.why), "{}: {}", way.what, refused.message);
    let lost = daemon.disk(disk).key_lost.unwrap();
    assert!(lost.contains(way.why), "{}: {lost}", way.what);
    assert!(daemon.set("s").key_lost.unwrap().contains(way.why), "{}", way.what);
    assert!(daemon.warnings().contains("set 's' has lost its key"), "{}", way.what);
}

#[test]
fn every_loss_halts_and_what_comes_back_goes_on() {
    for way in WAYS {
        println!("{}", way.what);
        let daemon = Daemon::new();
        let (disk, other) = (daemon.make_disk("s"), daemon.make_disk("s"));
        let mut holder = daemon.attach(disk);
        (way.take)(&daemon);
        let (reason, on_revoke) = holder.expect_revoked();
        assert!(reason.contains(way.why), "{}: {reason}", way.what);
        assert_eq!(on_revoke, Reaction::Park);
        is_lost(&daemon, way, other);
        holder.fence();
        assert_eq!(daemon.records("lease-fenced").len(), 1);
        assert!(holder.expect_still_revoked().contains(way.why), "{}", way.what);
        let record = daemon.records(way.audited).pop().unwrap();
        assert_eq!((record.who.as_str(), record.outcome.as_str()), ("uid:0", "ok"));
        (way.give)(&daemon);
        holder.expect_back();
        assert_eq!(daemon.attachable(other), Ok(()), "{}", way.what);
        assert_eq!(daemon.warnings(), "", "{}", way.what);
        daemon.core().store.verify_audit().unwrap();
    }
}

/// A daemon that is started while the key is lost knows it from its state.
#[test]
fn a_loss_outlasts_a_restart() {
    for way in WAYS {
        let daemon = Daemon::new();
        let disk = daemon.make_disk("s");
        let dek = daemon.dek(disk);
        (way.take)(&daemon);
        let daemon = daemon.restarted();
        is_lost(&daemon, way, disk);
        (way.give)(&daemon);
        assert_eq!(daemon.dek(disk), dek, "{}", way.what);
    }
}

/// What only new DEKs need halts nobody, and refuses those with its reason.
#[test]
fn what_only_wraps_are_refused_for_halts_nobody() {
    type Take = fn(&Daemon);
    let cases: [(&str, Take); 2] = [
        ("no permission 'wrapKey'", |daemon| {
            daemon.ask(policy(&identity("s"), &without(KeyPermission::WrapKey)));
        }),
        ("may not wrapKey", |daemon| {
            let operations = Some([KeyOperation::UnwrapKey].into());
            change(daemon, KeyChange { operations, ..KeyChange::default() });
        }),
    ];
    for (why, take) in cases {
        let daemon = Daemon::new();
        let (disk, other) = (daemon.make_disk("s"), daemon.make_disk("s"));
        let mut holder = daemon.attach(disk);
        take(&daemon);
        holder.expect_nothing();
        assert_eq!(daemon.attachable(other), Ok(()));
        let create = DiskCreate { des: Some(des("s")), geometry: geometry() };
        let refused = daemon.refused(create);
        assert_eq!(refused.code, RefusalCode::KeyDisabled);
        assert!(refused.message.contains(why), "{}", refused.message);
    }
}

/// Outside its validity a key unwraps on (Key Vault's table): what that means for disks is the set's to say.
#[test]
fn the_end_and_the_beginning_of_validity_do_what_the_set_says() {
    let past = KeyChange { expires: Some(Bound::At(1)), ..KeyChange::default() };
    let future = KeyChange { not_before: Some(Bound::At(4_000_000_000)), ..KeyChange::default() };
    let always = KeyChange {
        expires: Some(Bound::Never),
        not_before: Some(Bound::Never),
        ..KeyChange::default()
    };
    for (change, why) in [(past, "has expired"), (future, "is not valid yet")] {
        for (on_expiry, goes_on, attaches) in [
            (OnExpiry::RefuseNew, true, false),
            (OnExpiry::Revoke, false, false),
            (OnExpiry::Ignore, true, true),
        ] {
            let daemon = Daemon::with(Terms { on_expiry, ..TERMS });
            let (disk, other) = (daemon.make_disk("s"), daemon.make_disk("s"));
            let mut holder = daemon.attach(disk);
            // By the clock: nobody asked for anything at that moment.
            daemon.edit_key("k", |key| key.change(None, &change, 5).unwrap());
            due::enforce(daemon.core()).unwrap();
            let case = format!("{why} {on_expiry:?}");
            match goes_on {
                true => holder.expect_nothing(),
                false => assert!(holder.expect_revoked().0.contains(why), "{case}"),
            }
            assert_eq!(daemon.set("s").key_lost.is_none(), goes_on, "{case}");
            match daemon.attachable(other) {
                Ok(()) => assert!(attaches, "{case}"),
                Err(refusal) => {
                    assert!(!attaches && refusal.message.contains(why), "{case} {refusal:?}");
                }
            }
            let create = DiskCreate { des: Some(des("s")), geometry: geometry() };
            assert!(daemon.refused(create).message.contains(why), "{case}");
            if !goes_on {
                holder.fence();
            }
            daemon.ask(update(None, always.clone()));
            match goes_on {
                true => holder.expect_nothing(),
                false => holder.expect_back(),
            }
            assert_eq!(daemon.attachable(other), Ok(()), "{case}");
        }
    }
}

/// Purging what still wraps something takes two principals, and is for ever.
#[test]
fn a_purge_by_two_is_for_ever() {
    let daemon = Daemon::new();
    let (held, disk) = (daemon.make_disk("s"), daemon.make_disk("s"));
    let mut holder = daemon.attach(held);
    let purge = KeyPurge { name: id("k"), consent: Consent::Force };
    let alive = daemon.refused(purge.clone());
    assert!(alive.message.contains("'keyd key delete k' comes first"), "{}", alive.message);
    daemon.ask(KeyDelete { name: id("k"), consent: Consent::Force, wait_ms: 0 });
    holder.expect_revoked();
    holder.fence();
    let asked = Weighed::Done(Purged::Asked { lost_for_ever: 2 });
    assert_eq!(daemon.ask(purge.clone()), asked);
    assert_eq!(daemon.ask(purge.clone()), asked, "asking twice is not asking together");
    let stranger = daemon.try_as(50, purge.clone()).unwrap_err();
    assert!(stranger.message.contains("'purge' in vault 'default'"), "{}", stranger.message);
    daemon.ask(policy(&Principal::User(50), &[KeyPermission::Purge]));
    assert_eq!(daemon.try_as(50, purge).unwrap(), Weighed::Done(Purged::Destroyed));
    let records = daemon.records("key-purge");
    let told: Vec<_> = records.iter().map(|r| (r.who.as_str(), r.outcome.as_str())).collect();
    assert_eq!(
        told,
        [
            ("uid:0", "refused: conflict"),
            ("uid:0", "asked"),
            ("uid:0", "asked"),
            ("uid:50", "refused: forbidden"),
            ("uid:50", "ok"),
        ]
    );
    assert!(holder.expect_still_revoked().contains("no key 'k'"));
    assert_eq!(daemon.attachable(disk).unwrap_err().code, RefusalCode::NotFound);
    assert_eq!(daemon.refused(KeyRecover { name: id("k") }).code, RefusalCode::NotFound);
    // A key of the same name is another key.
    daemon.put_key(Key::new(id("k"), false, first_version(&id("other"))));
    holder.expect_nothing();
    assert!(daemon.attachable(disk).is_err());
}

#[test]
fn an_erased_disk_is_gone_and_its_set_can_go_with_its_rights() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let mut holder = daemon.attach(disk);
    let delete = DesDelete { name: des("s") };
    let refused = daemon.refused(delete.clone());
    assert!(refused.message.contains("move or erase them first"), "{}", refused.message);
    daemon.ask(DiskErase { id: disk, consent: Consent::Force });
    let (reason, on_revoke) = holder.expect_revoked();
    assert!(reason.contains("was erased"), "{reason}");
    assert_eq!(on_revoke, Reaction::Fail, "there is nothing to wait for");
    holder.fence();
    assert!(holder.expect_still_revoked().contains("no disk"));
    daemon.ask(delete);
    assert_eq!(daemon.records("des-delete").last().unwrap().outcome, "ok");
    let vault = daemon.ask(VaultShow { name: VaultName::default_vault() });
    assert!(!vault.policies.contains_key(&identity("s")), "{:?}", vault.policies);
    // A later set of the same name starts with no rights, and an administrator may leave it at that.
    let again = DesCreate {
        name: des("s"),
        key: id("k"),
        version: None,
        encryption: EncryptionType::CustomerKey,
        terms: TERMS,
        auto_rotate: true,
        permit: false,
    };
    let refused = daemon.refused(again);
    assert!(
        refused
            .message
            .contains("'keyd vault permit default des:s get,wrapKey,unwrapKey --add --future'"),
        "{}",
        refused.message
    );
}

/// Its DEK never comes back, so neither a grace nor a reaction of its set lets its guest wait, whatever it does now.
#[test]
fn an_erased_disk_answers_errors_at_once_whatever_its_sets_terms() {
    let erase = |id| DiskErase { id, consent: Consent::Force };
    for on_revoke in [OnRevoke::Park, OnRevoke::Fail, OnRevoke::Deferred, OnRevoke::Azure1h] {
        let terms = Terms { on_revoke, grace_ms: 60_000, ..TERMS };
        for is_lost_before in [false, true] {
            let daemon = Daemon::with(terms);
            let disk = daemon.make_disk("s");
            let mut holder = daemon.attach(disk);
            if is_lost_before {
                daemon.ask(switch(false));
            }
            daemon.ask(erase(disk));
            let case = format!("{on_revoke:?} {is_lost_before}");
            assert_eq!(holder.expect_revoked().1, Reaction::Fail, "{case}");
        }
    }
    // One that is parked hears it too: it would hang its guest for ever.
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let mut holder = daemon.attach(disk);
    daemon.ask(switch(false));
    assert_eq!(holder.expect_revoked().1, Reaction::Park);
    holder.fence();
    daemon.ask(erase(disk));
    let (reason, on_revoke) = holder.expect_revoked();
    assert!(reason.contains("was erased"), "{reason}");
    assert_eq!(on_revoke, Reaction::Fail);
    holder.say(&HolderMessage::Fenced(FenceReport { reaction: on_revoke, ..REPORT }));
    holder.expect_nothing();
    assert!(daemon.warnings().contains(&format!("disk {disk} is failing since ")));
}

/// A key that was destroyed may come back from a backup: until then its disks wait, also over a restart of the daemon.
#[test]
fn a_holder_whose_key_was_purged_waits_for_it() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let key = daemon.core().store.snapshot().unwrap().key(&id("k")).unwrap();
    daemon.change(|txn| txn.remove_key(&id("k")));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let request = Attach { id: disk, read_only: false, if_lost: IfLost::Wait };
    let caller = Caller::local(OWNER, 77);
    let answer = daemon.service.answer(&caller, request.into(), &Arc::new(ours));
    let Answer::Lease(lease) = answer else { panic!("{answer:?}") };
    let (reply, dek) = wire::receive::<message::Answer<Attached>>(&mut &theirs).unwrap();
    assert!(matches!(reply, message::Answer::Done(_)) && dek.is_none());
    daemon.put_key(key);
    enforce::run(daemon.core()).unwrap();
    let (event, _): (Event, _) = wire::receive(&mut &theirs).unwrap();
    assert_eq!(event, Event::Granted);
    daemon.service.lease_over(lease, LeaseOver::HungUp);
}

/// What its guest gets can be changed while it is halted.
#[test]
fn a_halted_disk_follows_a_change_of_its_sets_reaction() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let mut holder = daemon.attach(disk);
    daemon.ask(switch(false));
    holder.expect_revoked();
    holder.fence();
    for (on_revoke, reaction) in
        [(OnRevoke::Fail, Reaction::Fail), (OnRevoke::Park, Reaction::Park)]
    {
        let change = DesChange { on_revoke: Some(on_revoke), ..DesChange::default() };
        daemon.ask(DesUpdate { name: des("s"), change, consent: Consent::Force });
        assert_eq!(holder.expect_revoked().1, reaction);
        holder.say(&HolderMessage::Fenced(FenceReport { reaction, ..REPORT }));
        holder.expect_nothing();
        let phase = keyd_client::message::Phase::halted(reaction);
        assert_eq!(daemon.disk(disk).holders[0].state.phase, phase);
    }
    daemon.ask(switch(true));
    holder.expect_back();
}

/// Who may not attach any more has to let go; it is the holder's loss, not the key's.
#[test]
fn a_holder_that_may_not_attach_any_more_lets_go() {
    let daemon = Daemon::new();
    let (disk, other) = (daemon.make_disk("s"), daemon.make_disk("s"));
    let grant = |permissions: &[Permission]| {
        daemon.ask(grant_to(60, permissions, Scope::All));
    };
    assert!(daemon.try_attach_as(60, disk).is_err());
    grant(&[Permission::Attach]);
    let mut holder = daemon.try_attach_as(60, disk).unwrap();
    let mut owner = daemon.attach(other);
    grant(&[Permission::Read]);
    assert!(holder.expect_revoked().0.contains("uid:60 has no permission 'attach'"));
    owner.expect_nothing();
    holder.fence();
    grant(&[Permission::Attach]);
    holder.expect_back();
    assert_eq!(holder.attached.record.id, disk);
}
