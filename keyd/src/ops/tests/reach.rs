//! Who may attach, for a set or a disk: what a grant reaches, what it does not, and that nobody learns of what is out
//! of reach.

use super::*;

const USER: u32 = 60;

fn derive(source: DiskId) -> DiskDerive {
    DiskDerive { source, kind: DiskKind::Snapshot, des: None }
}

fn create(set: &str) -> DiskCreate {
    DiskCreate { des: Some(des(set)), geometry: geometry() }
}

fn grant(daemon: &Daemon, permissions: &[Permission], scope: &Scope) {
    daemon.ask(grant_to(USER, permissions, scope.clone()));
}

/// A daemon with set `t` beside `s`, and a disk in each.
fn two_sets() -> (Daemon, DiskId, DiskId) {
    let daemon = Daemon::new();
    daemon.make_set("t", "k", EncryptionType::CustomerKey, TERMS);
    let disks = (daemon.make_disk("s"), daemon.make_disk("t"));
    (daemon, disks.0, disks.1)
}

#[test]
fn a_grant_reaches_its_disk_or_the_disks_of_its_set_and_no_others() {
    let (daemon, mine, other_set) = two_sets();
    let other_disk = daemon.make_disk("s");
    for (scope, reached) in [
        (Scope::Disk(mine), vec![mine]),
        (Scope::Set(des("s")), vec![mine, other_disk]),
        (Scope::All, vec![mine, other_disk, other_set]),
    ] {
        grant(&daemon, &[Permission::Attach], &scope);
        for disk in [mine, other_disk, other_set] {
            let attached = daemon.try_attach_as(USER, disk).map(Holder::hang_up);
            assert_eq!(attached.is_ok(), reached.contains(&disk), "{scope} {attached:?}");
        }
        grant(&daemon, &[], &scope);
        assert!(daemon.try_attach_as(USER, mine).is_err(), "{scope}");
    }
    // A set's disks to come are its disks.
    grant(&daemon, &[Permission::Attach], &Scope::Set(des("s")));
    daemon.try_attach_as(USER, daemon.make_disk("s")).unwrap().hang_up();
}

#[test]
fn losing_what_one_has_by_a_set_or_a_disk_halts_and_other_grants_go_on() {
    let (daemon, disk, _) = two_sets();
    for scope in [Scope::Disk(disk), Scope::Set(des("s"))] {
        grant(&daemon, &[Permission::Attach], &scope);
        let mut holder = daemon.try_attach_as(USER, disk).unwrap();
        // It holds by this one alone.
        let other = if scope == Scope::Disk(disk) { Scope::Set(des("t")) } else { Scope::All };
        grant(&daemon, &[Permission::CreateDisk], &other);
        let also = holder.heard().is_some();
        assert_eq!(also, other == Scope::All, "to replace for all disks is to replace everywhere");
        if !also {
            grant(&daemon, &[], &scope);
            let (reason, _) = holder.expect_revoked();
            assert!(reason.contains("uid:60 has no permission 'attach'"), "{reason}");
        }
        holder.fence();
        grant(&daemon, &[Permission::Attach], &scope);
        holder.expect_back();
        holder.hang_up();
        grant(&daemon, &[], &Scope::All);
    }
}

/// What was granted for a set does not go with the disk; what was granted for the disk does.
#[test]
fn a_disk_that_moves_leaves_the_grants_of_its_set_behind() {
    let (daemon, disk, _) = two_sets();
    let to = |set: &str| move_to(disk, set);
    grant(&daemon, &[Permission::Attach], &Scope::Set(des("s")));
    let mut holder = daemon.try_attach_as(USER, disk).unwrap();
    daemon.ask(to("t"));
    assert!(holder.expect_revoked().0.contains("no permission 'attach'"));
    holder.fence();
    grant(&daemon, &[Permission::Attach], &Scope::Disk(disk));
    holder.expect_back();
    daemon.ask(to("s"));
    holder.expect_nothing();
}

/// Who manages keys does not let himself have a disk's DEK by moving it to where he may attach.
#[test]
fn a_move_gives_its_mover_nothing() {
    let (daemon, mine, theirs) = two_sets();
    let to = |id, set: &str| move_to(id, set);
    daemon.ask(grant_to(USER, &[Permission::ManageKeys], Scope::All));
    grant(&daemon, &[Permission::Attach], &Scope::Set(des("s")));
    let refused = daemon.try_as(USER, to(theirs, "s")).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Forbidden);
    assert!(refused.message.contains(&format!("attach --disk {theirs}'")), "{refused:?}");
    daemon.try_as(USER, to(mine, "t")).unwrap();
    grant(&daemon, &[Permission::Attach], &Scope::Disk(theirs));
    daemon.try_as(USER, to(theirs, "s")).unwrap();
    grant(&daemon, &[], &Scope::Set(des("s")));
    daemon.try_as(USER, to(theirs, "t")).unwrap();
}

/// The hole that it was: a snapshot has its source's DEK, so who makes one must be allowed to have that.
#[test]
fn to_derive_from_a_disk_takes_the_permission_to_attach_it() {
    let (daemon, mine, theirs) = two_sets();
    let try_derive = |source| daemon.try_as(USER, derive(source)).map(drop);
    grant(&daemon, &[Permission::CreateDisk], &Scope::All);
    assert_eq!(try_derive(mine).unwrap_err().code, RefusalCode::Forbidden);
    grant(&daemon, &[], &Scope::All);
    grant(&daemon, &[Permission::Attach, Permission::CreateDisk], &Scope::Set(des("s")));
    try_derive(mine).unwrap();
    let refused = try_derive(theirs).unwrap_err().message;
    assert!(refused.contains("'attach'"), "{refused}");
    // With the one and not with the other: who may have it is told what else it takes, and that is enough.
    grant(&daemon, &[Permission::Attach], &Scope::Set(des("s")));
    let refused = try_derive(mine).unwrap_err().message;
    assert!(refused.contains("'keyd grant uid:60 create-disk --des s'"), "{refused}");
    grant(&daemon, &[Permission::Attach, Permission::CreateDisk], &Scope::Disk(mine));
    let made = daemon.try_as(USER, derive(mine)).unwrap();
    daemon.try_as(USER, DiskConfirm { id: made.record.id }).unwrap();
    // It is no way around: the snapshot is in the same set, and is not the disk that was granted.
    grant(&daemon, &[], &Scope::Set(des("s")));
    assert!(daemon.try_attach_as(USER, made.record.id).is_err());
}

#[test]
fn disks_are_made_in_the_sets_that_were_granted() {
    let (daemon, ..) = two_sets();
    grant(&daemon, &[Permission::CreateDisk], &Scope::Set(des("s")));
    let disk = daemon.try_as(USER, create("s")).unwrap();
    let id = disk.record.id;
    let refused = daemon.try_as(USER, create("t")).unwrap_err();
    assert!(refused.message.contains("'keyd grant uid:60 create-disk --des t'"), "{refused:?}");
    let nowhere = daemon.try_as(USER, create("nope")).unwrap_err();
    assert_eq!(
        nowhere.message,
        refused.message.replace("'t'", "'nope'").replace("des t", "des nope")
    );
    daemon.try_as(USER, DiskConfirm { id }).unwrap();
    let grow = DiskGrow { id, size: 2 << 30, dry_run: false };
    daemon.try_as(USER, grow.clone()).unwrap();
    // Its maker alone is not enough.
    grant(&daemon, &[], &Scope::Set(des("s")));
    assert_eq!(daemon.try_as(USER, grow).unwrap_err().code, RefusalCode::Forbidden);
}

/// Whatever somebody may do, short of all disks: an id that is out of reach and one of no disk get the same answer.
#[test]
fn ids_out_of_reach_are_not_told_from_ids_of_no_disk() {
    let (daemon, mine, theirs) = two_sets();
    let unconfirmed = daemon.ask(create("t")).record.id;
    let held = daemon.make_disk("t");
    let _holder = daemon.attach(held);
    let snapshot = daemon.ask(derive(theirs)).record.id;
    let erased = daemon.make_disk("t");
    daemon.ask(DiskErase { id: erased, consent: Consent::Force });
    let asks: [fn(DiskId) -> Request; 12] = [
        |id| Attach { id, read_only: false, if_lost: IfLost::Refuse }.into(),
        |id| Attach { id, read_only: true, if_lost: IfLost::Refuse }.into(),
        |id| Attach { id, read_only: false, if_lost: IfLost::Wait }.into(),
        |id| derive(id).into(),
        |source| DiskDerive { source, kind: DiskKind::Image, des: Some(des("s")) }.into(),
        |id| DiskConfirm { id }.into(),
        |id| DiskAbandon { id }.into(),
        |id| DiskGrow { id, size: 2 << 30, dry_run: false }.into(),
        |id| DiskGrow { id, size: 1, dry_run: true }.into(),
        |id| DiskShow { id }.into(),
        |id| move_to(id, "s").into(),
        |id| DiskReleaseKey { id }.into(),
    ];
    let (attach, create) = (Permission::Attach, Permission::CreateDisk);
    let grants: [(&[Permission], Scope); 5] = [
        (&[], Scope::All),
        (&[attach, create], Scope::Set(des("s"))),
        (&[attach, create], Scope::Disk(mine)),
        (&[create], Scope::All),
        (&[create], Scope::Set(des("t"))),
    ];
    for (permissions, scope) in grants {
        grant(&daemon, &[], &Scope::All);
        grant(&daemon, permissions, &scope);
        for (n, ask) in asks.into_iter().enumerate() {
            let told = |id: DiskId| {
                let answer = daemon.answer::<serde_json::Value>(USER, ask(id));
                let refused = answer.map(|(reply, _)| reply).unwrap_err();
                (refused.code, refused.message.replace(&id.to_string(), "ID"))
            };
            let nothing = told(DiskId::random());
            for id in [theirs, unconfirmed, held, snapshot, erased] {
                assert_eq!(told(id), nothing, "{permissions:?} for {scope}, request {n}");
            }
        }
    }
}

/// The record of a grant outlives the daemon, and one from before there were scopes is for all disks.
#[test]
fn grants_outlast_a_restart_and_older_ones_are_for_all_disks() {
    let (daemon, mine, theirs) = two_sets();
    grant(&daemon, &[Permission::Attach], &Scope::Set(des("s")));
    let daemon = daemon.restarted();
    daemon.try_attach_as(USER, mine).unwrap().hang_up();
    assert!(daemon.try_attach_as(USER, theirs).is_err());
    let Listing { items: grants, more } = daemon.ask(GrantList { after: None });
    let stored: Vec<_> =
        grants.iter().filter(|row| row.principal == Principal::User(USER)).collect();
    assert_eq!((stored.len(), more), (1, false));
    assert_eq!(stored[0].scope, Scope::Set(des("s")));
}
