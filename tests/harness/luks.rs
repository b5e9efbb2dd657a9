//! Stock cryptsetup as the judge of our images, and headers forged as an attacker would: with checksums that hold.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::process::{Ended, run, tool};

/// Bytes of one copy of the header; the second follows the first.
pub const COPY_LEN: usize = 16_384;

/// First byte of the guest's data in an image of ours.
pub const DATA_OFFSET: usize = 16 << 20;

/// Runs cryptsetup in `dir`.
#[must_use]
pub fn cryptsetup(dir: &Path, arguments: &str) -> Ended {
    let mut command = Command::new(tool("cryptsetup", "cryptsetup-bin"));
    run(command.arg("--batch-mode").args(arguments.split_whitespace()).current_dir(dir))
}

/// Opens an image with a volume key, without a kernel: tells whether cryptsetup takes the key.
#[must_use]
pub fn test_volume_key(dir: &Path, image: &str, key: &str) -> Ended {
    cryptsetup(
        dir,
        &format!("open --test-passphrase --key-size 512 --volume-key-file {key} {image}"),
    )
}

/// Adds a passphrase to an image by its volume key; the passphrase is in the file `NAME.pass` afterwards.
///
/// # Panics
/// If cryptsetup refuses.
pub fn add_passphrase(dir: &Path, image: &str, key: &str) {
    fs::write(dir.join(format!("{image}.pass")), "a throw-away passphrase").expect("written");
    // The fewest rounds: the passphrase lives as long as the test.
    let _ = cryptsetup(
        dir,
        &format!(
            "luksAddKey --volume-key-file {key} --key-size 512 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
             {image} {image}.pass"
        ),
    )
    .success();
}

/// What is in a disk by cryptsetup's account: decrypts a copy of the image, which has a passphrase from
/// [`add_passphrase`], in place.
///
/// # Panics
/// If cryptsetup refuses.
#[must_use]
pub fn decrypt(dir: &Path, image: &str) -> Vec<u8> {
    let len = fs::metadata(dir.join(image)).expect("an image").len() as usize - DATA_OFFSET;
    fs::copy(dir.join(image), dir.join("plain")).expect("copied");
    let _ = cryptsetup(
        dir,
        &format!(
            "reencrypt --decrypt --header plain.header --key-file {image}.pass --force-offline-reencrypt plain"
        ),
    )
    .success();
    // The header has moved out, the data to the front.
    let mut plain = fs::read(dir.join("plain")).expect("read");
    plain.truncate(len);
    let _ = fs::remove_file(dir.join("plain"));
    let _ = fs::remove_file(dir.join("plain.header"));
    plain
}

/// Changes both copies of a header, its JSON by `edit`, its UUID if one is given; checksums are made to hold.
///
/// # Panics
/// If there is no header of ours.
pub fn forge(image: &Path, uuid: Option<&str>, edit: impl Fn(&mut Value)) {
    let file = File::options().read(true).write(true).open(image).expect("an image");
    for copy in 0..2 {
        let mut bytes = vec![0; COPY_LEN];
        let at = (copy * COPY_LEN) as u64;
        file.read_exact_at(&mut bytes, at).expect("a header");
        if let Some(uuid) = uuid {
            bytes[168..204].copy_from_slice(uuid.as_bytes());
        }
        let end = 4096 + bytes[4096..].iter().position(|&byte| byte == 0).expect("text ends");
        let mut json: Value = serde_json::from_slice(&bytes[4096..end]).expect("JSON");
        edit(&mut json);
        let text = json.to_string();
        bytes[4096..].fill(0);
        bytes[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
        seal(&mut bytes);
        file.write_all_at(&bytes, at).expect("written");
    }
}

/// The checksum of a copy: SHA-256 over all of it, taken with zeros in the checksum's place (LUKS2 1.1.4, 2.1).
fn seal(copy: &mut [u8]) {
    copy[448..512].fill(0);
    let sum = Sha256::digest(&*copy);
    copy[448..480].copy_from_slice(&sum);
}

/// Damages one copy of a header (0 or 1), as a torn write does.
///
/// # Panics
/// If it cannot be written.
pub fn tear(image: &Path, copy: usize) {
    let file = File::options().write(true).open(image).expect("an image");
    file.write_all_at(&[0xa5; 512], (copy * COPY_LEN) as u64 + 4096 + 300).expect("written");
}
