//! The kinds of root key, under the real daemon: what opens it, moving it, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "common/token.rs"]
mod token;

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use common::{KEYD, Keyd, attach};
use keyd_client::DiskId;
use token::{LABEL, MODULE, Token, with_token};

const OLD: &str = "the old passphrase";
const NEW: &str = "the new passphrase";

/// A directory for passphrase files, each of mode 0600.
struct Secrets(tempfile::TempDir);

impl Secrets {
    fn new() -> Self {
        let secrets = Self(tempfile::tempdir().unwrap());
        secrets.write("old", OLD);
        secrets.write("new", NEW);
        secrets
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("{text}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn keyd(args: &[&str]) -> Output {
    Command::new(KEYD).args(args).stdin(Stdio::null()).output().unwrap()
}

fn done(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn kind(state: &Path) -> String {
    done(keyd(&["root", "show", "--state-dir", state.to_str().unwrap()])).trim().to_owned()
}

/// A daemon with a disk, and the disk's key.
fn with_disk(args: &[&str]) -> (Keyd, DiskId, [u8; 64]) {
    let keyd = Keyd::start_with(args);
    let disk = keyd.make_disk(None);
    let dek = *keyd.release(disk).expose();
    (keyd, disk, dek)
}

fn still_opens(keyd: &Keyd, disk: DiskId, dek: [u8; 64]) {
    assert_eq!(attach(keyd, disk, false).unwrap().dek.unwrap().expose(), &dek);
    keyd.verify();
}

fn state(keyd: &Keyd) -> String {
    keyd.state().display().to_string()
}

#[test]
fn a_root_key_under_a_passphrase_opens_at_every_start() {
    let secrets = Secrets::new();
    let old = secrets.path("old");
    let (mut daemon, disk, dek) = with_disk(&["--root", "passphrase", "--passphrase-file", &old]);
    assert!(!daemon.state().join("root.key").exists());
    daemon.restart();
    still_opens(&daemon, disk, dek);
    daemon.kill();
    assert_eq!(kind(&daemon.state()), "passphrase");
    for (args, told) in [
        (&["--passphrase-file", &secrets.path("new")][..], "the passphrase is wrong"),
        (&[], "give --passphrase-file"),
        (&["--root", "file"], "of the kind 'passphrase', not 'file'"),
        (&["--root", "pkcs11"], "of the kind 'passphrase', not 'pkcs11'"),
    ] {
        let (code, said) = fails(&daemon, args);
        assert_eq!(code, Some(1));
        assert!(said.contains(told), "{told}: {said}");
        assert!(!said.contains(NEW), "{said}");
    }
    daemon.resume();
    still_opens(&daemon, disk, dek);
}

/// A start without a terminal that should fail.
fn fails(daemon: &Keyd, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("setsid")
        .args(["--wait", KEYD, "serve", "--state-dir"])
        .arg(daemon.state())
        .arg("--socket")
        .arg(daemon.socket())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn systemd_passes_the_passphrase_as_a_credential() {
    let secrets = Secrets::new();
    secrets.write("keyd-passphrase", OLD);
    let (mut daemon, disk, dek) =
        with_disk(&["--root", "passphrase", "--passphrase-file", &secrets.path("old")]);
    daemon.kill();
    let mut child = Command::new(KEYD)
        .args(["serve", "--state-dir", &state(&daemon), "--socket"])
        .arg(daemon.socket())
        .env("CREDENTIALS_DIRECTORY", secrets.0.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_ready(&mut child);
    let opened = *daemon.release(disk).expose();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(opened, dek);
}

fn wait_ready(child: &mut Child) {
    let mut log = String::new();
    let mut stderr = child.stderr.take().unwrap();
    while !log.contains("ready: ") {
        let mut bytes = [0; 256];
        let read = stderr.read(&mut bytes).unwrap();
        assert!(read > 0, "{log}");
        log.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    child.stderr = Some(stderr);
}

#[test]
fn a_root_key_moves_to_a_passphrase_and_back_and_disks_notice_nothing() {
    let secrets = Secrets::new();
    let (mut daemon, disk, dek) = with_disk(&[]);
    let state = state(&daemon);
    let to_passphrase = [
        "root",
        "move",
        "--to",
        "passphrase",
        "--state-dir",
        &state,
        "--new-passphrase-file",
        &secrets.path("old"),
    ];
    let running = refused(&keyd(&to_passphrase));
    assert!(running.contains("stop it first"), "{running}");
    daemon.kill();
    let told = done(keyd(&to_passphrase));
    assert!(told.contains("from file to passphrase"), "{told}");
    assert_eq!(kind(&daemon.state()), "passphrase");
    let old = secrets.path("old");
    let change = [
        "root",
        "change-passphrase",
        "--state-dir",
        &state,
        "--passphrase-file",
        &old,
        "--new-passphrase-file",
        &secrets.path("new"),
    ];
    done(keyd(&change));
    assert!(refused(&keyd(&change)).contains("the passphrase is wrong"));
    let new = secrets.path("new");
    daemon.resume_with(&["--passphrase-file", &new]);
    still_opens(&daemon, disk, dek);
    daemon.audited("root-move", "ok");
    let record = daemon.audited("root-change-passphrase", "ok");
    assert_eq!(record.who, format!("uid:{}", rustix::process::getuid().as_raw()));
    daemon.kill();
    done(keyd(&["root", "move", "--to", "file", "--state-dir", &state, "--passphrase-file", &new]));
    daemon.resume_with(&[]);
    still_opens(&daemon, disk, dek);
    assert!(daemon.state().join("root.key").exists());
    assert!(!daemon.state().join("root.json").exists());
}

/// `script` gives it a terminal. What is typed is not shown.
#[test]
fn a_passphrase_typed_at_a_terminal_is_not_shown() {
    let (mut daemon, disk, dek) = with_disk(&[]);
    daemon.kill();
    let command = format!("{KEYD} root move --to passphrase --state-dir {}", state(&daemon));
    let type_in = |answers: &[(&str, &str)]| {
        let mut script = Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut keyboard, mut screen) =
            (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let mut shown = String::new();
        for (prompt, answer) in answers {
            while !shown.ends_with(prompt) {
                let mut byte = [0];
                assert_eq!(screen.read(&mut byte).unwrap(), 1, "{shown}");
                shown.push(char::from(byte[0]));
            }
            writeln!(keyboard, "{answer}").unwrap();
        }
        screen.read_to_string(&mut shown).unwrap();
        assert!(answers.iter().all(|(_, answer)| !shown.contains(answer)), "{shown}");
        (script.wait().unwrap().code(), shown)
    };
    let (first, again) = ("New passphrase of the root key: ", "The same again: ");
    let (code, shown) = type_in(&[(first, NEW), (again, OLD)]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("the two passphrases differ"), "{shown}");
    let (code, shown) = type_in(&[(first, "elevenbytes")]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("12 to 1024 bytes"), "{shown}");
    assert_eq!(kind(&daemon.state()), "file");
    let (code, shown) = type_in(&[(first, NEW), (again, NEW)]);
    assert_eq!(code, Some(0), "{shown}");
    let secrets = Secrets::new();
    daemon.resume_with(&["--passphrase-file", &secrets.path("new")]);
    still_opens(&daemon, disk, dek);
}

#[test]
fn a_root_key_wrapped_in_a_token_opens_at_every_start() {
    with_token("a_root_key_wrapped_in_a_token_opens_at_every_start", |token| {
        let pin_file = token.pin_file().display().to_string();
        let hsm =
            ["--hsm-module", MODULE, "--hsm-token", LABEL, "--hsm-pin-file", pin_file.as_str()];
        let (mut daemon, disk, dek) = with_disk(&[&["--root", "pkcs11"], &hsm[..]].concat());
        daemon.restart();
        still_opens(&daemon, disk, dek);
        daemon.kill();
        assert_eq!(kind(&daemon.state()), "pkcs11");
        let (code, said) = fails(&daemon, &[]);
        assert_eq!(code, Some(1));
        assert!(said.contains("give --hsm-module"), "{said}");
        let away = away(token);
        let (code, said) = fails(&daemon, &hsm);
        assert_eq!(code, Some(1));
        assert!(said.contains("no token is labelled"), "{said}");
        back(token, &away);
        let state = state(&daemon);
        let move_to = |to, more: &[&str]| {
            let args = ["root", "move", "--to", to, "--state-dir", &state];
            done(keyd(&[&args, &hsm[..], more].concat()))
        };
        let secrets = Secrets::new();
        let told = move_to("passphrase", &["--new-passphrase-file", &secrets.path("new")]);
        assert!(told.contains("is still in the token"), "{told}");
        assert_eq!(kind(&daemon.state()), "passphrase");
        move_to("pkcs11", &["--passphrase-file", &secrets.path("new")]);
        move_to("file", &[]);
        daemon.resume_with(&[]);
        still_opens(&daemon, disk, dek);
    });
}

fn away(token: &Token) -> PathBuf {
    let away = token.objects().with_extension("away");
    fs::rename(token.objects(), &away).unwrap();
    fs::create_dir(token.objects()).unwrap();
    away
}

fn back(token: &Token, away: &Path) {
    fs::remove_dir(token.objects()).unwrap();
    fs::rename(away, token.objects()).unwrap();
}

#[test]
fn both_forms_after_a_crash_start_the_daemon_and_say_so() {
    let secrets = Secrets::new();
    let (mut daemon, disk, dek) = with_disk(&[]);
    daemon.kill();
    let key = daemon.state().join("root.key");
    let copy = fs::read(&key).unwrap();
    let (state, old) = (state(&daemon), secrets.path("old"));
    let args = ["root", "move", "--to", "passphrase", "--state-dir", &state];
    done(keyd(&[&args[..], &["--new-passphrase-file", &old]].concat()));
    fs::write(&key, copy).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.resume_with(&[]);
    assert!(daemon.log().contains("a move of the root key stopped half way"), "{}", daemon.log());
    still_opens(&daemon, disk, dek);
    daemon.kill();
    assert!(kind(&daemon.state()).contains("'keyd root move' finishes it"));
    done(keyd(&[&args[..], &["--passphrase-file", &old]].concat()));
    assert!(!key.exists());
    assert_eq!(kind(&daemon.state()), "passphrase");
}

#[test]
fn a_directory_that_is_no_state_directory_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let said = refused(&keyd(&["root", "move", "--to", "file", "--state-dir", path]));
    assert!(said.contains("it has no store"), "{said}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
