//! Many disks of one user on a host. What a user may lock is counted for all of its processes together, and the usual
//! limit is 8 MiB: every disk is served, and by rings of io_uring as long as there is memory for them.

use std::{fs, os::unix::process::CommandExt, process::Command, time::Instant};

use keyd_client::{message::EncryptionType, permission::Permission};
use system_tests::{
    driver::BlkRequest,
    front_end::{FrontEnd, Options},
    process::{Process, limited},
    world::{TERMS, World},
};

const QUEUES: usize = 4;

/// A user of whom nobody else has a process: what others lock, this test's twin on this machine included, is theirs.
fn somebody() -> u32 {
    1_000_000 + std::process::id()
}

/// A served disk, and its VM.
struct Disk {
    front_end: FrontEnd,
    backend: Process,
}

impl Disk {
    /// Serves a new disk under a limit of locked memory.
    fn new(world: &World, name: &str, user: u32, lock_kib: u64) -> Self {
        let _ = world.image(&format!("create {name}.img --size 1M --des s")).success();
        let more = format!("--num-queues {QUEUES} --engine auto");
        let command = world.backend_command_as(user, name, &more);
        let mut command = as_user(limited(&format!("-l {lock_kib}"), &command), user);
        let log = world.path(&format!("{name}.log"));
        let mut backend = Process::start("vhost-backend", &mut command, &log);
        backend.wait_to_say("serving");
        let options = Options { queues: QUEUES, ..Options::default() };
        let front_end = FrontEnd::connect(&world.path(&format!("{name}.sock")), options);
        Self { front_end, backend }
    }

    /// Writes and reads on every queue.
    fn assert_serves(&mut self, salt: u8) {
        for queue in 0..QUEUES {
            let (sector, data) = (queue as u64 * 8, vec![salt ^ queue as u8; 4096]);
            assert_eq!(
                self.front_end.ask(queue, &BlkRequest::write(sector, data.clone())).status,
                0
            );
            let other = (queue + 1) % QUEUES;
            assert_eq!(self.front_end.ask(other, &BlkRequest::read(sector, 4096)).data, data);
        }
    }

    /// Queues that wait for the disk by a ring.
    fn rings(&self) -> usize {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.backend.pid())).expect("our own child");
        let links = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        links.filter(|to| to.ends_with("anon_inode:[io_uring]")).count()
    }
}

fn as_user(mut command: Command, user: u32) -> Command {
    command.uid(user).gid(user);
    command
}

/// Serves `count` disks of one user who may lock so much, and gives how many queues have a ring.
fn serve(count: usize, lock_kib: u64) -> usize {
    let world = World::new();
    let user = somebody();
    world.make_set("s", EncryptionType::CustomerKey, TERMS);
    world.grant(user, "s", &[Permission::Attach]);
    let began = Instant::now();
    let name = |number: usize| format!("d{number}");
    let mut disks: Vec<Disk> =
        (0..count).map(|number| Disk::new(&world, &name(number), user, lock_kib)).collect();
    for (disk, salt) in disks.iter_mut().zip(0..) {
        disk.assert_serves(salt);
    }
    let mut rings = 0;
    for disk in &disks {
        rings += disk.rings();
        let said = disk.backend.said();
        let has_all = disk.rings() == QUEUES;
        let limit = format!("memory lock limit, {lock_kib} KiB for all of its processes");
        assert_eq!(said.contains(&limit), !has_all, "{said}");
        assert_eq!(said.contains("32 KiB more are needed"), !has_all, "{said}");
        assert!(said.matches("threads instead").count() <= 1, "once, not for each queue: {said}");
    }
    println!(
        "{count} disks of {QUEUES} queues, {lock_kib} KiB: {rings} rings, {:.1?}",
        began.elapsed()
    );
    rings
}

/// Whether there can be another user; says so if not.
fn may_be_another_user() -> bool {
    must_run::is_root_for("become a user who cannot raise the limit")
}

#[test]
fn with_little_memory_to_lock_every_disk_is_served_and_most_have_rings() {
    if !may_be_another_user() {
        return;
    }
    // A ring counts 8 KiB (from Linux 6.14 on): there is memory for 44 of 48.
    let rings = serve(12, 44 * 8);
    assert!((40..=48).contains(&rings), "{rings} rings");
}

#[test]
#[ignore = "two hundred processes and as many images take minutes"]
fn two_hundred_disks_of_one_user_are_served_at_the_usual_limit_and_most_have_rings() {
    if may_be_another_user() {
        // The first queue's buffers are registered: 3 MiB.
        let rings = serve(200, 8192);
        assert!(rings >= 5 * 128, "{rings} rings");
    }
}
