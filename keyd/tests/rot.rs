//! A store that rots, as its users see it: what is damaged is named and refused, all else goes on; backups that are
//! kept by themselves.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use common::{Keyd, attach, refusal};
use keyd_client::{DiskId, message::RefusalCode};

/// Public keys of others: nobody here can open what is sealed to them.
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Flips a bit of a disk's wrapped DEK, wherever it lies in the store.
fn rot_dek(keyd: &Keyd, disk: DiskId) {
    let path = keyd.state().join("store.redb");
    let id = format!("\"id\":\"{disk}\"");
    let mut bytes = fs::read(&path).unwrap();
    let found: Vec<usize> =
        (0..bytes.len() - id.len()).filter(|at| bytes[*at..].starts_with(id.as_bytes())).collect();
    assert!(!found.is_empty());
    for at in found {
        let blob = b"\"blob\":\"";
        let from = bytes[at..].windows(blob.len()).position(|window| window == blob).unwrap();
        bytes[at + from + 100] ^= 1;
    }
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_disk_whose_key_has_rotted_is_named_and_refused_and_the_others_are_served_and_halted() {
    let mut keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    let disks = [keyd.make_disk(Some("s")), keyd.make_disk(Some("s"))];
    let whole = keyd.run(&["check", "--deep"]);
    assert_eq!(whole.status.code(), Some(0), "{}", text(&whole));
    assert!(text(&whole).contains("2 disks' keys opened"), "{}", text(&whole));
    assert_eq!(keyd.end(), Some(0));
    rot_dek(&keyd, disks[0]);
    keyd.resume();
    for verb in ["status", "check"] {
        let told = keyd.run(&[verb]);
        assert_eq!(told.status.code(), Some(5), "{verb}: {}", text(&told));
        assert!(text(&told).contains(&format!("disk {}", disks[0])), "{verb}: {}", text(&told));
        assert!(!text(&told).contains(&disks[1].to_string()), "{verb}: {}", text(&told));
    }
    assert!(keyd.log().contains(&format!("damaged in the store: disk {}", disks[0])));
    let refused = refusal(attach(&keyd, disks[0], false));
    assert_eq!(refused.code, RefusalCode::Unavailable, "{refused:?}");
    assert!(refused.message.contains("'keyd restore'"), "{refused:?}");
    let mut held = attach(&keyd, disks[1], false).unwrap();
    let list = keyd.run(&["disk", "list"]);
    assert!(text(&list).contains(&disks[1].to_string()), "{}", text(&list));
    // A backup would be damaged, too.
    let to = keyd.state().with_file_name("backup");
    let to = to.to_str().unwrap();
    let refused = keyd.run(&["backup", "--to", to, "--recipient", RECIPIENT]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains(&disks[0].to_string()), "{}", text(&refused));
    assert!(!Path::new(to).exists());
    // It can be taken away all the same.
    keyd.switch(false);
    assert!(held.expect_revoked().contains("disabled"));
    held.fence();
    keyd.switch(true);
    let given_up = keyd.run(&["check", "--accept-damage"]);
    assert_eq!(given_up.status.code(), Some(0), "{}", text(&given_up));
    assert!(text(&given_up).contains(&format!("given up: disk {}", disks[0])));
    keyd.restart();
    let whole = keyd.run(&["check", "--deep"]);
    assert_eq!(whole.status.code(), Some(0), "{}", text(&whole));
    assert_eq!(refusal(attach(&keyd, disks[0], false)).code, RefusalCode::NotFound);
}

#[test]
fn a_store_that_cannot_be_read_is_an_error_with_the_way_back_and_stays_as_it_is() {
    let mut keyd = Keyd::start();
    assert_eq!(keyd.end(), Some(0));
    let path = keyd.state().join("store.redb");
    let mut bytes = fs::read(&path).unwrap();
    // The commit slots, and every page but the first.
    bytes[64..].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&path, &bytes).unwrap();
    let (code, told) = common::fails_to_serve(&keyd.state(), &keyd.socket());
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("store.redb cannot be read") && told.contains("'keyd restore'"),
        "{told}"
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

/// The newest of a directory, as soon as there are so many and no more.
fn backups(dir: &Path, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        if wanted(&names) {
            return names;
        }
        assert!(Instant::now() < deadline, "{names:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn backups_are_kept_by_themselves_and_told_when_there_are_none() {
    let safe = tempfile::tempdir().unwrap();
    let to = safe.path().to_str().unwrap();
    fs::write(safe.path().join("precious"), "x").unwrap();
    let mut keyd = Keyd::start_with(&[
        "--backup-to",
        to,
        "--backup-every",
        "1s",
        "--backup-keep",
        "2",
        "--recipient",
        RECIPIENT,
    ]);
    let first = backups(safe.path(), |names| names.len() == 3);
    let later = backups(safe.path(), |names| names.len() == 3 && !names.contains(&first[0]));
    assert!(later.iter().any(|name| name == "precious"), "{later:?}");
    let sealed = fs::read(safe.path().join(&later[0])).unwrap();
    assert!(sealed.starts_with(b"age-encryption.org/v1\n"));
    assert_eq!(keyd.audited("state-backup", "ok").who, "keyd");
    assert_eq!(keyd.run(&["status"]).status.code(), Some(0), "{}", text(&keyd.run(&["status"])));
    // Where they go to is away.
    fs::remove_dir_all(safe.path()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let told = keyd.run(&["status"]);
        if text(&told).contains("no backup could be made") && told.status.code() == Some(5) {
            break;
        }
        assert!(Instant::now() < deadline, "{}", text(&told));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(keyd.end(), Some(0));
}

#[test]
fn a_backup_inside_the_state_directory_is_refused() {
    let mut keyd = Keyd::start();
    let inside = keyd.state().join("inside");
    fs::create_dir(&inside).unwrap();
    let link = keyd.state().with_file_name("link");
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    let places = [keyd.state().join("b"), inside.join("b"), link.join("b")];
    let backup = |keyd: &Keyd, to: &Path, more: &[&str]| {
        let to = to.to_str().unwrap();
        let told = keyd.run(&[&["backup", "--to", to, "--recipient", RECIPIENT], more].concat());
        assert_eq!(told.status.code(), Some(1), "{to}: {}", text(&told));
        assert!(text(&told).contains("inside the state directory"), "{to}: {}", text(&told));
        assert!(!Path::new(to).exists());
    };
    places.iter().for_each(|to| backup(&keyd, to, &[]));
    assert_eq!(keyd.end(), Some(0));
    let state = keyd.state();
    places.iter().for_each(|to| backup(&keyd, to, &["--state-dir", state.to_str().unwrap()]));
}
