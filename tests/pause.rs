//! A virtual machine is paused while its disk is halted, and goes on: its guest hears of nothing.

use serde_json::json;
use system_tests::{
    guest::{Guest, Running},
    monitor::Monitor,
    process::Process,
    small_fs::{may_mount, small_disk},
    world::World,
};

const FIO: &str = "fio --name=v --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite \
    --bsrange=4k-512k --size=24M --loops=2 --verify=crc32c --verify_fatal=1 --randseed=7 --eta=never \
    --output=/tmp/v.log";

/// A machine that writes to its disk and verifies.
struct Machine {
    guest: Guest,
    fio: Running,
    monitor: Monitor,
}

impl Machine {
    fn start(world: &World) -> Self {
        let mut guest = Guest::boot(world, &["d.sock"], &[]);
        let fio = guest.start(FIO);
        let monitor = Monitor::connect(&world.path("guest.qmp"));
        Self { guest, fio, monitor }
    }

    /// A stop has the device's rings stopped: there is nobody who could take an answer.
    fn pause_and_go_on(&mut self) {
        for command in ["stop", "cont"] {
            let _ = self.monitor.ask(command, &json!({}));
        }
    }

    fn assert_well(mut self, mut backend: Process) {
        let (code, _) = self.guest.wait(self.fio);
        let log = self.guest.succeed("cat /tmp/v.log");
        assert_eq!(code, 0, "{log}");
        let dmesg = self.guest.succeed("dmesg");
        assert!(!dmesg.contains("I/O error"), "{dmesg}");
        self.guest.power_off();
        assert!(backend.terminate().success());
    }
}

#[test]
fn without_its_key() {
    let world = World::new();
    let _ = world.make_disk("d", "64M", "");
    let mut backend = world.start_backend("d", "");
    let mut machine = Machine::start(&world);
    for halt in 1..=3 {
        machine.guest.wait_for_writes("vda", 8 * halt);
        let _ = world.keyd("key disable d --force").success();
        backend.wait_until("halted", |backend| {
            backend.said().matches("fenced in").count() as u64 == halt
        });
        (0..2).for_each(|_| machine.pause_and_go_on());
        assert!(!machine.guest.has_ended(machine.fio), "it waits");
        world.enable("d");
    }
    machine.assert_well(backend);
}

#[test]
fn without_space_below() {
    if !may_mount() {
        return;
    }
    let (world, fs) = small_disk("ext4", "64M");
    let mut backend = world.start_backend("d", "");
    let mut machine = Machine::start(&world);
    backend.wait_to_say("no space below the image");
    (0..2).for_each(|_| machine.pause_and_go_on());
    assert!(!machine.guest.has_ended(machine.fio), "it waits");
    fs.make_room();
    machine.assert_well(backend);
}
