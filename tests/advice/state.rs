//! What is said of a state directory that is not what it was, of backups, and of the root key.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Command,
};

use system_tests::process::{Process, eventually, run, tool};

use crate::follow::Advised;

/// Makes a pair of age's, its secret half in `identity`; gives the other.
pub fn recipient(on: &mut Advised) -> String {
    // As the help of `keyd backup` has it.
    on.followed.insert("age-keygen -o identity".to_owned());
    let identity = on.world.path("identity");
    let made = run(Command::new(tool("age-keygen", "age")).arg("-o").arg(&identity));
    let _ = made.clone().success();
    made.err.trim().strip_prefix("Public key: ").expect("a recipient").to_owned()
}

/// Runs a tool's command that a text advises, with words behind it.
#[track_caller]
fn heed_tool(on: &mut Advised, text: &str, begins: &str, more: &str) -> String {
    let command = format!("{} {more}", on.taken(text, begins));
    let mut words = command.split_whitespace();
    let program = tool(words.next().expect("a program"), "age or coreutils");
    run(Command::new(program).args(words).current_dir(on.world.path(""))).success()
}

/// What a start says that fails.
pub fn start_fails(on: &mut Advised, options: &str) -> String {
    if let Some(mut keyd) = on.world.keyd.take() {
        assert!(keyd.terminate().success());
    }
    let log = on.world.path("keyd.log");
    let mut command = on.world.keyd_command(options);
    let mut keyd = Process::start("keyd", command.current_dir(on.world.path("")), &log);
    assert_eq!(keyd.wait().code(), Some(1), "{}", keyd.said());
    keyd.said()
}

fn stop(on: &mut Advised) {
    assert!(on.world.keyd.take().expect("it runs").terminate().success());
}

/// A daemon with a disk, and a backup of it.
fn with_backup(on: &mut Advised) -> String {
    fs::create_dir(on.world.path("safe")).expect("a directory");
    let recipient = recipient(on);
    on.restart("--writable safe");
    let id = on.world.make_disk("d", "8M", "");
    on.ok(&format!("backup --to safe/backup --recipient {recipient}"));
    id
}

/// Does as the text says: the backup comes back in a new directory, which takes the place of the old one.
#[track_caller]
fn restores(on: &mut Advised, text: &str, backup: &str) {
    let more = format!("--from {backup} --identity identity --state-dir restored");
    on.heed(text, "keyd restore", &[], &more);
    if on.world.keyd.is_some() {
        stop(on);
    }
    fs::remove_dir_all(on.world.path("state")).expect("the old one");
    fs::rename(on.world.path("restored"), on.world.path("state")).expect("moved");
    on.restart("--writable safe");
    let whole = on.ok("check --deep");
    assert!(whole.contains("disks' keys opened; 0 were left out"), "{whole}");
}

/// As the help and the README show them.
pub fn and_its_backups(on: &mut Advised) {
    let recipient = recipient(on);
    fs::create_dir(on.world.path("safe")).expect("a directory");
    for (shown, filled) in [
        ("keyd serve --backup-to DIR --recipient age1… …", "--backup-to safe"),
        (
            "keyd serve --backup-to DIR --backup-every 1h --recipient age1…",
            "--backup-to safe --backup-every 1h",
        ),
        (
            "keyd serve --state-dir /var/lib/keyd --backup-to /mnt/keyd --recipient age1…",
            "--backup-to safe",
        ),
    ] {
        on.serves(shown, &format!("{filled} --recipient {recipient}"));
        let safe = || fs::read_dir(on.world.path("safe")).expect("a directory").count();
        eventually("backup", || (safe() > 0).then_some(()));
        fs::remove_dir_all(on.world.path("safe")).expect("removed");
        fs::create_dir(on.world.path("safe")).expect("a directory");
    }
    on.serves(
        "keyd serve --state-dir ./state --socket ./keyd.sock --grant libvirt-qemu=attach:des=prod-disks --grant 1000=read,audit",
        "--grant nobody=attach:des=prod-disks --grant 1000=read,audit --writable safe",
    );
    let id = on.world.make_disk("d", "8M", "");
    let to = |name: &str| format!("--to safe/{name} --recipient {recipient}");
    on.example("keyd backup --to keyd.age --recipient age1…", &format!("backup {}", to("a")));
    on.example("keyd backup --to /mnt/keyd.age --recipient age1…", &format!("backup {}", to("b")));
    for shown in ["keyd check", "keyd check --deep"] {
        on.example(shown, shown);
    }
    stop(on);
    let offline = "keyd backup --to keyd.age --recipient age1… --state-dir /var/lib/keyd";
    on.example(offline, &format!("backup {} --state-dir state", to("c")));
    fs::write(on.world.path("secret"), "a long passphrase\n").expect("written");
    fs::set_permissions(on.world.path("secret"), Permissions::from_mode(0o600)).expect("our own");
    let restore = "keyd restore --from keyd.age --identity identity --state-dir /var/lib/keyd";
    let restored = |from: &str, to: &str| {
        format!("restore --from safe/{from} --identity identity --state-dir {to}")
    };
    on.example(restore, &restored("a", "first"));
    let sealed = format!("{} --root passphrase --passphrase-file secret", restored("c", "second"));
    on.example(&format!("{restore} --root passphrase"), &sealed);
    let shown =
        on.example("keyd root show --state-dir /var/lib/keyd", "root show --state-dir second");
    assert_eq!(shown, "passphrase\n");
    fs::write(on.world.path("other"), "another passphrase\n").expect("written");
    fs::set_permissions(on.world.path("other"), Permissions::from_mode(0o600)).expect("our own");
    on.example(
        "keyd root change-passphrase --state-dir /var/lib/keyd",
        "root change-passphrase --state-dir second --passphrase-file secret --new-passphrase-file other",
    );
    on.example(
        "keyd root move --to passphrase --state-dir /var/lib/keyd",
        "root move --to passphrase --state-dir first --new-passphrase-file secret",
    );
    fs::remove_dir_all(on.world.path("state")).expect("the old one");
    fs::rename(on.world.path("second"), on.world.path("state")).expect("moved");
    on.serves("keyd serve --state-dir /var/lib/keyd", "--passphrase-file other");
    on.ok(&format!("disk release-key {id} --to vk"));
}

pub fn that_is_damaged(on: &mut Advised) {
    let id = with_backup(on);
    let store = on.world.path("state/store.redb");
    let damages: [fn(&mut Vec<u8>); 2] =
        [|bytes| bytes[64..].iter_mut().for_each(|byte| *byte ^= 0x55), Vec::clear];
    for damage in damages {
        stop(on);
        let mut bytes = fs::read(&store).expect("a store");
        damage(&mut bytes);
        fs::write(&store, bytes).expect("written");
        let told = start_fails(on, "");
        restores(on, &told, "safe/backup");
    }
    stop(on);
    fs::remove_file(&store).expect("removed");
    let told = start_fails(on, "");
    restores(on, &told, "safe/backup");

    // One disk's key: wherever it is told of.
    let backup = |to: &str| format!("backup --to safe/{to} --recipient {}", recipient_of(on));
    let again = backup("again");
    let tells: [fn(&mut Advised, &str) -> String; 4] = [
        |on, _| on.status(),
        |on, _| on.keyd("check").out,
        |on, id| on.keyd(&format!("disk release-key {id} --to vk")).failure(),
        |on, _| on.keyd(&format!("backup --to safe/more --recipient {}", recipient_of(on))).err,
    ];
    for tell in tells {
        rot(on, &id);
        let told = tell(on, &id);
        restores(on, &told, "safe/backup");
    }
    // Without a backup it is given up.
    rot(on, &id);
    let refused = on.keyd(&again).failure();
    let given_up = on.heed(&refused, "keyd check --accept-damage", &[], "");
    assert!(given_up.contains(&format!("given up: disk {id}")), "{given_up}");
    on.ok(&again);
}

fn recipient_of(on: &Advised) -> String {
    let identity = fs::read_to_string(on.world.path("identity")).expect("an identity");
    let line = identity.lines().find_map(|line| line.strip_prefix("# public key: "));
    line.expect("a recipient").to_owned()
}

/// Flips a bit of a disk's wrapped DEK, wherever it lies in the store.
fn rot(on: &mut Advised, disk: &str) {
    stop(on);
    let store = on.world.path("state/store.redb");
    let mut bytes = fs::read(&store).expect("a store");
    let (id, blob) = (format!("\"id\":\"{disk}\""), b"\"blob\":\"");
    let found: Vec<usize> =
        (0..bytes.len() - id.len()).filter(|at| bytes[*at..].starts_with(id.as_bytes())).collect();
    for at in found {
        let from = bytes[at..].windows(blob.len()).position(|window| window == blob).expect("one");
        bytes[at + from + 100] ^= 1;
    }
    fs::write(&store, bytes).expect("written");
    on.restart("--writable safe");
}

/// Also where keyd was told of no place to write in: it cannot be told of one now without losing all.
pub fn that_is_taken_away(on: &mut Advised) {
    let recipient = recipient(on);
    fs::create_dir(on.world.path("safe")).expect("a directory");
    let _ = on.world.make_disk("d", "8M", "");
    for name in ["store.redb", "root.key"] {
        fs::remove_file(on.world.path(&format!("state/{name}"))).expect("removed");
    }
    let told = on.keyd("key rotate d").failure();
    let more = format!("--to state/rescued --recipient {recipient}");
    on.heed(&told, "keyd backup", &[], &more);
    fs::rename(on.world.path("state/rescued"), on.world.path("safe/rescued")).expect("moved");
    stop(on);
    restores(on, &told, "safe/rescued");
}

pub fn and_what_is_around_it(on: &mut Advised) {
    let recipient = recipient(on);
    on.ok("key create k --bits 2048");
    fs::create_dir(on.world.path("else")).expect("a directory");
    let nobody = on.keyd("serve --state-dir other --user nosuchuser").failure();
    assert!(heed_tool(on, &nobody, "getent passwd", "").contains("nobody:"));
    let nonsense = on.keyd("backup --to else/b --recipient nonsense").failure();
    let printed = heed_tool(on, &nonsense, "age-keygen -y", "identity");
    assert_eq!(printed.trim(), recipient);
    let backup = format!("backup --to else/b --recipient {recipient}");
    let refused = on.keyd(&backup).failure();
    assert_eq!(on.taken(&refused, "keyd serve"), "keyd serve --writable DIR");
    on.restart("--writable else");
    on.ok(&backup);
    on.restart("");
    let archive = format!("audit archive --to {}", on.world.path("else").display());
    let refused = on.keyd(&archive).failure();
    assert_eq!(on.taken(&refused, "keyd serve"), "keyd serve --writable DIR");
    on.restart("--writable else");
    on.ok(&archive);

    let refused = on.keyd("ca show --state-dir state").failure();
    assert_eq!(on.taken(&refused, "keyd serve"), "keyd serve --listen ADDRESS");
    on.restart("--listen 127.0.0.1:0");
    let listening = on.ok("ca show");
    assert_eq!(on.ok("ca show --state-dir state"), listening);

    fs::set_permissions(on.world.path("state"), Permissions::from_mode(0o755)).expect("our own");
    let told = start_fails(on, "");
    heed_tool(on, &told, "chmod 700", "state");
    let away = on.keyd("key list");
    assert_eq!(away.code, 3, "{}", away.err);
    assert_eq!(on.taken(&away.err, "keyd serve"), "keyd serve");
    on.restart("");
    on.ok("key list");
}

pub fn and_its_root_key(on: &mut Advised) {
    on.ok("key create k --bits 2048");
    let told = on.status();
    let key = fs::read(on.world.path("state/root.key")).expect("a root key");
    stop(on);
    fs::write(on.world.path("secret"), "a long passphrase\n").expect("written");
    fs::set_permissions(on.world.path("secret"), Permissions::from_mode(0o644)).expect("our own");
    let file = "--passphrase-file secret";
    let new = "--state-dir state --new-passphrase-file secret";
    let refused = on.keyd(&format!("root move --to passphrase {new}")).failure();
    heed_tool(on, &refused, "chmod 600", "secret");
    on.heed(&told, "keyd root move --to passphrase", &[], new);
    on.restart(file);
    assert!(!on.status().contains("plain text"), "{}", on.status());

    // As a crash in the midst of it leaves them.
    fs::write(on.world.path("state/root.key"), key).expect("written");
    let mode = Permissions::from_mode(0o600);
    fs::set_permissions(on.world.path("state/root.key"), mode).expect("our own");
    on.restart("");
    let started = on.world.keyd.as_ref().expect("it runs").said();
    stop(on);
    let shown = on.ok("root show --state-dir state");
    assert_eq!(on.taken(&shown, "keyd root"), "keyd root move");
    on.heed(&started, "keyd root move", &[], &format!("--to passphrase --state-dir state {file}"));
    assert_eq!(on.ok("root show --state-dir state"), "passphrase\n");
    let told = start_fails(on, &format!("--root file {file}"));
    on.heed(&told, "keyd root move --to file", &[], &format!("--state-dir state {file}"));
    on.restart("--root file");
    on.ok("key show k");
}
