//! A volume key that was given out leaves a mark on every disk that has it.

use super::*;
use crate::root::RootKind;

fn notes(daemon: &Daemon) -> String {
    let status = daemon.ask(Status {});
    status.notes.join("\n")
}

fn derived(daemon: &Daemon, source: DiskId, kind: DiskKind) -> DiskId {
    let disk = daemon.ask(DiskDerive { source, kind, des: None });
    daemon.ask(DiskConfirm { id: disk.record.id });
    disk.record.id
}

#[test]
fn a_released_key_is_told_of_every_disk_that_has_it_when_and_to_whom() {
    let daemon = Daemon::new();
    let (disk, other) = (daemon.make_disk("s"), daemon.make_disk("s"));
    let snapshot = derived(&daemon, disk, DiskKind::Snapshot);
    assert_eq!((daemon.disk(disk).released, notes(&daemon).as_str()), (None, ""));
    let before = clock::now();
    daemon.dek(disk);
    // What is made from it later has the same key.
    let later = derived(&daemon, snapshot, DiskKind::Disk);
    for (id, by) in [(disk, None), (snapshot, Some(disk)), (later, Some(disk))] {
        let mark = daemon.disk(id).released.expect("a mark");
        assert_eq!((&mark.to, mark.by), (&Principal::User(OWNER), by));
        assert!(mark.at >= before && mark.at <= clock::now());
        let (at, notes) = (clock::text(mark.at), notes(&daemon));
        let line = format!("the volume key of disk {id} was released on {at} to uid:0");
        assert!(notes.contains(&line), "{notes}");
    }
    assert_eq!(daemon.disk(other).released, None);
    // It outlasts a restart, a rotation and a change of the key; the disk's end is its end.
    let daemon = daemon.restarted();
    daemon.ask(rotate("k"));
    assert!(daemon.disk(disk).released.is_some());
    for id in [later, snapshot, disk] {
        daemon.ask(DiskErase { id, consent: Consent::Force });
    }
    assert_eq!((notes(&daemon), daemon.warnings()), (String::new(), String::new()));
}

#[test]
fn a_release_that_is_refused_leaves_no_mark() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    assert!(daemon.try_as(50, DiskReleaseKey { id: disk }).is_err());
    daemon.ask(switch(false));
    assert!(daemon.try_as(OWNER, DiskReleaseKey { id: disk }).is_err());
    assert_eq!(daemon.disk(disk).released, None);
}

#[test]
fn a_root_key_in_plain_text_is_noted_and_is_no_warning() {
    for (kind, noted) in
        [(RootKind::File, true), (RootKind::Passphrase, false), (RootKind::Pkcs11, false)]
    {
        let daemon = Daemon::new_with_root(kind);
        assert_eq!(daemon.warnings(), "");
        let told = notes(&daemon);
        assert_eq!(told.contains("keyd root move --to passphrase"), noted, "{kind}: {told}");
    }
}
