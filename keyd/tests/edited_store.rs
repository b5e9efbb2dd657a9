//! A store that another program has written in: one of an earlier keyd, and one without a row that keyd committed. What
//! is said of it is done, as it is said.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    process::{Command, Output},
};

use common::{KEYD, Keyd, attach, fails_to_serve};
use redb::{Database, ReadableTable, TableDefinition, TableHandle};

type Rows<'n> = TableDefinition<'n, &'static [u8], &'static [u8]>;

const META: Rows<'_> = TableDefinition::new("meta");
const KEYS: Rows<'_> = TableDefinition::new("keys");

/// Bytes of a row's tag, which older stores have not; rows that never have one.
const TAG_LEN: usize = 16;
const BARE: [&[u8]; 3] = [b"format", b"audit-head", b"state-digest"];

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// The command in a text that begins so.
#[track_caller]
fn advised<'a>(told: &'a str, begins: &str) -> Vec<&'a str> {
    let found = told.split('\'').find(|part| part.starts_with(begins));
    let command = found.unwrap_or_else(|| panic!("no '{begins}' is advised: {told}"));
    command.split_whitespace().skip(1).collect()
}

fn edit(keyd: &Keyd, edit: impl FnOnce(&redb::WriteTransaction)) {
    let db = Database::open(keyd.state().join("store.redb")).unwrap();
    let transaction = db.begin_write().unwrap();
    edit(&transaction);
    transaction.commit().unwrap();
}

/// As keyd wrote it before its records had tags.
fn make_older(transaction: &redb::WriteTransaction) {
    for handle in transaction.list_tables().unwrap().collect::<Vec<_>>() {
        let name = handle.name().to_owned();
        let mut table = transaction.open_table(Rows::new(&name)).unwrap();
        let rows: Vec<(Vec<u8>, Vec<u8>)> = table
            .iter()
            .unwrap()
            .map(|row| row.unwrap())
            .map(|(key, value)| (key.value().to_vec(), value.value().to_vec()))
            .collect();
        for (key, stored) in rows {
            if name != "meta" || !BARE.contains(&&key[..]) {
                table.insert(&key[..], &stored[TAG_LEN..]).unwrap();
            }
        }
    }
    let mut meta = transaction.open_table(META).unwrap();
    meta.insert(&b"format"[..], &b"3"[..]).unwrap();
    meta.remove(&b"state-digest"[..]).unwrap();
}

#[test]
fn a_store_of_an_earlier_keyd_is_taken_by_the_command_that_its_refusal_names() {
    let mut keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    let disk = keyd.make_disk(Some("s"));
    assert_eq!(keyd.end(), Some(0));
    edit(&keyd, make_older);
    let (code, told) = fails_to_serve(&keyd.state(), &keyd.socket());
    assert_eq!(code, Some(1), "{told}");
    let state = keyd.state().display().to_string();
    let mut command = advised(&told, "keyd upgrade --state-dir DIR");
    command.iter_mut().filter(|word| **word == "DIR").for_each(|word| *word = &state);
    let upgraded = Command::new(KEYD).args(&command).output().unwrap();
    assert_eq!(upgraded.status.code(), Some(0), "{}", text(&upgraded));
    keyd.resume();
    assert!(attach(&keyd, disk, false).unwrap().dek.is_some());
    assert_eq!(keyd.run(&["check", "--deep"]).status.code(), Some(0));
}

#[test]
fn a_store_without_a_row_that_was_committed_is_accepted_by_the_command_that_its_refusal_names() {
    let mut keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    let disk = keyd.make_disk(Some("s"));
    let made = keyd.run(&["key", "create", "spare", "--bits", "2048"]);
    assert!(made.status.success(), "{}", text(&made));
    assert_eq!(keyd.end(), Some(0));
    edit(&keyd, |transaction| {
        let mut keys = transaction.open_table(KEYS).unwrap();
        assert!(keys.remove(&b"default/spare"[..]).unwrap().is_some());
    });
    keyd.resume();
    let refused = text(&keyd.run(&["key", "rotate", "k"]));
    let status = keyd.run(&["status"]);
    assert_eq!(status.status.code(), Some(5), "{}", text(&status));
    let command = advised(&refused, "keyd check --accept-damage");
    let status = text(&status);
    assert_eq!(advised(&status, "keyd check --accept-damage"), command);
    let accepted = keyd.run(&command);
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted));
    assert!(keyd.run(&["key", "rotate", "k"]).status.success());
    assert!(attach(&keyd, disk, false).unwrap().dek.is_some());
}

/// From a backup it comes back whole.
#[test]
fn a_store_without_a_row_comes_back_by_the_restore_that_its_refusal_names() {
    let safe = tempfile::tempdir().unwrap();
    let path = |name: &str| safe.path().join(name).display().to_string();
    let mut keyd = Keyd::start_with(&["--writable", safe.path().to_str().unwrap()]);
    keyd.make_key_and_set(5000);
    let disk = keyd.make_disk(Some("s"));
    let made = Command::new("age-keygen").args(["-o", &path("identity")]).output();
    let made = made.expect("age-keygen is missing: install the package age").stderr;
    let recipient = String::from_utf8(made).unwrap();
    let recipient = recipient.trim().strip_prefix("Public key: ").unwrap();
    let backup = keyd.run(&["backup", "--to", &path("backup"), "--recipient", recipient]);
    assert!(backup.status.success(), "{}", text(&backup));
    assert_eq!(keyd.end(), Some(0));
    edit(&keyd, |transaction| {
        let mut keys = transaction.open_table(KEYS).unwrap();
        assert!(keys.remove(&b"default/k"[..]).unwrap().is_some());
    });
    keyd.resume();
    let refused = text(&keyd.run(&["key", "rotate", "platform/platform"]));
    let command = advised(&refused, "keyd restore");
    assert_eq!(keyd.end(), Some(0));
    fs::rename(keyd.state(), path("old")).unwrap();
    let state = keyd.state().display().to_string();
    let (from, identity) = (path("backup"), path("identity"));
    let open = ["--from", &from, "--identity", &identity, "--state-dir", &state];
    let restored = Command::new(KEYD).args(command).args(open).output().unwrap();
    assert!(restored.status.success(), "{}", text(&restored));
    keyd.resume();
    assert!(attach(&keyd, disk, false).unwrap().dek.is_some());
}
