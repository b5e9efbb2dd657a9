//! What others say is printed in its place: no text of theirs makes a row, moves the cursor, or hides what follows.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    process::{Command, Output},
};

use common::{KEYD, Keyd};

/// Another row, for who sees no more than lines; then what a terminal obeys in C0 and C1, the reading order turned
/// round, lines as Unicode has them, and what has no width.
const FORGED: &str = "x  ok\n99  2026-11-30 10:00:00.000Z  uid:0  key-enable  prod  ok\r\x1b[2A\u{9b}2K\u{7f}\u{202e}ko\u{2066}\u{2028}y\u{2029}\u{85}\u{200b}\u{feff}z";

/// What is left of it in one line.
const SHOWN: &str = r"ok\n99  2026-11-30 10:00:00.000Z  uid:0  key-enable  prod  ok\r\u{1b}[2A\u{9b}2K\u{7f}\u{202e}ko\u{2066}\u{2028}y\u{2029}\u{85}\u{200b}\u{feff}z";

fn keyd(keyd: &Keyd, args: &[&str]) -> Output {
    Command::new(KEYD).args(args).env("KEYD_SOCKET", keyd.socket()).output().unwrap()
}

/// Text of nothing but characters that are seen, and ends of lines.
fn seen(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let ranges = [
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2066}'..='\u{2069}',
        '\u{feff}'..='\u{feff}',
    ];
    let hidden =
        |c: char| (c.is_control() && c != '\n') || ranges.iter().any(|range| range.contains(&c));
    assert!(!text.chars().any(hidden), "{text:?}");
    text
}

/// A request that is refused, with a subject that is another row.
fn refused(daemon: &Keyd) -> String {
    let output =
        keyd(daemon, &["audit", "archive", "--before", "1", "--to", &format!("/{FORGED}")]);
    assert_eq!(output.status.code(), Some(1));
    seen(&output.stderr)
}

#[test]
fn a_subject_makes_no_row_of_the_audit_log() {
    let daemon = Keyd::start();
    assert_eq!(refused(&daemon).lines().count(), 1);
    let records = daemon.audit();
    let record = records.iter().rfind(|record| record.operation == "audit-archive").unwrap();
    // Where it is told, and where it is stored.
    assert_eq!(record.subject, format!("/x  {SHOWN}"));
    let tail = seen(&keyd(&daemon, &["audit", "tail", "-n", "500"]).stdout);
    assert_eq!(tail.lines().count(), records.len() + 1, "{tail}");
    let row = tail.lines().last().unwrap();
    assert!(row.contains(r"/x \u{20}ok\n99 \u{20}2026"), "a column is ended by no text: {row}");
    let json = seen(&keyd(&daemon, &["audit", "tail", "--json"]).stdout);
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    let told = told.as_array().unwrap().last().unwrap();
    assert_eq!(
        told["subject"].as_str(),
        Some(record.subject.as_str()),
        "a parser reads no more than is seen"
    );
    let stored = seen(&fs::read(daemon.state().join("audit.log")).unwrap());
    assert_eq!(stored.lines().count(), records.len());
    assert!(stored.lines().all(|line| line.starts_with("{\"seq\":")));
    daemon.verify();
}

#[test]
fn a_subject_makes_no_line_of_the_daemons_log() {
    let daemon = Keyd::start();
    refused(&daemon);
    let log = seen(daemon.log().as_bytes());
    let year = &log[..4];
    assert!(log.lines().all(|line| line.starts_with(year)), "{log}");
    assert!(log.lines().any(|line| line.contains("audit-archive /x  ok\\n99")), "{log}");
}

#[test]
fn tags_are_kept_as_they_are_and_shown_in_their_place() {
    let daemon = Keyd::start();
    daemon.make_key_and_set(30_000);
    let (tag, label) = (format!("a={FORGED}"), "x\nID  LABEL");
    assert!(keyd(&daemon, &["key", "set", "k", "--tag", &tag]).status.success());
    let shown = seen(&keyd(&daemon, &["key", "show", "k"]).stdout);
    assert_eq!(shown.lines().filter(|line| line.contains("key-enable")).count(), 1, "{shown}");
    assert!(shown.contains(&format!("tags      a=\"x  {SHOWN}\"")), "{shown}");
    let json = seen(&keyd(&daemon, &["key", "show", "k", "--json"]).stdout);
    let key: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(key["tags"]["a"], FORGED);
    // A label is refused, and quoted by nobody.
    assert!(keyd(&daemon, &["principal", "create", "ci"]).status.success());
    let made = keyd(&daemon, &["token", "create", "ci", "--label", label]);
    assert_eq!(seen(&made.stderr).lines().count(), 1);
}

#[test]
fn words_that_are_not_understood_are_quoted_as_they_can_be_seen() {
    for args in [
        &["key", "show", FORGED][..],
        &["key", "set", "k", "--expires", FORGED],
        &["grant", "uid:5", FORGED],
        &[FORGED],
        &["status", &format!("--{FORGED}")],
        &["serve", "--state-dir", "x", "--grant", FORGED],
    ] {
        let output = Command::new(KEYD).args(args).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        let told = seen(&output.stderr);
        assert!(!told.lines().any(|line| line.starts_with("99")), "{told}");
    }
    // Its own name, which the usage tells, is no more its own.
    let name = "keyd\x1b[2K\nkeyd: all is well";
    let output = Command::new(KEYD).arg0(name).arg("--nonsense").output().unwrap();
    let told = seen(&output.stderr);
    assert!(!told.lines().any(|line| line.starts_with("keyd: all")), "{told}");
    // Nor what the environment says.
    let help = Command::new(KEYD).env("KEYD_SOCKET", FORGED).arg("--help").output().unwrap();
    seen(&help.stdout);
    let output = Command::new(KEYD).env("KEYD_SOCKET", FORGED).arg("status").output().unwrap();
    assert_eq!((seen(&output.stderr).lines().count(), output.status.code()), (1, Some(3)));
    // A word that is no UTF-8, and one without an end.
    let odd = OsStr::from_bytes(b"k\xff\x9b2K");
    seen(&Command::new(KEYD).args(["key", "show"]).arg(odd).output().unwrap().stderr);
    let long = "k".repeat(100_000);
    let told = seen(&Command::new(KEYD).args(["key", "show", &long]).output().unwrap().stderr);
    assert!(told.len() < 2000, "{} bytes", told.len());
}

#[test]
fn numbers_and_times_that_cannot_be_are_told_with_those_that_can() {
    let daemon = Keyd::start();
    daemon.make_key_and_set(30_000);
    for (command, code, text) in [
        ("key create x --bits 2048x", 2, "2048, 3072 or 4096"),
        ("key set k --expires -5d", 2, "'-5d' is no moment: write it as"),
        ("key disable k --token=", 2, "a value is required"),
        ("audit tail -n 501", 2, "from 1 to 500"),
        ("vault create bank --retention 99999", 2, "7 to 90 days"),
        ("des create d --key k --lease 5h", 1, "a lease of 5h is out of range: choose 1s to 1h"),
        ("des create d --key k --lease -1s", 2, "'-1s' is no time: write it as"),
        ("des create d --key k --lease 99999999999999999999h", 2, "longer than any time"),
        ("des create d --key k --grace 30d", 1, "a grace of 30d is too long: choose at most 7d"),
        ("token create nope --expires 5000d", 1, "a token is good for 1s to 3650d, not 5000d"),
        ("serve --state-dir new --listen 8443", 2, "write it as 127.0.0.1:8443"),
        ("serve --state-dir new --audit-segment 1", 2, "8192 or more"),
        ("serve --state-dir /dev/null", 1, "is no directory: name another --state-dir"),
    ] {
        let output = keyd(&daemon, &command.split_whitespace().collect::<Vec<_>>());
        let said = seen(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command}: {said}");
        assert!(said.contains(text), "{command}: {said}");
    }
}
