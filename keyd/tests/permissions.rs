//! What another user may do: nothing, then what was granted. The other user is `nobody`, by `setpriv`, as root only.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use common::Keyd;

const NOBODY: &str = "65534";

/// Runs the command line as `nobody`; none if that cannot be done here.
fn as_nobody(keyd: &Keyd, args: &[&str]) -> Option<Output> {
    if !rustix::process::geteuid().is_root() || Command::new("setpriv").output().is_err() {
        println!("SKIPPED: needs root and setpriv");
        return None;
    }
    fs::set_permissions(keyd.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(keyd.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    // Where the build lies may be closed to others.
    let program = keyd.dir.path().join("keyd");
    if !program.exists() {
        fs::copy(common::KEYD, &program).unwrap();
    }
    let output = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .arg(program)
        .args(args)
        .env("KEYD_SOCKET", keyd.socket())
        .output();
    Some(output.unwrap())
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn another_user_may_nothing() {
    let keyd = Keyd::start();
    let disk = keyd.make_disk(None).to_string();
    let key = keyd.dir.path().join("vk");
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
    fs::set_permissions(keyd.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let output = as_nobody(&keyd, &["disk", "release-key", &disk, "--to", to]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!key.exists(), "no file is left behind");
    let record = keyd.audited("key-create", "refused: forbidden");
    assert_eq!(record.who, format!("uid:{NOBODY}"));
}

#[test]
fn a_grant_is_enough_for_what_it_names() {
    let keyd = Keyd::start_with(&["--grant", "65534=read,audit"]);
    for (args, code) in [
        (["key", "list"].as_slice(), 0),
        (&["disk", "list"], 0),
        (&["audit", "verify"], 0),
        (&["key", "rotate", "platform"], 1),
    ] {
        let Some(output) = as_nobody(&keyd, args) else { return };
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", told(&output));
    }
}
