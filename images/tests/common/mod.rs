//! What these tests share: a record as the daemon would make it, keys, a scratch directory, stock cryptsetup.
#![allow(dead_code)] // each test binary uses its part

pub(crate) mod fake_keyd;

use std::{
    path::Path,
    process::{Command, Output},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use images::limits::DATA_OFFSET;
use keyd_client::{
    Dek, DiskId,
    ids::KeyVersion,
    message::{DiskKind, DiskRecord, EncryptionType, Geometry, Holes, VolumeKeyDigest},
};
use sha2::Sha256;

/// A key whose bytes are all different from their neighbours, and found nowhere by chance.
pub(crate) fn key() -> [u8; 64] {
    std::array::from_fn(|i| (i as u8).wrapping_mul(0x9d) ^ 0x5b)
}

pub(crate) fn dek(key: &[u8; 64]) -> Dek {
    Dek::fill_with(|bytes| {
        bytes.copy_from_slice(key);
        Ok(())
    })
    .unwrap()
}

/// The digest the daemon would make: PBKDF2-HMAC-SHA256, 1000 iterations.
pub(crate) fn digest(key: &[u8; 64]) -> VolumeKeyDigest {
    let salt: [u8; 32] = std::array::from_fn(|i| i as u8 ^ 0xa5);
    let mut digest = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(key, &salt, 1000, &mut digest);
    VolumeKeyDigest {
        iterations: 1000,
        salt: BASE64_STANDARD.encode(salt),
        digest: BASE64_STANDARD.encode(digest),
    }
}

pub(crate) fn record(geometry: Geometry, key: &[u8; 64]) -> DiskRecord {
    DiskRecord {
        id: DiskId::random(),
        kind: DiskKind::Disk,
        source: None,
        platform_version: None,
        des: "platform".parse().unwrap(),
        key: "platform".parse().unwrap(),
        key_version: KeyVersion::random(),
        encryption: EncryptionType::PlatformKey,
        geometry,
        digest: digest(key),
        generation: 1,
        confirmed: false,
        created: 0,
    }
}

pub(crate) fn geometry(sector_size: u32, size: u64) -> Geometry {
    Geometry { sector_size, data_offset: DATA_OFFSET, size, holes: Holes::Zeros }
}

/// Runs stock cryptsetup on an image. It asks no questions, and fails rather than waits for ever for a lock.
pub(crate) fn cryptsetup(arguments: &[&str], image: &Path) -> Output {
    const PROGRAM: &str = "/usr/sbin/cryptsetup";
    let there = Path::new(PROGRAM).exists();
    assert!(there, "stock cryptsetup is needed: apt-get install -y cryptsetup-bin");
    Command::new("timeout")
        .args(["60", PROGRAM, "--batch-mode"])
        .args(arguments)
        .arg(image)
        .output()
        .unwrap()
}

pub(crate) fn succeeds(arguments: &[&str], image: &Path) -> String {
    let output = cryptsetup(arguments, image);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cryptsetup {arguments:?}: {text}{errors}");
    text
}
