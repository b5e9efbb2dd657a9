//! Who may have an image at the same time.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod common;

use std::{
    fs::File,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use common::{geometry, key, record};
use images::{
    Access, Header, ImageFile, OpenError, Storage,
    limits::{DATA_OFFSET, HEADER_LOCK_WAIT},
};
use tempfile::TempDir;

fn image(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("d.luks");
    File::create(&path).unwrap().set_len(DATA_OFFSET + 4096).unwrap();
    let image = ImageFile::open(&path, Access::ReadWrite).unwrap();
    let record = record(geometry(512, 4096), &key());
    Header::create(&record, DATA_OFFSET + 4096).unwrap().write_new(&image).unwrap();
    path
}

#[test]
fn a_second_backend_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let first = ImageFile::open(&path, Access::ReadWrite).unwrap();
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let refusal = ImageFile::open(&path, access).unwrap_err();
        assert!(matches!(refusal, OpenError::InUse { .. }), "{refusal}");
        let pid = format!("(pid {})", std::process::id());
        assert!(refusal.to_string().contains(&pid), "{refusal}");
    }
    drop(first);
    assert!(ImageFile::open(&path, Access::ReadWrite).is_ok());
}

#[test]
fn readers_share_and_exclude_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let _first = ImageFile::open(&path, Access::ReadOnly).unwrap();
    let _second = ImageFile::open(&path, Access::ReadOnly).unwrap();
    assert!(matches!(ImageFile::open(&path, Access::ReadWrite), Err(OpenError::InUse { .. })));
}

#[test]
fn anyone_may_look_while_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let _served = ImageFile::open(&path, Access::ReadWrite).unwrap();
    let look = ImageFile::open(&path, Access::Inspect).unwrap();
    assert!(!look.is_writable());
    Header::read(&look).unwrap();
}

#[test]
fn a_header_that_is_being_changed_is_waited_for_but_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    // Any other program that changes the header, such as cryptsetup.
    let changing = File::open(&path).unwrap();
    changing.lock().unwrap();
    let opener = std::thread::spawn({
        let path = path.clone();
        move || ImageFile::open(&path, Access::ReadWrite).map(drop)
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!opener.is_finished(), "a header that is being changed was opened");
    changing.unlock().unwrap();
    opener.join().unwrap().unwrap();

    changing.lock().unwrap();
    let begun = Instant::now();
    let refusal = ImageFile::open(&path, Access::Inspect).unwrap_err();
    assert!(matches!(refusal, OpenError::HeaderBusy(_)), "{refusal}");
    assert!(begun.elapsed() < HEADER_LOCK_WAIT * 3, "{:?}", begun.elapsed());
}

#[test]
fn an_update_waits_for_lookers_and_keeps_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let served = ImageFile::open(&path, Access::ReadWrite).unwrap();
    let look = ImageFile::open(&path, Access::Inspect).unwrap();
    let mut header = Header::read(&served).unwrap();
    let begun = Instant::now();
    let waiting = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(look);
    });
    header.update(&served).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(250), "the update did not wait");
    waiting.join().unwrap();
    // Shared again: lookers may come, writers may not.
    ImageFile::open(&path, Access::Inspect).unwrap();
    let exclusive = Command::new("flock")
        .args(["--exclusive", "--nonblock"])
        .arg(&path)
        .arg("true")
        .status()
        .unwrap();
    assert!(!exclusive.success(), "the shared lock was lost");
}

#[test]
fn only_files_and_block_devices_are_images() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(ImageFile::open(dir.path(), Access::ReadOnly), Err(OpenError::Kind(_))));
    let missing = ImageFile::open(&dir.path().join("none"), Access::ReadOnly).unwrap_err();
    assert!(missing.to_string().contains("none"), "{missing}");
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(matches!(ImageFile::open(&fifo, Access::ReadOnly), Err(OpenError::Kind(_))));
}
