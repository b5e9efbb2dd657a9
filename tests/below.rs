//! What is below an image: storage whose direct I/O goes by larger pieces than the disk's, and a file system that is to
//! be free when its disks have ended.

use std::{process::Command, time::Instant};

use system_tests::{
    driver::BlkRequest,
    front_end::{FrontEnd, Options},
    loop_device::LoopDevice,
    process::{run, tool},
    refusal::backend_refuses,
    small_fs::{SmallFs, may_mount},
    world::World,
};

/// A volume of 4096-byte sectors as `d.img`, with a disk whose sectors have `sector` bytes; none where this is not
/// root.
fn volume(world: &World, sector: u32) -> Option<LoopDevice> {
    if !must_run::is_root_for("make a loop device") {
        return None;
    }
    std::fs::File::create(world.path("volume")).and_then(|file| file.set_len(64 << 20)).unwrap();
    let device = LoopDevice::of_sectors(&world.path("volume"), 4096);
    std::os::unix::fs::symlink(device.path(), world.path("d.img")).unwrap();
    let size = "--size 8M --force";
    let _ = world.image(&format!("create d.img {size} --sector-size {sector}")).success();
    Some(device)
}

#[test]
fn direct_io_that_cannot_be_is_refused_if_asked_for_and_else_told_with_its_reason() {
    let world = World::new();
    let Some(_device) = volume(&world, 512) else { return };
    let words = ["--cache direct", "goes by 4096 bytes", "have 512", "--cache buffered"];
    backend_refuses(&world, "d", "--cache direct", &words);
    backend_refuses(&world, "d", "--cache direct", &["image create --sector-size 4096"]);
    let mut backend = world.start_backend("d", "");
    let said = backend.said();
    let line = said.lines().find(|line| line.contains("serving")).unwrap();
    assert!(line.contains("through the page cache (direct I/O on it goes by 4096"), "{line}");
    let mut front_end = world.front_end("d");
    assert_eq!(front_end.ask(0, &BlkRequest::write(1, vec![3; 512])).status, 0);
    assert_eq!(front_end.ask(0, &BlkRequest::read(1, 512)).data, [3; 512]);
    drop(front_end);
    assert!(backend.terminate().success());
    let asked = world.start_backend("d", "--cache buffered");
    assert!(!asked.said().contains("(direct I/O"), "who asked for it needs no reason");
}

#[test]
fn a_disk_of_4096_byte_sectors_has_direct_io_on_a_volume_of_such() {
    let world = World::new();
    let Some(_device) = volume(&world, 4096) else { return };
    let backend = world.start_backend("d", "--cache direct");
    assert!(backend.said().contains("O_DIRECT"), "{}", backend.said());
    let mut front_end = world.front_end("d");
    assert_eq!(front_end.ask(0, &BlkRequest::write(8, vec![3; 4096])).status, 0);
    assert_eq!(front_end.ask(0, &BlkRequest::read(8, 4096)).data, [3; 4096]);
}

#[test]
fn an_images_file_system_is_free_when_its_disk_has_ended() {
    if !may_mount() {
        return;
    }
    let world = World::new();
    let _fs = SmallFs::new("ext4", &world.path("small"));
    let _ = world.image("create small/d.img --size 8M").success();
    std::os::unix::fs::symlink("small/d.img", world.path("d.img")).unwrap();
    let mut umount = Command::new(tool("umount", "mount"));
    let mut mount = Command::new(tool("mount", "mount"));
    mount.args(["-o", "loop"]).arg(world.path("small.ext4")).arg(world.path("small"));
    for queues in [1, 4, 1, 4, 1, 4] {
        let mut backend = world.start_backend("d", "");
        let options = Options { queues, ..Options::default() };
        let mut front_end = FrontEnd::connect(&world.path("d.sock"), options);
        for queue in 0..queues {
            assert_eq!(front_end.ask(queue, &BlkRequest::write(0, vec![3; 65536])).status, 0);
        }
        drop(front_end);
        assert!(backend.terminate().success());
        let ended = Instant::now();
        let unmounted = run(umount.arg(world.path("small")));
        assert_eq!(unmounted.code, 0, "{} after {:?}", unmounted.err, ended.elapsed());
        umount = Command::new(tool("umount", "mount"));
        let _ = run(&mut mount).success();
    }
}
