//! The first hour with the units: whatever was forgotten on the way that their comments show, 'systemctl status' says
//! it, with what to do next; who does that has a disk that serves. What lasts is tried less and less, and told once.

use serde_json::Value;
use system_tests::{
    host::{Host, as_user},
    world::World,
};

/// The unit that goes the whole way.
const FIRST: &str = "vhost-backend@a";

/// Refused from the first minute to the last.
const LASTING: &str = "vhost-backend@none";

/// A command that a text advises, by its beginning.
fn advised(text: &str, begin: &str) -> String {
    let at = text.find(&format!("'{begin} ")).unwrap_or_else(|| panic!("no '{begin} …' in {text}"));
    text[at + 1..].split('\'').next().unwrap_or_default().to_owned()
}

/// Starts a unit, now, and does not wait for it.
fn start(host: &mut Host, unit: &str) {
    let _ = host.succeed(&format!("systemctl restart --no-block {unit}"));
}

/// Adds lines to a unit of ours.
fn drop_in(host: &mut Host, unit: &str, lines: &str) {
    let dir = format!("/etc/systemd/system/{unit}.service.d");
    let _ = host.succeed(&format!("mkdir -p {dir}"));
    host.guest.put(&format!("{dir}/local.conf"), format!("[Service]\n{lines}\n").as_bytes());
    let _ = host.succeed("systemctl daemon-reload");
}

/// An image of a set, as root's own, where units look for one.
fn image(host: &mut Host, name: &str, set: &str) {
    let _ = host.succeed_as("keyd", &format!("image create /tmp/{name}.img --size 1M --des {set}"));
    let _ = host.succeed(&format!("mv /tmp/{name}.img /var/lib/portcullis/"));
}

/// The same as the VM's user's.
fn image_of_vm(host: &mut Host, name: &str, set: &str) {
    image(host, name, set);
    let _ = host.succeed(&format!("chown libvirt-qemu /var/lib/portcullis/{name}.img"));
}

/// A set with a key of its own name.
fn set(host: &mut Host, name: &str, more: &str) {
    let _ = host.succeed_as("keyd", &format!("keyd key create {name} --bits 2048"));
    let _ = host.succeed_as("keyd", &format!("keyd des create {name} --key {name} {more}"));
}

/// Waits until a unit's disk has its key.
fn serves(host: &mut Host, unit: &str) {
    host.eventually(&format!("service of {unit}"), |host| {
        (host.property(unit, "StatusText") == "serves").then_some(())
    });
    let _ = host.succeed(&format!("! test -e /run/{unit}.pause"));
}

/// From nothing to an image: each step is what the text before it says.
fn begin(host: &mut Host) {
    // A keyd, or a restore, that ran as root.
    let _ = host.succeed("mkdir -m 700 /var/lib/keyd; chown keyd:keyd /var/lib/keyd; umask 077; touch /var/lib/keyd/lock");
    let _ = host.succeed("rmdir /var/lib/portcullis");
    start(host, FIRST);
    let text = host.told("keyd", &["/var/lib/keyd/lock belongs to uid 0", "runs as uid 998"]);
    // Disks do not wait for it.
    let _ = host.told(FIRST, &["cannot open /var/lib/portcullis/a.img", "make that directory"]);
    let _ = host.succeed("mkdir /var/lib/portcullis");
    start(host, FIRST);
    let _ =
        host.told(FIRST, &["cannot open /var/lib/portcullis/a.img", "make it with 'image create'"]);
    let _ = host.succeed(
        "truncate -s 32M /var/lib/portcullis/a.img; chown libvirt-qemu /var/lib/portcullis/a.img",
    );
    start(host, FIRST);
    let _ = host.told(FIRST, &["/var/lib/portcullis/a.img", "no LUKS2 header", "'image create'"]);
    let _ = host.succeed(&advised(&text, "chown"));
    host.eventually("keyd", |host| {
        (host.property("keyd", "ActiveState") == "active").then_some(())
    });
    let _ = host.succeed("! test -e /run/keyd.pause");
}

/// From an image to a disk that serves.
fn go_on(host: &mut Host) {
    set(host, "d", "--lease 3s");
    image(host, "a", "d");
    start(host, FIRST);
    let text = host.told(FIRST, &["a.img: Permission denied", "this runs as uid 64055"]);
    let _ = host.succeed(&format!("{} /var/lib/portcullis/a.img", advised(&text, "chown")));
    start(host, FIRST);
    let text = host.told(FIRST, &["needs the permission 'attach'", "the user that keyd runs as"]);
    let administrator = host.property("keyd", "User");
    let _ = host.succeed_as(&administrator, &advised(&text, "keyd grant"));
    serves(host, FIRST);
    let _ = host.succeed_as("keyd", "keyd grant libvirt-qemu attach --des d");
}

/// What is there, and is not this unit's.
fn others_images(host: &mut Host) {
    let _ = host.succeed("ln -s a.img /var/lib/portcullis/twin.img");
    let pid = host.property(FIRST, "MainPID");
    start(host, "vhost-backend@twin");
    let _ = host
        .told("vhost-backend@twin", &["twin.img is in use by another backend", &pid, "stop it"]);
    // It would take the image where the other one is started anew.
    let _ = host.succeed("systemctl stop vhost-backend@twin");

    let foreign = "/var/lib/portcullis/foreign.img";
    let _ = host.succeed(&format!("truncate -s 32M {foreign}; chown libvirt-qemu {foreign}"));
    let _ = host.succeed(&format!("echo -n x >/tmp/key; cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 {foreign} /tmp/key"));
    start(host, "vhost-backend@foreign");
    let _ = host.told(
        "vhost-backend@foreign",
        &["another program made this LUKS2 image", "'image create'"],
    );

    // Of a keyd that is not this one.
    let serve = "keyd serve --state-dir /tmp/other --socket /tmp/other.sock";
    let other = host.guest.start(&as_user("keyd", &format!("exec {serve} 2>/tmp/other.log")));
    host.eventually("another keyd", |host| {
        host.guest.run("grep ready: /tmp/other.log").0.eq(&0).then_some(())
    });
    let create = "KEYD_SOCKET=/tmp/other.sock image create /tmp/unknown.img --size 1M; kill $(cat /tmp/other/lock)";
    let _ = host.succeed_as("keyd", create);
    let _ = host.guest.wait(other);
    let _ = host.succeed("mv /tmp/unknown.img /var/lib/portcullis/; chown libvirt-qemu /var/lib/portcullis/unknown.img");
    start(host, "vhost-backend@unknown");
    let text =
        host.told("vhost-backend@unknown", &["there is no disk", "or it needs the permission"]);
    let grant = as_user("keyd", &advised(&text, "keyd grant"));
    let (code, said) = host.guest.run(&grant);
    assert!(code != 0 && said.contains("'keyd disk list' shows the disks"), "{said}");
}

/// Who the unit runs as, and where it may go.
fn users(host: &mut Host) {
    image_of_vm(host, "group", "d");
    drop_in(host, "vhost-backend@group", "SupplementaryGroups=");
    start(host, "vhost-backend@group");
    let _ = host.told(
        "vhost-backend@group",
        &["may not connect to keyd at /run/keyd/keyd.sock", "SupplementaryGroups="],
    );

    image_of_vm(host, "sealed", "d");
    drop_in(host, "vhost-backend@sealed", "ReadWritePaths=");
    start(host, "vhost-backend@sealed");
    let _ = host
        .told("vhost-backend@sealed", &["sealed.img: Read-only file system", "ReadWritePaths="]);

    let _ =
        host.succeed("ln -s /dev/vda /var/lib/portcullis/device.img; chown libvirt-qemu /dev/vda");
    start(host, "vhost-backend@device");
    let _ =
        host.told("vhost-backend@device", &["device.img: Operation not permitted", "DeviceAllow="]);
    let _ = host.succeed("chown root /dev/vda");

    // Nobody can run, the pause's command included: it is not tried again.
    for (name, line, code) in
        [("user", "User=nobody-such", "217"), ("member", "SupplementaryGroups=nobody-such", "216")]
    {
        let unit = format!("vhost-backend@{name}");
        drop_in(host, &unit, line);
        start(host, &unit);
        host.eventually(&format!("end of {unit}"), |host| {
            (host.property(&unit, "ActiveState") == "failed").then_some(())
        });
        assert_eq!(host.property(&unit, "ExecMainStatus"), code);
        assert_eq!(host.property(&unit, "NRestarts"), "0");
    }
}

/// Keys that are away at the start.
fn keys(host: &mut Host) {
    for (name, reaction) in [("park", "park"), ("fail", "fail")] {
        set(host, name, &format!("--on-revoke {reaction}"));
        let _ = host.succeed_as("keyd", &format!("keyd grant libvirt-qemu attach --des {name}"));
        image_of_vm(host, name, name);
        let _ = host.succeed_as("keyd", &format!("keyd key disable {name} --force"));
        start(host, &format!("vhost-backend@{name}"));
    }
    let text = host
        .told("vhost-backend@park", &["waits for its key", "requests", "key 'park' is disabled"]);
    assert_eq!(host.property("vhost-backend@park", "ActiveState"), "active");
    let _ = host.succeed_as("keyd", &advised(&text, "keyd key enable"));
    serves(host, "vhost-backend@park");
    let text = host.told("vhost-backend@fail", &["key 'fail' is disabled"]);
    let _ = host.succeed_as("keyd", &advised(&text, "keyd key enable"));
    serves(host, "vhost-backend@fail");
}

/// keyd cannot be started: its program is gone.
fn without_keyd(host: &mut Host) {
    let _ = host.succeed("systemctl stop keyd; mv /usr/local/bin/keyd /usr/local/bin/keyd.away");
    start(host, FIRST);
    let _ = host
        .told(FIRST, &["keyd is out of reach", "is 'keyd serve' running", "requests wait until"]);
    let _ = host.succeed("mv /usr/local/bin/keyd.away /usr/local/bin/keyd; systemctl restart keyd");
    serves(host, FIRST);
}

/// What a unit's journal says, with the microsecond of the guest's clock.
fn journal(host: &mut Host, unit: &str) -> Vec<(u64, String)> {
    let fields = "--output-fields=MESSAGE,__MONOTONIC_TIMESTAMP";
    let lines = host.succeed(&format!("journalctl --no-pager -o json {fields} -u {unit}"));
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        let at = entry["__MONOTONIC_TIMESTAMP"].as_str().and_then(|at| at.parse().ok());
        (at.expect("a time"), entry["MESSAGE"].as_str().unwrap_or_default().to_owned())
    };
    lines.lines().map(entry).collect()
}

/// Every pause of a unit, seconds: as it was said, and as it was.
fn pauses(host: &mut Host, unit: &str) -> Vec<(u64, f64)> {
    let journal = journal(host, unit);
    let mut pauses = Vec::new();
    for (at, (begin, line)) in journal.iter().enumerate() {
        let said = line.strip_prefix("tried again in ").and_then(|line| line.strip_suffix(" s"));
        let next = journal[at..].iter().find(|(_, line)| line.contains("Scheduled restart job"));
        if let (Some(said), Some((end, _))) = (said, next) {
            pauses.push((said.parse().expect("seconds"), (end - begin) as f64 / 1e6));
        }
    }
    pauses
}

/// Lines of keyd's journal, and rows of its audit log, that name a disk and a refusal.
fn refusals(host: &mut Host, disk: &str) -> (usize, usize) {
    let refused = |line: &str| line.contains(disk) && line.contains("refused");
    let lines = journal(host, "keyd").into_iter().filter(|(_, line)| refused(line)).count();
    let rows = host.succeed_as("keyd", "keyd audit tail -n 500 --json");
    let rows: Vec<Value> = serde_json::from_str(&rows).expect("JSON");
    let is_one = |row: &&Value| {
        row["subject"] == disk
            && row["outcome"].as_str().is_some_and(|said| said.starts_with("refused"))
    };
    (lines, rows.iter().filter(is_one).count())
}

#[test]
fn whatever_was_forgotten_is_told_with_what_to_do_next() {
    let world = World::new();
    let mut host = Host::boot(&world, &["keyd", "image", "vhost-backend"]);
    begin(&mut host);
    go_on(&mut host);
    others_images(&mut host);
    users(&mut host);
    keys(&mut host);
    without_keyd(&mut host);
    host.guest.power_off();
}

#[test]
fn what_is_refused_is_tried_less_and_less_and_told_once() {
    let world = World::new();
    let mut host = Host::boot(&world, &["keyd", "image", "vhost-backend"]);
    let _ = host.succeed("systemctl start keyd");
    set(&mut host, "d", "");
    image_of_vm(&mut host, "a", "d");
    start(&mut host, FIRST);
    start(&mut host, LASTING);
    let text = host.told(FIRST, &["needs the permission 'attach'"]);
    let disk =
        text.split("disk ").nth(1).and_then(|rest| rest.get(..36)).expect("an id").to_owned();
    let found = host.eventually("pauses", |host| {
        let found = pauses(host, LASTING);
        (found.len() > 3).then_some(found)
    });
    println!("pauses, as said and as they were: {found:.1?}");
    assert!(found.iter().take(4).map(|(said, _)| *said).eq([1, 2, 4, 8]), "{found:?}");
    assert!(found.iter().all(|(said, was)| *was >= *said as f64), "{found:?}");
    let restarts = host.property(FIRST, "NRestarts");
    let (lines, rows) = refusals(&mut host, &disk);
    println!(
        "{restarts} restarts without a grant: {lines} lines of keyd's, {rows} rows of the audit log"
    );
    assert!(lines <= 2 && (1..=2).contains(&rows), "{lines} lines, {rows} rows");

    // A pause ends with the unit, and with it the memory of it.
    let _ = host.succeed(&format!("systemctl stop {LASTING}"));
    let _ = host.succeed(&format!("! test -e /run/{LASTING}.pause"));
    let told = journal(&mut host, LASTING).len();
    start(&mut host, LASTING);
    host.eventually("first pause", |host| {
        journal(host, LASTING)[told..]
            .iter()
            .any(|(_, line)| line == "tried again in 1 s")
            .then_some(())
    });

    let _ = host.succeed_as("keyd", "keyd grant libvirt-qemu attach --des d");
    serves(&mut host, FIRST);
    // What is killed is there again without one.
    let told = journal(&mut host, FIRST).len();
    let pid = host.property(FIRST, "MainPID");
    let _ = host.succeed(&format!("kill -9 {pid}"));
    host.eventually("next process", |host| {
        let next = host.property(FIRST, "MainPID");
        (next != "0" && next != pid).then_some(())
    });
    serves(&mut host, FIRST);
    let since = &journal(&mut host, FIRST)[told..];
    assert!(since.iter().all(|(_, line)| !line.contains("tried again in")), "{since:?}");
    host.guest.power_off();
}
