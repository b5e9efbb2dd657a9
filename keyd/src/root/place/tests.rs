use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

/// A place in a directory that vanishes, with files for passphrases.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn place(&self) -> Place {
        let path = |name| self.dir.path().join(name);
        Place { key: path("root.key"), document: path("root.json") }
    }

    fn secret(&self, name: &str, text: &str) -> Option<PathBuf> {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Some(path)
    }

    fn means(&self, current: &str, new: &str) -> Means {
        let passphrase = PassphraseSource {
            file: self.secret("current", current),
            new_file: self.secret("new", new),
        };
        Means { passphrase, hsm: None }
    }
}

const OLD: &str = "the old passphrase\n";
const NEW: &str = "the new passphrase";

fn opened(home: &Home, means: &Means) -> [u8; 32] {
    *home.place().open(None, true, means).unwrap().expose()
}

fn quiet(_: &RootKey, _: Moved) -> Result<(), RootError> {
    Ok(())
}

#[test]
fn each_kind_is_made_at_the_first_start_and_opened_at_the_next() {
    for kind in [RootKind::File, RootKind::Passphrase] {
        let home = Home::new();
        let means = home.means(OLD, "");
        let made = *home.place().open(Some(kind), false, &means).unwrap().expose();
        assert_eq!(home.place().kind().unwrap(), Some(kind));
        assert_eq!(opened(&home, &means), made);
        assert_eq!(*home.place().open(Some(kind), true, &means).unwrap().expose(), made);
    }
}

#[test]
fn another_kind_than_the_one_there_is_refused_by_name() {
    let home = Home::new();
    let means = home.means(OLD, "");
    home.place().open(None, false, &means).unwrap();
    let refused = home.place().open(Some(RootKind::Passphrase), true, &means).unwrap_err();
    assert!(refused.to_string().contains("keyd root move --to passphrase"), "{refused}");
}

#[test]
fn beside_a_store_no_root_key_is_made() {
    let home = Home::new();
    let means = home.means(OLD, "");
    for kind in [None, Some(RootKind::File), Some(RootKind::Passphrase)] {
        let refused = home.place().open(kind, true, &means).unwrap_err();
        assert!(matches!(refused, RootError::Missing(_)), "{refused}");
    }
    assert_eq!(home.place().kind().unwrap(), None);
}

#[test]
fn a_wrong_passphrase_is_told_as_such() {
    let home = Home::new();
    home.place().open(Some(RootKind::Passphrase), false, &home.means(OLD, "")).unwrap();
    let refused = home.place().open(None, true, &home.means("another passphrase", "")).unwrap_err();
    assert!(matches!(refused, RootError::WrongPassphrase(_)), "{refused}");
    assert!(!refused.to_string().contains("another"), "{refused}");
}

#[test]
fn a_short_passphrase_is_refused_when_it_is_chosen() {
    let home = Home::new();
    let means = home.means("elevenbytes\n", "");
    let refused = home.place().open(Some(RootKind::Passphrase), false, &means).unwrap_err();
    assert!(matches!(refused, RootError::PassphraseLen { len: 11, .. }), "{refused}");
    assert_eq!(home.place().kind().unwrap(), None);
}

#[test]
fn a_passphrase_is_changed_and_the_root_key_is_not() {
    let home = Home::new();
    home.place().open(Some(RootKind::Passphrase), false, &home.means(OLD, "")).unwrap();
    let before = opened(&home, &home.means(OLD, ""));
    let wrong = home.means("a wrong passphrase", NEW);
    let change = |means: &Means| home.place().change_passphrase(means, |_| Ok(()));
    assert!(matches!(change(&wrong), Err(RootError::WrongPassphrase(_))));
    change(&home.means(OLD, NEW)).unwrap();
    assert_eq!(opened(&home, &home.means(NEW, "")), before);
    let refused = home.place().open(None, true, &home.means(OLD, "")).unwrap_err();
    assert!(matches!(refused, RootError::WrongPassphrase(_)), "{refused}");
}

#[test]
fn a_root_key_moves_between_kinds_and_stays_the_same() {
    let home = Home::new();
    home.place().open(None, false, &home.means(OLD, "")).unwrap();
    let before = opened(&home, &home.means(OLD, ""));
    let moved = home.place().move_to(RootKind::Passphrase, &home.means("", NEW), quiet).unwrap();
    assert_eq!(moved.to_string(), "from=file to=passphrase");
    assert!(!home.place().key.exists());
    assert_eq!(opened(&home, &home.means(NEW, "")), before);
    let moved = home.place().move_to(RootKind::File, &home.means(NEW, ""), quiet).unwrap();
    assert_eq!(moved.to_string(), "from=passphrase to=file");
    assert!(!home.place().document.exists());
    assert_eq!(opened(&home, &home.means("", "")), before);
    let refused = home.place().move_to(RootKind::File, &home.means("", ""), quiet).unwrap_err();
    assert!(matches!(refused, RootError::SameKind(RootKind::File)), "{refused}");
}

/// A crash between writing the new form and removing the old one leaves both.
#[test]
fn a_move_that_stopped_half_way_is_finished_either_way_by_asking_again() {
    for (from, to) in
        [(RootKind::File, RootKind::Passphrase), (RootKind::Passphrase, RootKind::File)]
    {
        for end in [from, to] {
            let home = Home::new();
            home.place().open(Some(from), false, &home.means(OLD, "")).unwrap();
            let means = home.means(OLD, OLD);
            let before = opened(&home, &means);
            half_move(&home, to, &means);
            assert!(home.place().is_moving().unwrap());
            assert_eq!(opened(&home, &means), before, "the daemon starts");
            let refused = home.place().move_to(RootKind::Pkcs11, &means, quiet).unwrap_err();
            assert!(matches!(refused, RootError::Kind { .. }), "{refused}");
            home.place().move_to(end, &means, quiet).unwrap();
            assert!(!home.place().is_moving().unwrap());
            assert_eq!(home.place().kind().unwrap(), Some(end));
            assert_eq!(opened(&home, &means), before);
        }
    }
}

/// A whole move, and the old form put back.
fn half_move(home: &Home, to: RootKind, means: &Means) {
    let old = if to == RootKind::File { home.place().document } else { home.place().key };
    let copy = home.dir.path().join("copy");
    fs::copy(&old, &copy).unwrap();
    home.place().move_to(to, means, quiet).unwrap();
    fs::rename(&copy, &old).unwrap();
}

#[test]
fn a_move_that_cannot_be_recorded_changes_nothing() {
    let home = Home::new();
    let means = home.means(OLD, NEW);
    home.place().open(Some(RootKind::Passphrase), false, &means).unwrap();
    let before = fs::read(home.place().document).unwrap();
    let moved = home.place().move_to(RootKind::File, &means, |_, _| Err(RootError::Random));
    assert!(matches!(moved, Err(RootError::Random)));
    let changed = home.place().change_passphrase(&means, |_| Err(RootError::Random));
    assert!(matches!(changed, Err(RootError::Random)));
    assert_eq!(fs::read(home.place().document).unwrap(), before);
    assert!(!home.place().key.exists());
}

#[test]
fn two_different_root_keys_are_not_taken_for_a_move() {
    let home = Home::new();
    let means = home.means(OLD, NEW);
    home.place().open(Some(RootKind::Passphrase), false, &means).unwrap();
    fs::write(&home.place().key, [7; 32]).unwrap();
    fs::set_permissions(&home.place().key, fs::Permissions::from_mode(0o600)).unwrap();
    for to in [RootKind::File, RootKind::Passphrase] {
        let refused = home.place().move_to(to, &means, quiet).unwrap_err();
        assert!(matches!(refused, RootError::TwoRoots { .. }), "{refused}");
    }
    assert!(home.place().key.exists() && home.place().document.exists());
}

/// What a crash in the middle of writing leaves behind is in nobody's way.
#[test]
fn unfinished_files_are_made_anew() {
    let home = Home::new();
    let means = home.means(OLD, OLD);
    fs::write(home.dir.path().join("root.json.new"), "{").unwrap();
    fs::write(home.dir.path().join("root.new"), [1; 5]).unwrap();
    home.place().open(Some(RootKind::Passphrase), false, &means).unwrap();
    home.place().move_to(RootKind::File, &means, quiet).unwrap();
    let names: Vec<_> = fs::read_dir(home.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("root"))
        .collect();
    assert_eq!(names, ["root.key"]);
}

#[test]
fn a_document_that_is_none_is_refused_by_what_is_wrong() {
    let home = Home::new();
    let means = home.means(OLD, "");
    home.place().open(Some(RootKind::Passphrase), false, &means).unwrap();
    let text = fs::read_to_string(home.place().document).unwrap();
    for (from, to, told) in [
        ("\"format\": 1", "\"format\": 2", "its format is 2, not 1"),
        ("passphrase", "plain", "unknown variant"),
        ("\"salt\"", "\"pepper\"", "unknown field"),
        ("65536", "4294967295", "out of bounds"),
        ("{", "", "expected struct Document"),
    ] {
        fs::write(home.place().document, text.replacen(from, to, 1)).unwrap();
        let refused = home.place().open(None, true, &means).unwrap_err();
        assert!(refused.to_string().contains(told), "{told}: {refused}");
    }
}

#[test]
fn a_document_shows_nothing_of_the_root_key() {
    let home = Home::new();
    let means = home.means(OLD, "");
    let root = home.place().open(Some(RootKind::Passphrase), false, &means).unwrap();
    let place = home.place();
    let about = fs::metadata(&place.document).unwrap();
    assert_eq!(about.permissions().mode() & 0o7777, 0o600);
    let text = fs::read(place.document).unwrap();
    assert!(!text.windows(8).any(|window| root.expose().windows(8).any(|part| part == window)));
}
