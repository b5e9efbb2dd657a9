use std::{fs, os::unix::fs::PermissionsExt};

use keyd_client::KeyName;

use super::*;
use crate::kek::{Kek, KeyBits};

fn names() -> (KeyName, KeyVersion) {
    ("k".parse().unwrap(), KeyVersion::random())
}

fn place(dir: &tempfile::TempDir) -> Place {
    Place { key: dir.path().join("root.key"), document: dir.path().join("root.json") }
}

fn open(place: &Place, store_exists: bool) -> Result<RootKey, RootError> {
    place.open(None, store_exists, &Means::default())
}

fn fresh() -> (tempfile::TempDir, PathBuf, RootKey) {
    let dir = tempfile::tempdir().unwrap();
    let root = open(&place(&dir), false).unwrap();
    let path = place(&dir).key;
    (dir, path, root)
}

#[test]
fn a_sealed_key_opens_under_its_own_name_and_version_only() {
    let (dir, _, root) = fresh();
    let (name, version) = names();
    let (_, der) = Kek::generate(KeyBits::Rsa4096).unwrap();
    let sealed = root.seal(&name, version, &der).unwrap();
    let again = open(&place(&dir), true).unwrap();
    let opened = again.unseal(&name, version, &sealed).unwrap();
    assert_eq!(opened.expose(), der.expose());
    let other: KeyName = "other".parse().unwrap();
    assert!(again.unseal(&other, version, &sealed).is_err());
    assert!(again.unseal(&name, KeyVersion::random(), &sealed).is_err());
}

#[test]
fn a_sealed_key_hides_the_key_and_never_repeats() {
    let (_dir, _, root) = fresh();
    let (name, version) = names();
    let (_, der) = Kek::generate(KeyBits::Rsa2048).unwrap();
    let (a, b) =
        (root.seal(&name, version, &der).unwrap(), root.seal(&name, version, &der).unwrap());
    assert_ne!(a, b);
    assert!(!a.0.windows(16).any(|window| window == &der.expose()[64..80]));
}

#[test]
fn any_changed_byte_or_cut_is_refused() {
    let (_dir, _, root) = fresh();
    let (name, version) = names();
    let (_, der) = Kek::generate(KeyBits::Rsa2048).unwrap();
    let sealed = root.seal(&name, version, &der).unwrap();
    for at in (0..sealed.0.len()).step_by(97) {
        let mut changed = sealed.clone();
        changed.0[at] ^= 1;
        assert!(root.unseal(&name, version, &changed).is_err(), "byte {at}");
    }
    for len in [0, 11, 12, 27, sealed.0.len() - 1] {
        let cut = SealedKey(sealed.0[..len].to_vec());
        assert!(root.unseal(&name, version, &cut).is_err(), "length {len}");
    }
    let long = SealedKey(vec![0; 100_000]);
    assert!(matches!(root.unseal(&name, version, &long), Err(RootError::TooLong)));
}

#[test]
fn the_file_is_the_owners_alone_and_random() {
    let (_dir, path, _) = fresh();
    let about = fs::metadata(&path).unwrap();
    assert_eq!((about.permissions().mode() & 0o7777, about.len()), (0o600, 32));
    let (_dir, other, _) = fresh();
    assert_ne!(fs::read(&path).unwrap(), fs::read(&other).unwrap());
}

#[test]
fn a_wrong_file_is_refused_by_what_is_wrong() {
    let (dir, path, _) = fresh();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = open(&place(&dir), true).unwrap_err();
    let wrong = SecretFileError::Mode { path: path.clone(), mode: 0o640 };
    assert_eq!(error.to_string(), RootError::Secret(wrong).to_string());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, [7; 31]).unwrap();
    assert!(matches!(open(&place(&dir), true), Err(RootError::Form(_))));
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(&place(&dir), true), Err(RootError::Missing(_))));
}

/// What a first start that crashed leaves behind does not stop the next.
#[test]
fn an_unfinished_key_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = place(&dir).key;
    fs::write(dir.path().join("root.new"), [1; 5]).unwrap();
    open(&place(&dir), false).unwrap();
    assert_eq!(fs::read(&path).unwrap().len(), 32);
    assert!(!dir.path().join("root.new").exists());
}

#[test]
fn a_root_key_shows_nothing_of_itself() {
    let (_dir, _, root) = fresh();
    assert_eq!(format!("{root:?}"), "RootKey(secret)");
}

/// A blob is for its purpose only, and never the same twice.
#[test]
fn a_sealed_blob_opens_for_its_purpose_only() {
    let (_dir, _, root) = fresh();
    let plain = vec![7; 100_000];
    let blob = root.seal_blob("keyd/backup/v1", &plain).unwrap();
    assert_eq!(*root.open_blob("keyd/backup/v1", &blob).unwrap(), plain);
    assert_ne!(root.seal_blob("keyd/backup/v1", &plain).unwrap(), blob);
    assert!(root.open_blob("keyd/backup/v2", &blob).is_err());
    assert!(root.open_blob("keyd/backup/v1", &blob[1..]).is_err());
    assert!(root.open_blob("keyd/backup/v1", &[]).is_err());
    assert!(RootKey::generate().unwrap().open_blob("keyd/backup/v1", &blob).is_err());
}
