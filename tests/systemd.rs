//! The units at work, as they ship: on a host whose first process is systemd they start keyd and a backend, in the
//! sandbox that they name, and whatever becomes of either under load, it is there again and nothing is lost.

use serde_json::Value;
use system_tests::{
    guest::Running,
    host::{Host, as_user},
    load::SIZE,
    world::World,
};

const BACKEND: &str = "vhost-backend@d";

/// Where the front end says what it has counted.
const COUNTS: &str = "/run/load";

/// Kills of the backend in a row.
const KILLS: u64 = 3;

/// Losses of the device: kills of the backend, one of them together with keyd; a restart, a stop and start.
const LOSSES: u64 = KILLS + 3;

/// What the front end has counted.
#[derive(Debug, Clone, Copy)]
struct Counts {
    losses: u64,
    requests: u64,
}

/// A host that serves a disk, made as the units' comments say.
fn serve(world: &World) -> Host {
    let programs = ["keyd", "image", "vhost-backend", "soak"];
    let mut host = Host::boot(world, &programs);
    let _ = host.succeed("systemctl enable --now keyd");
    for command in [
        "keyd key create d --bits 2048".to_owned(),
        "keyd des create d --key d --lease 3s".to_owned(),
        "keyd grant libvirt-qemu attach --des d".to_owned(),
        format!("image create /tmp/d.img --size {SIZE} --des d"),
    ] {
        let _ = host.succeed_as("keyd", &command);
    }
    let _ = host.succeed("mv /tmp/d.img /var/lib/portcullis/");
    let _ = host.succeed("chown libvirt-qemu:kvm /var/lib/portcullis/d.img");
    let _ = host.succeed(&format!("systemctl enable --now {BACKEND}"));
    host
}

/// Starts the front end as the user of the virtual machine.
fn load(host: &mut Host) -> Running {
    let soak = format!("soak --attach /run/portcullis/d/disk.sock --losses {LOSSES} --json");
    let _ = host.succeed(&format!("touch {COUNTS}"));
    let running = host.guest.start(&format!("{} >{COUNTS} 2>&1", as_user("libvirt-qemu", &soak)));
    go_on(host, 0);
    running
}

/// What it has counted so far: a line of text is why it gave up.
fn counts(host: &mut Host) -> Option<Counts> {
    let said = host.guest.run(&format!("cat {COUNTS}")).1;
    let counts = serde_json::from_str::<Value>(said.lines().last()?);
    let counts = counts.unwrap_or_else(|_| panic!("{said}{}", host.journal()));
    let count = |name: &str| counts[name].as_u64();
    Some(Counts { losses: count("losses")?, requests: count("requests")? })
}

/// Waits until the device was lost so often, and requests were answered since.
fn go_on(host: &mut Host, losses: u64) {
    let mut found: Option<Counts> = None;
    host.eventually("load on a disk", |host| {
        let now = counts(host).filter(|counts| counts.losses == losses)?;
        let since = *found.get_or_insert(now);
        (now.requests > since.requests).then_some(())
    });
}

/// Waits until the keyd of the moment knows who has the disk's key: without it the disk halts when the lease ends.
fn be_held(host: &mut Host) {
    host.eventually("holder of the key", |host| {
        let pid = host.property(BACKEND, "MainPID").parse::<u64>().ok();
        let disks = host.succeed_as("keyd", "keyd disk list --json");
        let disks: Value = serde_json::from_str(&disks).expect("JSON");
        let holders = disks[0]["holders"].as_array().expect("a list");
        let has_key =
            |holder: &Value| holder["pid"].as_u64() == pid && holder["state"] == "running";
        holders.iter().any(has_key).then_some(())
    });
}

/// The main process of a unit, how often systemd has started one anew, and how it fares.
fn state(host: &mut Host, unit: &str) -> (u64, u64, String) {
    let shown = host.succeed(&format!("systemctl show -p MainPID,NRestarts,ActiveState {unit}"));
    let value = |name: &str| {
        let mut lines = shown.lines().filter_map(|line| line.split_once('='));
        lines.find(|(of, _)| *of == name).map(|(_, value)| value).expect("shown")
    };
    let count = |name: &str| value(name).parse().expect("a number");
    (count("MainPID"), count("NRestarts"), value("ActiveState").to_owned())
}

/// Kills the main processes of units at one time, and waits until systemd has started others.
fn kill(host: &mut Host, units: &[&str]) {
    let before: Vec<_> = units.iter().map(|unit| state(host, unit)).collect();
    let pids: Vec<_> = before.iter().map(|(pid, ..)| pid.to_string()).collect();
    let _ = host.succeed(&format!("kill -9 {}", pids.join(" ")));
    for (unit, (_, restarts, _)) in units.iter().zip(before) {
        host.eventually("restart", |host| {
            let (_, now, state) = state(host, unit);
            assert!(now <= restarts + 1, "{unit} ended once more:\n{}", host.journal());
            (now > restarts && state == "active").then_some(())
        });
    }
}

/// That they are shut in is systemd's work, and the programs': here it is seen that neither was left out.
fn assert_shut_in(host: &mut Host, unit: &str, uid: u32, says: &[&str]) {
    let pid = host.property(unit, "MainPID");
    let status = host.succeed(&format!("cat /proc/{pid}/status"));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let status: Vec<_> = status.lines().map(words).collect();
    let user = format!("Uid: {uid} {uid} {uid} {uid}");
    for line in [&user, "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"] {
        assert!(status.iter().any(|is| is == line), "{unit}: {line} is not in {status:#?}");
    }
    let mounts = host.succeed(&format!("cat /proc/{pid}/mountinfo"));
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let root = mounts.find(|mount| mount[4] == "/").expect("a root");
    assert!(root[5].split(',').any(|option| option == "ro"), "{unit}: {root:?}");
    let said = host.succeed(&format!("journalctl --no-pager -u {unit}"));
    for part in says.iter().chain(&["sandbox: ", "landlock", "seccomp ("]) {
        assert!(said.contains(part), "{unit}: {part} is not in {said}");
    }
}

#[test]
fn what_ends_is_there_again_and_nothing_is_lost() {
    let world = World::new();
    let mut host = serve(&world);
    let soak = load(&mut host);
    assert_shut_in(&mut host, "keyd", 998, &[]);
    assert_shut_in(&mut host, BACKEND, 64055, &["serving", "io_uring"]);

    for losses in 1..=KILLS {
        kill(&mut host, &[BACKEND]);
        go_on(&mut host, losses);
    }
    kill(&mut host, &["keyd"]);
    be_held(&mut host);
    go_on(&mut host, KILLS);
    kill(&mut host, &[BACKEND, "keyd"]);
    be_held(&mut host);
    go_on(&mut host, KILLS + 1);

    // It ends when every process has confirmed that its key is wiped.
    let _ = host.succeed_as("keyd", "keyd key disable d --force --wait");
    let _ = host.succeed_as("keyd", "keyd key enable d");
    go_on(&mut host, KILLS + 1);

    let _ = host.succeed(&format!("systemctl restart {BACKEND}"));
    go_on(&mut host, KILLS + 2);
    let _ = host.succeed("systemctl restart keyd");
    be_held(&mut host);
    go_on(&mut host, KILLS + 2);
    let _ = host.succeed(&format!("systemctl stop {BACKEND} keyd"));
    for unit in [BACKEND, "keyd"] {
        assert_eq!(host.property(unit, "Result"), "success", "{}", host.journal());
    }
    assert_eq!(host.succeed("ls /run/portcullis"), "");
    // Who starts the disk has keyd, too.
    let _ = host.succeed(&format!("systemctl start {BACKEND}"));

    let (code, _) = host.guest.wait(soak);
    let said = host.succeed(&format!("cat {COUNTS}"));
    let counts = said.lines().last().unwrap_or_default();
    let is_intact = code == 0 && counts.contains("\"intact\":true");
    assert!(is_intact, "{said}{}", host.journal());
    println!("{counts}");
    assert_eq!(host.succeed("systemctl --failed --no-legend"), "");
    host.guest.power_off();
}
