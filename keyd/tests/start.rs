//! Starting, ending, and what is in the way of it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{MetadataExt, PermissionsExt},
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::Path,
    process::Command,
};

use common::{KEYD, Keyd, PATIENCE, attach, fails_to_serve};
use keyd_client::message::DiskConfirm;
use rustix::process::{Pid, Signal, kill_process};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn everything_is_there_after_a_restart() {
    let mut keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    let disks = [keyd.make_disk(Some("s")), keyd.make_disk(None)];
    keyd.ask(DiskConfirm { id: disks[0] });
    let before = disks.map(|id| {
        // It leaves a mark on the disk.
        let dek = keyd.release(id);
        (keyd.disk(id), dek)
    });
    keyd.restart();
    for (disk, dek) in &before {
        assert_eq!(keyd.disk(disk.record.id), *disk);
        assert_eq!(keyd.release(disk.record.id).expose(), dek.expose());
    }
    assert!(before[0].0.record.confirmed && !before[1].0.record.confirmed);
    keyd.verify();
}

#[test]
fn files_are_the_owners_alone() {
    let keyd = Keyd::start();
    let state = keyd.state();
    assert_eq!(mode(&state), 0o700);
    for name in ["root.key", "store.redb", "audit.log", "lock"] {
        assert_eq!(mode(&state.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&keyd.socket()), 0o600);
}

#[test]
fn it_ends_cleanly_and_takes_its_socket_along() {
    let mut keyd = Keyd::start();
    assert_eq!(keyd.end(), Some(0));
    assert!(!keyd.socket().exists());
    keyd.resume();
    keyd.audited("daemon-end", "ok");
}

/// By systemd's `Type=notify` (sd_notify(3)), on a socket in the file system and on an abstract one.
#[test]
fn a_service_manager_is_told_that_it_is_ready_from_within_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let name = format!("portcullis-test-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    for (manager, name) in [
        (UnixDatagram::bind(&path).unwrap(), path.display().to_string()),
        (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}")),
    ] {
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new(KEYD);
        command.args(["serve", "--state-dir"]).arg(dir.path().join("state"));
        command.arg("--socket").arg(dir.path().join("keyd.sock"));
        let mut keyd = command.env("NOTIFY_SOCKET", &name).spawn().unwrap();
        let mut heard = [0; 64];
        let len = manager.recv(&mut heard);
        kill_process(Pid::from_child(&keyd), Signal::TERM).unwrap();
        assert_eq!(keyd.wait().unwrap().code(), Some(0), "{name}");
        assert_eq!(&heard[..len.unwrap()], b"READY=1", "{name}");
    }
}

/// `keyd status` cannot be asked then; `systemctl status` can.
#[test]
fn a_service_manager_is_told_when_nobody_reaches_the_socket_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (notify, socket) = (dir.path().join("notify"), dir.path().join("keyd.sock"));
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Command::new(KEYD);
    command.args(["serve", "--state-dir"]).arg(dir.path().join("state"));
    command.arg("--socket").arg(&socket);
    let mut keyd = command.env("NOTIFY_SOCKET", &notify).spawn().unwrap();
    let heard = || {
        let mut heard = [0; 4096];
        manager.recv(&mut heard).map(|len| String::from_utf8_lossy(&heard[..len]).into_owned())
    };
    let ready = heard();
    let kept = dir.path().join("elsewhere");
    fs::rename(&socket, &kept).unwrap();
    let taken = heard();
    let unreachable = Command::new(KEYD).args(["status", "--socket"]).arg(&socket).output();
    fs::rename(&kept, &socket).unwrap();
    let back = heard();
    kill_process(Pid::from_child(&keyd), Signal::TERM).unwrap();
    assert_eq!(keyd.wait().unwrap().code(), Some(0));
    assert_eq!(ready.unwrap(), "READY=1");
    let (taken, back) = (taken.unwrap(), back.unwrap());
    assert!(taken.starts_with("STATUS=") && taken.contains("start keyd again"), "{taken}");
    assert!(taken.contains("keyd.sock was removed or moved away"), "{taken}");
    assert_eq!(back, "STATUS=the socket is in its place again");
    let said = String::from_utf8(unreachable.unwrap().stderr).unwrap();
    assert!(said.contains("whose socket was removed has to be started again"), "{said}");
}

#[test]
fn a_second_daemon_is_refused_with_the_firsts_process() {
    let keyd = Keyd::start();
    let other = keyd.dir.path().join("other.sock");
    let (code, said) = fails_to_serve(&keyd.state(), &other);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("process id {}", keyd.pid())), "{said}");
    let state = keyd.dir.path().join("other-state");
    let (code, said) = fails_to_serve(&state, &keyd.socket());
    assert_eq!(code, Some(1));
    assert!(said.contains("listening at"), "{said}");
    keyd.verify();
}

#[test]
fn a_wrong_root_key_is_refused_and_nothing_lost() {
    let mut keyd = Keyd::start();
    let disk = keyd.make_disk(None);
    keyd.kill();
    let root = keyd.state().join("root.key");
    let refuses = |text: &str| {
        let (code, said) = fails_to_serve(&keyd.state(), &keyd.socket());
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(text), "{said}");
    };
    let key = fs::read(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o644)).unwrap();
    refuses("has mode 0644");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&root, &key[..31]).unwrap();
    refuses("is not a file of 32 bytes");
    fs::remove_file(&root).unwrap();
    refuses("is missing");
    assert!(!root.exists(), "none was made in its place");
    fs::write(&root, &key).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o600)).unwrap();
    keyd.resume();
    assert!(attach(&keyd, disk, false).unwrap().dek.is_some());
}

#[test]
fn another_root_key_stops_the_start_and_nothing_is_lost() {
    let mut keyd = Keyd::start();
    let disk = keyd.make_disk(None);
    keyd.kill();
    let root = keyd.state().join("root.key");
    let key = fs::read(&root).unwrap();
    fs::write(&root, [9; 32]).unwrap();
    let (code, said) = fails_to_serve(&keyd.state(), &keyd.socket());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the root key is another one"), "{said}");
    fs::write(&root, &key).unwrap();
    keyd.resume();
    assert!(attach(&keyd, disk, false).unwrap().dek.is_some());
}
