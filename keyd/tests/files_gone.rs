//! Files that are taken away from under a daemon that runs, and a start without them.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use common::{
    Keyd, attach, fails_to_serve,
    https::{connect, trusting},
    refusal,
    state_files::{is_whole, write_rows},
    vaults::port_after,
};
use keyd_client::{DiskId, message::AuditRecord};
use rustix::process::{Pid, Signal, kill_process};

fn with_disk(args: &[&str]) -> (Keyd, DiskId) {
    let keyd = Keyd::start_with(args);
    keyd.make_key_and_set(60_000);
    let disk = keyd.make_disk(Some("s"));
    (keyd, disk)
}

fn said(keyd: &Keyd, args: &[&str], code: i32) -> String {
    let output = keyd.run(args);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    text
}

/// The very next use is refused, whoever asks is told why, and keys can be taken away.
fn is_missed(keyd: &Keyd, disk: DiskId, what: &str) {
    let refused = refusal(attach(keyd, disk, false)).message;
    assert!(refused.contains(what), "{refused} / {what}");
    for args in [&["key", "rotate", "k"][..], &["audit", "verify"]] {
        let text = said(keyd, args, 1);
        assert!(text.contains(what), "{text} / {what}");
    }
    let warned = said(keyd, &["status"], 5);
    assert!(warned.contains(&format!("warning: {what}")), "{warned} / {what}");
    keyd.switch(false);
    assert!(!keyd.key("k").enabled);
}

#[test]
fn an_audit_log_that_is_taken_away_is_missed_by_the_next_use() {
    type Way = fn(&Path);
    let ways: [(Way, &str); 3] = [
        (|log| fs::remove_file(log).unwrap(), "audit.log was removed or moved away"),
        (
            |log| {
                fs::rename(log, log.with_extension("1")).unwrap();
                fs::write(log, "").unwrap();
            },
            "something else lies in the place of audit.log",
        ),
        (|log| fs::write(log, "").unwrap(), "audit.log has 0 bytes"),
    ];
    for (take, what) in ways {
        let (mut keyd, disk) = with_disk(&[]);
        take(&keyd.state().join("audit.log"));
        is_missed(&keyd, disk, what);
        keyd.restart();
        let refused = refusal(attach(&keyd, disk, true)).message;
        assert!(refused.contains("keyd uses no key"), "a restart accepts nothing: {refused}");
        said(&keyd, &["audit", "reanchor", "--accept-break"], 0);
        keyd.switch(true);
        is_whole(&keyd, disk);
    }
}

#[test]
fn a_store_that_is_taken_away_is_missed_and_comes_back_by_a_backup_of_the_daemon_that_has_it_open()
{
    let elsewhere = tempfile::tempdir().unwrap();
    let path = |name: &str| elsewhere.path().join(name).to_str().unwrap().to_owned();
    let (mut keyd, disk) = with_disk(&["--writable", elsewhere.path().to_str().unwrap()]);
    let state = keyd.state();
    let dek = keyd.release(disk);
    fs::remove_file(state.join("store.redb")).unwrap();
    fs::remove_file(state.join("root.key")).unwrap();
    is_missed(&keyd, disk, "store.redb was removed or moved away");
    let made = Command::new("age-keygen").args(["-o", &path("identity")]).output();
    let made = made.expect("age-keygen is missing: install the package age").stderr;
    let recipient = String::from_utf8(made).unwrap();
    let recipient = recipient.trim().strip_prefix("Public key: ").unwrap();
    said(&keyd, &["backup", "--to", &path("backup"), "--recipient", recipient], 0);
    keyd.kill();
    let (code, text) = fails_to_serve(&state, &keyd.socket());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no store.redb") && text.contains("keyd restore"), "{text}");
    for name in ["store.redb", "root.key"] {
        assert!(!state.join(name).exists(), "{name} was made anew");
    }
    fs::rename(&state, path("old")).unwrap();
    let state = state.to_str().unwrap();
    let (from, identity) = (path("backup"), path("identity"));
    said(&keyd, &["restore", "--from", &from, "--identity", &identity, "--state-dir", state], 0);
    keyd.resume();
    assert!(!keyd.key("k").enabled, "what was taken away meanwhile stays so");
    keyd.switch(true);
    assert_eq!(keyd.release(disk).expose(), dek.expose());
    is_whole(&keyd, disk);
}

#[test]
fn a_start_without_its_store_makes_no_empty_one() {
    for left in [&["root.key"][..], &["audit.log"], &["root.key", "audit.log"]] {
        let mut keyd = Keyd::start();
        keyd.kill();
        let state = keyd.state();
        for entry in fs::read_dir(&state).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !left.contains(&name.as_str()) {
                fs::remove_file(state.join(name)).unwrap();
            }
        }
        let (code, text) = fails_to_serve(&state, &keyd.socket());
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("but no store.redb"), "{text}");
        let there = |name: &str| state.join(name).exists();
        assert!(!there("store.redb") && there("root.key") == left.contains(&"root.key"));
    }
}

/// As a crash between the root key and the store leaves it.
#[test]
fn a_first_start_that_was_interrupted_is_begun_again() {
    let mut keyd = Keyd::start();
    assert!(!keyd.state().join("first-start").exists());
    keyd.kill();
    let state = keyd.state();
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("root.key") {
            fs::remove_file(path).unwrap();
        }
    }
    fs::write(state.join("first-start"), "").unwrap();
    keyd.resume();
    assert!(!state.join("first-start").exists());
    keyd.verify();
}

#[test]
fn a_state_directory_that_is_moved_away_ends_uses_and_loses_nothing() {
    let (mut keyd, disk) = with_disk(&[]);
    let state = keyd.state();
    let moved = state.with_extension("moved");
    fs::rename(&state, &moved).unwrap();
    is_missed(&keyd, disk, "the state directory was removed or moved away");
    fs::rename(&moved, &state).unwrap();
    keyd.switch(true);
    is_whole(&keyd, disk);
    keyd.restart();
    is_whole(&keyd, disk);
}

#[test]
fn a_removed_lock_file_lets_no_second_daemon_in() {
    let keyd = Keyd::start();
    fs::remove_file(keyd.state().join("lock")).unwrap();
    let (code, text) = fails_to_serve(&keyd.state(), &keyd.dir.path().join("other.sock"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("runs on the state directory"), "{text}");
    keyd.verify();
}

#[test]
fn a_socket_that_is_taken_away_is_said_and_another_daemons_is_left_alone() {
    let mut keyd = Keyd::start();
    let disk = keyd.make_disk(None);
    let held = attach(&keyd, disk, false).unwrap();
    fs::remove_file(keyd.socket()).unwrap();
    let begun = Instant::now();
    while !keyd.log().contains("keyd.sock was removed or moved away") {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", keyd.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(held);
    let _other = std::os::unix::net::UnixListener::bind(keyd.socket()).unwrap();
    assert_eq!(keyd.end(), Some(0));
    assert!(keyd.socket().exists());
}

/// What the next start needs, while this daemon goes on with what it read.
#[test]
fn a_certificate_that_is_taken_away_is_warned_of_and_https_goes_on() {
    let files = tempfile::tempdir().unwrap();
    let (chain, key) = (files.path().join("chain.pem"), files.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["default.localhost".to_owned()]).unwrap();
    fs::write(&chain, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (chain_path, key_path) = (chain.to_str().unwrap(), key.to_str().unwrap());
    let listen = ["--listen", "127.0.0.1:0", "--tls-cert", chain_path, "--tls-key", key_path];
    let keyd = Keyd::start_with(&listen);
    let trusting = trusting(&chain, None);
    let port = port_after(&keyd.log(), "https ");
    let serves = || connect(&trusting, "default.localhost", port).unwrap().flush().unwrap();
    serves();
    assert!(!said(&keyd, &["status"], 0).contains("certificate"));
    let kept = fs::read(&chain).unwrap();
    fs::remove_file(&chain).unwrap();
    let told = said(&keyd, &["status"], 5);
    assert!(told.contains("warning: the certificate of HTTPS") && told.contains(chain_path));
    serves();
    fs::write(&chain, kept).unwrap();
    assert!(!said(&keyd, &["status"], 0).contains("certificate"));
}

fn copied(more: &[&str]) -> (Keyd, DiskId, PathBuf, tempfile::TempDir) {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("audit.copy");
    let args = [&["--audit-copy", copy.to_str().unwrap()], more].concat();
    let (keyd, disk) = with_disk(&args);
    (keyd, disk, copy, elsewhere)
}

#[test]
fn a_required_copy_that_is_removed_or_cut_is_missed_by_the_next_use() {
    type Way = fn(&Path);
    let ways: [(Way, &str); 3] = [
        (|copy| fs::remove_file(copy).unwrap(), "was removed or moved away"),
        (|copy| fs::write(copy, "").unwrap(), "has 0 bytes"),
        (
            |copy| {
                fs::remove_file(copy).unwrap();
                fs::write(copy, "").unwrap();
            },
            "something else lies in the place of",
        ),
    ];
    for (take, what) in ways {
        let (mut keyd, disk, copy, _elsewhere) = copied(&["--audit-copy-required"]);
        take(&copy);
        let rows = keyd.audit().len();
        let refused = refusal(attach(&keyd, disk, false)).message;
        assert!(refused.contains(what) && refused.contains("is required"), "{refused}");
        assert!(said(&keyd, &["key", "rotate", "k"], 1).contains(what));
        assert!(said(&keyd, &["audit", "verify"], 1).contains(what));
        assert!(said(&keyd, &["status"], 5).contains(what));
        let used = |row: &AuditRecord| row.operation == "attach" || row.operation == "key-rotate";
        assert!(!keyd.audit()[rows..].iter().any(used), "nothing was done that is told as failed");
        keyd.switch(false);
        // A start completes it from the log: it is whole, from the first row on.
        keyd.restart();
        keyd.switch(true);
        is_whole(&keyd, disk);
        let rows = keyd.audit().len();
        let copied = fs::read_to_string(&copy).unwrap();
        assert!(copied.lines().count() >= rows, "{copied}");
    }
}

#[test]
fn a_copy_that_nobody_requires_is_missed_within_a_look() {
    let (keyd, disk, copy, _elsewhere) = copied(&[]);
    fs::remove_file(&copy).unwrap();
    let begun = Instant::now();
    while keyd.run(&["status"]).status.code() != Some(5) {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(said(&keyd, &["status"], 5).contains("was removed or moved away"));
    assert!(attach(&keyd, disk, false).unwrap().dek.is_some());
}

/// Rows of files one after the other.
fn chained(files: &[PathBuf]) -> u64 {
    let mut before: Option<AuditRecord> = None;
    let mut line_before = String::new();
    for file in files {
        for line in fs::read_to_string(file).unwrap().lines() {
            let row: AuditRecord = serde_json::from_str(line).unwrap();
            let digest = <sha2::Sha256 as sha2::Digest>::digest(line_before.as_bytes());
            let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            match &before {
                None => assert_eq!(row.seq, 1),
                Some(before) => {
                    assert_eq!((row.seq, row.previous.as_str()), (before.seq + 1, hash.as_str()))
                }
            }
            (before, line_before) = (Some(row), line.to_owned());
        }
    }
    before.unwrap().seq
}

/// Waits until a copy has what the log has now: a row that nobody waits for may still be on its way.
fn follows(keyd: &Keyd, newest: impl Fn() -> u64) {
    let (begun, wanted) = (Instant::now(), keyd.audit().last().unwrap().seq);
    while newest() < wanted {
        assert!(begun.elapsed() < Duration::from_secs(30), "row {wanted} is not in the copy");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_copy_is_rotated_by_another_program_and_its_chain_goes_on() {
    let (mut keyd, disk, copy, _elsewhere) = copied(&["--audit-copy-required"]);
    let moved = copy.with_extension("1");
    fs::rename(&copy, &moved).unwrap();
    let pid = Pid::from_raw(i32::try_from(keyd.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let row = keyd.audited("audit-copy-rotate", "ok");
    assert_eq!((row.who.as_str(), row.subject.as_str()), ("keyd", copy.to_str().unwrap()));
    assert!(attach(&keyd, disk, false).unwrap().dek.is_some());
    follows(&keyd, || chained(&[moved.clone(), copy.clone()]));
    keyd.restart();
    is_whole(&keyd, disk);
    chained(&[moved, copy]);
}

#[test]
fn a_copy_is_closed_when_it_is_long_and_its_chain_goes_on() {
    let (mut keyd, disk, copy, elsewhere) =
        copied(&["--audit-copy-required", "--audit-copy-segment", "8192"]);
    write_rows(&keyd, 60);
    let all = || {
        let mut files: Vec<PathBuf> =
            fs::read_dir(elsewhere.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        // The one that grows has the shortest name, and the newest rows.
        files.sort();
        files.rotate_left(1);
        files
    };
    follows(&keyd, || chained(&all()));
    assert!(all().len() > 2 && all().iter().all(|file| fs::metadata(file).unwrap().len() <= 8192));
    // One that was closed a moment before the end, before the next had a row.
    assert_eq!(keyd.end(), Some(0));
    fs::rename(&copy, copy.with_extension("copy.00000000000000009999")).unwrap();
    keyd.resume();
    is_whole(&keyd, disk);
    chained(&all());
}
