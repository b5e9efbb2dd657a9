//! QEMU as people start it, by README's own line and with a word forgotten; and a second front end on a disk that has
//! one.

use std::{
    ffi::OsString,
    fs,
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
};

use system_tests::{
    driver::BlkRequest,
    guest::Guest,
    hostile::wait_for_close,
    process::{Process, program, tool},
    refusal::{refused, refuses_to_serve},
    world::World,
};

/// The options of README's QEMU that are about a disk, for one at `socket`.
fn readme(socket: &Path) -> Vec<OsString> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).expect("a README").replace("\\\n", " ");
    let line = readme.lines().find(|line| line.starts_with("qemu-system-x86_64")).expect("a line");
    let from = line.find("-chardev").expect("a device");
    let device = line[from..].replace("db.sock", &socket.display().to_string());
    device.split_whitespace().map(Into::into).collect()
}

fn threads(process: &Process, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).expect("our own child");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.starts_with(name)).count()
}

#[test]
fn readmes_line_serves_a_vm_of_four_processors_a_queue_each() {
    let world = World::new();
    let _ = world.make_disk("d", "16M", "");
    let mut backend = world.start_backend("d", "");
    assert_eq!(threads(&backend, "queue-"), 1, "a queue that was never started is no thread");
    let options = [["--cpus", "4", "--"].map(Into::into).to_vec(), readme(&world.path("d.sock"))];
    let mut guest = Guest::run_machine(&world, "guest", &options.concat());
    guest.wake();
    assert_eq!(guest.succeed("ls /sys/block/vda/mq | wc -l").trim(), "4");
    assert_eq!(threads(&backend, "queue-"), 4, "{}", backend.said());
    for cpu in 0..4 {
        let write =
            format!("dd if=/dev/urandom of=/dev/vda bs=64k count=4 seek={cpu}0 oflag=direct");
        let _ = guest.succeed(&format!("taskset -c {cpu} {write}"));
    }
    let info = world.image("info d.img --json").success();
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    let serial = guest.succeed("cat /sys/block/vda/serial");
    assert_eq!(serial.trim(), info["serial"].as_str().expect("a serial number"));
    assert!(!guest.succeed("dmesg").contains("I/O error"));
    guest.power_off();
    assert!(backend.terminate().success());
}

#[test]
fn a_serial_number_of_ones_own_is_what_the_guest_gets() {
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let _backend = world.start_backend("d", "--serial boot-disk-0001");
    let answer = world.front_end("d").ask(0, &BlkRequest::get_id(20));
    assert_eq!((answer.status, &answer.data[..]), (0, &b"boot-disk-0001\0\0\0\0\0\0"[..]));
}

/// A VM of nothing but firmware, with such memory.
fn firmware(world: &World, memory: &[&str]) -> Process {
    let mut command = Command::new(tool("qemu-system-x86_64", "qemu-system-x86"));
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-m", "64"]).args(memory);
    command.args(readme(&world.path("d.sock"))).stdout(Stdio::null());
    Process::start("qemu", &mut command, &world.path("qemu.log"))
}

#[test]
fn memory_that_is_not_shared_is_told_in_those_words() {
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let private = "memory-backend-memfd,id=m,size=64M,share=off";
    let with = ["-object", private, "-machine", "q35,memory-backend=m"];
    for (memory, words) in [
        (&with[..], "is not shared with this process"),
        // There is no file to hand over: QEMU gives up by itself, and tries again.
        (&["-machine", "q35"][..], "that memory is not shared"),
    ] {
        let mut backend = world.start_backend("d", "");
        let _qemu = firmware(&world, memory);
        backend.wait_to_say(words);
        let said = backend.said();
        let line = said.lines().find(|line| line.contains(words)).expect("a line");
        assert!(line.contains("share=on"), "{line}");
    }
}

#[test]
fn a_second_front_end_is_refused_at_once_and_the_first_does_not_notice() {
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let mut backend = world.start_backend("d", "");
    let mut first = world.front_end("d");
    assert_eq!(first.ask(0, &BlkRequest::write(0, vec![7; 512])).status, 0);
    let connect = || UnixStream::connect(world.path("d.sock")).expect("a socket");
    wait_for_close(&connect());
    let us = format!("another one (process {}) has the disk", std::process::id());
    backend.wait_to_say(&us);
    for _ in 0..20 {
        wait_for_close(&connect());
    }
    assert_eq!(backend.said().matches("has the disk").count(), 1, "not one line for each");
    assert_eq!(first.ask(0, &BlkRequest::read(0, 512)).data, [7; 512]);
    drop(first);
    // The end of the first is heard before the next one's beginning.
    let mut next = world.front_end("d");
    assert_eq!(next.ask(0, &BlkRequest::read(0, 512)).data, [7; 512]);
    assert!(backend.terminate().success());
}

#[test]
fn a_second_qemu_says_that_the_disk_is_taken_and_ends() {
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let _backend = world.start_backend("d", "");
    let _first = world.front_end("d");
    let mut command = Command::new(tool("qemu-system-x86_64", "qemu-system-x86"));
    let memory = "memory-backend-memfd,id=m,size=64M,share=on";
    let path = format!("socket,id=db,path={}", world.path("d.sock").display());
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-m", "64"]);
    command.args(["-object", memory, "-machine", "q35,memory-backend=m", "-chardev", &path]);
    command.args(["-device", "vhost-user-blk-pci,chardev=db"]).stdout(Stdio::null());
    let mut qemu = Process::start("qemu", &mut command, &world.path("qemu.log"));
    assert!(!qemu.wait().success(), "{}", qemu.said());
    assert!(qemu.said().contains("vhost-user-blk"), "{}", qemu.said());
}

#[test]
fn a_path_that_no_socket_can_have_is_told_with_the_limit() {
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let long = "s".repeat(108 - world.path("").as_os_str().len());
    let words = ["107 bytes", "has 108", "shorter"];
    let socket = world.path(&long);
    let command = |own: &Path, keyd: &Path| {
        let mut command = Command::new(program("vhost-backend"));
        command.arg("--socket-path").arg(own).arg("--blk-file").arg(world.path("d.img"));
        command.arg("--keyd").arg(keyd);
        command
    };
    let own = world.path("d.sock");
    for mut command in [command(&socket, &world.socket()), command(&own, &socket)] {
        refuses_to_serve(&world, "vhost-backend", &mut command, &words);
    }
    assert!(!own.exists());
    let image = world.image(&format!("create e.img --size 1M --socket {}", socket.display()));
    refused("image", &image, &words);
}
