//! The command line: what it prints, how it ends.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{fs, os::unix::fs::MetadataExt, process::Output};

use common::{KEYD, Keyd};

fn out(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn verbs_do_what_they_say() {
    let keyd = Keyd::start();
    assert!(out(&keyd.run(&["key", "create", "k", "--bits", "2048"])).contains("2048"));
    let made = ["des", "create", "s", "--key", "k", "--on-revoke", "fail", "--lease", "30s"];
    let made = out(&keyd.run(&made));
    assert!(made.contains("30000 ms") && made.contains("fail"), "{made}");
    let disk = keyd.make_disk(Some("s")).to_string();
    assert!(out(&keyd.run(&["disk", "list"])).contains(&disk));
    let shown = out(&keyd.run(&["disk", "show", &disk]));
    assert!(shown.contains("1 GiB") && shown.contains("16 MiB"), "{shown}");
    assert!(
        out(&keyd.run(&["key", "disable", "k", "--force"])).contains("k disabled; holders told: 0")
    );
    assert!(out(&keyd.run(&["key", "show", "k"])).contains("no"));
    assert!(out(&keyd.run(&["key", "enable", "k"])).contains("k enabled"));
    assert!(out(&keyd.run(&["key", "rotate", "k"])).contains("disks wrapped anew: 1"));
    assert!(out(&keyd.run(&["des", "list"])).contains("platform-key"));
    assert!(out(&keyd.run(&["audit", "tail", "-n", "3"])).contains("des-rewrap"));
    assert!(out(&keyd.run(&["audit", "verify"])).starts_with("the audit log is whole: "));
}

#[test]
fn json_is_json() {
    let keyd = Keyd::start();
    for args in [
        ["key", "list"].as_slice(),
        &["key", "show", "platform/platform"],
        &["des", "list"],
        &["des", "show", "platform"],
        &["disk", "list"],
        &["audit", "tail"],
        &["audit", "verify"],
        &["key", "rotate", "platform/platform"],
    ] {
        let printed = out(&keyd.run(&[args, &["--json"]].concat()));
        let value: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert!(value.is_array() || value.is_object(), "{args:?}");
    }
    let shown = out(&keyd.run(&["--json", "audit", "verify"]));
    let value: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(value["records"].as_u64() > Some(2));
}

#[test]
fn a_key_is_released_to_a_new_file_only() {
    let keyd = Keyd::start();
    let id = keyd.make_disk(None);
    let (disk, path) = (id.to_string(), keyd.dir.path().join("vk"));
    let to = path.to_str().unwrap();
    out(&keyd.run(&["disk", "release-key", &disk, "--to", to]));
    assert_eq!(fs::read(&path).unwrap(), keyd.release(id).expose());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(keyd.audited("disk-release-key", "ok").subject, disk);
    let released = keyd.audit().len();

    fs::write(&path, "precious").unwrap();
    let again = keyd.run(&["disk", "release-key", &disk, "--to", to]);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("give a file that does not exist"), "{}", err(&again));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(keyd.audit().len(), released, "nothing was released");
}

#[test]
fn failures_say_what_to_do_and_end_with_their_code() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    let unknown = keyd_client::DiskId::random().to_string();
    for (args, code, text) in [
        (["key", "show", "nope"].as_slice(), 1, "keyd key list"),
        (&["key", "create", "k"], 1, "choose another name"),
        (&["key", "create", "x", "--bits", "1024"], 1, "2048, 3072 or 4096"),
        (&["key", "disable", "nope"], 1, "keyd key list"),
        (&["key", "create", "a b"], 2, "letters, digits and hyphens"),
        (&["key", "create", "elsewhere/b"], 1, "keyd vault list"),
        (&["des", "create", "d", "--key", "nope"], 1, "no key 'nope'"),
        (&["des", "create", "d", "--key", "platform/platform"], 1, "keyd key create"),
        (&["des", "create", "s", "--key", "k"], 1, "choose another name"),
        (&["des", "create", "d", "--key", "k", "--lease", "1ms"], 1, "1000 ms to 3600000 ms"),
        (&["des", "create", "d", "--key", "k", "--lease", "soon"], 2, "write it as 30s"),
        (&["disk", "show", &unknown], 1, "keyd disk list"),
        (&["disk", "show", "x"], 2, "is not a disk id"),
        (&["disk", "release-key", &unknown, "--to", "/nonexistent/x"], 1, "cannot write"),
        (&["nonsense"], 2, "unrecognized subcommand"),
        (&["--socket", "/nonexistent/s", "key", "list"], 3, "is 'keyd serve' running"),
    ] {
        let output = keyd.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(text), "{args:?}: {}", err(&output));
        assert!(code == 2 || err(&output).lines().count() == 1, "{}", err(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn the_help_has_examples() {
    for args in [["--help"].as_slice(), &["serve", "--help"]] {
        let output = std::process::Command::new(KEYD).args(args).output().unwrap();
        assert!(out(&output).contains("Examples:"), "{args:?}");
    }
}
