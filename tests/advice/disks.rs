//! What is said of sets, disks and their images.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt,
};

use keyd_client::{message::DiskGrow, permission::Permission};
use system_tests::{
    driver::BlkRequest, loop_device::LoopDevice, luks::cryptsetup, process::eventually,
    world::NOBODY,
};

use crate::{follow::Advised, keys::newest};

/// More than are listed with a disk.
const GRANTS: u32 = 260;

pub fn and_sets(on: &mut Advised) {
    on.shows("des show nope", "keyd des list", "platform");
    on.shows("disk show 0b9c1f6e-6f0c-4e0e-9d43-1c8f4b2a7d55", "keyd disk list", "ID");
    on.ok("key create own --bits 2048");
    on.helps(
        "des create own --key own --no-permit",
        "keyd vault permit default des:own get,wrapKey,unwrapKey",
    );
    on.ok("image create own.img 8M --des own");
    // Both places where an id is found.
    let nonsense = on.keyd("disk show nonsense").failure();
    let id = on.world.disk_id(&on.world.path("own.img"));
    for (place, more) in [("keyd disk list", ""), ("image info", "own.img")] {
        assert!(on.heed(&nonsense, place, &[], more).contains(&id), "{place}");
    }
    on.ok(&format!("disk show {id}"));
    // What would halt a disk names its dry run, which names the command that is sure.
    let refused = on.keyd("key delete own").failure();
    assert!(refused.contains("--dry-run lists them") && refused.contains("--force"), "{refused}");
    let listed = on.ok("key delete own --dry-run");
    let sure = listed.lines().find(|line| line.trim().starts_with("keyd key delete own --token "));
    on.ok(sure.unwrap_or_else(|| panic!("{listed}")).trim());
    on.ok("key recover own");
}

/// More of them than the status names, and more who may attach one than are listed with it.
pub fn that_are_many(on: &mut Advised) {
    on.world.make_records("platform", 22);
    let disks: Vec<serde_json::Value> =
        serde_json::from_str(&on.ok("disk list --json")).expect("JSON");
    let ids: Vec<&str> = disks.iter().map(|disk| disk["id"].as_str().expect("an id")).collect();
    for (number, id) in ids.iter().enumerate() {
        on.ok(&format!("disk release-key {id} --to vk{number}"));
    }
    let told = on.status();
    let unnamed = ids.iter().find(|id| !told.contains(**id)).expect("some are not named");
    let shown = on.heed(&told, "keyd disk show", &[], unnamed);
    assert!(shown.contains("key released"), "{shown}");
    for uid in 10_000..10_000 + GRANTS {
        on.world.grant(uid, "platform", &[Permission::Attach]);
    }
    let shown = on.ok(&format!("disk show {unnamed}"));
    let listed = on.heed(&shown, "keyd grant --list", &[], "");
    let all = |text: &str| (10_000..10_000 + GRANTS).all(|uid| text.contains(&uid.to_string()));
    assert!(!all(&shown) && all(&listed), "{listed}");
}

pub fn and_their_images(on: &mut Advised) {
    fs::write(on.world.path("other.img"), [0; 64 << 10]).expect("written");
    let refused = on.keyd("image info other.img").failure();
    on.heed(&refused, "image create", &[], "made.img 8M");
    on.ok("image info made.img");

    // The record has grown, and its image has not.
    let disk = on.world.make_disk("d", "8M", "");
    let line = |socket: &str, image: &str, keyd: &str| {
        format!("vhost-backend --socket-path {socket} --blk-file {image} --keyd {keyd}")
    };
    let mut backend = on.backend(
        &line("/run/vm1/disk.sock", "vm1.img", "/run/keyd/keyd.sock"),
        &line("d.sock", "d.img", "keyd.sock"),
    );
    let mut front_end = on.world.front_end("d");
    let (id, size) = (disk.parse().expect("an id"), 16 << 20);
    on.world.ask(DiskGrow { id, size, dry_run: false });
    backend.wait_to_say("'image resize'");
    on.heed(&backend.said(), "image resize", &[], &format!("d.img {size}"));
    let last = BlkRequest::read((size >> 9) - 8, 4096);
    eventually("disk that has grown", || (front_end.ask(0, &last).status == 0).then_some(()));
    drop(front_end);
    assert!(backend.terminate().success());
    by_cryptsetup(on, &disk);
    on_a_device(on);
}

/// The README's table of losses, each by its own command, of a disk that runs.
pub fn that_lose_their_key(on: &mut Advised) {
    let id = on.world.make_disk("d", "8M", "");
    on.ok("des update d --on-expiry revoke");
    let version = newest(on, "d");
    let mut backend = on.backend(
        "vhost-backend --socket-path db.sock --blk-file db.img",
        "vhost-backend --socket-path d.sock --blk-file d.img",
    );
    let permit = "keyd vault permit VAULT des:NAME";
    for (take, taken, give, given) in [
        ("keyd key disable K", "key disable d", "keyd key enable K", "key enable d"),
        (
            "keyd key disable K --version V",
            &format!("key disable d --version {version}"),
            "keyd key enable K --version V",
            &format!("key enable d --version {version}"),
        ),
        ("keyd key delete K", "key delete d", "keyd key recover K", "key recover d"),
        (
            &format!("{permit} none"),
            "vault permit default des:d none",
            &format!("{permit} get,wrapKey,unwrapKey --add"),
            "vault permit default des:d get,wrapKey,unwrapKey --add",
        ),
        (
            "keyd key set K --operations",
            "key set d --operations wrapKey",
            "keyd key set K --operations",
            "key set d --operations wrapKey,unwrapKey",
        ),
        (
            "keyd key set K --expires never",
            "key set d --expires 2020-01-01T00:00:00Z",
            "keyd key set K --expires never",
            "key set d --expires never",
        ),
    ] {
        on.example(take, &format!("{taken} --force --wait"));
        is(on, &id, "parked");
        on.example(give, given);
        is(on, &id, "running");
    }
    on.example("keyd disk erase ID", &format!("disk erase {id} --force"));
    is(on, &id, "");
    assert!(backend.terminate().success());
    on.ok("des delete d");
    on.ok("key delete d");
    let would = on.example("keyd key purge --dry-run", "key purge d --dry-run");
    assert!(would.contains("nothing"), "{would}");
    on.example("keyd key purge K", "key purge d");
    assert_eq!(on.keyd("key recover d").code, 1);
}

/// Waits until a disk does this; nothing: until there is none.
fn is(on: &Advised, disk: &str, doing: &str) {
    eventually(doing, || {
        let shown = on.keyd(&format!("disk show {disk}"));
        let is_so = if doing.is_empty() { shown.code == 1 } else { shown.out.contains(doing) };
        is_so.then_some(())
    });
}

/// What a user's disk loses with the user's grant.
pub fn of_a_user(on: &mut Advised) {
    let id = on.world.make_disk("d", "8M", "");
    on.example("keyd grant USER attach --des SET", &format!("grant uid:{NOBODY} attach --des d"));
    let _backend = on.world.start_backend_as(NOBODY, "d");
    is(on, &id, "running");
    on.example("keyd grant USER attach --remove", &format!("grant uid:{NOBODY} attach --remove"));
    is(on, &id, "parked");
    on.example("keyd grant USER attach --des SET", &format!("grant uid:{NOBODY} attach --des d"));
    is(on, &id, "running");
}

/// (Where there is a device mapper, without `--test-passphrase` and with a name behind it.)
fn by_cryptsetup(on: &mut Advised, disk: &str) {
    on.ok(&format!("disk release-key {disk} --to volume-key"));
    let shown =
        "cryptsetup open --type luks2 --key-size 512 --volume-key-file volume-key db.img db";
    on.followed.insert(shown.to_owned());
    let run = shown.replace("db.img db", "d.img --test-passphrase");
    let _ = cryptsetup(&on.world.path(""), run.trim_start_matches("cryptsetup ")).success();
}

fn on_a_device(on: &mut Advised) {
    let file = on.world.path("volume");
    File::create(&file).and_then(|file| file.set_len(64 << 20)).expect("a file");
    let Some(device) = LoopDevice::if_root(&file) else { return };
    let device = device.path();
    on.example(
        "image create /dev/vg/db --des prod --dense",
        &format!("image create {} --des d --dense --size 8M --force", device.display()),
    );
    on.ok(&format!("image create {} 8M --force", device.display()));
    // As a program that uses it alone has it.
    let flag = rustix::fs::OFlags::EXCL.bits() as i32;
    let alone = File::options().write(true).custom_flags(flag).open(device).expect("alone");
    let resize = format!("image resize {} 16M", device.display());
    let refused = on.keyd(&resize).failure();
    assert!(on.taken(&refused, "image resize") == "image resize" && refused.contains("that end"));
    drop(alone);
    on.ok(&resize);
}
