//! A state directory on a small file system that fills up.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use common::{
    Keyd, attach, refusal,
    state_files::{files, is_whole, put_back},
};

/// A file system of its own, gone with this.
struct Mount(PathBuf);

impl Mount {
    /// None where this process may not mount.
    fn new(kind: &str, at: &Path, image: &Path) -> Option<Self> {
        let run = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output();
            output.is_ok_and(|output| output.status.success())
        };
        let (at_text, image_text) = (at.to_str()?, image.to_str()?);
        let done = if kind == "tmpfs" {
            run("mount", &["-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs", at_text])
        } else {
            fs::File::create(image).unwrap().set_len(48 << 20).unwrap();
            run("mkfs.ext4", &["-q", "-m", "0", image_text])
                && run("mount", &["-o", "loop", image_text, at_text])
        };
        done.then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A lazy one: the daemon may have files open still.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn fill_up(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    let bytes = vec![1; 4096];
    while file.write_all(&bytes).is_ok() {}
    let _ = file.sync_all();
}

#[test]
fn a_full_disk_halts_uses_lets_a_key_be_taken_away_and_all_goes_on_with_space() {
    for kind in ["tmpfs", "ext4"] {
        let elsewhere = tempfile::tempdir().unwrap();
        let mut keyd = Keyd::start();
        // Nobody renews its lease while the disk is filled up.
        keyd.make_key_and_set(600_000);
        let disk = keyd.make_disk(Some("s"));
        let running = keyd.make_disk(Some("s"));
        keyd.kill();
        let before = files(&keyd.state());
        let Some(_mount) = Mount::new(kind, &keyd.state(), &elsewhere.path().join("image")) else {
            must_run::skip(format_args!("only root may mount a small {kind}"));
            continue;
        };
        let lost = keyd.state().join("lost+found");
        let _ = fs::remove_dir(lost);
        fs::set_permissions(keyd.state(), Permissions::from_mode(0o700)).unwrap();
        put_back(&keyd.state(), &before);
        for name in before.keys() {
            let path = keyd.state().join(name);
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        }
        keyd.resume();
        let mut held = attach(&keyd, running, false).unwrap();
        let filler = keyd.state().join("filler");
        fill_up(&filler);
        let begun = Instant::now();
        let refused = loop {
            match attach(&keyd, disk, false) {
                Ok(held) => drop(held),
                refused => break refusal(refused),
            }
            fill_up(&keyd.state().join("filler2"));
            assert!(begun.elapsed() < Duration::from_secs(120), "the disk does not fill up");
        };
        assert!(refused.message.contains("is full"), "{}", refused.message);
        // Its holder is told, and that is on record, too.
        keyd.switch(false);
        let _ = held.expect_revoked();
        assert!(keyd.audited("enforce", "ok").detail.contains("told-to-let-go=1"));
        drop(held);
        let mut rows = 0;
        for _ in 0..20 {
            keyd.switch(false);
            rows += 1;
        }
        assert!(refusal(attach(&keyd, disk, false)).message.contains("disabled"));
        assert_eq!(keyd.audit().last().unwrap().operation, "key-update");
        assert_eq!(keyd.run(&["key", "enable", "k"]).status.code(), Some(1));
        // Also after a restart, which finds the disk full.
        keyd.restart();
        keyd.switch(false);
        assert_eq!(keyd.run(&["key", "enable", "k"]).status.code(), Some(1));
        fs::remove_file(&filler).unwrap();
        let _ = fs::remove_file(keyd.state().join("filler2"));
        keyd.switch(true);
        is_whole(&keyd, disk);
        println!("{kind}: {rows} withdrawals on a full disk");
        keyd.kill();
    }
}
