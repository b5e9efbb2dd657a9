//! Copies of the audit log: what they have, what they show, and what is done without them.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use common::{
    Keyd, PATIENCE, attach, fails_to_serve_with, refusal,
    state_files::{files, is_broken, is_whole, put_back, segments, write_rows},
};
use keyd_client::message::AuditRecord;

/// A path for a copy that outlives the daemon, and the daemon that writes it.
fn with_copy(more: &[&str]) -> (Keyd, PathBuf, tempfile::TempDir) {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("audit.copy");
    let args = [&["--audit-copy", copy.to_str().unwrap()], more].concat();
    let keyd = Keyd::start_with(&args);
    (keyd, copy, elsewhere)
}

#[test]
fn a_copy_has_every_row_and_catches_up() {
    let (mut keyd, copy, _elsewhere) = with_copy(&["--audit-segment", "8192"]);
    write_rows(&keyd, 60);
    let log = |keyd: &Keyd| {
        let files = files(&keyd.state());
        segments(&files).iter().flat_map(|name| files[name].clone()).collect::<Vec<u8>>()
    };
    assert_eq!(fs::read(&copy).unwrap(), log(&keyd));
    keyd.kill();
    // What a crash of the copy's host left: fewer rows, the last one torn.
    let rows = fs::read(&copy).unwrap();
    fs::write(&copy, &rows[..rows.len() / 2]).unwrap();
    keyd.resume();
    write_rows(&keyd, 1);
    let (copied, log) = (fs::read_to_string(&copy).unwrap(), log(&keyd));
    let whole: Vec<&str> =
        copied.lines().filter(|row| serde_json::from_str::<AuditRecord>(row).is_ok()).collect();
    assert_eq!(whole.len() + 1, copied.lines().count(), "the torn one stays");
    assert_eq!(whole.join("\n") + "\n", String::from_utf8(log).unwrap());
}

#[test]
fn an_old_state_directory_is_found_by_the_copy_already_by_one_row() {
    let (mut keyd, _copy, _elsewhere) = with_copy(&[]);
    keyd.make_key_and_set(60_000);
    let disk = keyd.make_disk(Some("s"));
    keyd.kill();
    let old = files(&keyd.state());
    keyd.resume();
    keyd.switch(false);
    keyd.kill();
    let new = files(&keyd.state());
    put_back(&keyd.state(), &old);
    keyd.resume();
    is_broken(&keyd, disk, "an old store was put back");
    keyd.restart();
    is_broken(&keyd, disk, "an old store was put back");
    keyd.kill();
    put_back(&keyd.state(), &new);
    keyd.resume();
    assert!(!keyd.key("k").enabled);
    keyd.switch(true);
    is_whole(&keyd, disk);
}

#[test]
fn another_logs_copy_is_refused_and_left_alone() {
    let (mut keyd, copy, _elsewhere) = with_copy(&[]);
    write_rows(&keyd, 3);
    keyd.kill();
    let rows = fs::read(&copy).unwrap();
    let other = tempfile::tempdir().unwrap();
    let (state, socket) = (other.path().join("state"), other.path().join("sock"));
    let mut first = Keyd::start();
    write_rows(&first, 20);
    assert_eq!(first.end(), Some(0));
    put_into(&first.state(), &state);
    let args = ["--audit-copy", copy.to_str().unwrap()];
    let (code, said) = fails_to_serve_with(&state, &socket, &args);
    assert_eq!(code, Some(1));
    assert!(said.contains("which is not row"), "{said}");
    let (code, said) = fails_to_serve_with(&state, &socket, &["--audit-copy", "/dev/null"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no regular file"), "{said}");
    assert_eq!(fs::read(&copy).unwrap(), rows);
}

fn put_into(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[test]
fn the_systems_log_gets_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let reader = UnixDatagram::bind(&path).unwrap();
    reader.set_read_timeout(Some(PATIENCE)).unwrap();
    let keyd = Keyd::start_with(&["--audit-syslog", path.to_str().unwrap()]);
    write_rows(&keyd, 5);
    let mut bytes = vec![0; 16 << 10];
    for row in keyd.audit() {
        let len = reader.recv(&mut bytes).unwrap();
        let datagram = String::from_utf8(bytes[..len].to_vec()).unwrap();
        let (head, message) = datagram.split_once('{').unwrap();
        let severity = if row.outcome == "ok" { "<85>1 " } else { "<84>1 " };
        assert!(head.starts_with(severity) && head.ends_with(" audit - "), "{head}");
        assert_eq!(serde_json::from_str::<AuditRecord>(&format!("{{{message}")).unwrap(), row);
    }
}

#[test]
fn a_copy_that_cannot_be_written_is_said_aloud_and_required_only_if_that_was_asked() {
    for required in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let reader = UnixDatagram::bind(&path).unwrap();
        let socket = path.to_str().unwrap();
        let mut args = vec!["--audit-syslog", socket];
        args.extend(required.then_some("--audit-copy-required"));
        let keyd = Keyd::start_with(&args);
        let disk = keyd.make_disk(None);
        drop(attach(&keyd, disk, false).unwrap());
        drop(reader);
        fs::remove_file(&path).unwrap();
        // The first one after it finds out; the second one is told.
        for _ in 0..2 {
            let attached = attach(&keyd, disk, false);
            if required {
                let refused = refusal(attached).message;
                assert!(refused.contains("is required and cannot be written"), "{refused}");
            } else {
                assert!(attached.unwrap().dek.is_some());
            }
        }
        assert!(keyd.log().contains("does not follow"), "{}", keyd.log());
        let _reader = UnixDatagram::bind(&path).unwrap();
        let begun = Instant::now();
        while !keyd.log().contains("follows again") {
            assert!(begun.elapsed() < PATIENCE, "{}", keyd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let other = keyd.make_disk(None);
        assert!(attach(&keyd, other, false).unwrap().dek.is_some());
    }
}

#[test]
fn an_old_state_directory_goes_on_from_its_copy_when_that_is_accepted() {
    let (mut keyd, copy, _elsewhere) = with_copy(&[]);
    keyd.make_key_and_set(60_000);
    let disk = keyd.make_disk(Some("s"));
    keyd.kill();
    let old = files(&keyd.state());
    keyd.resume();
    write_rows(&keyd, 7);
    keyd.kill();
    let rows = fs::read_to_string(&copy).unwrap().lines().count();
    put_back(&keyd.state(), &old);
    keyd.resume();
    is_broken(&keyd, disk, &format!("whose copy has row {rows}"));
    // Taking the key away goes into the copy, as its next row.
    keyd.switch(false);
    let accepted = keyd.run(&["audit", "reanchor", "--accept-break"]);
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
    keyd.switch(true);
    is_whole(&keyd, disk);
    keyd.restart();
    is_whole(&keyd, disk);
    // The copy is one chain, from the first row to the newest.
    let mut previous = "0".repeat(64);
    for (line, seq) in fs::read_to_string(&copy).unwrap().lines().zip(1..) {
        let record: AuditRecord = serde_json::from_str(line).unwrap();
        assert_eq!((record.seq, record.previous.as_str()), (seq, previous.as_str()));
        let hash = <sha2::Sha256 as sha2::Digest>::digest(line.as_bytes());
        previous = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    }
}
