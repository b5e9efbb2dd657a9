//! Where keys must not be found: files, log, and the daemon's memory after its answer.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    time::Instant,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use common::{Keyd, PATIENCE, attach};
use keyd_client::message::KeyRotate;

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// What a DEK looks like in a file: its halves as they are, in hexadecimal and as a list of numbers, and its beginning
/// in base64.
fn forms(dek: &[u8]) -> Vec<Vec<u8>> {
    let halves = dek.chunks(32);
    let hexadecimal = |half: &[u8]| -> String { half.iter().map(|b| format!("{b:02x}")).collect() };
    let numbers = |half: &[u8]| format!("{half:?}").trim_matches(['[', ']']).to_owned();
    let mut forms: Vec<Vec<u8>> = halves.clone().map(<[u8]>::to_vec).collect();
    forms.extend(halves.clone().map(|half| hexadecimal(half).into_bytes()));
    forms.extend(halves.map(|half| numbers(half).into_bytes()));
    // 48 bytes are 64 characters, without what follows.
    forms.push(BASE64_STANDARD.encode(&dek[..48]).into_bytes());
    forms
}

/// How often any 16-byte quarter of a secret occurs in a process's readable memory.
fn in_memory(pid: u32, secret: &[u8]) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).unwrap().starts_with("rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let to = u64::from_str_radix(to, 16).unwrap();
        let mut bytes = vec![0; (to - from) as usize];
        let read = memory.read_at(&mut bytes, from).unwrap_or(0);
        let quarters: Vec<&[u8]> = secret.chunks(16).collect();
        let first: Vec<u8> = quarters.iter().map(|quarter| quarter[0]).collect();
        found += bytes[..read]
            .windows(16)
            .filter(|window| first.contains(&window[0]) && quarters.contains(window))
            .count();
    }
    found
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn a_dek_stays_nowhere() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(60_000);
    let disks: Vec<_> = (0..8).map(|_| keyd.make_disk(Some("s"))).collect();
    let held: Vec<_> = disks.iter().map(|id| attach(&keyd, *id, false).unwrap()).collect();
    keyd.ask(KeyRotate { name: "k".parse().unwrap() });
    let released: Vec<_> = disks.iter().map(|id| keyd.release(*id)).collect();

    let state = files(&keyd.state());
    assert!(state.len() >= 3);
    for (held, released) in held.iter().zip(&released) {
        let dek = held.dek.as_ref().unwrap().expose();
        assert_eq!(released.expose(), dek);
        for form in forms(dek) {
            for (name, bytes) in &state {
                assert!(!contains(bytes, &form), "a DEK is in {name}");
            }
            assert!(!contains(keyd.log().as_bytes(), &form), "a DEK is in the log");
        }
    }
    if !must_run::is_root_for("read another process's memory") {
        return;
    }
    // The daemon does hold its root key: the search finds what is there.
    let root = fs::read(keyd.state().join("root.key")).unwrap();
    assert!(in_memory(keyd.pid(), &root) >= 2, "the search is blind");
    for (n, held) in held.iter().enumerate() {
        // The thread that answered wipes its copies behind the answer.
        let deadline = Instant::now() + PATIENCE;
        while in_memory(keyd.pid(), held.dek.as_ref().unwrap().expose()) > 0 {
            assert!(Instant::now() < deadline, "DEK {n} stays in the daemon's memory");
        }
    }
}

#[test]
fn the_root_key_is_in_its_file_only() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    keyd.make_disk(Some("s"));
    let root = fs::read(keyd.state().join("root.key")).unwrap();
    for (name, bytes) in files(&keyd.state()) {
        assert_eq!(contains(&bytes, &root), name.ends_with("root.key"), "{name}");
        // A private key in PKCS#8 names its algorithm: rsaEncryption, 1.2.840.113549.1.1.1 (RFC 8017, A.1).
        let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
        assert!(!contains(&bytes, &rsa), "{name}");
    }
    let log = keyd.log();
    assert!(!contains(log.as_bytes(), &root));
    let long = log.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).max();
    assert!(long < Some(40), "the log holds something long: {log}");
}

/// The root key goes from its page through one other into the sealed file.
#[test]
fn a_backup_leaves_no_further_copy_of_the_root_key() {
    if !must_run::is_root_for("read another process's memory") {
        return;
    }
    // Recipients are public: nobody needs to open this one.
    const RECIPIENT: &str = "age1dtcs2sjtp6hr3qfe4v0lpz8ykyw9whza6aw0jt37pz4gm8heh40qaegdck";
    let safe = tempfile::tempdir().unwrap();
    let keyd = Keyd::start_with(&["--writable", safe.path().to_str().unwrap()]);
    let root = fs::read(keyd.state().join("root.key")).unwrap();
    let before = in_memory(keyd.pid(), &root);
    assert!(before >= 2, "the search is blind");
    let to = safe.path().join("backup");
    let done = keyd.run(&["backup", "--to", to.to_str().unwrap(), "--recipient", RECIPIENT]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(fs::metadata(&to).unwrap().len() > 1000);
    assert_eq!(in_memory(keyd.pid(), &root), before);
    for (name, bytes) in files(keyd.dir.path()) {
        assert!(!contains(&bytes, &root), "{name}");
    }
}
