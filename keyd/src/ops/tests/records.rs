//! Disks, snapshots and images: what is made from what, in which set. And restrictions, which refuse with their reason.

use super::{rewrapping::wrapped, *};

fn derived(daemon: &Daemon, source: DiskId, kind: DiskKind) -> Result<DiskId, Refusal> {
    let request = DiskDerive { source, kind, des: None };
    let disk = daemon.try_as(OWNER, request)?;
    daemon.ask(DiskConfirm { id: disk.record.id });
    assert_eq!((disk.record.kind, disk.record.source), (kind, Some(source)));
    Ok(disk.record.id)
}

/// Azure: snapshots of disks, images of disks and snapshots, disks of both.
#[test]
fn what_is_made_from_what() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let snapshot = derived(&daemon, disk, DiskKind::Snapshot).unwrap();
    let image = derived(&daemon, disk, DiskKind::Image).unwrap();
    for (source, of, allowed) in [
        (disk, "disk", [false, true, true]),
        (snapshot, "snapshot", [true, false, true]),
        (image, "image", [true, false, false]),
    ] {
        let kinds = [DiskKind::Disk, DiskKind::Snapshot, DiskKind::Image];
        for (kind, allowed) in kinds.into_iter().zip(allowed) {
            let made = derived(&daemon, source, kind);
            assert_eq!(made.is_ok(), allowed, "{kind:?} of {of}");
            if let Err(refusal) = made {
                assert!(refusal.message.contains("a disk is made from either"), "{refusal:?}");
            }
        }
    }
}

#[test]
fn what_was_made_has_its_sources_dek_wrapped_for_itself() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let snapshot = derived(&daemon, disk, DiskKind::Snapshot).unwrap();
    let copy = derived(&daemon, snapshot, DiskKind::Disk).unwrap();
    let records = [disk, snapshot, copy].map(|id| daemon.disk(id).record);
    let [first, second, third] = [disk, snapshot, copy].map(|id| wrapped(&daemon, id));
    assert!(first != second && second != third);
    assert_eq!([daemon.dek(disk), daemon.dek(copy)], [daemon.dek(snapshot), daemon.dek(disk)]);
    assert_eq!(
        (records[0].digest.clone(), records[0].geometry),
        (records[2].digest.clone(), records[2].geometry)
    );
    // They go and stay one by one.
    daemon.ask(DiskErase { id: disk, consent: Consent::Force });
    assert_eq!(daemon.dek(snapshot), daemon.dek(copy));
}

#[test]
fn what_belongs_together_stays_in_one_set() {
    let daemon = Daemon::new();
    daemon.make_set("t", "k", EncryptionType::CustomerKey, TERMS);
    let disk = daemon.make_disk("s");
    let elsewhere = DiskDerive { source: disk, kind: DiskKind::Snapshot, des: Some(des("t")) };
    let refused = daemon.refused(elsewhere);
    assert!(refused.message.contains("stay in one set, 's'"), "{}", refused.message);
    let snapshot = derived(&daemon, disk, DiskKind::Snapshot).unwrap();
    let copy = derived(&daemon, snapshot, DiskKind::Disk).unwrap();
    for id in [disk, snapshot, copy] {
        let refused = daemon.refused(move_to(id, "t"));
        assert!(refused.message.contains("copy its data to a new disk"), "{}", refused.message);
    }
    for id in [copy, snapshot] {
        daemon.ask(DiskErase { id, consent: Consent::Force });
    }
    daemon.ask(move_to(disk, "t"));
    assert_eq!(daemon.disk(disk).record.des, des("t"));
}

#[test]
fn a_snapshot_is_attached_to_be_read_only() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let snapshot = derived(&daemon, disk, DiskKind::Snapshot).unwrap();
    let refused = daemon.attachable(snapshot).unwrap_err();
    assert!(refused.message.contains("attached read-only"), "{}", refused.message);
    // Its maker writes it until it is confirmed.
    let request = DiskDerive { source: disk, kind: DiskKind::Snapshot, des: None };
    let fresh = daemon.ask(request);
    assert_eq!(daemon.attachable(fresh.record.id), Ok(()));
    let refused = derived(&daemon, fresh.record.id, DiskKind::Image).map(drop);
    assert!(refused.unwrap_err().message.contains("not confirmed yet"));
}

#[test]
fn nothing_is_made_from_what_cannot_be_had() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    daemon.ask(switch(false));
    let refused = derived(&daemon, disk, DiskKind::Snapshot).unwrap_err();
    assert_eq!(refused.code, RefusalCode::KeyDisabled);
    let unknown = derived(&daemon, DiskId::random(), DiskKind::Snapshot).unwrap_err();
    assert_eq!(unknown.code, RefusalCode::NotFound);
}

#[test]
fn a_set_tells_all_that_is_in_it_page_by_page() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let snapshot = derived(&daemon, disk, DiskKind::Snapshot).unwrap();
    let image = derived(&daemon, disk, DiskKind::Image).unwrap();
    daemon.make_disk("platform");
    let mut expected = vec![disk, snapshot, image];
    expected.sort_unstable();
    let page = |after| {
        let Listing { items, more } = daemon.ask(DesResources { name: des("s"), after });
        assert!(!more);
        items.iter().map(|disk| disk.record.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None), expected);
    assert_eq!(page(Some(expected[0])), expected[1..]);
    assert_eq!(daemon.set("s").disks, 3);
}

/// Each says what to do instead.
#[test]
fn restrictions_refuse_with_their_reason() {
    let daemon = Daemon::new();
    let create = |name: &str, key: &str, encryption| DesCreate {
        name: des(name),
        key: id(key),
        version: None,
        encryption,
        terms: TERMS,
        auto_rotate: true,
        permit: true,
    };
    let vault = |name: &str, retention_days| VaultCreate {
        name: name.parse().unwrap(),
        retention_days,
        purge_protection: false,
    };
    let platform = VaultName::platform();
    let permit = policy_in(platform.as_str(), &identity("s"), &[KeyPermission::Get]);
    let customer = EncryptionType::CustomerKey;
    let cases: Vec<(Request, &str)> = vec![
        (create("x", "platform/platform", customer).into(), "keyd's own and has its set already"),
        (create("x", "k", EncryptionType::PlatformKey).into(), "keyd's own and has its set"),
        (create("s", "k", customer).into(), "choose another name"),
        (create("x", "nope", customer).into(), "'keyd key list' shows the keys"),
        (DesDelete { name: des("platform") }.into(), "it stays as it is"),
        (vault("bank", 6).into(), "for 7 to 90 days, not 6"),
        (vault("bank", 91).into(), "for 7 to 90 days, not 91"),
        (vault("default", 7).into(), "choose another name"),
        (permit.into(), "vault 'platform' is keyd's own"),
        (VaultDelete { name: platform }.into(), "it stays as it is"),
        (VaultDelete { name: VaultName::default_vault() }.into(), "it stays as it is"),
        (rotate("nope").into(), "'keyd key list' shows the keys"),
        (KeyRecover { name: id("k") }.into(), "'keyd key delete k' comes first"),
    ];
    for (request, why) in cases {
        let refused = daemon.refused(request.clone());
        assert!(refused.message.contains(why), "{request:?}: {}", refused.message);
    }
}

/// Names of the longest, reasons of the longest: a list still fits its frames, and misses nothing.
#[test]
fn lists_fit_their_frames_at_their_worst() {
    use keyd_client::{limits::BODY_LEN_MAX, message::RotationError};
    let daemon = Daemon::new();
    let name = |n: usize| des(&format!("a{n:0126}"));
    let snapshot = daemon.core().store.snapshot().unwrap();
    let model = snapshot.set(&des("s")).unwrap();
    let error = RotationError {
        code: "KeyVaultAccessForbidden".to_owned(),
        message: "x".repeat(1000),
        since: 1,
        tried: 1,
    };
    daemon.change(|txn| {
        (0..250).try_for_each(|n| {
            let rotation_error = Some(error.clone());
            txn.put_set(&Des { name: name(n), rotation_error, ..model.clone() })
        })
    });
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let reply = daemon.ask(DesList { after: after.take() });
        assert!(serde_json::to_vec(&reply).unwrap().len() < BODY_LEN_MAX);
        let Listing { items: sets, more } = reply;
        assert!(sets.iter().all(|set| set.key_lost.is_some() || set.rotation_error.is_none()));
        listed.extend(sets.into_iter().map(|set| set.name));
        if !more {
            break;
        }
        after = listed.last().cloned();
    }
    let mut expected: Vec<DesName> = (0..250).map(name).collect();
    expected.extend([des("platform"), des("s")]);
    assert_eq!(listed, expected);

    for vault in 0..8 {
        let mut vault = Vault::new(format!("vault-{vault}").parse().unwrap(), 7, false, 1).unwrap();
        for n in 0..crate::limits::POLICIES_MAX {
            vault.permit(Principal::Des(name(n)), all(KeyPermission::ALL)).unwrap();
        }
        daemon.change(|txn| txn.put_vault(&vault));
    }
    let list = serde_json::to_vec(&daemon.ask(VaultList {})).unwrap();
    let one = VaultShow { name: "vault-1".parse().unwrap() };
    let one = serde_json::to_vec(&daemon.ask(one)).unwrap();
    assert!(list.len() < BODY_LEN_MAX && one.len() < BODY_LEN_MAX, "{} {}", list.len(), one.len());
}

#[test]
fn only_a_disk_that_may_grow_grows() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let before = daemon.disk(disk).record;
    let size = before.geometry.size;
    let grow = |id, size| DiskGrow { id, size, dry_run: false };
    let rehearse = |id, size| DiskGrow { id, size, dry_run: true };
    let dek = wrapped(&daemon, disk);
    let mut holder = daemon.attach(disk);
    let rehearsed = daemon.ask(rehearse(disk, size + 8192));
    assert_eq!((&rehearsed.record, &daemon.disk(disk).record), (&before, &before), "as it is");
    assert!(daemon.records("disk-grow").is_empty());
    daemon.ask(grow(disk, size + 4096));
    holder.expect(&Event::Grown { size: size + 4096 });
    let after = daemon.disk(disk).record;
    assert_eq!(after.geometry, Geometry { size: size + 4096, ..before.geometry });
    assert_eq!((wrapped(&daemon, disk), after.digest), (dek, before.digest), "and nothing else");
    let row = daemon.records("disk-grow").pop().unwrap();
    assert!(row.detail.contains(&format!("from={size} to={}", size + 4096)), "{row:?}");
    daemon.ask(grow(disk, size + 4096));

    let snapshot = derived(&daemon, disk, DiskKind::Snapshot).unwrap();
    let dense = Geometry { holes: Holes::None, ..geometry() };
    let create = |geometry| daemon.ask(DiskCreate { des: Some(des("s")), geometry }).record.id;
    let (dense, unconfirmed) = (create(dense), create(geometry()));
    daemon.ask(DiskConfirm { id: dense });
    for (id, size, words) in [
        (disk, size, "never made smaller"),
        (disk, size + 4097, "whole sectors"),
        (disk, u64::MAX - 511, "has at most"),
        (snapshot, size + 8192, "only a disk grows"),
        (dense, size + 8192, "is dense"),
        (unconfirmed, size + 8192, "not confirmed yet"),
        (DiskId::random(), size + 8192, "no disk"),
    ] {
        for request in [grow(id, size), rehearse(id, size)] {
            let refused = daemon.refused(request);
            assert!(refused.message.contains(words), "{words}: {}", refused.message);
        }
    }
    // A record that goes further than its image makes a disk that nobody can attach: not for everybody.
    daemon.ask(grant_to(7, &[Permission::CreateDisk], Scope::All));
    let refused = daemon.try_as(7, grow(disk, size + 8192)).unwrap_err();
    assert!(refused.message.contains("made by another user"), "{}", refused.message);
}
