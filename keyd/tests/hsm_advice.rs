//! What is said of a key in a token leads to where it says: the command is taken out of the text, and run.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "common/token.rs"]
mod token;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use common::{
    Keyd, PATIENCE, attach,
    https::{connect_local, exchange, request},
};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    object::{Attribute, ObjectClass},
    session::UserType,
    types::AuthPin,
};
use token::{MODULE, Token, daemon, disk_under_hsm, with_token};

/// As one that was made before keyd signed.
fn forbid_to_sign(token: &Token) {
    let pkcs11 = Pkcs11::new(MODULE).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
    let session = pkcs11.open_rw_session(slot).unwrap();
    let pin = fs::read_to_string(token.pin_file()).unwrap();
    session.login(UserType::User, Some(&AuthPin::from(pin.trim().to_owned()))).unwrap();
    let keys = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap();
    for key in keys {
        session.update_attributes(key, &[Attribute::Sign(false)]).unwrap();
    }
}

#[test]
fn a_key_that_does_not_sign_does_after_the_rotation_that_its_refusal_names() {
    let name = "a_key_that_does_not_sign_does_after_the_rotation_that_its_refusal_names";
    with_token(name, |token| {
        let mut keyd = daemon(token);
        disk_under_hsm(&keyd);
        keyd.kill();
        forbid_to_sign(token);
        keyd.resume();
        let sign = || {
            let body = format!("{{\"alg\":\"RS256\",\"value\":\"{}\"}}", "A".repeat(43));
            let target = "/keys/k/sign?api-version=7.4";
            let asked = request("POST", target, "default.localhost", &[], body.as_bytes());
            let mut stream = connect_local(&keyd.socket()).unwrap();
            let answer = exchange(&mut *stream, &asked).unwrap();
            (answer.status, String::from_utf8(answer.body).unwrap())
        };
        let (status, told) = sign();
        assert_ne!(status, 200, "{told}");
        heeds(&keyd, &told, "key rotate", &["k"]);
        let (status, told) = sign();
        assert_eq!(status, 200, "{told}");
    });
}

/// Runs the command in a text that begins so, with words behind it.
#[track_caller]
fn heeds(keyd: &Keyd, told: &str, begins: &str, more: &[&str]) -> String {
    let found = told.split('\'').find(|part| part.starts_with(&format!("keyd {begins}")));
    let command = found.unwrap_or_else(|| panic!("no '{begins}' is advised: {told}"));
    let words: Vec<&str> = command.split(' ').skip(1).chain(more.iter().copied()).collect();
    let done = keyd.run(&words);
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The token is away that would have to open what the rotation moves.
#[test]
fn what_a_rotation_leaves_behind_is_finished_by_the_commands_that_are_named() {
    let name = "what_a_rotation_leaves_behind_is_finished_by_the_commands_that_are_named";
    with_token(name, |token| {
        let mut keyd = daemon(token);
        let disk = disk_under_hsm(&keyd);
        let made = keyd.run(&["key", "create", "soft", "--bits", "2048"]);
        assert!(made.status.success());
        keyd.kill();
        let away = token.objects().with_extension("away");
        fs::rename(token.objects(), &away).unwrap();
        fs::create_dir(token.objects()).unwrap();
        keyd.resume();
        let moved = keyd.run(&["des", "set-key", "s", "--key", "soft"]);
        assert_eq!(moved.status.code(), Some(1), "it stops half way");
        let old = keyd.key("k").versions[0].version.to_string();
        let gone = keyd.run(&["key", "disable", "k", "--version", &old, "--force"]);
        let told = String::from_utf8(gone.stdout).unwrap();
        assert!(told.contains("was being rotated away from it: 1 disks"), "{told}");
        let shown = heeds(&keyd, &told, "des show s", &[]);
        heeds(&keyd, &shown, "key enable k", &[]);
        keyd.kill();
        fs::remove_dir(token.objects()).unwrap();
        fs::rename(&away, token.objects()).unwrap();
        keyd.resume();
        let begun = Instant::now();
        while keyd.disk(disk).record.key.to_string() != "soft" {
            assert!(begun.elapsed() < PATIENCE, "{:?}", keyd.disk(disk));
            thread::sleep(Duration::from_millis(20));
        }
        assert!(attach(&keyd, disk, false).unwrap().dek.is_some());
    });
}
