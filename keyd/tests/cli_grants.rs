//! The command line on vaults' policies and on grants: what is added, taken away, replaced, and for which disks.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::process::Output;

use common::Keyd;

fn out(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// One command line.
fn run(keyd: &Keyd, command: &str) -> Output {
    keyd.run(&command.split_whitespace().collect::<Vec<_>>())
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
}

/// With one space where there are several.
fn squeezed(table: &str) -> String {
    table.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn start() -> Keyd {
    let keyd = Keyd::start();
    keyd.make_key_and_set(30_000);
    keyd
}

#[test]
fn vaults_and_grants_are_made_and_told() {
    let keyd = Keyd::start_with(&["--grant", "7=audit"]);
    let ok = |command: &str| out(&run(&keyd, command));
    contains(&ok("vault create bank --retention 7"), &["7 days", "purge protection  no"]);
    contains(&ok("vault protect bank"), &["purge protection  yes"]);
    let permitted = ok("vault permit bank uid:5 get,list");
    contains(&permitted, &["uid:5 may get,list in vault bank; holders told: 0"]);
    ok("vault permit bank uid:5 rotate --add");
    ok("vault permit bank root none");
    let more = ok("vault permit bank uid:5 delete");
    contains(&more, &["uid:5 may get,list,delete,rotate in vault bank"]);
    contains(&ok("vault show bank"), &["uid:5      get,list,delete,rotate"]);
    let less = ok("vault permit bank uid:5 list,rotate --remove");
    contains(&less, &["uid:5 may get,delete in vault bank"]);
    ok("vault permit bank uid:5 list --set");
    contains(&ok("vault show bank"), &["uid:5      list\n"]);
    contains(&ok("vault permit bank uid:5 list --remove"), &["uid:5 may nothing in vault bank"]);
    assert!(!ok("vault show bank").contains("uid:5"));
    contains(&ok("vault list"), &["bank", "default", "platform", "90 days"]);
    contains(&ok("vault delete bank"), &["vault bank deleted"]);

    contains(&ok("grant 5 read"), &["uid:5 may read\n"]);
    contains(&ok("grant uid:5 audit"), &["uid:5 may read,audit\n"]);
    contains(&ok("grant uid:5 attach --des platform"), &["attach for the disks of set platform"]);
    let list = squeezed(&ok("grant --list"));
    contains(&list, &["owner of the state directory", "keyd serve --grant"]);
    contains(&list, &["uid:5 read,audit - keyd grant"]);
    contains(&list, &["uid:5 attach the disks of set platform keyd grant"]);
    contains(&ok("grant uid:5 audit,attach --remove"), &["uid:5 may read\n"]);
    contains(&ok("grant uid:5 manage-keys --set"), &["uid:5 may manage-keys\n"]);
    contains(&ok("grant uid:5 none"), &["uid:5 may nothing"]);
    assert!(!ok("grant --list").contains("uid:5"));
}

/// A grant for disks says for which, shows where somebody looks, and is on record.
#[test]
fn a_grant_for_disks_says_for_which_and_shows() {
    let keyd = start();
    let ok = |command: &str| out(&run(&keyd, command));
    let disk = keyd.make_disk(Some("s"));
    for bare in ["grant uid:5 attach", "grant uid:5 read,create-disk --set"] {
        let refused = run(&keyd, bare);
        assert_eq!(refused.status.code(), Some(1), "{bare}");
        contains(&err(&refused), &["--des SET", "--disk ID", "--all-disks"]);
    }
    contains(&err(&run(&keyd, "grant uid:5 attach,read --des s")), &["'read' is not for some"]);
    contains(&err(&run(&keyd, "grant uid:5 attach --des nope")), &["no disk encryption set"]);
    assert!(!ok("grant --list").contains("uid:5"), "nothing of it was granted");
    ok("grant uid:5 attach,create-disk --des s");
    ok(&format!("grant uid:6 attach --disk {disk}"));
    contains(&ok("grant uid:7 attach --all-disks"), &["uid:7 may attach for all disks"]);
    ok("grant uid:8 attach --des platform");
    let shown = squeezed(&ok(&format!("disk show {disk}")));
    for words in [
        "uid:5 attach,create-disk the disks of set s keyd grant".to_owned(),
        format!("uid:6 attach disk {disk} keyd grant"),
        "uid:7 attach all disks keyd grant".to_owned(),
        "administer all disks owner of the state directory".to_owned(),
    ] {
        contains(&shown, &[&words]);
    }
    assert!(!shown.contains("uid:8"), "of another set: {shown}");
    let row = keyd.audited("grant-set", "ok");
    assert_eq!((row.subject.as_str(), row.detail.as_str()), ("uid:8", "des:platform=attach"));
    // What is forgotten takes its grants with it: a set of the same name is another one.
    ok(&format!("disk erase {disk} --force"));
    ok("des delete s");
    keyd.make_set(30_000);
    let list = ok("grant --list");
    assert!(!list.contains("uid:5") && !list.contains("uid:6"), "{list}");
}

/// Somebody who is made later under a name begins with nothing, unless it was said in so many words.
#[test]
fn who_does_not_exist_is_granted_nothing_without_a_word() {
    let keyd = start();
    let ok = |command: &str| out(&run(&keyd, command));
    for command in [
        "grant app:later read",
        "grant des:later attach --des s",
        "vault permit default app:later get",
        "vault permit default des:later get --set",
    ] {
        let refused = run(&keyd, command);
        assert_eq!(refused.status.code(), Some(1), "{command}");
        contains(&err(&refused), &["later does not exist", "--future"]);
        let done = ok(&format!("{command} --future"));
        contains(&done, &["WARNING: ", "later does not exist."]);
    }
    // To take away from nobody is no harm, and who is there is not warned of.
    ok("grant app:later read --remove");
    ok("grant des:later none");
    ok("vault permit default des:nobody none");
    ok("principal create ci");
    for command in ["grant app:ci read", "vault permit default app:ci get"] {
        assert!(!ok(&format!("{command} --future")).contains("WARNING"), "{command}");
        ok(command);
    }
}
