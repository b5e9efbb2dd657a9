//! The audit log under attack, and the ways on from there: through the daemon, as its users see it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::fs;

use common::{
    Keyd,
    state_files::{
        Files, files, is_broken, is_named, is_whole, joined, put_back, rows_of, segments, seq_of,
        with_segments, with_segments_and, write_rows,
    },
};

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
    edited[middle] = edited[middle].replace("disk-create", "disk-change");
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
fn old_rows_are_moved_away_and_the_chain_begins_behind_them() {
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().to_str().unwrap();
    let (mut keyd, disk) = with_segments_and(&["--writable", to]);
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
    refused(&["audit", "archive", "--to", here], "is no archive");
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

/// What a message for a full disk advises: it must not need a file that happens to be closed.
#[test]
fn all_rows_so_far_are_moved_away_when_that_is_asked_for() {
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().to_str().unwrap();
    let mut keyd = Keyd::start_with(&["--writable", to]);
    let disk = keyd.make_disk(None);
    let mut moved = 0;
    for more in [&[][..], &["--before", "1000000"]] {
        let rows = keyd.audit().len();
        let done = keyd.run(&[&["audit", "archive", "--to", to], more].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        moved += rows as u64;
        let begins = format!("1 files moved; the audit log begins with row {} now\n", moved + 1);
        assert_eq!(said, begins);
        assert_eq!(keyd.audit()[0].operation, "audit-archive");
        is_whole(&keyd, disk);
        keyd.restart();
        is_whole(&keyd, disk);
    }
    // Both files together are the rows from the first one on.
    let archived = files(elsewhere.path());
    let rows: Vec<u64> =
        archived.keys().flat_map(|name| rows_of(&archived, name)).map(|row| seq_of(&row)).collect();
    assert_eq!(rows, (1..=moved).collect::<Vec<u64>>());
}
