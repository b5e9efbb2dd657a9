//! The audit log under attack, without space, and copied elsewhere: through the daemon, as its users see it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use common::{Keyd, attach, fails_to_serve_with, refusal};
use keyd_client::{DiskId, message::AuditRecord};

const SEGMENT: usize = 8192;

/// Rows: each is a refusal.
fn write_rows(keyd: &Keyd, count: usize) {
    for _ in 0..count {
        refusal(attach(keyd, DiskId::random(), false));
    }
}

/// A directory's files and their bytes.
type Files = BTreeMap<String, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        files.insert(name, fs::read(entry.path()).unwrap());
    }
    files
}

/// Makes a directory what it was.
fn put_back(dir: &Path, before: &Files) {
    for name in files(dir).keys().filter(|name| !before.contains_key(*name)) {
        fs::remove_file(dir.join(name)).unwrap();
    }
    for (name, bytes) in before {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// The log's segments among the files, in order of their rows.
fn segments(files: &Files) -> Vec<String> {
    let is_closed = |name: &&String| name.starts_with("audit-") && name.ends_with(".log");
    let closed = files.keys().filter(is_closed).cloned();
    closed.chain(["audit.log".to_owned()]).collect()
}

fn rows_of(files: &Files, name: &str) -> Vec<String> {
    let text = String::from_utf8(files[name].clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn seq_of(row: &str) -> u64 {
    serde_json::from_str::<AuditRecord>(row).unwrap().seq
}

fn joined(rows: &[String]) -> Vec<u8> {
    rows.iter().flat_map(|row| [row.as_bytes(), b"\n"].concat()).collect()
}

/// A daemon with a disk, a key that can be pulled, and a log in three segments or more.
fn with_segments() -> (Keyd, DiskId) {
    let keyd = Keyd::start_with(&["--audit-segment", &SEGMENT.to_string()]);
    keyd.make_key_and_set(60_000);
    let disk = keyd.make_disk(Some("s"));
    write_rows(&keyd, 90);
    (keyd, disk)
}

/// No key is handed out, `audit verify` names the row and fails, and what is stored can be read.
fn is_broken(keyd: &Keyd, disk: DiskId, finding: &str) {
    let refused = refusal(attach(keyd, disk, false));
    assert!(refused.message.contains(finding), "{} / {finding}", refused.message);
    is_named(keyd, finding);
    assert_eq!(keyd.disk(disk).record.id, disk);
}

fn is_named(keyd: &Keyd, finding: &str) {
    let verified = keyd.run(&["audit", "verify"]);
    assert_eq!(verified.status.code(), Some(1));
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(said.contains(finding), "{said} / {finding}");
}

fn is_whole(keyd: &Keyd, disk: DiskId) {
    assert!(attach(keyd, disk, false).unwrap().dek.is_some());
    assert!(keyd.run(&["audit", "verify"]).status.success());
}

/// What an attacker makes of the files, and how the first bad row is then named.
struct Attack {
    what: &'static str,
    files: Files,
    finding: String,
}

fn attacks(before: &Files) -> Vec<Attack> {
    let names = segments(before);
    let (first, second, last) = (&names[0], &names[1], &names[names.len() - 1]);
    let [one, two, newest] = [first, second, last].map(|name| rows_of(before, name));
    let of = |row: &String, what: &str| format!("row {} of the audit log {what}", seq_of(row));
    let without = |rows: &[String], at: usize| [&rows[..at], &rows[at + 1..]].concat();
    let with = |what, finding, changes: &[(&String, Option<Vec<u8>>)]| {
        let mut files = before.clone();
        for (name, bytes) in changes {
            match bytes {
                Some(bytes) => files.insert((*name).clone(), bytes.clone()),
                None => files.remove(*name),
            };
        }
        Attack { what, files, finding }
    };
    let (middle, newest_row) = (two.len() / 2, newest.len() - 1);
    let mut edited = two.clone();
    edited[middle] = edited[middle].replace("attach", "detach");
    let mut swapped = two.clone();
    swapped.swap(3, 4);
    let mut longer = newest.clone();
    longer.push(newest[0].clone());
    let surplus = seq_of(&newest[newest_row]) + 1;
    let mut torn = joined(&two);
    torn.truncate(torn.len() - 20);
    let set = |rows: &[String]| Some(joined(rows));
    let between = format!("is missing, between {first} and {second}");
    vec![
        with(
            "edit",
            of(&two[middle], &format!("was changed, in {second}")),
            &[(second, set(&edited))],
        ),
        with(
            "cut the newest",
            of(&newest[newest_row], "is missing, in audit.log"),
            &[(last, set(&without(&newest, newest_row)))],
        ),
        with("empty the current", of(&newest[0], "is missing"), &[(last, Some(Vec::new()))]),
        with("cut the oldest", of(&one[0], "is missing"), &[(first, set(&one[1..]))]),
        with("cut in the middle", of(&one[4], "is missing"), &[(first, set(&without(&one, 4)))]),
        with(
            "cut a segment's end",
            of(&one[one.len() - 1], &between),
            &[(first, set(&one[..one.len() - 1]))],
        ),
        with("reorder", of(&two[3], "is missing"), &[(second, set(&swapped))]),
        with(
            "lengthen",
            format!("row {surplus} of the audit log was not committed"),
            &[(last, set(&longer))],
        ),
        with(
            "truncate inside a row",
            of(&two[two.len() - 1], "is not a record"),
            &[(second, Some(torn))],
        ),
        with(
            "take a segment away",
            of(&one[0], &format!("is missing, before {second}")),
            &[(first, None)],
        ),
        with(
            "swap two segments",
            of(&one[0], "is missing"),
            &[(first, set(&two)), (second, set(&one))],
        ),
    ]
}

#[test]
fn tampering_is_named_by_its_first_row_and_no_key_is_handed_out_until_it_is_undone() {
    let (mut keyd, disk) = with_segments();
    keyd.kill();
    let state = keyd.state();
    let before = files(&state);
    assert!(segments(&before).len() >= 4, "{:?}", before.keys());
    for attack in attacks(&before) {
        println!("{}", attack.what);
        put_back(&state, &attack.files);
        keyd.resume();
        is_broken(&keyd, disk, &attack.finding);
        keyd.kill();
        put_back(&state, &before);
        keyd.resume();
        is_whole(&keyd, disk);
        keyd.kill();
        put_back(&state, &before);
    }
}

#[test]
fn a_key_can_be_taken_away_beside_a_broken_log_and_that_is_recorded() {
    let (mut keyd, disk) = with_segments();
    keyd.kill();
    let state = keyd.state();
    let before = files(&state);
    let Attack { files: tampered, finding, .. } = attacks(&before).swap_remove(0);
    put_back(&state, &tampered);
    keyd.resume();
    is_broken(&keyd, disk, &finding);
    keyd.switch(false);
    assert_eq!(keyd.audit().last().unwrap().operation, "key-update");
    keyd.restart();
    is_named(&keyd, &finding);
    assert!(!keyd.key("k").enabled);
    assert_eq!(keyd.run(&["key", "enable", "k"]).status.code(), Some(1), "that gives a key");
}

/// Also without a restart in between.
#[test]
fn a_row_changed_under_a_running_daemon_is_found_by_verify() {
    let keyd = Keyd::start();
    let disk = keyd.make_disk(None);
    let path = keyd.state().join("audit.log");
    let log = fs::read_to_string(&path).unwrap();
    fs::write(&path, log.replace("daemon-start", "daemon-stort")).unwrap();
    let verified = keyd.run(&["audit", "verify"]);
    assert_eq!(verified.status.code(), Some(1));
    is_broken(&keyd, disk, "row 1 of the audit log was changed");
}

#[test]
fn a_torn_audit_line_is_cut_and_said() {
    let mut keyd = Keyd::start();
    keyd.kill();
    let path = keyd.state().join("audit.log");
    let mut log = fs::read_to_string(&path).unwrap();
    log.push_str("{\"seq\":3,\"ti");
    fs::write(&path, log).unwrap();
    keyd.resume();
    let record = keyd.audited("audit-recover", "ok");
    assert!(record.detail.contains("a torn line of 12 bytes"), "{}", record.detail);
    keyd.verify();
}

#[test]
fn an_old_store_is_found_by_the_newer_log_and_an_old_log_by_the_newer_store() {
    let mut keyd = Keyd::start();
    let disk = keyd.make_disk(None);
    keyd.kill();
    let old = files(&keyd.state());
    keyd.resume();
    write_rows(&keyd, 5);
    keyd.kill();
    let new = files(&keyd.state());
    for (name, finding) in [
        ("store.redb", "was not committed by this store"),
        ("audit.log", "of the audit log is missing"),
    ] {
        let mut mixed = new.clone();
        mixed.insert(name.to_owned(), old[name].clone());
        put_back(&keyd.state(), &mixed);
        keyd.resume();
        is_broken(&keyd, disk, finding);
        keyd.kill();
    }
    put_back(&keyd.state(), &new);
    keyd.resume();
    is_whole(&keyd, disk);
}

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
    reader.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
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
            assert!(begun.elapsed() < Duration::from_secs(10), "{}", keyd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let other = keyd.make_disk(None);
        assert!(attach(&keyd, other, false).unwrap().dek.is_some());
    }
}

/// A file system of its own, gone with this.
struct Mount(PathBuf);

impl Mount {
    /// None where this process may not mount.
    fn new(kind: &str, at: &Path, image: &Path) -> Option<Self> {
        let run = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output();
            output.is_ok_and(|output| output.status.success())
        };
        let (at_text, image_text) = (at.to_str()?, image.to_str()?);
        let done = if kind == "tmpfs" {
            run("mount", &["-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs", at_text])
        } else {
            fs::File::create(image).unwrap().set_len(48 << 20).unwrap();
            run("mkfs.ext4", &["-q", "-m", "0", image_text])
                && run("mount", &["-o", "loop", image_text, at_text])
        };
        done.then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A lazy one: the daemon may have files open still.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn fill_up(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    let bytes = vec![1; 4096];
    while file.write_all(&bytes).is_ok() {}
    let _ = file.sync_all();
}

#[test]
fn a_full_disk_halts_uses_lets_a_key_be_taken_away_and_all_goes_on_with_space() {
    for kind in ["tmpfs", "ext4"] {
        let elsewhere = tempfile::tempdir().unwrap();
        let mut keyd = Keyd::start();
        keyd.make_key_and_set(60_000);
        let disk = keyd.make_disk(Some("s"));
        keyd.kill();
        let before = files(&keyd.state());
        let Some(_mount) = Mount::new(kind, &keyd.state(), &elsewhere.path().join("image")) else {
            println!("SKIPPED on {kind}: only root may mount a small file system");
            continue;
        };
        let lost = keyd.state().join("lost+found");
        let _ = fs::remove_dir(lost);
        fs::set_permissions(keyd.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        put_back(&keyd.state(), &before);
        for name in before.keys() {
            let path = keyd.state().join(name);
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        keyd.resume();
        let filler = keyd.state().join("filler");
        fill_up(&filler);
        let begun = Instant::now();
        let refused = loop {
            match attach(&keyd, disk, false) {
                Ok(held) => drop(held),
                refused => break refusal(refused),
            }
            fill_up(&keyd.state().join("filler2"));
            assert!(begun.elapsed() < Duration::from_secs(120), "the disk does not fill up");
        };
        assert!(refused.message.contains("is full"), "{}", refused.message);
        let mut rows = 0;
        for _ in 0..20 {
            keyd.switch(false);
            rows += 1;
        }
        assert!(refusal(attach(&keyd, disk, false)).message.contains("disabled"));
        assert_eq!(keyd.audit().last().unwrap().operation, "key-update");
        assert_eq!(keyd.run(&["key", "enable", "k"]).status.code(), Some(1));
        // Also after a restart, which finds the disk full.
        keyd.restart();
        keyd.switch(false);
        assert_eq!(keyd.run(&["key", "enable", "k"]).status.code(), Some(1));
        fs::remove_file(&filler).unwrap();
        let _ = fs::remove_file(keyd.state().join("filler2"));
        keyd.switch(true);
        is_whole(&keyd, disk);
        println!("{kind}: {rows} withdrawals on a full disk");
        keyd.kill();
    }
}

#[test]
fn a_break_is_accepted_by_an_administrator_in_so_many_words() {
    let (mut keyd, disk) = with_segments();
    let whole = keyd.run(&["audit", "reanchor", "--accept-break"]);
    assert_eq!(whole.status.code(), Some(1), "there is no break");
    keyd.kill();
    let before = files(&keyd.state());
    for attack in attacks(&before) {
        println!("{}", attack.what);
        put_back(&keyd.state(), &attack.files);
        keyd.resume();
        let unsaid = keyd.run(&["audit", "reanchor"]);
        assert_eq!(unsaid.status.code(), Some(1));
        is_broken(&keyd, disk, &attack.finding);
        let accepted = keyd.run(&["--json", "audit", "reanchor", "--accept-break"]);
        assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
        let told: serde_json::Value = serde_json::from_slice(&accepted.stdout).unwrap();
        let row = keyd.audited("audit-reanchor", "ok");
        assert!(row.detail.contains(&attack.finding) && row.who.starts_with("uid:"), "{row:?}");
        assert!(row.detail.contains(told["sha256"].as_str().unwrap()), "{row:?}");
        is_whole(&keyd, disk);
        keyd.restart();
        is_whole(&keyd, disk);
        // What was given up is still there, byte for byte.
        let now = files(&keyd.state());
        for name in segments(&attack.files).iter().filter(|name| attack.files.contains_key(*name)) {
            let kept = |bytes: &Vec<u8>| bytes.starts_with(&attack.files[name]);
            assert!(now.values().any(kept), "{}: {name}", attack.what);
        }
        keyd.kill();
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
        assert_eq!((record.seq, &record.previous), (seq, &previous));
        let hash = <sha2::Sha256 as sha2::Digest>::digest(line.as_bytes());
        previous = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    }
}

#[test]
fn old_rows_are_moved_away_and_the_chain_begins_behind_them() {
    let (mut keyd, disk) = with_segments();
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().to_str().unwrap();
    let state = files(&keyd.state());
    let names = segments(&state);
    let third = seq_of(&rows_of(&state, &names[2])[0]);
    let refused = |args: &[&str], text: &str| {
        let output = keyd.run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(text), "{said}");
    };
    let state_dir = keyd.state();
    refused(&["audit", "archive", "--before", "2", "--to", to], "only rows before 2");
    refused(&["audit", "archive", "--before", "99", "--to", "/no/such/dir"], "/no/such/dir");
    let here = state_dir.to_str().unwrap();
    refused(&["audit", "archive", "--before", "99", "--to", here], "is no archive");
    let before = third.to_string();
    let done = keyd.run(&["audit", "archive", "--before", &before, "--to", to]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(said.contains("2 files moved") && said.contains(&before), "{said}");
    // What was moved is what was there; what stays begins with the row that the archive's last one leads to.
    let archived = files(elsewhere.path());
    assert_eq!(archived.keys().collect::<Vec<_>>(), names[..2].iter().collect::<Vec<_>>());
    assert!(names[..2].iter().all(|name| archived[name] == state[name]));
    assert!(names[..2].iter().all(|name| !state_dir.join(name).exists()));
    let row = keyd.audited("audit-archive", "ok");
    assert!(row.who.starts_with("uid:") && row.subject == to, "{row:?}");
    keyd.restart();
    is_whole(&keyd, disk);
    assert_eq!(keyd.verify(), keyd.audit().last().unwrap().seq + 1 - third);
    // The next segment is the oldest now, and missed as such.
    keyd.kill();
    fs::remove_file(state_dir.join(&names[2])).unwrap();
    keyd.resume();
    is_broken(&keyd, disk, &format!("row {third} of the audit log is missing"));
}
