//! What bad input gets from the three programs: one line that says what to do next, a code that is not zero, and
//! everything as it was. Hostile peers on the sockets are in `hostile_peers`.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::Command,
};

use keyd_client::message::{EncryptionType, OnRevoke, Terms};
use serde_json::{Value, json};
use system_tests::{
    luks::{COPY_LEN, add_passphrase, cryptsetup, forge, tear},
    process::program,
    refusal::{
        backend_refuses, keyd_refuses, mark_is_there, marked_disk, one_line, refused,
        refuses_to_serve, still_serves,
    },
    world::{TERMS, World},
};

const UNKNOWN: &str = "0b9c1f6e-6f0c-4e0e-9d43-1c8f4b2a7d55";

/// Names of everything in the host's directory but the sockets' and logs' own.
fn names(world: &World) -> Vec<String> {
    let entry = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = fs::read_dir(world.path(""))
        .expect("a directory")
        .map(|found| entry(found).to_string_lossy().into_owned())
        .filter(|name| !name.ends_with(".log"))
        .collect();
    names.sort();
    names
}

fn disks(world: &World) -> Value {
    serde_json::from_str(&world.keyd("disk list --json").success()).expect("JSON")
}

#[test]
fn without_a_daemon_every_program_says_where_it_looked_and_what_to_start() {
    let mut world = World::new();
    let id = marked_disk(&world, "d", "");
    assert!(world.keyd.take().unwrap().terminate().success());
    let before = names(&world);
    let words = ["cannot reach keyd at", "is 'keyd serve' running", "its socket (--socket)"];
    refused("image", &world.image("create e.img --size 8M"), &words);
    for command in ["key list".to_owned(), format!("disk release-key {id} --to vk")] {
        let ended = world.keyd(&command);
        assert_eq!(ended.code, 3, "a code of its own, for scripts that start the daemon");
        one_line("keyd", &ended.err, &words);
    }
    // (The backend says it, too, and waits for the daemon: `waiting`.) A socket that nobody listens at, and a file.
    drop(UnixListener::bind(world.path("keyd.sock")).unwrap());
    refused("image", &world.image("create e.img --size 8M"), &words);
    fs::remove_file(world.path("keyd.sock")).unwrap();
    fs::write(world.path("keyd.sock"), "").unwrap();
    refused("image", &world.image("create e.img --size 8M"), &words);
    fs::remove_file(world.path("keyd.sock")).unwrap();
    assert_eq!(names(&world), before, "nothing was made");
    world.start_keyd();
    still_serves(&world, "d");
}

#[test]
fn a_disk_that_the_daemon_does_not_know_is_not_served() {
    let here = World::new();
    let there = World::new();
    marked_disk(&here, "d", "");
    fs::copy(here.path("d.img"), there.path("d.img")).unwrap();
    backend_refuses(&there, "d", "", &["no disk", "keyd disk list"]);
    refused("keyd", &there.keyd(&format!("disk show {UNKNOWN}")), &[UNKNOWN, "keyd disk list"]);
    still_serves(&here, "d");
}

#[test]
fn a_header_that_disagrees_with_the_daemon_is_refused_by_the_field() {
    let world = World::new();
    marked_disk(&world, "d", "");
    let image = world.path("d.img");
    let whole = fs::read(&image).unwrap();
    type Edit = fn(&mut Value);
    let forgeries: [(&str, Edit); 6] = [
        ("sector size", |json| json["segments"]["0"]["sector_size"] = json!(4096)),
        ("data offset", |json| json["segments"]["0"]["offset"] = json!("16781312")),
        ("rule for holes", |json| json["tokens"]["0"]["holes"] = json!("none")),
        ("digest salt", |json| {
            json["digests"]["0"]["salt"] = json!("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        }),
        ("digest iterations", |json| json["digests"]["0"]["iterations"] = json!(1001)),
        ("cipher", |json| json["segments"]["0"]["encryption"] = json!("cipher_null-ecb")),
    ];
    for (field, edit) in forgeries {
        forge(&image, None, edit);
        // A copy that would be repaired, if nothing else were wrong.
        tear(&image, 1);
        let forged = fs::read(&image).unwrap();
        assert!(forged != whole);
        let said: &[&str] = if field == "cipher" {
            &["cipher_null-ecb", "another program changed it", "restore the first 32 KiB"]
        } else {
            &[field, "keyd's record", "restore the header"]
        };
        backend_refuses(&world, "d", "", said);
        assert!(fs::read(&image).unwrap() == forged, "{field}: what is refused is not changed");
        fs::write(&image, &whole).unwrap();
    }
    still_serves(&world, "d");
}

/// Such a header is also what a crash leaves while a disk grows: the daemon's record decides.
#[test]
fn a_header_that_states_less_than_the_daemon_changes_nothing() {
    let world = World::new();
    marked_disk(&world, "d", "");
    forge(&world.path("d.img"), None, |json| json["segments"]["0"]["size"] = json!("4194304"));
    still_serves(&world, "d");
    // It is put right by who serves the disk.
    let header = fs::read(world.path("d.img")).unwrap();
    let header = String::from_utf8_lossy(&header[..16384]);
    assert!(!header.contains("4194304") && header.contains("8388608"));
}

#[test]
fn an_image_of_another_length_is_refused() {
    let world = World::new();
    marked_disk(&world, "d", "");
    let image = fs::File::options().write(true).open(world.path("d.img")).unwrap();
    let len = image.metadata().unwrap().len();
    image.set_len(len - 4096).unwrap();
    backend_refuses(&world, "d", "", &["length", "keyd's record", "restore"]);
    // Room at the end is what 'image resize' makes first: the disk is as long as the daemon says.
    image.set_len(len + 4096).unwrap();
    still_serves(&world, "d");
    for (cut, words) in [(20 << 10, "cut short"), (100, "no LUKS2 header")] {
        fs::copy(world.path("d.img"), world.path("cut.img")).unwrap();
        fs::File::options().write(true).open(world.path("cut.img")).unwrap().set_len(cut).unwrap();
        backend_refuses(&world, "cut", "", &[words]);
    }
    image.set_len(len).unwrap();
    still_serves(&world, "d");
}

#[test]
fn an_image_under_another_disks_name_is_refused() {
    let world = World::new();
    marked_disk(&world, "d", "");
    let other = marked_disk(&world, "e", "");
    let whole = fs::read(world.path("d.img")).unwrap();
    // The other disk's key would be handed out for this image: its digest is not the one of the record.
    forge(&world.path("d.img"), Some(&other), |json| json["tokens"]["0"]["disk"] = json!(other));
    backend_refuses(&world, "d", "", &["digest", "keyd's record", &other, "another disk's image"]);
    // Half a forgery names no disk at all.
    fs::write(world.path("d.img"), &whole).unwrap();
    forge(&world.path("d.img"), Some(&other), |_| {});
    backend_refuses(&world, "d", "", &["put together by hand"]);
    fs::write(world.path("d.img"), &whole).unwrap();
    still_serves(&world, "d");
    still_serves(&world, "e");
}

#[test]
fn a_whole_image_of_another_disk_is_refused_where_the_disk_is_named() {
    let world = World::new();
    let disk = marked_disk(&world, "d", "");
    let other = marked_disk(&world, "e", "");
    let whole = fs::read(world.path("d.img")).unwrap();
    fs::copy(world.path("e.img"), world.path("d.img")).unwrap();
    tear(&world.path("d.img"), 0);
    let theirs = fs::read(world.path("d.img")).unwrap();
    let named = format!("--disk-id {disk}");
    backend_refuses(&world, "d", &named, &[&other, &disk, "--disk-id", "is it the right file?"]);
    assert!(fs::read(world.path("d.img")).unwrap() == theirs, "what is refused is not changed");
    fs::write(world.path("d.img"), &whole).unwrap();
    drop(world.start_backend("d", &named));
}

#[test]
fn a_volume_key_that_another_tool_changed_is_found_before_anything_is_written() {
    let world = World::new();
    let id = marked_disk(&world, "d", "--dense");
    let dir = world.path("");
    let whole = fs::read(world.path("d.img")).unwrap();
    let _ = world.keyd(&format!("disk release-key {id} --to vk")).success();
    add_passphrase(&dir, "d.img", "vk");
    let rekey = "reencrypt --key-file d.img.pass --force-offline-reencrypt --pbkdf pbkdf2 --pbkdf-force-iterations 1000 d.img";
    let _ = cryptsetup(&dir, rekey).success();
    let changed = fs::read(world.path("d.img")).unwrap();
    assert!(changed[16 << 20..] != whole[16 << 20..], "cryptsetup wrote every sector anew");
    backend_refuses(&world, "d", "", &["volume key was changed by another tool", "restore"]);
    assert!(fs::read(world.path("d.img")).unwrap() == changed);
    fs::write(world.path("d.img"), &whole).unwrap();
    still_serves(&world, "d");
}

#[test]
fn one_torn_copy_of_the_header_is_repaired_and_said_two_are_refused() {
    let world = World::new();
    marked_disk(&world, "d", "");
    let image = world.path("d.img");
    let whole = fs::read(&image).unwrap();
    for (copy, said) in [(0, "first copy was damaged"), (1, "second copy was damaged")] {
        tear(&image, copy);
        {
            let mut backend = world.start_backend("d", "");
            assert!(backend.said().contains(said), "{}", backend.said());
            assert!(backend.said().contains("repaired"));
            mark_is_there(&world, "d");
            assert!(backend.terminate().success());
        }
        let json = 4096..COPY_LEN;
        let repaired = fs::read(&image).unwrap();
        assert!(repaired[json.clone()] == whole[json.clone()]);
        assert!(repaired[COPY_LEN..][json.clone()] == whole[json]);
        let _ = cryptsetup(&world.path(""), "luksDump d.img").success();
        still_serves(&world, "d");
    }
    tear(&image, 0);
    tear(&image, 1);
    let torn = fs::read(&image).unwrap();
    backend_refuses(&world, "d", "", &["both copies", "restore the first 32 KiB", "backup"]);
    assert!(fs::read(&image).unwrap() == torn, "what cannot be repaired is left as it is");
    fs::write(&image, &whole).unwrap();
    still_serves(&world, "d");
}

#[test]
fn a_second_backend_is_told_who_has_the_image() {
    let world = World::new();
    marked_disk(&world, "d", "");
    let first = world.start_backend("d", "");
    let pid = format!("pid {}", first.pid());
    fs::hard_link(world.path("d.img"), world.path("other.img")).unwrap();
    std::os::unix::fs::symlink("d.img", world.path("link.img")).unwrap();
    for name in ["other", "link"] {
        for more in ["", "--read-only"] {
            backend_refuses(&world, name, more, &["in use", &pid, "stop it"]);
        }
    }
    mark_is_there(&world, "d");
    drop(first);
    // Readers share.
    let _first = world.start_backend("d", "--read-only");
    let _second = world.start_backend("link", "--read-only");
    mark_is_there(&world, "d");
    mark_is_there(&world, "link");
    backend_refuses(&world, "other", "", &["in use", "stop it"]);
}

#[test]
fn a_copy_of_an_image_is_not_served_beside_it() {
    // No lock of the file's tells: the daemon does.
    let world = World::new();
    marked_disk(&world, "d", "");
    fs::copy(world.path("d.img"), world.path("copy.img")).unwrap();
    let first = world.start_backend("d", "");
    backend_refuses(&world, "copy", "", &["is held by process", &first.pid().to_string()]);
    mark_is_there(&world, "d");
}

#[test]
fn an_image_that_cannot_be_is_not_made_and_leaves_nothing() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    fs::create_dir(world.path("dir")).unwrap();
    std::os::unix::fs::symlink("nowhere", world.path("link")).unwrap();
    let (before, known) = (names(&world), disks(&world));
    let whole = fs::read(world.path("d.img")).unwrap();
    let refusals: [(&str, &[&str]); 12] = [
        ("create e.img --size 10", &["sector size 512: use 512;", "10G is 10 GiB"]),
        ("create e.img --size 100T", &["at most 64 TiB"]),
        ("create e.img 10", &["use 512;"]),
        ("create e.img --size 1000", &["not a multiple", "sector size 512", "use 512 or 1024"]),
        ("create e.img --size 6K --sector-size 4096", &["not a multiple", "use 4096 or 8192"]),
        ("create e.img --size 0", &["0 bytes", "one sector"]),
        ("create e.img", &["--size 10G"]),
        ("create d.img --size 8M", &["d.img exists", "name a new file"]),
        ("create dir --size 8M", &["dir exists", "name a new file"]),
        ("create link --size 8M", &["link exists", "name a new file"]),
        ("create e.img --size 8M --des nope", &["no disk encryption set 'nope'", "keyd des list"]),
        ("create nowhere/e.img --size 8M", &["cannot make a file in nowhere", "No such file"]),
    ];
    for (command, words) in refusals {
        refused("image", &world.image(command), words);
        assert_eq!(names(&world), before, "{command}");
        assert_eq!(
            disks(&world),
            known,
            "{command}: the daemon remembers no disk without an image"
        );
    }
    assert!(fs::read(world.path("d.img")).unwrap() == whole);
}

#[test]
fn a_disabled_key_gives_no_disk_and_no_attachment_until_it_is_enabled() {
    let world = World::new();
    let terms = Terms { on_revoke: OnRevoke::Fail, ..TERMS };
    world.make_set("d", EncryptionType::CustomerKey, terms);
    marked_disk(&world, "d", "");
    let _ = world.keyd("key disable d --force").success();
    let (before, known) = (names(&world), disks(&world));
    backend_refuses(&world, "d", "", &["key 'd' is disabled", "keyd key enable d"]);
    let words = ["key 'd' is disabled", "keyd key enable d"];
    refused("image", &world.image("create e.img --size 8M --des d"), &words);
    let id = world.disk_id(&world.path("d.img"));
    refused("keyd", &world.keyd(&format!("disk release-key {id} --to vk")), &words);
    assert_eq!((names(&world), disks(&world)), (before, known));
    let _ = world.keyd("key enable d").success();
    still_serves(&world, "d");
    let _ = world.image("create e.img --size 8M --des d").success();
}

#[test]
fn names_and_numbers_that_cannot_be_are_refused_with_what_could() {
    let world = World::new();
    let before = world.keyd("key list --json").success();
    let long = "x".repeat(128);
    let usage: [(&str, &str); 6] = [
        ("key create a_b", "letters, digits and hyphens"),
        ("key create ../x", "3 to 24"),
        (&format!("key create {long}"), "1 to 127"),
        ("des create s --key a/b", "3 to 24"),
        ("disk show not-a-uuid", "keyd disk list"),
        ("des create s --key platform --lease soon", "30s"),
    ];
    for (command, words) in usage {
        let ended = world.keyd(command);
        assert_eq!(ended.code, 2, "{command}: {}", ended.err);
        let first = ended.err.lines().next().unwrap_or_default();
        assert!(first.contains(words), "{command}: {first}");
    }
    let refusals: [(&str, &[&str]); 6] = [
        ("key create k --bits 1024", &["2048, 3072 or 4096", "1024"]),
        ("key create platform/platform", &["already", "another name"]),
        ("key show nope", &["no key 'nope'", "keyd key list"]),
        ("key disable nope", &["no key 'nope'", "keyd key list"]),
        ("des create s --key nope", &["no key 'nope'", "keyd key list"]),
        ("des show nope", &["no disk encryption set 'nope'", "keyd des list"]),
    ];
    for (command, words) in refusals {
        refused("keyd", &world.keyd(command), words);
    }
    let _ = world.keyd("key create k --bits 2048").success();
    let lease = world.keyd("des create s --key k --lease 1ms");
    refused("keyd", &lease, &["lease of 1ms", "choose 1s to 1h"]);
    let after = world.keyd("key list --json").success();
    assert_ne!(before, after);
    assert!(!after.contains("nope") && !after.contains("a_b"), "{after}");
}

#[test]
fn a_released_key_overwrites_nothing_and_leaves_no_empty_file() {
    let world = World::new();
    let id = world.make_disk("d", "8M", "");
    fs::write(world.path("precious"), "precious").unwrap();
    let release = |id: &str, to: &str| world.keyd(&format!("disk release-key {id} --to {to}"));
    refused("keyd", &release(&id, "precious"), &["precious", "a file that does not exist"]);
    refused("keyd", &release(&id, "d.img"), &["d.img", "a file that does not exist"]);
    refused("keyd", &release(&id, "nowhere/vk"), &["nowhere/vk", "in a directory that does"]);
    refused("keyd", &release(UNKNOWN, "vk"), &[UNKNOWN, "keyd disk list"]);
    assert_eq!(fs::read(world.path("precious")).unwrap(), b"precious");
    assert!(!world.path("vk").exists());
    let tail = world.keyd("audit tail --json").success();
    assert!(!released_on_record(&tail), "no key left the daemon: {tail}");
    let _ = release(&id, "vk").success();
    assert!(released_on_record(&world.keyd("audit tail --json").success()));
}

/// Whether a key was given out, by the audit log.
fn released_on_record(tail: &str) -> bool {
    let tail: Value = serde_json::from_str(tail).expect("JSON");
    let text = tail.to_string();
    let records: Vec<Value> = match tail {
        Value::Array(records) => records,
        Value::Object(mut fields) => {
            fields.values_mut().find_map(|field| field.as_array().cloned()).unwrap_or_default()
        }
        _ => vec![],
    };
    assert!(!records.is_empty(), "{text}");
    records.iter().any(|record| {
        let record = record.to_string();
        record.contains("release") && record.contains("\"ok\"")
    })
}

#[test]
fn a_root_key_that_cannot_be_trusted_stops_the_start_and_loses_nothing() {
    let mut world = World::new();
    marked_disk(&world, "d", "");
    assert!(world.keyd.take().unwrap().terminate().success());
    let root = world.path("state/root.key");
    let key = fs::read(&root).unwrap();
    let chmod =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let refuse = |words: &[&str]| keyd_refuses(&world, "state", "keyd.sock", words);

    chmod(&root, 0o644);
    refuse(&["root.key", "mode 0644", "chmod 600"]);
    chmod(&root, 0o600);
    for wrong in [vec![], key[..31].to_vec(), [&key[..], b"\n"].concat()] {
        fs::write(&root, wrong).unwrap();
        refuse(&["root.key", "32 bytes", "its copy"]);
    }
    fs::write(&root, [7; 32]).unwrap();
    refuse(&["the root key is another one"]);
    fs::remove_file(&root).unwrap();
    refuse(&["root.key", "is missing", "its copy"]);
    assert!(!root.exists(), "no new root key beside an old store");
    fs::create_dir(&root).unwrap();
    refuse(&["root.key", "32 bytes"]);
    fs::remove_dir(&root).unwrap();

    fs::write(&root, &key).unwrap();
    chmod(&root, 0o600);
    chmod(&world.path("state"), 0o755);
    refuse(&["state", "mode 0755", "chmod 700"]);
    chmod(&world.path("state"), 0o700);
    world.start_keyd();
    still_serves(&world, "d");
}

#[test]
fn one_daemon_to_a_state_directory_and_one_to_a_socket() {
    let mut world = World::new();
    marked_disk(&world, "d", "");
    let pid = world.keyd.as_ref().unwrap().pid().to_string();
    keyd_refuses(&world, "state", "second.sock", &["keyd with process id", &pid, "stop it first"]);
    assert!(!world.path("second.sock").exists());
    keyd_refuses(&world, "second", "keyd.sock", &["listening", "another --socket"]);
    fs::write(world.path("precious"), "precious").unwrap();
    keyd_refuses(&world, "second", "precious", &["is no socket", "another --socket"]);
    assert_eq!(fs::read(world.path("precious")).unwrap(), b"precious");
    let _ = world.keyd("key list").success();
    // What a daemon that was killed leaves behind is in nobody's way.
    world.keyd.as_mut().unwrap().kill();
    assert!(world.path("keyd.sock").exists());
    world.start_keyd();
    still_serves(&world, "d");
}

#[test]
fn a_backend_takes_over_a_dead_socket_and_nothing_else() {
    let world = World::new();
    marked_disk(&world, "d", "");
    let live = UnixListener::bind(world.path("d.sock")).unwrap();
    backend_refuses(&world, "d", "", &["another process listens", "--socket-path"]);
    drop(live);
    still_serves(&world, "d");
    fs::write(world.path("d.sock"), "precious").unwrap();
    backend_refuses(&world, "d", "", &["is not a socket", "--socket-path"]);
    assert_eq!(fs::read(world.path("d.sock")).unwrap(), b"precious");
    fs::remove_file(world.path("d.sock")).unwrap();
    // A backend that was killed leaves its socket.
    let mut backend = world.start_backend("d", "");
    backend.kill();
    assert!(world.path("d.sock").exists());
    still_serves(&world, "d");
    fs::create_dir(world.path("gone")).unwrap();
    fs::copy(world.path("d.img"), world.path("gone/d.img")).unwrap();
    let mut command = Command::new(program("vhost-backend"));
    command.arg("--socket-path").arg(world.path("nowhere/d.sock"));
    command.arg("--blk-file").arg(world.path("d.img")).arg("--keyd").arg(world.socket());
    refuses_to_serve(&world, "vhost-backend", &mut command, &["nowhere/d.sock", "directory"]);
}

#[test]
fn what_is_no_image_is_not_served_and_not_changed() {
    let world = World::new();
    fs::write(world.path("text.img"), "not an image").unwrap();
    fs::write(world.path("zeros.img"), vec![0; 1 << 20]).unwrap();
    fs::create_dir(world.path("dir.img")).unwrap();
    for name in ["text", "zeros"] {
        let before = fs::read(world.path(&format!("{name}.img"))).unwrap();
        backend_refuses(&world, name, "", &["no LUKS2 header", "image create"]);
        assert!(fs::read(world.path(&format!("{name}.img"))).unwrap() == before);
    }
    backend_refuses(&world, "dir", "--read-only", &["neither a file nor a block device"]);
    backend_refuses(&world, "missing", "", &["cannot open", "missing.img"]);
    // LUKS made by others, with a passphrase and no record of ours.
    fs::write(world.path("foreign.img"), vec![0; 18 << 20]).unwrap();
    fs::write(world.path("pass"), "pass").unwrap();
    let format =
        "luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 foreign.img pass";
    let _ = cryptsetup(&world.path(""), format).success();
    backend_refuses(
        &world,
        "foreign",
        "",
        &["another program made this LUKS2 image", "no keyd token"],
    );
}
