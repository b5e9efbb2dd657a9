//! A host that is shut down, and comes up again: virtual machines stop before their disks and are answered to the end,
//! disks stop before keyd, and after the next boot they serve by themselves.

use std::{fs, time::Instant};

use serde_json::Value;
use system_tests::{host::Host, load::SIZE, world::World};

/// What stands for the units of virtual machines, each with its disk: that by which libvirt stops its guests, and one
/// in the slice where each guest of libvirt's has its scope. Neither knows its disk's unit, and both end as a guest
/// does: with requests under way, and with more that it still has to ask.
const VMS: [(&str, &str, &str); 2] =
    [("a", "libvirt-guests.service", ""), ("b", "vm-b.service", "Slice=machine.slice")];

/// How long a VM has to end before it is killed: it does not end if its disk has gone.
const PATIENCE: &str = "TimeoutStopSec=40";

fn make_host(world: &World) -> Host {
    let mut host = Host::boot(world, &["keyd", "image", "vhost-backend", "soak"]);
    let _ = host.succeed("systemctl enable --now keyd");
    for command in [
        "keyd key create d --bits 2048",
        "keyd des create d --key d --lease 3s",
        "keyd grant libvirt-qemu attach --des d",
    ] {
        let _ = host.succeed_as("keyd", command);
    }
    for name in ["a", "b", "c"] {
        let create = format!("image create /tmp/{name}.img --size {SIZE} --des d");
        let _ = host.succeed_as("keyd", &create);
        let _ = host.succeed(&format!("mv /tmp/{name}.img /var/lib/portcullis/"));
        let _ = host.succeed(&format!("chown libvirt-qemu:kvm /var/lib/portcullis/{name}.img"));
        let _ = host.succeed(&format!("systemctl enable --now vhost-backend@{name}"));
    }
    host
}

/// Starts what stands for a VM, and waits until its disk answers it.
fn start_vm(host: &mut Host, (name, unit, slice): (&str, &str, &str)) {
    let soak = format!("soak --attach /run/portcullis/{name}/disk.sock --json");
    let lines = [
        "[Service]",
        "User=libvirt-qemu",
        slice,
        PATIENCE,
        &format!("ExecStart=/usr/local/bin/{soak}"),
        &format!("StandardOutput=file:/var/lib/{name}.counts"),
    ];
    host.guest.put(&format!("/run/systemd/system/{unit}"), lines.join("\n").as_bytes());
    let _ = host.succeed(&format!("systemctl daemon-reload; systemctl start {unit}"));
    host.eventually("load on a disk", |host| {
        (counts(host, name)?["requests"].as_u64()? > 0).then_some(())
    });
}

/// What a VM has counted last.
fn counts(host: &mut Host, name: &str) -> Option<Value> {
    let said = host.guest.run(&format!("tail -n 1 /var/lib/{name}.counts")).1;
    serde_json::from_str(&said).ok()
}

#[test]
fn virtual_machines_stop_before_their_disks_and_these_serve_after_the_next_boot() {
    let world = World::new();
    let mut host = make_host(&world);
    for vm in VMS {
        start_vm(&mut host, vm);
    }
    // One whose start is refused, and tried again after a pause, holds nobody up.
    let _ = host.succeed("systemctl start --no-block vhost-backend@none");
    host.eventually("pause", |host| {
        let pause = host.guest.run("cat /run/vhost-backend@none.pause").1;
        (pause.trim().parse::<u32>().ok()? > 16).then_some(())
    });

    let began = Instant::now();
    let _ = host.guest.start("systemctl poweroff --no-block");
    host.guest.wait_for_end();
    let took = began.elapsed();

    let console = fs::read_to_string(world.path("host.console")).expect("the console");
    let stopped = |unit: &str| {
        let line = format!("Stopped {unit}");
        console.rfind(&line).unwrap_or_else(|| panic!("no '{line}' in {console}"))
    };
    for (name, unit, _) in VMS {
        let backend = stopped(&format!("vhost-backend@{name}.service"));
        assert!(stopped(unit) < backend, "{unit} ends after its disk:\n{console}");
        assert!(backend < stopped("keyd.service"), "the disk ends after keyd:\n{console}");
    }

    let mut host = Host::boot_again(
        &world,
        &[
            "keyd.service",
            "vhost-backend@a.service",
            "vhost-backend@b.service",
            "vhost-backend@c.service",
        ],
    );
    for (name, ..) in VMS {
        let counts = counts(&mut host, name).expect("counts");
        assert_eq!(
            (&counts["intact"], &counts["losses"]),
            (&true.into(), &0.into()),
            "{counts}\n{console}"
        );
    }
    for name in ["a", "b", "c"] {
        let unit = format!("vhost-backend@{name}");
        host.eventually("served disk", |host| {
            (host.property(&unit, "StatusText") == "serves").then_some(())
        });
    }
    start_vm(&mut host, ("c", "vm-c.service", ""));
    let _ = host.succeed("systemctl stop vm-c.service");
    let counts = counts(&mut host, "c").expect("counts");
    assert_eq!(counts["intact"], true, "{counts}");
    println!("the host was off {took:.1?} after it was told to");
    host.guest.power_off();
}
