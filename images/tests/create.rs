//! `image create` and `image info` as a user runs them, against a daemon that can misbehave.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod common;

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::{
    dek,
    fake_keyd::{FakeKeyd, Manner},
    key,
};
use images::{Access, Header, ImageFile, SectorSize, Storage, XtsCipher, limits::DATA_OFFSET};
use keyd_client::message::Holes;
use tempfile::TempDir;

/// A directory for images, and a daemon beside it.
struct Site {
    dir: TempDir,
    keyd: FakeKeyd,
}

impl Site {
    fn new(manner: Manner) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        let keyd = FakeKeyd::start(dir.path(), manner);
        Self { dir, keyd }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("images/d.img")
    }

    fn image(&self, verb: &str, arguments: &[&str]) -> Output {
        image(verb, &self.path(), &self.keyd.socket, arguments)
    }

    /// Nothing, not even a temporary file, is beside the image's path.
    fn assert_empty(&self) {
        let left: Vec<_> = fs::read_dir(self.dir.path().join("images")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn image(verb: &str, path: &Path, socket: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_image"))
        .arg(verb)
        .arg(path)
        .args(arguments)
        .env("KEYD_SOCKET", socket)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A loop device over a file of noise; none where the system has no loop devices to give.
struct Loop(String);

impl Loop {
    fn over(file: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["--show", "--find"]).arg(file).output().ok()?;
        let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some(Self(name))
    }

    fn path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// The one line a refusal prints; exit status 1.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let line = text.strip_suffix('\n').unwrap();
    assert!(line.starts_with("image: ") && !line.contains('\n'), "{text}");
    line.to_owned()
}

#[test]
fn a_new_disk_is_sparse_whole_and_confirmed_last() {
    for unit in SectorSize::ALL {
        let site = Site::new(Manner::Good);
        let bytes = unit.bytes().to_string();
        let id = stdout(&site.image("create", &["--size", "10G", "--sector-size", &bytes]));
        assert_eq!(id.trim(), site.keyd.record().id.to_string());
        assert_eq!(site.keyd.verbs(), ["create", "confirm"]);
        let metadata = fs::metadata(site.path()).unwrap();
        assert_eq!(metadata.len(), DATA_OFFSET + (10 << 30));
        assert!(metadata.blocks() * 512 <= 64 << 10, "{} blocks", metadata.blocks());
        let header =
            Header::read(&ImageFile::open(&site.path(), Access::ReadOnly).unwrap()).unwrap();
        assert_eq!(header.agrees_with(&site.keyd.record()), Ok(header.layout()));
        assert_eq!(fs::read_dir(site.path().parent().unwrap()).unwrap().count(), 1);
    }
}

#[test]
fn a_dense_disk_is_encrypted_zeros_from_end_to_end() {
    for unit in SectorSize::ALL {
        let site = Site::new(Manner::Good);
        let size = (3 << 20) + 4096;
        let bytes = unit.bytes().to_string();
        let arguments = ["--size", &size.to_string(), "--dense", "--sector-size", &bytes];
        stdout(&site.image("create", &arguments));
        assert_eq!(site.keyd.verbs(), ["create", "attach", "confirm"]);
        assert_eq!(site.keyd.record().geometry.holes, Holes::None);
        let mut data = fs::read(site.path()).unwrap().split_off(DATA_OFFSET as usize);
        assert_eq!(data.len(), size);
        XtsCipher::new(dek(&key()), unit).unwrap().decrypt_in_place(0, &mut data);
        assert!(data.iter().all(|&byte| byte == 0));
    }
}

#[test]
fn what_exists_is_never_overwritten() {
    let site = Site::new(Manner::Good);
    fs::write(site.path(), "precious").unwrap();
    let line = refusal(&site.image("create", &["--size", "1M", "--force"]));
    assert!(line.contains("exists"), "{line}");
    assert_eq!(fs::read(site.path()).unwrap(), b"precious");
    fs::remove_file(site.path()).unwrap();
    symlink("nowhere", site.path()).unwrap();
    assert!(refusal(&site.image("create", &["--size", "1M"])).contains("exists"));
    assert!(site.keyd.verbs().is_empty(), "the daemon made a DEK for nothing");
}

#[test]
fn impossible_sizes_are_refused_before_a_key_is_made() {
    let site = Site::new(Manner::Good);
    let cases: [(&[&str], &str); 5] = [
        (&["--size", "1000"], "not a multiple of the sector size 512: use 512 or 1024"),
        (&["--size", "4608", "--sector-size", "4096"], "use 4096 or 8192"),
        (&["--size", "0"], "between one sector"),
        (&["--size", "2000P"], "between one sector"),
        (&[], "--size 10G"),
    ];
    for (arguments, expected) in cases {
        let line = refusal(&site.image("create", arguments));
        assert!(line.contains(expected), "{line}");
    }
    assert!(site.keyd.verbs().is_empty());
    site.assert_empty();
}

#[test]
fn wrong_usage_has_its_own_exit_status() {
    let site = Site::new(Manner::Good);
    for arguments in
        [&["--size", "10Q"][..], &["--sector-size", "1024"], &["--des", "a/b"], &["--what"]]
    {
        let output = site.image("create", arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_daemon_that_does_not_confirm_leaves_no_image() {
    let site = Site::new(Manner::RefusesConfirm);
    let line = refusal(&site.image("create", &["--size", "1M"]));
    assert!(line.contains("no confirmation today"), "{line}");
    assert_eq!(site.keyd.verbs(), ["create", "abandon"]);
    site.assert_empty();

    let site = Site::new(Manner::RefusesConfirmAndAbandon);
    let line = refusal(&site.image("create", &["--size", "1M"]));
    let id = site.keyd.record().id.to_string();
    for part in ["no confirmation today", "no abandonment either", &id] {
        assert!(line.contains(part), "{line}");
    }
    site.assert_empty();
}

#[test]
fn a_dense_disk_whose_key_is_wrong_or_gone_is_not_made() {
    let cases = [
        (Manner::SendsAnotherKey, "not disk", &["create", "attach", "abandon"][..]),
        (Manner::RefusesAttach, "not for you", &["create", "abandon"]),
        (Manner::RevokesAtOnce, "taken away", &["create", "attach", "fenced", "abandon"]),
    ];
    for (manner, expected, verbs) in cases {
        let site = Site::new(manner);
        let line = refusal(&site.image("create", &["--size", "64M", "--dense"]));
        assert!(line.contains(expected), "{line}");
        let mut asked = site.keyd.verbs();
        // The fence's confirmation travels on another connection than the abandonment.
        asked.sort();
        let mut verbs = verbs.to_vec();
        verbs.sort();
        assert_eq!(asked, verbs);
        site.assert_empty();
    }
}

#[test]
fn no_daemon_no_disk() {
    let site = Site::new(Manner::Good);
    let none = site.dir.path().join("none.sock");
    let line = refusal(&image("create", &site.path(), &none, &["--size", "1M"]));
    assert!(line.contains("none.sock") && line.contains("keyd serve"), "{line}");
    site.assert_empty();
}

#[test]
fn a_disk_that_does_not_fit_the_file_system_is_refused_and_forgotten() {
    let site = Site::new(Manner::Good);
    // Larger than any ext4 or tmpfs file; a file system that takes it shows the same as the first test.
    let output = site.image("create", &["--size", "1023P"]);
    if output.status.success() {
        return must_run::skip("this file system takes files of 1023 PiB: set TMPDIR");
    }
    assert!(refusal(&output).contains("cannot set the length of"));
    assert_eq!(site.keyd.verbs(), ["create", "abandon"]);
    site.assert_empty();
}

#[test]
fn info_tells_what_the_header_and_the_daemon_know() {
    let site = Site::new(Manner::Good);
    stdout(&site.image("create", &["--size", "1G"]));
    let record = site.keyd.record();
    let text = stdout(&site.image("info", &[]));
    for part in [
        record.id.to_string(),
        "1 GiB (1073741824 bytes)".into(),
        record.key_version.to_string(),
        "platform-key".into(),
        "both copies whole".into(),
        "zeros".into(),
    ] {
        assert!(text.contains(&part), "no '{part}' in {text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&site.image("info", &["--json"]))).unwrap();
    assert_eq!(json["disk_id"], json["uuid"]);
    assert_eq!((json["size"].as_u64(), json["sector_size"].as_u64()), (Some(1 << 30), Some(512)));
    assert_eq!(json["key"]["version"], record.key_version.to_string());
    assert!(json["mismatch"].is_null() && json["allocated"].as_u64() < Some(1 << 20));
}

#[test]
fn info_works_without_the_daemon_beside_a_backend_and_writes_nothing() {
    let site = Site::new(Manner::Good);
    stdout(&site.image("create", &["--size", "1M"]));
    let _served = ImageFile::open(&site.path(), Access::ReadWrite).unwrap();
    let mut bytes = fs::read(site.path()).unwrap();
    bytes[4500] ^= 1;
    fs::write(site.path(), &bytes).unwrap();
    let none = site.dir.path().join("none.sock");
    let text = stdout(&image("info", &site.path(), &none, &[]));
    assert!(
        text.contains("unknown: keyd not reached") && text.contains("first copy is damaged"),
        "{text}"
    );
    assert!(fs::read(site.path()).unwrap() == bytes, "info wrote to the image");
    let json = stdout(&image("info", &site.path(), &none, &["--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["key"].is_null() && json["keyd_error"].is_string());
}

#[test]
fn info_names_what_is_no_image() {
    let site = Site::new(Manner::Good);
    assert!(refusal(&site.image("info", &[])).contains("cannot open"));
    fs::write(site.path(), vec![0; 1 << 20]).unwrap();
    assert!(refusal(&site.image("info", &[])).contains("image create"));
}

#[test]
fn a_block_device_is_overwritten_only_when_told_and_blank_afterwards() {
    let site = Site::new(Manner::Good);
    let backing = site.dir.path().join("backing");
    let len = DATA_OFFSET + (5 << 20) + 512;
    fs::write(&backing, vec![0xd5; len as usize]).unwrap();
    let Some(device) = Loop::over(&backing) else {
        return must_run::skip("no loop device to be had");
    };
    let create = |arguments: &[&str]| image("create", device.path(), &site.keyd.socket, arguments);
    assert!(refusal(&create(&[])).contains("--force"));
    let line = refusal(&create(&["--force", "--size", "6M"]));
    assert!(line.contains(&format!("{}", (5 << 20) + 512)), "{line}");
    assert!(site.keyd.verbs().is_empty());

    // All that fits: with 4096-byte sectors the last 512 bytes do not.
    stdout(&create(&["--force", "--sector-size", "4096"]));
    assert_eq!(site.keyd.record().geometry.size, 5 << 20);
    let opened = ImageFile::open(device.path(), Access::ReadWrite).unwrap();
    assert!(opened.is_block_device());
    let header = Header::read(&opened).unwrap();
    assert_eq!(header.agrees_with(&site.keyd.record()), Ok(header.layout()));
    let mut data = vec![1; 5 << 20];
    opened.read_at(&mut data, DATA_OFFSET).unwrap();
    assert!(data.iter().all(|&byte| byte == 0), "old bytes would be a guest's garbage");
    let busy = refusal(&create(&["--force"]));
    assert!(busy.contains("in use"), "{busy}");
}

#[test]
fn growth_that_is_refused_leaves_the_image_as_it_was() {
    let site = Site::new(Manner::RefusesGrowth);
    let _ = stdout(&site.image("create", &["--size", "1M"]));
    let said = refusal(&site.image("resize", &["--size", "2M"]));
    assert!(said.ends_with("no growth today; the disk is as long as it was"), "{said}");
    assert_eq!(fs::metadata(site.path()).unwrap().len(), DATA_OFFSET + (1 << 20));
}

#[test]
fn growth_whose_answer_is_lost_is_not_called_off_and_is_had_by_asking_again() {
    let site = Site::new(Manner::DiesGrowing);
    let _ = stdout(&site.image("create", &["--size", "1M"]));
    for _ in 0..2 {
        let said = refusal(&site.image("resize", &["--size", "2M"]));
        assert!(said.ends_with("whether the disk has grown is not known: run it again"), "{said}");
    }
    assert_eq!(site.keyd.verbs()[2..], ["rehearse", "grow", "rehearse", "grow"]);
    assert_eq!(fs::metadata(site.path()).unwrap().len(), DATA_OFFSET + (2 << 20));
}
