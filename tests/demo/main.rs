//! The main job from end to end, told as it happens: a VM's disk, encrypted, on a key that can be pulled.

use std::{
    process::Command,
    thread,
    time::{Duration, SystemTime},
};

use keyd_client::message::UnixMillis;
use system_tests::{
    audit::fence_of,
    clock::millis,
    guest::{Guest, Running},
    process::{Process, program, run, tool},
    world::World,
};

/// About 24 seconds of writing on an emulated CPU, then the verification of all of it.
const FIO: &str = "fio --name=demo --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=4 \
    --rw=randwrite --bs=4k --size=16M --rate_iops=,170 --verify=crc32c \
    --verify_fatal=1 --randseed=7 --eta=never --output=/tmp/fio.log";

const STEPS: u32 = 11;

/// The demonstration: what runs, and the figures for the table at the end.
struct Demo {
    guest: Option<Guest>,
    backend: Process,
    world: World,
    step: u32,
    table: Vec<(&'static str, String)>,
}

fn main() {
    let world = World::new();
    let mut step = 0;
    say(
        &mut step,
        "keyd runs; making a key, a disk encryption set and an encrypted disk of 64 MiB",
    );
    show(&world, "key create customer --bits 3072");
    show(&world, "des create vm-disks --key customer --on-revoke park --lease 10s");
    println!("    $ image create disk.img --size 64M --des vm-disks");
    let _ = world.image("create disk.img --size 64M --des vm-disks").success();
    indent(&world.image("info disk.img").success());

    say(
        &mut step,
        "vhost-backend serves it; a Debian cloud kernel boots in QEMU with it as /dev/vda",
    );
    let backend = world.start_backend("disk", "--num-queues 1");
    let began = SystemTime::now();
    let guest = Guest::boot(&world, &["disk.sock"], &[]);
    println!("    guest up after {:.1} s: {}", seconds(began), guest.disks());
    let mut demo = Demo { guest: Some(guest), backend, world, step, table: Vec::new() };

    let fio = demo.start_fio();
    demo.rotate();
    demo.disable(fio);
    demo.enable(fio);
    demo.reboot();
    demo.hand_over_to_cryptsetup();
    demo.finish();
}

impl Demo {
    fn say(&mut self, what: &str) {
        say(&mut self.step, what);
    }

    fn note(&mut self, what: &'static str, figure: String) {
        println!("    {what}: {figure}");
        self.table.push((what, figure));
    }

    fn guest(&mut self) -> &mut Guest {
        self.guest.as_mut().expect("the guest runs until the disk is handed over")
    }

    fn writes_done(&mut self) -> u64 {
        let stat = self.guest().succeed("cat /sys/block/vda/stat");
        stat.split_whitespace()
            .nth(4)
            .and_then(|field| field.parse().ok())
            .expect("a count of writes")
    }

    fn start_fio(&mut self) -> Running {
        self.say("fio writes in the guest, to verify everything at its end");
        let fio = self.guest().start(FIO);
        thread::sleep(Duration::from_secs(4));
        let writes = self.writes_done();
        assert!(writes > 0, "fio does not write");
        println!("    {writes} writes so far");
        fio
    }

    fn rotate(&mut self) {
        self.say("the key is rotated under the running VM");
        let before = self.writes_done();
        let began = SystemTime::now();
        show(&self.world, "key rotate customer");
        let took = seconds(began);
        thread::sleep(Duration::from_secs(2));
        let after = self.writes_done();
        assert!(after > before, "I/O did not go on through the rotation");
        assert!(!self.backend.said().contains("fenced"), "the rotation was noticed");
        self.note(
            "rotation, the VM unaware",
            format!("{:.0} ms, {} writes meanwhile", took * 1e3, after - before),
        );
    }

    fn disable(&mut self, fio: Running) {
        self.say("the key is pulled, and every process that had it confirms that it let go");
        let asked = millis();
        show(&self.world, "key disable customer --force --wait");
        let returned = millis();
        let disk = self.world.disk_id(&self.world.path("disk.img"));
        let fence = fence_of(&self.world, disk.parse().expect("an id"), asked);
        let after = |moment: UnixMillis| {
            let ago = returned.saturating_sub(moment);
            // The guest may have asked for nothing in the last moment before.
            let (side, asked) =
                if moment < asked { ("before", asked - moment) } else { ("after", moment - asked) };
            format!("{asked} ms {side} it was asked, {ago} ms before it was confirmed")
        };
        let last_io = fence.last_io.map_or_else(|| "none".to_owned(), after);
        self.note("last I/O of the disk", last_io);
        self.note("key wiped from memory", after(fence.wiped));

        self.say("the guest hangs on its disk, without an error");
        let halted = self.writes_done();
        thread::sleep(Duration::from_secs(5));
        assert_eq!(self.writes_done(), halted, "I/O went on without a key");
        assert!(!self.guest().has_ended(fio), "fio ended without a key");
        let errors = self.guest().succeed("dmesg | grep -c 'I/O error' || true");
        assert_eq!(errors.trim(), "0", "the guest saw an error");
        let in_flight = self.guest().succeed("awk '{print $9}' /sys/block/vda/stat");
        self.note(
            "guest while the key was gone",
            format!("5 s: 0 writes, 0 errors, {} requests waiting", in_flight.trim()),
        );
    }

    fn enable(&mut self, fio: Running) {
        self.say("the key comes back: keyd key enable customer");
        let began = SystemTime::now();
        indent(&self.world.keyd("key enable customer").success());
        let halted = self.writes_done();
        while self.writes_done() == halted {
            assert!(seconds(began) < 30.0, "I/O does not go on");
        }
        self.note(
            "I/O seen again in the guest",
            format!("within {:.2} s of 'key enable'", seconds(began)),
        );

        self.say("fio finishes, and verifies every block it wrote");
        let (code, _) = self.guest().wait(fio);
        let log = self.guest().succeed("cat /tmp/fio.log");
        assert_eq!(code, 0, "fio failed:\n{log}");
        indent(&log.lines().filter(|line| line.contains("IOPS=")).collect::<Vec<_>>().join("\n"));
        self.note("fio", "wrote 16 MiB, verified all of it, exit 0".to_owned());
    }

    fn reboot(&mut self) {
        self.say("the guest reboots, and fio verifies the data again");
        self.guest().reboot();
        let (code, output) = self.guest().run(&format!("{FIO} --verify_only"));
        assert_eq!(code, 0, "after the reboot: {output}");
        self.note("after the reboot", "data verified, exit 0".to_owned());
    }

    fn hand_over_to_cryptsetup(&mut self) {
        self.say("the VM ends; the released key opens the same file with stock cryptsetup");
        let id = self.world.disk_id(&self.world.path("disk.img"));
        if let Some(guest) = self.guest.take() {
            guest.power_off();
        }
        assert!(self.backend.terminate().success());
        show(&self.world, &format!("disk release-key {id} --to volume-key"));
        let cryptsetup = tool("cryptsetup", "cryptsetup-bin");
        let image = self.world.path("disk.img");
        let opened = run(Command::new(cryptsetup)
            .args(["open", "--test-passphrase", "--key-size", "512", "--volume-key-file"])
            .arg(self.world.path("volume-key"))
            .arg(&image));
        let _ = opened.success();
        self.note("cryptsetup with the released key", "opens the file, exit 0".to_owned());
    }

    fn finish(mut self) {
        self.say("the audit log is whole");
        indent(&self.world.keyd("audit tail -n 12").success());
        let verified = self.world.keyd("audit verify").success();
        self.table.push(("audit log", verified.lines().next().unwrap_or_default().to_owned()));
        println!("\n{:-<100}", "");
        for (what, figure) in &self.table {
            println!("{what:<34} {figure}");
        }
        println!("{:-<100}", "");
    }
}

fn say(step: &mut u32, what: &str) {
    *step += 1;
    println!("\n[{step}/{STEPS}] {what}");
}

fn indent(text: &str) {
    text.lines().for_each(|line| println!("    {line}"));
}

/// Runs a `keyd` command and shows both.
fn show(world: &World, command: &str) {
    println!("    $ {} {command}", program("keyd").file_name().unwrap_or_default().display());
    indent(&world.keyd(command).success());
}

fn seconds(since: SystemTime) -> f64 {
    since.elapsed().unwrap_or_default().as_secs_f64()
}
