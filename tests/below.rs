//! What is below an image: storage whose direct I/O goes by larger pieces than the disk's, and a file system that is to
//! be free when its disks have ended.

use std::{process::Command, time::Instant};

use system_tests::{
    driver::BlkRequest,
    front_end::{FrontEnd, Options},
    loop_device::LoopDevice,
    process::{Process, run, tool},
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
    let advice = "image create --sector-size 4096";
    backend_refuses(&world, "d", "--cache direct", &[advice]);
    let mut backend = world.start_backend("d", "");
    let said = backend.said();
    let line = said.lines().find(|line| line.contains("serving")).unwrap();
    assert!(line.contains("through the page cache (direct I/O on it goes by 4096"), "{line}");
    let mut front_end = world.front_end("d");
    assert_eq!(front_end.ask(0, &BlkRequest::write(1, vec![3; 512])).status, 0);
    assert_eq!(front_end.ask(0, &BlkRequest::read(1, 512)).data, [3; 512]);
    drop(front_end);
    assert!(backend.terminate().success());
    let mut asked = world.start_backend("d", "--cache buffered");
    assert!(!asked.said().contains("(direct I/O"), "who asked for it needs no reason");
    assert!(asked.terminate().success());
    // As the refusal advises it.
    let make = advice.strip_prefix("image ").unwrap();
    let _ = world.image(&format!("{make} d.img --size 8M --force")).success();
    let direct = world.start_backend("d", "--cache direct");
    assert!(direct.said().contains("O_DIRECT"), "{}", direct.said());
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

/// An XFS with an image `d` of sectors of so many bytes; none where there can be none.
fn on_xfs(world: &World, sector: u32) -> Option<SmallFs> {
    if !may_mount() {
        return None;
    }
    if !has_xfs() {
        must_run::skip("this kernel has no XFS");
        return None;
    }
    let fs = SmallFs::new("xfs", &world.path("small"));
    let _ = world.image(&format!("create small/d.img --size 8M --sector-size {sector}")).success();
    std::os::unix::fs::symlink("small/d.img", world.path("d.img")).unwrap();
    Some(fs)
}

fn has_xfs() -> bool {
    // Where it is a module it is there when it has been asked for.
    let _ = Command::new("modprobe").args(["-q", "xfs"]).status();
    let kinds = std::fs::read_to_string("/proc/filesystems").unwrap();
    kinds.lines().any(|line| line.trim() == "xfs")
}

/// A copy that shares its blocks with the image, as snapshots of whole files do.
fn share_blocks(world: &World, copy: &str) {
    let from = world.path("small/d.img");
    let mut cp = Command::new("cp");
    let _ = run(cp.arg("--reflink=always").arg(from).arg(world.path(copy))).success();
}

/// Whether it serves by O_DIRECT, or else by the page cache, by its own word.
fn is_direct(backend: &Process) -> bool {
    let said = backend.said();
    let line = said.lines().find(|line| line.contains("serving")).unwrap();
    assert_ne!(line.contains("sectors, O_DIRECT"), line.contains("through the page"), "{line}");
    line.contains("sectors, O_DIRECT")
}

/// Direct writes of less than a block cannot go where the block is another file's, too: XFS tells the alignment at
/// which they can, and that is the block's.
#[test]
fn on_xfs_what_shares_its_blocks_has_direct_io_as_the_file_system_tells_and_no_other() {
    for (sector, shares, direct) in
        [(512, false, true), (4096, false, true), (4096, true, true), (512, true, false)]
    {
        let world = World::new();
        let Some(_fs) = on_xfs(&world, sector) else { return };
        if shares {
            share_blocks(&world, "small/copy.img");
        }
        if direct {
            assert!(is_direct(&world.start_backend("d", "--cache direct")), "{sector}");
        } else {
            let words = ["--cache direct", "goes by 4096 bytes", "shares blocks", "have 512"];
            backend_refuses(&world, "d", "--cache direct", &words);
        }
        let backend = world.start_backend("d", "");
        assert_eq!(is_direct(&backend), direct, "{sector} {shares}: {}", backend.said());
        assert_eq!(backend.said().contains("shares blocks"), !direct, "{}", backend.said());
        let before = shares.then(|| std::fs::read(world.path("small/copy.img")).unwrap());
        let mut front_end = world.front_end("d");
        for at in [0, 8, 24] {
            let data = vec![at as u8 + 1; sector as usize];
            assert_eq!(front_end.ask(0, &BlkRequest::write(at, data.clone())).status, 0);
            assert_eq!(front_end.ask(0, &BlkRequest::read(at, sector as usize)).data, data);
        }
        let after = shares.then(|| std::fs::read(world.path("small/copy.img")).unwrap());
        assert!(before == after, "{sector}: the copy is another file");
    }
}

/// A snapshot of the whole file is made while its disk runs, by direct I/O that was right at its start.
#[test]
fn a_disk_whose_blocks_begin_to_be_shared_while_it_runs_is_right_and_so_is_the_copy() {
    let world = World::new();
    let Some(_fs) = on_xfs(&world, 512) else { return };
    let mut backend = world.start_backend("d", "--cache direct");
    let mut front_end = world.front_end("d");
    let mut write = |at: u64, byte: u8| {
        let request = BlkRequest::write(at, vec![byte; 512]);
        assert_eq!(front_end.ask(0, &request).status, 0);
    };
    (0..64).for_each(|at| write(at, 1));
    share_blocks(&world, "small/copy.img");
    let copied = std::fs::read(world.path("small/copy.img")).unwrap();
    (0..64).step_by(3).for_each(|at| write(at, 2));
    for at in 0..64 {
        let byte = if at % 3 == 0 { 2 } else { 1 };
        assert_eq!(front_end.ask(0, &BlkRequest::read(at, 512)).data, [byte; 512], "{at}");
    }
    assert!(
        copied == std::fs::read(world.path("small/copy.img")).unwrap(),
        "the copy is as it was"
    );
    drop(front_end);
    assert!(backend.terminate().success());
    let _again = world.start_backend("d", "");
    let mut front_end = world.front_end("d");
    for at in 0..64 {
        let byte = if at % 3 == 0 { 2 } else { 1 };
        assert_eq!(front_end.ask(0, &BlkRequest::read(at, 512)).data, [byte; 512], "{at}");
    }
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
