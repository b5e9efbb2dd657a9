//! A disk grows while it is served, and its guest is told; nothing else about it changes.

#![allow(clippy::unwrap_used)] // a test that cannot begin has failed

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::Path,
};

use keyd_client::message::DiskGrow;
use rustix::fs::OFlags;
use serde_json::Value;
use system_tests::{
    driver::BlkRequest,
    front_end::{FrontEnd, Options},
    guest::Guest,
    liar::{Liar, Lies},
    loop_device::LoopDevice,
    process::eventually,
    world::World,
};

const MIB: u64 = 1 << 20;

fn write(sector: u64, byte: u8) -> BlkRequest {
    BlkRequest::write(sector, vec![byte; 4096])
}

fn read(sector: u64) -> BlkRequest {
    BlkRequest::read(sector, 4096)
}

fn capacity(front_end: &mut FrontEnd) -> u64 {
    u64::from_le_bytes(front_end.config(0, 8).try_into().unwrap()) * 512
}

/// Cloud Hypervisor has no ear, and asks for the config space once.
#[test]
fn a_front_end_that_cannot_be_told_of_a_new_size_is_named_in_the_log() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let mut backend = world.start_backend("d", "");
    let mut front_end = world.front_end("d");
    let _ = world.image("resize d.img --size 20M").success();
    backend.wait_to_say("its guest sees it when the VM is started anew");
    // It may ask all the same, and the disk has the size.
    assert_eq!(capacity(&mut front_end), 20 * MIB);
    assert_eq!(front_end.ask(0, &write(20 * MIB / 512 - 8, 1)).status, 0);
}

#[test]
fn a_disk_grows_under_load_and_its_front_end_is_told() {
    let world = World::new();
    let id = world.make_disk("d", "8M", "");
    let mut backend = world.start_backend("d", "--num-queues 2");
    let options = Options { queues: 2, ..Options::default() };
    let mut front_end = FrontEnd::connect(&world.path("d.sock"), options);
    let mut ear = front_end.back_channel();
    let (last, first_new) = (8 * MIB / 512 - 8, 8 * MIB / 512);
    assert_eq!(front_end.ask(0, &write(last, 1)).status, 0);
    assert_eq!(front_end.ask(1, &write(first_new, 2)).status, 1, "behind the end");
    assert_eq!(front_end.ask(1, &write(last + 1, 2)).status, 1, "across the end");

    let said = world.image("resize d.img --size 20M").success();
    assert!(said.contains("20 MiB") && said.contains(&backend.pid().to_string()), "{said}");
    // It does not know which front end that is.
    assert!(said.contains("a guest of QEMU sees the new size at once"), "{said}");
    assert!(said.contains("one of Cloud Hypervisor when its VM is started anew"), "{said}");
    let mut message = [0; 12];
    ear.read_exact(&mut message).unwrap();
    // vhost-user: BACKEND_CONFIG_CHANGE_MSG is 2, version 1, no body.
    assert_eq!(message, [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert!(!backend.said().contains("cannot be told"), "{}", backend.said());
    assert_eq!(capacity(&mut front_end), 20 * MIB);

    let end = 20 * MIB / 512;
    for queue in 0..2 {
        assert_eq!(front_end.ask(queue, &write(end - 8, 3)).status, 0);
        let answer = front_end.ask(queue, &read(end - 8));
        assert_eq!((answer.status, answer.data), (0, vec![3; 4096]));
        assert_eq!(front_end.ask(queue, &read(end)).status, 1, "behind the new end");
        assert_eq!(front_end.ask(queue, &read(first_new)).data, [0; 4096], "never written");
        assert_eq!(front_end.ask(queue, &read(last)).data, [1; 4096], "as it was");
    }

    // What is kept is kept: the daemon's record, and the image for the next process, ended in whatever way.
    drop(front_end);
    backend.kill();
    let mut backend = world.start_backend("d", "");
    let mut front_end = world.front_end("d");
    assert_eq!(capacity(&mut front_end), 20 * MIB);
    assert_eq!(front_end.ask(0, &read(end - 8)).data, [3; 4096]);
    drop(front_end);
    assert!(backend.terminate().success());
    let shown: Value =
        serde_json::from_str(&world.keyd(&format!("disk show {id} --json")).success()).unwrap();
    assert_eq!(shown["geometry"]["size"], 20 * MIB);
    let audit = world.keyd("audit tail --json").success();
    assert!(audit.contains("disk-grow") && audit.contains("from=8388608 to=20971520"), "{audit}");
}

#[test]
fn who_cannot_hear_finds_the_new_size_and_a_lost_daemon_tells_later() {
    let mut world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let backend = world.start_backend("d", "");
    // Cloud Hypervisor has no ear.
    let mut front_end = world.front_end("d");
    let _ = world.image("resize d.img --size 12M").success();
    eventually("the new size", || (capacity(&mut front_end) == 12 * MIB).then_some(()));

    // Between the daemon's commit and its word it may end: the record tells at the next attach.
    world.keyd.as_mut().unwrap().kill();
    lengthen(&world.path("d.img"), 16 * MIB);
    world.start_keyd();
    eventually("keyd's return", || backend.said().contains("keyd is back").then_some(()));
    assert_eq!(
        capacity(&mut front_end),
        12 * MIB,
        "an image with room at its end is no larger disk"
    );
    let _ = world.image("resize d.img --size 16M").success();
    eventually("the new size", || (capacity(&mut front_end) == 16 * MIB).then_some(()));
    assert_eq!(front_end.ask(0, &write(16 * MIB / 512 - 8, 1)).status, 0);
}

fn lengthen(image: &Path, size: u64) {
    let file = fs::File::options().write(true).open(image).unwrap();
    file.set_len(16 * MIB + size).unwrap();
}

#[test]
fn what_cannot_grow_is_refused_and_stays_as_it_is() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let _ = world.make_disk("dense", "1M", "--dense");
    let len = |name: &str| fs::metadata(world.path(name)).unwrap().len();
    let before = (len("d.img"), len("dense.img"));
    for (line, words) in [
        ("d.img --size 4M", "never made smaller"),
        ("d.img --size 8388609", "not a multiple"),
        ("d.img", "--size 20G"),
        ("dense.img --size 2M", "is dense"),
        ("d.img --size 9000T", "has at most"),
        ("d.img --size 65T", "has at most"),
    ] {
        let said = world.image(&format!("resize {line}")).failure();
        assert!(said.contains(words), "{line}: {said}");
    }
    assert_eq!((len("d.img"), len("dense.img")), before);
    // Twice is no error: the first answer may have been lost.
    for _ in 0..2 {
        let _ = world.image("resize d.img --size 8M").success();
    }
    // Not everybody's to make a record longer than its image, which nobody could attach.
    fs::rename(world.path("keyd.sock"), world.path("hidden.sock")).unwrap();
    let said = world.image("resize d.img --size 9M").failure();
    assert!(said.contains("as long as it was"), "{said}");
    assert_eq!((len("d.img"), len("dense.img")), before);
    fs::rename(world.path("hidden.sock"), world.path("keyd.sock")).unwrap();
    let mut backend = world.start_backend("d", "");
    let mut front_end = world.front_end("d");
    assert_eq!(capacity(&mut front_end), 8 * MIB);
    drop(front_end);
    assert!(backend.terminate().success());
}

/// A volume of 24 MiB with a disk on it, whatever was there before; then the volume is larger, with more of that.
#[test]
fn a_volume_that_was_made_larger_brings_nothing_of_whom_it_was_before() {
    const NOISE: u8 = 0xa5;
    // A disk that reaches the volume's end, and one that ends before it, and inside a block of 4096.
    for (disk, more) in [(8 * MIB, ""), (7 * MIB + 512, "--size 7340544")] {
        let world = World::new();
        let file = world.path("volume");
        fs::write(&file, vec![NOISE; 24 * MIB as usize]).unwrap();
        let Some(device) = LoopDevice::if_root(&file) else { return };
        symlink(device.path(), world.path("d.img")).unwrap();
        let _ = world.image(&format!("create d.img --force {more}")).success();
        let mut backend = world.start_backend("d", "");
        let mut front_end = world.front_end("d");
        assert_eq!(capacity(&mut front_end), disk);
        let (first_new, end) = (disk / 512, 300 * MIB / 512);
        assert_eq!(front_end.ask(0, &write(first_new - 8, 1)).status, 0);

        // Longer than one piece of the zeroing.
        let volume = fs::File::options().append(true).open(&file).unwrap();
        (24..316).for_each(|_| (&volume).write_all(&[NOISE; MIB as usize]).unwrap());
        device.follow_file();
        let _ = world.image("resize d.img").success();
        eventually("the new size", || (capacity(&mut front_end) == 300 * MIB).then_some(()));
        for sector in [first_new, 9 * MIB / 512, 240 * MIB / 512, end - 8] {
            assert!(front_end.ask(0, &read(sector)).data == [0; 4096], "noise at {sector}");
            assert_eq!(front_end.ask(0, &write(sector, 2)).status, 0);
        }
        // What is there now is the guest's, however often somebody asks.
        for size in ["", "--size 300M"] {
            let _ = world.image(&format!("resize d.img {size}")).success();
        }
        assert_eq!(front_end.ask(0, &read(first_new - 8)).data, [1; 4096]);
        for sector in [first_new, 9 * MIB / 512, 240 * MIB / 512, end - 8] {
            assert!(front_end.ask(0, &read(sector)).data == [2; 4096], "destroyed at {sector}");
        }
        // Nor does one that began before another was done.
        let _other = alone(device.path());
        let said = world.image("resize d.img").failure();
        assert!(said.contains("used by another program alone"), "{said}");
        drop(front_end);
        assert!(backend.terminate().success());
    }
}

fn alone(device: &Path) -> fs::File {
    let alone = OFlags::EXCL.bits() as i32;
    fs::File::options().write(true).custom_flags(alone).open(device).unwrap()
}

#[test]
fn a_disk_below_that_hangs_while_it_grows_keeps_no_key_from_being_taken_away() {
    let world = World::new();
    let id = world.make_disk("d", "8M", "").parse().unwrap();
    lengthen(&world.path("d.img"), 12 * MIB);
    let Some(liar) = Liar::over(&world.path("d.img"), 1) else { return };
    let mut backend = world.start_backend("d", "");
    let mut front_end = world.front_end("d");
    assert_eq!(front_end.ask(0, &write(0, 1)).status, 0);
    liar.set(Lies { hung: true, ..Lies::default() });
    world.ask(DiskGrow { id, size: 12 * MIB, dry_run: false });
    eventually("a look at the image's end", || (liar.hung() > 0).then_some(()));
    world.disable("d");
    backend.wait_to_say("fenced in");
    assert_eq!(capacity(&mut front_end), 8 * MIB, "nobody knows yet");
    liar.set(Lies::default());
    liar.wake();
    eventually("the new size", || (capacity(&mut front_end) == 12 * MIB).then_some(()));
    world.enable("d");
    assert_eq!(front_end.ask(0, &write(12 * MIB / 512 - 8, 2)).status, 0);
    drop(front_end);
    assert!(backend.terminate().success());
}

#[test]
fn a_running_guest_sees_its_disk_grow() {
    let world = World::new();
    let _ = world.make_disk("d", "64M", "");
    let mut backend = world.start_backend("d", "");
    let mut guest = Guest::boot(&world, &["d.sock"], &[]);
    assert_eq!(guest.disks(), "vda=67108864");
    let busy = guest.start("dd if=/dev/urandom of=/dev/vda bs=64k count=512 oflag=direct");
    let _ = world.image("resize d.img --size 96M").success();
    let size = || guest.succeed("cat /sys/block/vda/size").trim().to_owned();
    let mut size = size;
    eventually("the guest to see it", || (size() == "196608").then_some(()));
    let dmesg = guest.succeed("dmesg");
    assert!(dmesg.contains("new size: 196608 512-byte logical blocks"), "{dmesg}");
    assert!(!dmesg.contains("I/O error"), "{dmesg}");
    assert_eq!(guest.wait(busy).0, 0);
    let _ = guest.succeed("echo behind the old end >/tmp/t; dd if=/tmp/t of=/dev/vda bs=512 seek=196600 conv=sync oflag=direct");
    let read = guest
        .succeed("dd if=/dev/vda bs=512 skip=196600 count=1 iflag=direct 2>/dev/null | head -c 18");
    assert_eq!(read.trim(), "behind the old end");
    guest.power_off();
    assert!(backend.terminate().success());
}
