//! What is said of keys: that there is none, that one cannot be used, that it has ended, that a set does not follow it.

use system_tests::process::eventually;

use crate::follow::{Advised, quoted};

pub fn as_they_are(on: &mut Advised) {
    on.ok("key create k --bits 2048");
    on.shows("key show nope", "keyd key list", "k ");
    on.shows("key list --vault nope", "keyd vault list", "default");
    on.shows(
        "key disable k --version 0123456789abcdef0123456789abcdef",
        "keyd key show k",
        "VERSION",
    );
    let nonsense = on.keyd("key disable k --version nonsense").failure();
    let shown = on.heed(&nonsense, "keyd key show", &[], "k");
    let word = |word: &&str| word.len() == 32 && word.chars().all(|c| c.is_ascii_hexdigit());
    let version = shown.split_whitespace().find(word).expect("a version");
    on.ok(&format!("key disable k --version {version}"));
    on.ok(&format!("key enable k --version {version}"));
    let before = on.ok("key show k").lines().count();
    on.shows("key create k --bits 2048", "keyd key rotate k", "rotated to version");
    assert_eq!(on.ok("key show k").lines().count(), before + 1);
    on.ok("key disable k");
    on.helps("des create off --key k", "keyd key enable k");
    on.ok("des delete off");
    on.ok("key delete k");
    on.helps("key rotate k", "keyd key recover k");
    on.ok("key create gone --bits 2048");
    on.helps("key purge gone", "keyd key delete gone");
    on.ok("key set k --not-before 30d");
    on.helps("des create later --key k", "keyd key set k ");
    on.ok("key create e --bits 2048");
    on.ok("key set e --expires 2020-01-01T00:00:00Z");
    on.helps("des create expired --key e", "keyd key set e ");
    on.ok("key set e --operations decrypt");
    on.helps("des create useless --key e", "keyd key set e ");
    let told = on.ok("key rotation-policy show k");
    assert_eq!(quoted(&told), ["keyd key rotate k"], "{told}");
    on.shows("des create x --key platform/platform", "keyd key create NAME", "");
}

/// What the status says of this key.
fn warned(on: &Advised, key: &str) -> String {
    let named = format!("'{key}'");
    on.status()
        .lines()
        .filter(|line| line.contains(&named))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// As the status says it, and then it says nothing of that key any more.
fn cures(on: &mut Advised, key: &str, begins: &str, open: &[(&str, &str)]) {
    let told = warned(on, key);
    on.heed(&told, begins, open, "");
    assert_eq!(warned(on, key), "");
}

const PAST: &str = "2020-01-01T00:00:00Z";

pub fn that_ended(on: &mut Advised) {
    on.ok("key create ended --bits 2048");
    on.ok(&format!("key set ended --expires {PAST}"));
    cures(on, "ended", "keyd key rotate ended", &[]);

    // An older version than the newest, with a disk under it.
    on.ok("key create older --bits 2048");
    on.ok("des create s --key older --no-auto-rotate");
    on.ok("image create s.img --size 8M --des s");
    let version = newest(on, "older");
    on.ok("key rotate older");
    on.ok(&format!("key set older --version {version} --expires {PAST}"));
    cures(on, "older", "keyd des set-key SET --key older", &[("SET", "s")]);

    // Its end is the loss of it.
    on.ok("key create lost --bits 2048");
    on.ok("des create l --key lost --on-expiry revoke");
    on.ok("image create l.img --size 8M --des l");
    on.ok(&format!("key set lost --expires {PAST} --force"));
    let refused = on.keyd("image create m.img --size 8M --des l").failure();
    assert!(refused.contains("keyd key set lost"), "{refused}");
    cures(on, "lost", "keyd key set lost", &[("...", "never")]);
    on.ok("image create m.img --size 8M --des l");
}

pub fn newest(on: &Advised, key: &str) -> String {
    let shown: serde_json::Value =
        serde_json::from_str(&on.ok(&format!("key show {key} --json"))).expect("JSON");
    shown["versions"][0]["version"].as_str().expect("a version").to_owned()
}

/// Why the set of a key's name does not follow it.
pub fn not_followed(on: &Advised, key: &str) -> String {
    let error = || set(on, key)["rotation_error"]["message"].as_str().map(str::to_owned);
    eventually("reason why a set does not follow", error)
}

fn set(on: &Advised, name: &str) -> serde_json::Value {
    serde_json::from_str(&on.ok(&format!("des show {name} --json"))).expect("JSON")
}

/// The set is on the newest version of the key of its name, and nothing is said against it.
pub fn follows(on: &Advised, key: &str) {
    let version = newest(on, key);
    eventually("set on the newest version", || {
        let set = set(on, key);
        (set["active_version"] == version.as_str() && set["rotation_error"].is_null()).then_some(())
    });
}

/// Each way out of each reason, by itself.
pub fn that_a_set_does_not_follow(on: &mut Advised) {
    for (number, (change, way)) in [
        ("--expires 2h", "keyd key rotate"),
        ("--expires 2h", "keyd key set"),
        ("--expires 2h", "keyd des set-key"),
        ("--expires 400d", "keyd key set"),
        ("--expires 400d", "keyd des set-key"),
        ("--not-before 30d", "keyd key set"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("n{number}");
        on.ok(&format!("key create {key} --bits 2048"));
        on.ok(&format!("des create {key} --key {key} --no-auto-rotate"));
        on.ok(&format!("key rotate {key}"));
        on.ok(&format!("key set {key} --version {} {change}", newest(on, &key)));
        on.ok(&format!("des update {key} --auto-rotate"));
        let told = not_followed(on, &key);
        on.heed(&told, way, &[], "");
        follows(on, &key);
    }
}
