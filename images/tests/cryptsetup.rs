//! Stock cryptsetup as judge: it accepts our headers, our digest and our ciphertext, and what it does to a header
//! survives us. Needs no device-mapper: everything runs on files.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod common;

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use common::{cryptsetup, dek, geometry, key, record, succeeds};
use images::{
    Access, Cause, Header, ImageFile, Recovery, Role, SectorSize, XtsCipher, digest_matches,
    limits::{DATA_OFFSET, HEADER_LEN},
};
use keyd_client::message::DiskRecord;
use tempfile::TempDir;

const SIZE: u64 = 2 << 20;

/// An image with encrypted random-looking data, its key beside it, and the plaintext.
struct Disk {
    dir: TempDir,
    record: DiskRecord,
    plain: Vec<u8>,
}

impl Disk {
    fn new(unit: SectorSize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let record = record(geometry(unit.bytes(), SIZE), &key());
        let plain: Vec<u8> = (0..SIZE).map(|i| (i * 131 + i / 251 * 17) as u8).collect();
        let disk = Self { dir, record, plain };
        let file = File::create(disk.image()).unwrap();
        file.set_len(DATA_OFFSET + SIZE).unwrap();
        let image = ImageFile::open(&disk.image(), Access::ReadWrite).unwrap();
        let header = Header::create(&disk.record, DATA_OFFSET + SIZE).unwrap();
        header.write_new(&image).unwrap();
        let mut data = disk.plain.clone();
        XtsCipher::new(dek(&key()), unit).unwrap().encrypt_in_place(0, &mut data);
        file.write_all_at(&data, header.layout().locate(0, SIZE).unwrap()).unwrap();
        fs::write(disk.path("vk"), key()).unwrap();
        fs::write(disk.path("passphrase"), "throw-away").unwrap();
        disk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn image(&self) -> PathBuf {
        self.path("d.luks")
    }

    fn add_passphrase(&self) {
        let (vk, passphrase) = (self.text("vk"), self.text("passphrase"));
        let arguments = [
            "luksAddKey",
            "--volume-key-file",
            &vk,
            "--key-size",
            "512",
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
            "--new-keyfile",
            &passphrase,
        ];
        succeeds(&arguments, &self.image());
    }
}

fn open_arguments(vk: &str) -> [&str; 6] {
    ["open", "--test-passphrase", "--key-size", "512", "--volume-key-file", vk]
}

/// Reads a header as who serves the disk does, and how its copies are when a repair was tried.
fn read(path: &Path) -> (Header, Recovery) {
    let image = ImageFile::open(path, Access::ReadWrite).unwrap();
    let mut header = Header::read(&image).unwrap();
    let recovery = header.repair(&image).unwrap();
    (header, recovery)
}

#[test]
fn it_accepts_the_header_and_the_key() {
    for unit in SectorSize::ALL {
        let disk = Disk::new(unit);
        succeeds(&["isLuks", "--type", "luks2"], &disk.image());
        let dump = succeeds(&["luksDump"], &disk.image());
        let lines = [
            disk.record.id.to_string(),
            "cipher: aes-xts-plain64".into(),
            format!("sector: {} [bytes]", unit.bytes()),
            "offset: 16777216 [bytes]".into(),
            "0: keyd".into(),
            "allow-discards".into(),
        ];
        for line in lines {
            assert!(dump.contains(&line), "no '{line}' in {dump}");
        }
        succeeds(&open_arguments(&disk.text("vk")), &disk.image());
        assert_eq!(read(&disk.image()).1, Recovery::Clean, "cryptsetup repaired something");
    }
}

#[test]
fn it_refuses_another_key_as_we_do() {
    let disk = Disk::new(SectorSize::B512);
    let mut wrong = key();
    wrong[40] ^= 1;
    fs::write(disk.path("wrong"), wrong).unwrap();
    let output = cryptsetup(&open_arguments(&disk.text("wrong")), &disk.image());
    assert!(!output.status.success());
    let (header, _) = read(&disk.image());
    assert!(digest_matches(header.digest(), &dek(&key())));
    assert!(!digest_matches(header.digest(), &dek(&wrong)));
}

/// Only the volume key goes in: what comes out was decrypted by stock code alone.
#[test]
fn it_decrypts_our_ciphertext() {
    for unit in SectorSize::ALL {
        let disk = Disk::new(unit);
        disk.add_passphrase();
        let (header, passphrase) = (disk.text("header"), disk.text("passphrase"));
        let arguments = [
            "reencrypt",
            "--decrypt",
            "--header",
            &header,
            "--force-offline-reencrypt",
            "--key-file",
            &passphrase,
        ];
        succeeds(&arguments, &disk.image());
        let plain = fs::read(disk.image()).unwrap();
        assert!(plain[..SIZE as usize] == disk.plain, "{unit:?}: the plaintext differs");
    }
}

#[test]
fn what_it_adds_is_kept_and_its_repair_and_ours_agree() {
    let disk = Disk::new(SectorSize::B4096);
    disk.add_passphrase();
    let (mut header, recovery) = read(&disk.image());
    assert_eq!((recovery, header.keyslots()), (Recovery::Clean, 1));
    assert_eq!(header.agrees_with(&disk.record), Ok(header.layout()));
    let area =
        |image: &Path| fs::read(image).unwrap()[HEADER_LEN as usize..DATA_OFFSET as usize].to_vec();
    let before = area(&disk.image());
    header.set_des("moved".parse().unwrap());
    header.update(&ImageFile::open(&disk.image(), Access::ReadWrite).unwrap()).unwrap();
    assert!(area(&disk.image()) == before, "the keyslots area was touched");
    let passphrase = disk.text("passphrase");
    succeeds(&["open", "--test-passphrase", "--key-file", &passphrase], &disk.image());

    // Ours tears, it repairs.
    tear(&disk.image(), 0);
    succeeds(&["open", "--test-passphrase", "--key-file", &passphrase], &disk.image());
    assert_eq!(read(&disk.image()).1, Recovery::Clean);
    // Ours tears, ours repairs, it accepts.
    for (offset, torn) in [(0, Role::First), (16384, Role::Second)] {
        tear(&disk.image(), offset);
        let repaired = read(&disk.image()).1;
        assert!(
            matches!(repaired, Recovery::Done(role, Cause::Damaged(_)) if role == torn),
            "{repaired:?}"
        );
        succeeds(&["open", "--test-passphrase", "--key-file", &passphrase], &disk.image());
    }
    // It writes, we notice nothing odd.
    succeeds(&["config", "--label", "a label"], &disk.image());
    let (header, recovery) = read(&disk.image());
    assert_eq!((recovery, header.des().as_str()), (Recovery::Clean, "moved"));
}

fn tear(image: &Path, offset: u64) {
    let file = OpenOptions::new().write(true).open(image).unwrap();
    file.write_all_at(&[0x77; 700], offset + 4000).unwrap();
}

/// After a stock re-encryption another key is in force: refused by name, never served.
#[test]
fn a_disk_it_gave_another_key_is_refused() {
    let disk = Disk::new(SectorSize::B512);
    disk.add_passphrase();
    let passphrase = disk.text("passphrase");
    let arguments = [
        "reencrypt",
        "--force-offline-reencrypt",
        "--key-file",
        &passphrase,
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
    ];
    succeeds(&arguments, &disk.image());
    let image = ImageFile::open(&disk.image(), Access::ReadOnly).unwrap();
    match Header::read(&image) {
        Ok(header) => {
            assert!(header.agrees_with(&disk.record).is_err());
            assert!(!digest_matches(header.digest(), &dek(&key())));
        }
        Err(refusal) => {
            assert!(refusal.to_string().contains("volume key was changed"), "{refusal}")
        }
    }
}

#[test]
fn while_an_image_is_served_it_may_look_and_not_write() {
    let disk = Disk::new(SectorSize::B512);
    let served = ImageFile::open(&disk.image(), Access::ReadWrite).unwrap();
    succeeds(&["luksDump"], &disk.image());
    let image = disk.image();
    let writer = std::thread::spawn(move || succeeds(&["config", "--label", "late"], &image));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!writer.is_finished(), "cryptsetup wrote a header that is in use");
    drop(served);
    writer.join().unwrap();
}
