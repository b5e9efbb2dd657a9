//! Backup and restore: the drill, what else opens a backup, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "common/token.rs"]
mod token;

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use common::{KEYD, Keyd, attach};
use keyd_client::{
    DiskId,
    message::{BackedUp, KeyCreate, KeyRotate},
};
use token::{LABEL, MODULE, Token, with_token};

/// A directory with an identity, made by age-keygen.
struct Safe {
    dir: tempfile::TempDir,
    recipient: String,
}

impl Safe {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("age-keygen").arg("-o").arg(dir.path().join("identity")).output();
        let made = made.expect("age-keygen is missing: install the package age");
        assert!(made.status.success());
        let told = String::from_utf8(made.stderr).unwrap();
        let recipient = told.trim().strip_prefix("Public key: ").unwrap().to_owned();
        Self { dir, recipient }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Asks a running daemon for a backup.
    fn backup(&self, keyd: &Keyd, name: &str) -> BackedUp {
        let output = keyd.run(&[
            "--json",
            "backup",
            "--to",
            &self.path(name),
            "--recipient",
            &self.recipient,
        ]);
        serde_json::from_str(&done(&output)).unwrap()
    }

    fn restore(&self, name: &str, state: &Path, more: &[&str]) -> Output {
        Command::new(KEYD)
            .args(["restore", "--from", &self.path(name), "--identity", &self.path("identity")])
            .arg("--state-dir")
            .arg(state)
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What `age` finds in a backup.
    fn opened(&self, name: &str) -> Vec<u8> {
        let output = Command::new("age")
            .args(["--decrypt", "-i", &self.path("identity"), &self.path(name)])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Seals something with `age`, as anybody can.
    fn seal(&self, plain: &Path, name: &str) {
        let sealed = Command::new("age")
            .args(["-r", &self.recipient, "-o", &self.path(name)])
            .arg(plain)
            .output()
            .unwrap();
        assert!(sealed.status.success(), "{}", String::from_utf8_lossy(&sealed.stderr));
    }
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A backup of everything has every key that there was: who purges one is told.
#[test]
fn a_key_says_whether_it_is_in_a_backup() {
    let safe = Safe::new();
    let mut keyd = Keyd::start_with(&["--writable", &safe.path("")]);
    keyd.ask(KeyCreate { name: "k".parse().unwrap(), bits: 2048, hsm: false });
    assert_eq!(keyd.key("k").backups.whole, None);
    let made = safe.backup(&keyd, "online").created;
    let told = keyd.key("k").backups.whole.expect("it is in the backup");
    assert!(told <= made);
    let shown = done(&keyd.run(&["key", "show", "k"]));
    assert!(shown.contains("backups   of all of keyd at 2"), "{shown}");
    // Also where the daemon does not run.
    keyd.end();
    let state = keyd.state();
    let (state, to) = (state.to_str().unwrap(), safe.path("offline"));
    let offline = ["backup", "--state-dir", state, "--to", &to, "--recipient", &safe.recipient];
    done(&keyd.run(&offline));
    keyd.resume();
    assert!(keyd.key("k").backups.whole.unwrap() > told);
    done(&keyd.run(&["key", "delete", "k"]));
    let would = done(&keyd.run(&["key", "purge", "k", "--dry-run"]));
    assert!(would.contains("It is in keyd's own backups to 2"), "{would}");
    done(&keyd.run(&["key", "purge", "k"]));
    assert!(keyd.audited("key-purge", "ok").detail.contains("state-backup=2"));
}

/// A daemon with keys, sets, a rotation, disks in two sets and a CA; and the disks' keys.
fn lived_in(safe: &Safe, more: &[&str]) -> (Keyd, Vec<(DiskId, [u8; 64])>) {
    let keyd = Keyd::start_with(&[&["--writable", &safe.path("")], more].concat());
    keyd.make_key_and_set(5000);
    let mut disks: Vec<DiskId> = (0..5).map(|_| keyd.make_disk(Some("s"))).collect();
    keyd.ask(KeyRotate { name: "k".parse().unwrap() });
    disks.extend((0..5).map(|_| keyd.make_disk(Some("s"))));
    disks.push(keyd.make_disk(None));
    fs::write(keyd.state().join("ca.pem"), "a certificate").unwrap();
    let deks = disks.iter().map(|id| (*id, *keyd.release(*id).expose())).collect();
    (keyd, deks)
}

/// The state directory is lost; a restored one takes its place.
fn wipe(keyd: &mut Keyd) -> PathBuf {
    keyd.kill();
    fs::remove_dir_all(keyd.state()).unwrap();
    keyd.state()
}

fn all_open(keyd: &Keyd, disks: &[(DiskId, [u8; 64])]) {
    for (id, dek) in disks {
        assert_eq!(attach(keyd, *id, false).unwrap().dek.unwrap().expose(), dek);
    }
    keyd.verify();
}

#[test]
fn the_drill_every_disk_opens_after_a_restore_on_an_empty_directory() {
    let safe = Safe::new();
    let (mut keyd, disks) = lived_in(&safe, &[]);
    let made = safe.backup(&keyd, "backup");
    assert_eq!((made.keys, made.disks), (2, 11));
    let newest = keyd.audit().pop().unwrap();
    assert_eq!((newest.operation.as_str(), newest.seq), ("state-backup", made.audit_seq));
    assert!(newest.detail.contains(&safe.recipient));
    assert_eq!(fs::metadata(safe.path("backup")).unwrap().mode() & 0o7777, 0o600);
    // What comes later is not in it.
    let later = keyd.make_disk(None);
    let state = wipe(&mut keyd);
    let told = done(&safe.restore("backup", &state, &[]));
    assert!(told.contains(&format!("row {}, {}", made.audit_seq, made.audit_hash)), "{told}");
    assert_eq!(fs::read_to_string(state.join("ca.pem")).unwrap(), "a certificate");
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o7777, 0o700);
    keyd.resume();
    all_open(&keyd, &disks);
    assert!(attach(&keyd, later, false).is_err());
    let record = keyd.audited("restore", "ok");
    assert!(record.detail.contains(&made.audit_hash), "{record:?}");
    assert_eq!(record.seq, made.audit_seq + 1);
    let names: Vec<_> = fs::read_dir(state.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("restoring"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_backup_is_of_one_moment_while_everything_goes_on() {
    let safe = Safe::new();
    let (mut keyd, disks) = lived_in(&safe, &["--audit-segment", "65536"]);
    let made: Vec<BackedUp> = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..40 {
                    let disk = keyd.make_disk(Some("s"));
                    (0..10).for_each(|_| drop(keyd.release(disk)));
                }
            });
        }
        (0..4).map(|n| safe.backup(&keyd, &format!("backup-{n}"))).collect()
    });
    assert!(made.windows(2).all(|pair| pair[0].disks <= pair[1].disks));
    assert!(fs::read_dir(keyd.state()).unwrap().count() > 6, "the log has several files");
    for (n, made) in made.iter().enumerate() {
        let state = wipe(&mut keyd);
        done(&safe.restore(&format!("backup-{n}"), &state, &[]));
        keyd.resume();
        all_open(&keyd, &disks);
        assert_eq!(keyd.audited("restore", "ok").seq, made.audit_seq + 1);
    }
}

#[test]
fn age_and_tar_show_what_is_in_a_backup() {
    let safe = Safe::new();
    let (keyd, _) = lived_in(&safe, &[]);
    let made = safe.backup(&keyd, "backup");
    let mut files = std::collections::BTreeMap::new();
    for file in tar::Archive::new(&safe.opened("backup")[..]).entries().unwrap() {
        let mut file = file.unwrap();
        let name = file.path().unwrap().display().to_string();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        files.insert(name, content);
    }
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = [
        "audit/audit.log",
        "manifest.json",
        "portcullis-backup.json",
        "root",
        "state/ca.pem",
        "store.jsonl",
    ];
    assert_eq!(names, expected);
    assert_eq!(files["root"], fs::read(keyd.state().join("root.key")).unwrap());
    let log = fs::read(keyd.state().join("audit.log")).unwrap();
    assert!(log.starts_with(&files["audit/audit.log"]));
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(manifest["audit_hash"], made.audit_hash);
    // SHA-256 by another program.
    fs::write(safe.path("store.jsonl"), &files["store.jsonl"]).unwrap();
    let sum = Command::new("sha256sum").arg(safe.path("store.jsonl")).output().unwrap();
    let listed = manifest["files"].as_array().unwrap();
    let store = listed.iter().find(|file| file["name"] == "store.jsonl").unwrap();
    assert!(sum.stdout.starts_with(store["sha256"].as_str().unwrap().as_bytes()));
    // Nothing of it is to be seen without the identity.
    let sealed = fs::read(safe.path("backup")).unwrap();
    for (name, content) in &files {
        let part = &content[..content.len().min(32)];
        assert!(!sealed.windows(part.len()).any(|window| window == part), "{name}");
    }
}

#[test]
fn a_backup_is_taken_and_restored_beside_a_daemon_that_does_not_run() {
    let safe = Safe::new();
    let (mut keyd, disks) = lived_in(&safe, &[]);
    let state = keyd.state().display().to_string();
    let to = safe.path("backup");
    let args = ["backup", "--to", &to, "--recipient", &safe.recipient, "--state-dir", &state];
    let offline = || Command::new(KEYD).args(args).output().unwrap();
    assert!(refused(&offline()).contains("stop it first"));
    keyd.kill();
    done(&offline());
    assert!(refused(&offline()).contains("File exists"));
    let state = wipe(&mut keyd);
    fs::write(safe.path("passphrase"), "a long passphrase\n").unwrap();
    fs::set_permissions(
        safe.path("passphrase"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let passphrase = safe.path("passphrase");
    let more = ["--root", "passphrase", "--passphrase-file", &passphrase];
    fs::create_dir(&state).unwrap();
    done(&safe.restore("backup", &state, &more));
    assert!(!state.join("root.key").exists());
    keyd.resume_with(&["--passphrase-file", &passphrase]);
    all_open(&keyd, &disks);
}

#[test]
fn keys_in_a_token_stay_there_and_the_backup_says_so() {
    with_token("keys_in_a_token_stay_there_and_the_backup_says_so", |token: &Token| {
        let safe = Safe::new();
        let pin_file = token.pin_file().display().to_string();
        let hsm = ["--hsm-module", MODULE, "--hsm-token", LABEL, "--hsm-pin-file", &pin_file];
        let (tokens, writable) = (token.objects().display().to_string(), safe.path(""));
        let hsm = [&hsm[..], &["--writable", &tokens, "--writable", &writable]].concat();
        let mut keyd = Keyd::start_with(&hsm);
        let made = keyd.run(&["key", "create", "k", "--bits", "2048", "--hsm"]);
        assert!(made.status.success());
        keyd.make_set(5000);
        let disk = keyd.make_disk(Some("s"));
        let disks = [(disk, *keyd.release(disk).expose())];
        let told = keyd.run(&["backup", "--to", &safe.path("b"), "--recipient", &safe.recipient]);
        let told = done(&told);
        assert!(told.contains("1 key versions that are in the token 'keyd-test'"), "{told}");
        let state = wipe(&mut keyd);
        let told = done(&safe.restore("b", &state, &[]));
        assert!(told.contains("1 key versions need the token 'keyd-test'"), "{told}");
        keyd.resume_with(&hsm);
        all_open(&keyd, &disks);
    });
}

#[test]
fn a_damaged_cut_or_foreign_backup_restores_nothing() {
    let (safe, other) = (Safe::new(), Safe::new());
    let (keyd, _) = lived_in(&safe, &["--writable", &other.path("")]);
    safe.backup(&keyd, "backup");
    let whole = fs::read(safe.path("backup")).unwrap();
    let state = safe.dir.path().join("new").join("state");
    fs::create_dir(state.parent().unwrap()).unwrap();
    let tries = |bytes: &[u8], told: &str| {
        fs::write(safe.path("spoilt"), bytes).unwrap();
        let said = refused(&safe.restore("spoilt", &state, &[]));
        assert!(said.contains(told), "{told}: {said}");
        assert_eq!(fs::read_dir(state.parent().unwrap()).unwrap().count(), 0);
    };
    for at in [300, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        tries(&changed, "it was changed or cut off");
        tries(&whole[..at], "it was changed or cut off");
    }
    tries(b"something else", "it is not sealed by age");
    tries(&[], "it is not sealed by age");
    other.backup(&keyd, "backup");
    tries(&fs::read(other.path("backup")).unwrap(), "it is sealed to another recipient");
}

/// Anybody can seal: what is inside is judged too.
#[test]
fn a_backup_with_other_things_inside_is_refused() {
    let safe = Safe::new();
    let (keyd, _) = lived_in(&safe, &[]);
    safe.backup(&keyd, "backup");
    let archive = safe.dir.path().join("archive");
    let unpacked = safe.dir.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    fs::write(&archive, safe.opened("backup")).unwrap();
    tar::Archive::new(fs::File::open(&archive).unwrap()).unpack(&unpacked).unwrap();
    let state = safe.dir.path().join("state");
    // Packed again by `tar`, in an order of names.
    let packed = |names: &[&str], told: &str| {
        let packed = Command::new("tar")
            .args(["--format=ustar", "--hard-dereference", "-cf"])
            .arg(&archive)
            .arg("-C")
            .arg(&unpacked)
            .args(names)
            .output()
            .unwrap();
        assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
        let _ = fs::remove_file(safe.path("forged"));
        safe.seal(&archive, "forged");
        let output = safe.restore("forged", &state, &[]);
        if told.is_empty() {
            done(&output);
            return fs::remove_dir_all(&state).unwrap();
        }
        let said = refused(&output);
        assert!(said.contains(told), "{told}: {said}");
        assert!(!state.exists());
    };
    let (form, manifest) = ("portcullis-backup.json", "manifest.json");
    let log = "audit/audit.log";
    let whole = [form, "root", "store.jsonl", log, "state/ca.pem", manifest];
    packed(&whole, "");
    packed(&["root", form, "store.jsonl", log, "state/ca.pem", manifest], "not in its place");
    packed(&[form, "root", "store.jsonl", log, manifest], "is not in its place");
    packed(&[form, "root", "store.jsonl", log, "state/ca.pem"], "manifest.json is not in");
    packed(&[form, "store.jsonl", log, "state/ca.pem", manifest], "root is not in");
    packed(&[form, "root", "root", "store.jsonl", log, manifest], "'root' is out of place");
    fs::write(unpacked.join("audit/../evil"), "x").unwrap();
    packed(&[form, "root", "evil", manifest], "it holds 'evil'");
    fs::write(unpacked.join("state/root.key"), [7; 32]).unwrap();
    packed(&[form, "root", "state/root.key", manifest], "it holds 'state/root.key'");
    std::os::unix::fs::symlink("/etc/passwd", unpacked.join("audit/link")).unwrap();
    packed(&[form, "root", "audit/link", manifest], "no plain file");
    for (name, from, to, told) in [
        (form, "1", "2", "has the form 2"),
        (log, "first-start", "last--start", "audit/audit.log' in the backup is not what"),
        ("store.jsonl", "\"disks\"", "\"dusks\"", "store.jsonl' in the backup is not what"),
        ("root", "", "", "root' in the backup is not what"),
        (manifest, "\"audit_seq\": ", "\"audit_seq\": 1", "does not end as its manifest says"),
    ] {
        let path = unpacked.join(name);
        let before = fs::read(&path).unwrap();
        match std::str::from_utf8(&before) {
            Ok(text) if !from.is_empty() => fs::write(&path, text.replacen(from, to, 1)).unwrap(),
            _ => fs::write(&path, [7; 32]).unwrap(),
        }
        packed(&whole, told);
        fs::write(&path, before).unwrap();
    }
    packed(&whole, "");
}

#[test]
fn a_directory_in_use_is_not_restored_over() {
    let safe = Safe::new();
    let (keyd, disks) = lived_in(&safe, &[]);
    safe.backup(&keyd, "backup");
    let said = refused(&safe.restore("backup", &keyd.state(), &[]));
    assert!(said.contains("is there and not empty"), "{said}");
    all_open(&keyd, &disks);
    let said = refused(&safe.restore("nothing", &safe.dir.path().join("new"), &[]));
    assert!(said.contains("No such file"), "{said}");
    fs::write(safe.path("identity"), "# nothing\n").unwrap();
    let said = refused(&safe.restore("backup", &safe.dir.path().join("new"), &[]));
    assert!(said.contains("holds no secret key"), "{said}");
}

#[test]
fn a_backup_that_cannot_be_made_is_refused_by_what_is_wrong() {
    let safe = Safe::new();
    let keyd = Keyd::start();
    let tries = |to: &str, recipients: &[&str], told: &str| {
        let mut args = vec!["backup", "--to", to];
        recipients.iter().for_each(|recipient| args.extend(["--recipient", recipient]));
        let said = refused(&keyd.run(&args));
        assert!(said.contains(told), "{told}: {said}");
    };
    let (good, file) = (safe.recipient.as_str(), safe.path("backup"));
    tries(&file, &["age1nonsense"], "'age1nonsense' is not a recipient");
    tries(&file, &[good; 9], "1 to 8 recipients");
    tries("/nonexistent/backup", &[good], "No such file or directory");
    tries(&safe.path("identity"), &[good], "File exists");
    assert!(!Path::new(&file).exists());
    assert!(fs::read_to_string(safe.path("identity")).unwrap().contains("AGE-SECRET-KEY"));
}
