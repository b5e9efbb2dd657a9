//! What another user may do: nothing, then what was granted. The other user is `nobody`, by `setpriv`, as root only.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
};

use common::Keyd;

const NOBODY: &str = "65534";

/// Runs the command line as `nobody`; none if that cannot be done here.
fn as_nobody(keyd: &Keyd, args: &[&str]) -> Option<Output> {
    if Command::new("setpriv").output().is_err() {
        must_run::skip("there is no setpriv(1)");
        return None;
    }
    if !must_run::is_root_for("become another user") {
        return None;
    }
    fs::set_permissions(keyd.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(keyd.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    // Where the build lies may be closed to others.
    let program = keyd.dir.path().join("keyd");
    if !program.exists() {
        // By a process of its own: a child that another test makes at this moment would have the copy open for writing,
        // and nobody could run it (ETXTBSY).
        let copied = Command::new("cp").arg(common::KEYD).arg(&program).status();
        assert!(copied.unwrap().success());
    }
    let output = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .arg(program)
        .args(args)
        .env("KEYD_SOCKET", keyd.socket())
        .output();
    Some(output.unwrap())
}

/// A directory where everybody may write.
fn open_dir(keyd: &Keyd) -> PathBuf {
    let dir = keyd.dir.path().join("open");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn another_user_may_nothing() {
    let keyd = Keyd::start();
    let disk = keyd.make_disk(None).to_string();
    let key = open_dir(&keyd).join("vk");
    let to = key.to_str().unwrap();
    for (args, permission) in [
        (vec!["key", "list"], "read"),
        (vec!["disk", "show", &disk], "read"),
        (vec!["key", "create", "x"], "create"),
        (vec!["key", "disable", "platform/platform"], "update"),
        (vec!["audit", "tail"], "audit"),
    ] {
        let Some(output) = as_nobody(&keyd, &args) else { return };
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let needs = format!("needs the permission '{permission}'");
        assert!(told(&output).contains(&needs), "{args:?}: {}", told(&output));
    }
    let output = as_nobody(&keyd, &["disk", "release-key", &disk, "--to", to]).unwrap();
    assert!(told(&output).contains("needs the permission 'release-key'"), "{}", told(&output));
    assert!(!key.exists(), "no file is left behind");
    let record = keyd.audited("key-create", "refused: forbidden");
    assert_eq!(record.who, format!("uid:{NOBODY}"));
}

/// By permission of the daemon as a whole: what it is enough for.
#[test]
fn a_grant_is_enough_for_what_it_names() {
    let keyd = Keyd::start();
    let disk = keyd.make_disk(None).to_string();
    let (show, key) = (format!("disk show {disk}"), open_dir(&keyd).join("vk"));
    let release = format!("disk release-key {disk} --to {}", key.display());
    let lease = format!("disk abandon {disk}");
    let commands = [
        ("status", "read"),
        ("key list", "read"),
        ("vault list", "read"),
        ("vault show default", "read"),
        ("des list", "read"),
        ("des resources platform", "read"),
        (&show, "read"),
        ("vault create bank", "manage-keys"),
        ("vault protect bank", "manage-keys"),
        ("key create bank/k --bits 2048", "manage-keys"),
        ("vault delete default", "manage-keys"),
        ("des create d --key bank/k", "manage-keys"),
        ("audit tail", "audit"),
        ("audit verify", "audit"),
        (&release, "release-key"),
        ("grant --list", "administer"),
        ("vault permit bank des:d get --future", "administer"),
        // It is the owner's, and that is not told.
        (&lease, "administer"),
    ];
    for permission in ["read", "manage-keys", "audit", "release-key", "create-disk", "administer"] {
        let granted = keyd.run(&["grant", "nobody", permission, "--set", "--all-disks"]);
        assert_eq!(granted.status.code(), Some(0), "{}", told(&granted));
        for (command, needs) in commands {
            let args: Vec<&str> = command.split_whitespace().collect();
            let Some(output) = as_nobody(&keyd, &args) else { return };
            // Some are refused for another reason than that of permission.
            let forbidden = told(&output).contains("may not do this");
            let administers = permission == "administer";
            assert_eq!(forbidden, !administers && needs != permission, "{permission}: {command}");
        }
        let _ = fs::remove_file(&key);
    }
    assert_eq!(keyd.run(&["grant", "nobody", "none"]).status.code(), Some(0));
    for (command, _) in commands {
        let args: Vec<&str> = command.split_whitespace().collect();
        let output = as_nobody(&keyd, &args).unwrap();
        assert!(told(&output).contains("may not do this"), "{command}: {}", told(&output));
    }
}

/// By permission of a vault's policy: what it is enough for there, and nowhere else. The refusal names the command that
/// gives the permission, and that command does.
#[test]
fn a_policy_is_enough_in_its_vault_and_nowhere_else() {
    let keyd = Keyd::start();
    let owner = |command: &str| {
        let output = keyd.run(&command.split_whitespace().collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0), "{command}: {}", told(&output));
    };
    for vault in ["bank", "other"] {
        owner(&format!("vault create {vault}"));
        owner(&format!("key create {vault}/k --bits 2048"));
    }
    for (permission, command) in [
        ("get", "key show VAULT/k"),
        ("list", "key list --vault VAULT"),
        ("create", "key create VAULT/new --bits 2048"),
        ("update", "key set VAULT/k --tag a=b"),
        ("setrotationpolicy", "key rotation-policy set VAULT/k --rotate-after 90"),
        ("rotate", "key rotate VAULT/k"),
        ("delete", "key delete VAULT/k"),
        ("recover", "key recover VAULT/k"),
        ("delete", "key delete VAULT/k"),
        ("purge", "key purge VAULT/k"),
    ] {
        let run = |vault: &str| {
            let command = command.replace("VAULT", vault);
            as_nobody(&keyd, &command.split_whitespace().collect::<Vec<_>>())
        };
        owner("vault permit bank nobody none");
        let Some(refused) = run("bank") else { return };
        assert_eq!(refused.status.code(), Some(1), "{command}");
        let said = told(&refused);
        assert!(said.contains(&format!("'{permission}' in vault 'bank'")), "{command}: {said}");
        let remedy = said.split("given by 'keyd ").nth(1).unwrap().split('\'').next().unwrap();
        owner(remedy);
        let done = run("bank").unwrap();
        assert_eq!(done.status.code(), Some(0), "{command}: {}", told(&done));
        let elsewhere = told(&run("other").unwrap());
        assert!(elsewhere.contains("in vault 'other'"), "{command}: {elsewhere}");
    }
    let record = keyd.audited("key-purge", "ok");
    assert_eq!(
        (record.who.to_string(), record.subject.as_str()),
        (format!("uid:{NOBODY}"), "bank/k")
    );
}

/// Nobody can destroy alone what disks depend on; the code says that it is not done yet.
#[test]
fn a_purge_of_what_is_in_use_takes_two() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    keyd.make_disk(Some("s"));
    let run = |command: &str| keyd.run(&command.split_whitespace().collect::<Vec<_>>());
    assert_eq!(run("vault permit default nobody purge").status.code(), Some(0));
    assert_eq!(run("key delete k --force").status.code(), Some(0));
    let asked = run("key purge k --force");
    assert_eq!(asked.status.code(), Some(6), "{}", told(&asked));
    let said = String::from_utf8(asked.stdout).unwrap();
    assert!(said.starts_with("noted, not done: 1 DEK"), "{said}");
    assert_eq!(run("key purge k --force").status.code(), Some(6));
    let Some(second) = as_nobody(&keyd, &["key", "purge", "k"]) else { return };
    assert!(told(&second).contains("1 never to be read again"), "{}", told(&second));
    let second = as_nobody(&keyd, &["key", "purge", "k", "--force"]).unwrap();
    assert_eq!(second.status.code(), Some(0), "{}", told(&second));
    assert_eq!(run("key show k").status.code(), Some(1));
}
